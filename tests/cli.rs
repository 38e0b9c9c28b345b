//! The command line: what it tells about itself.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use support::{Module, broken_pipe, full_disk, lunatic, run, run_command, run_into};

#[test]
fn help_tells_what_matters() {
    let output = run(&["--help"], b"").expect_quiet_success();
    for word in [
        "run",
        "completions",
        "imports",
        "--workers",
        "--dir",
        "--stdin",
        "--stdout",
        "--stderr",
        "--env",
        "--env-inherit",
        "--max-message",
        "--no-cache",
        "--processes-max",
        "--stats",
        "--verbose",
        "Exit codes",
        "134",
        "130",
        "Examples",
    ] {
        assert!(output.stdout.contains(word), "{word} is missing\n{}", output.stdout);
    }
    let short = run(&["-h"], b"").expect_quiet_success().stdout;
    assert!(short.contains("--workers"), "{short}");
    let of_run = run(&["run", "--help"], b"").expect_quiet_success().stdout;
    assert!(of_run.contains("--max-message") && of_run.contains("Exit codes"), "{of_run}");
}

#[test]
fn the_version_is_the_crates() {
    let output = run(&["--version"], b"").expect_quiet_success();
    assert_eq!(output.stdout, format!("lunatic {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn an_unknown_flag_is_named_with_a_similar_one() {
    run(&["run", "--worker", "3", "a.wasm"], b"").expect(2).says(&["--worker", "--workers"]);
}

#[test]
fn there_are_completions_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = run(&["completions", shell], b"").expect_quiet_success();
        for word in ["lunatic", "workers", "max-message", "imports"] {
            assert!(output.stdout.contains(word), "{shell} does not complete {word}");
        }
    }
}

#[test]
fn the_reference_of_imports_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/abi.md");
    let page = std::fs::read_to_string(&path).expect("docs/abi.md is there");
    let made = run(&["imports", "--markdown"], b"").expect_quiet_success().stdout;
    assert!(page == made, "write it anew: lunatic imports --markdown > docs/abi.md");
}

#[test]
fn every_import_is_documented() {
    let list = run(&["imports"], b"").expect_quiet_success().stdout;
    let page = run(&["imports", "--markdown"], b"").expect_quiet_success().stdout;
    assert_eq!(list.lines().count(), page.matches("\n### ").count());
    for section in page.split("\n### ").skip(1) {
        let words = section.split("\n## ").next().unwrap_or_default().split_whitespace().count();
        assert!(words > 8, "there is hardly anything about {section}");
    }
}

#[test]
fn a_module_may_be_named_like_a_flag_behind_the_dashes() {
    let module = Module::wat("(module (func (export \"_start\")))");
    let directory = module.path().parent().expect("it is in one").to_path_buf();
    std::fs::copy(module.path(), directory.join("--help")).expect("it can be copied");
    let mut command = lunatic();
    command.current_dir(&directory).args(["run", "--", "--help"]);
    // The name does not end in .wat, and still it is text.
    let output = run_command(command, b"");
    assert!(matches!(output.code, 0 | 3), "{output:#?}");
    assert!(!output.stdout.contains("Usage"), "{output:#?}");
}

#[test]
fn more_words_are_said_on_request_only() {
    let module = Module::wat("(module (func (export \"_start\")))");
    run(&[module.path()], b"").expect_quiet_success();
    let mut command = lunatic();
    command.arg("-vvv").arg(module.path());
    let output = run_command(command, b"").expect(0);
    assert!(!output.stderr.is_empty(), "-vvv says nothing");
    assert_eq!(output.stdout, "", "stdout belongs to the guest");
}

#[test]
fn words_for_developers_go_to_stderr() {
    let module = Module::wat("(module (func (export \"_start\")))");
    let mut command = lunatic();
    command.env("LUNATIC_LOG", "trace").arg(module.path());
    assert_eq!(run_command(command, b"").expect(0).stdout, "");
}

/// Everything that prints, as words behind `lunatic`. MODULE stands for one with a test.
const PRINT: &[&[&str]] = &[
    &["--help"],
    &["-h"],
    &["--version"],
    &["run", "--help"],
    &["help", "test"],
    &["imports"],
    &["imports", "--markdown"],
    &["imports", "--c-header"],
    &["completions", "zsh"],
    &["run", "--print-rights", "MODULE"],
    &["test", "--print-rights", "MODULE"],
    &["test", "MODULE"],
    &["test", "MODULE", "--list"],
    &["test", "MODULE", "--help"],
    &["test", "MODULE", "-q"],
    &["test", "MODULE", "--test-threads", "1"],
];

fn printing(words: &[&str], module: &Module) -> Command {
    let mut command = lunatic();
    for &word in words {
        match word {
            "MODULE" => command.arg(module.path()),
            _ => command.arg(word),
        };
    }
    command
}

fn module_with_a_test() -> Module {
    Module::wat("(module (func (export \"#lunatic_test_good\")))")
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let module = module_with_a_test();
    for words in PRINT {
        eprintln!("{words:?}");
        let output = run_into(printing(words, &module), broken_pipe(), None);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{words:?}");
    }
}

#[test]
fn what_a_full_disk_does_not_take_is_missed() {
    let module = module_with_a_test();
    for words in PRINT {
        eprintln!("{words:?}");
        run_into(printing(words, &module), full_disk(), None)
            .expect(74)
            .says(&["lunatic: cannot write to standard output", "No space left on device"]);
    }
}

/// The command without some of its streams, as by `>&-`.
fn without(streams: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec \"$@\" {streams}"), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

#[test]
fn who_closes_the_streams_wants_no_output() {
    let module = module_with_a_test();
    for words in PRINT {
        eprintln!("{words:?}");
        let command = without(">&- <&-", &printing(words, &module));
        let output = run_into(command, Stdio::null(), None);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{words:?}");
    }
}

#[test]
fn an_error_that_nobody_hears_has_its_exit_code() {
    for (words, code) in [
        (&["--no-such-flag"][..], 2),
        (&["test", "no/such/file.wasm"], 3),
        (&["no/such/file.wasm"], 3),
        (&["-vvv", "no/such/file.wasm"], 3),
        (&["init", "no/such/directory"], 1),
    ] {
        for stderr in [broken_pipe(), full_disk()] {
            let mut command = lunatic();
            command.args(words);
            run_into(command, Stdio::null(), Some(stderr)).expect(code);
        }
        let mut command = lunatic();
        command.args(words);
        run_into(without(">&- 2>&-", &command), Stdio::null(), Some(Stdio::null())).expect(code);
    }
}
