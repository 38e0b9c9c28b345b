//! Rights as the command line and files say them (`--config`), and as they are printed
//! (`--print-rights`).

mod support;

use std::fs;

use support::{Module, lunatic, program, run_command};
use tempfile::TempDir;

#[test]
fn a_file_says_what_options_say_and_both_are_printed() {
    let place = TempDir::new().expect("a temporary directory can be made");
    let file = place.path().join("rights.toml");
    let print = |options: &[&str]| {
        let mut command = lunatic();
        command.arg("run").args(options).args(["--print-rights", "nowhere.wasm"]);
        run_command(command, b"")
    };
    let said = print(&[
        "--dir=/tmp::/t:ro",
        "--allow-net",
        "connect:db.local:5432,listen:[::1]:80",
        "--deny=spawn,kill",
        "--max-memory=64M",
        "--max-fuel=7",
        "--env=A=B",
    ])
    .expect_quiet_success();
    for line in [
        "dir = [\"/tmp::/t:ro\"]",
        "deny = [\"spawn\", \"kill\"]",
        "max-memory = 67108864",
        "max-fuel = 7",
        "A = \"B\"",
    ] {
        assert!(said.stdout.contains(line), "no {line:?}\n{said:#?}");
    }
    fs::write(&file, &said.stdout).expect("it can be written");
    let config = format!("--config={}", file.display());
    let again = print(&[&config]).expect_quiet_success();
    assert_eq!(again.stdout, said.stdout, "what is printed is a file that says the same");
    let more = print(&[&config, "--max-fuel=8", "--deny=compile"]).expect_quiet_success();
    assert!(more.stdout.contains("max-fuel = 8"), "{more:#?}");
    assert!(more.stdout.contains("\"compile\""), "{more:#?}");
    let other = print(&[&config, "--dir=/var::/t"]).expect_quiet_success();
    assert!(other.stdout.contains("dir = [\"/var::/t\"]"), "{other:#?}");
    let guest = Module::wat(&program("", ""));
    let mut twice = lunatic();
    twice.args(["run", "--dir=/tmp::/t", "--dir=/var::/t:ro"]).arg(guest.path());
    run_command(twice, b"").expect(3).says(&["\"/tmp::/t\" and \"/var::/t:ro\"", "as \"/t\""]);
    for (text, says) in [
        ("max-memry = 3", "there is no \"max-memry\"; is it \"max-memory\"?"),
        ("xyzzy = 3", "there is no \"xyzzy\"; there are dir, "),
        ("deny = [\"fly\"]", "there is no right \"fly\"; there are spawn, "),
        ("allow-net = [\"x\"]", "\"x\" is no network rule"),
        ("max-memory = \"lots\"", "\"lots\": give a number of bytes"),
        ("max-fuel = -1", "max-fuel"),
        ("max-memory = true", "give a number, or a text as \"64M\", in `max-memory`\n"),
        ("dir = [", "rights.toml"),
        ("max-fuel = 1\ndir = \"größer\" x\n", "line 2, column 16: "),
    ] {
        fs::write(&file, text).expect("it can be written");
        print(&[&config]).expect(3).says(&[says, "--config"]);
    }
    print(&["--config=/nowhere"]).expect(3).says(&["\"/nowhere\""]);
    print(&["--allow-net=x"]).expect(2).says(&["\"x\" is no network rule"]);
    print(&["--deny=fly"]).expect(2).says(&["spawn", "compile"]);
    let all = print(&["--allow-net"]).expect_quiet_success();
    assert!(all.stdout.contains("allow-net = [\"*:*\"]"), "{all:#?}");
}

/// A file may be another than was meant, or come from somebody else.
#[test]
fn what_is_quoted_of_a_file_is_short_and_no_orders_for_a_terminal() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let file = directory.path().join("rights.toml");
    let guest = Module::wat(&program("", ""));
    let long = "x".repeat(100_000);
    let orders = "\u{1b}[2J\u{202e}";
    for (text, quotes) in [
        (format!("max-fuel = 1 {long}"), "xxx"),
        (format!("max-fuel = {long}"), "xxx"),
        (format!("{long} = 1 2"), "1 2"),
        (format!("max-fuel = 1 # {orders}"), "\\u{1b}[2J\\u{202e}"),
        (format!("\"\\u001b[2J\\u202e{long}\" = 1"), "there is no \"\\u{1b}[2J\\u{202e}xxx"),
        (format!("max-memory = '{long}'"), "give a number of bytes, or one with K, M or G"),
        (format!("max-fuel = '{long}'"), "in `max-fuel`"),
        (format!("max-mailbox = '1:{long}'"), "is not block, drop or kill"),
        (format!("max-mailbox = '{long}'"), "is no number"),
        (format!("deny = ['{long}']"), "there are spawn, "),
        (format!("allow-net = ['{long}']"), "write [listen:|connect:]HOST:PORT"),
        (format!("dir = ['{long}']"), "--dir HOST[::GUEST][:ro]"),
        (format!("dir = [\"\\u001b[2J{long}::\"]"), "leave out the \"::\" to call it \"\\u{1b}[2J"),
        (format!("listen = ['{long}']"), "it must be HOST:PORT"),
        (format!("env = '{long}'"), "in `env`"),
        (format!("env = {{ {long} = 3 }}"), "expected a string"),
    ] {
        fs::write(&file, &text).expect("it can be written");
        let mut command = lunatic();
        command.arg("run").arg("--config").arg(&file).arg(guest.path());
        let output = run_command(command, b"").expect_refused(&[quotes]);
        assert!(output.stderr.len() < 4200, "{} bytes: {quotes}", output.stderr.len());
        let line = output.stderr.trim_end_matches('\n');
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
    }
}

/// A file may be a pipe (`--config <(…)`), which says what it has to say only once.
#[test]
fn what_a_pipe_says_about_rights_holds() {
    let guest = Module::wat(&program("", ""));
    for command in ["run", "test"] {
        let run = |rights: &[u8]| {
            let mut all = lunatic();
            all.args([command, "--config=/dev/stdin"]).arg(guest.path());
            run_command(all, rights)
        };
        run(b"max-memory = 1")
            .expect(3)
            .says(&["the limit of this process is 1; raise it (--max-memory)"]);
        run(b"max-memory = 1000000").expect_quiet_success();
    }
}

#[test]
fn rights_of_tests_are_printed_and_no_test_runs() {
    let mut command = lunatic();
    command.args(["test", "--print-rights", "--max-fuel=7", "nowhere.wasm"]);
    let output = run_command(command, b"").expect_quiet_success();
    for line in ["max-fuel = 7", "allow-net = [\"*:*\"]", "dir = [\".\"]"] {
        assert!(output.stdout.contains(line), "no {line:?}\n{output:#?}");
    }
}

#[test]
fn files_without_an_end_are_not_read_for_ever() {
    let guest = Module::wat(&program("", ""));
    let mut command = lunatic();
    command.arg("run").arg("--config=/dev/zero").arg(guest.path());
    run_command(command, b"").expect(3).says(&["\"/dev/zero\" (--config)", "1048576 bytes"]);
    let mut command = lunatic();
    command.args(["run", "/dev/zero"]);
    run_command(command, b"").expect(3).says(&["\"/dev/zero\"", "268435456 bytes"]);
}
