//! Standard streams that lead to files: `--stdin`, `--stdout`, `--stderr`.

mod support;

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use support::{Module, Running, guest, lunatic, program, run_command, spawn};
use tempfile::TempDir;

fn place() -> TempDir {
    TempDir::new().expect("a temporary directory can be made")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("it is there, and text")
}

/// Runs a program that says `ou`, `er` and `ou` where they belong, as lines, and then does this.
fn says_out_err_out(options: &[(&str, &Path)], then: &str) -> support::Output {
    let items = r#"(data (i32.const 1024) "ou\ner\n")
        (func $tell (param $fd i32) (param $at i32)
          (i32.store (i32.const 64) (local.get $at))
          (i32.store (i32.const 68) (i32.const 3))
          (if (call $fd_write (local.get $fd) (i32.const 64) (i32.const 1) (i32.const 72))
            (then unreachable)))"#;
    let out = "(call $tell (i32.const 1) (i32.const 1024))";
    let err = "(call $tell (i32.const 2) (i32.const 1027))";
    let module = Module::wat(&program(items, &[out, err, out, then].concat()));
    let mut command = lunatic();
    command.arg("run");
    for (option, path) in options {
        command.arg(option).arg(path);
    }
    command.arg(module.path());
    run_command(command, b"")
}

#[test]
fn output_goes_where_it_is_sent_and_replaces_what_was_there() {
    let place = place();
    let (out, err) = (place.path().join("out"), place.path().join("err"));
    fs::write(&out, "what was there, and much longer").expect("it can be written");
    let output = says_out_err_out(&[("--stdout", &out), ("--stderr", &err)], "");
    assert_eq!(output.expect_quiet_success().stdout, "");
    assert_eq!(read(&out), "ou\nou\n");
    assert_eq!(read(&err), "er\n");
    let output = says_out_err_out(&[("--stderr", &err)], "").expect_quiet_success();
    assert_eq!(output.stdout, "ou\nou\n");
}

#[test]
fn both_outputs_share_a_file() {
    let file = place();
    let file = file.path().join("both");
    let output = says_out_err_out(&[("--stdout", &file), ("--stderr", &file)], "");
    assert_eq!(output.expect_quiet_success().stdout, "");
    assert_eq!(read(&file), "ou\ner\nou\n");
}

#[test]
fn what_the_runtime_says_is_not_the_programs() {
    let place = place();
    let err = place.path().join("err");
    let output = says_out_err_out(&[("--stderr", &err)], "unreachable").expect(134);
    assert_eq!(output.says(&["the main process trapped"]).stdout, "ou\nou\n");
    assert_eq!(read(&err), "er\n");
}

#[test]
fn input_comes_from_a_file() {
    let Some(guest) = guest("stdin_echo") else { return };
    let place = place();
    let (input, out) = (place.path().join("in"), place.path().join("out"));
    let text: String = (0..100_000).map(|number| format!("line {number}\n")).collect();
    fs::write(&input, &text).expect("it can be written");
    let mut command = lunatic();
    command.arg("run").arg("--stdin").arg(&input).arg("--stdout").arg(&out).arg(guest);
    assert_eq!(run_command(command, b"not this").expect_quiet_success().stdout, "");
    assert!(read(&out) == text + "100000 lines\n");
}

#[test]
fn a_program_sees_that_it_is_a_file() {
    let Some(guest) = guest("wasi_calls") else { return };
    let place = place();
    let (input, out) = (place.path().join("in"), place.path().join("out"));
    fs::write(&input, "fd_fdstat_get 0\nfd_fdstat_get 1\n").expect("it can be written");
    let mut command = lunatic();
    command.arg("run").arg("--stdin").arg(&input).arg("--stdout").arg(&out).arg(guest);
    run_command(command, b"").expect_quiet_success();
    let answers = read(&out);
    let answers: Vec<&str> = answers.lines().collect();
    assert!(
        answers.len() == 2 && answers.iter().all(|a| a.starts_with("0 type 4 ")),
        "{answers:?}"
    );
}

#[test]
fn files_that_are_not_there_are_named() {
    let place = place();
    let (missing, out) = (place.path().join("none/none"), place.path().join("out"));
    fs::write(&out, "kept").expect("it can be written");
    for (option, says) in
        [("--stdin", "to read from"), ("--stdout", "to write to"), ("--stderr", "to write to")]
    {
        let output = says_out_err_out(&[(option, &missing)], "");
        output.expect_refused(&["cannot give the program", "none/none", says, option]);
    }
    says_out_err_out(&[("--stdin", &missing), ("--stdout", &out)], "").expect(3);
    assert_eq!(read(&out), "kept");
}

#[test]
fn nobody_needs_to_read_the_errors() {
    let Some(guest) = guest("wasi_calls") else { return };
    let place = place();
    let pipe = place.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo is there");
    assert!(made.success());
    let mut command = lunatic();
    command.arg("run").arg("--stderr").arg(&pipe).arg(guest);
    let mut running = Running::start(command);
    // Opening waits for the other side.
    thread::spawn(move || drop(fs::File::open(pipe).expect("it is there")))
        .join()
        .expect("so be it");
    running.write("fd_write 2 lost\nfd_write 2 %0a\nfd_write 2 %0a\n");
    let output = running.finish().expect_quiet_success();
    assert_eq!(output.stdout, "0 4\n0 1\n0 1\n");
}

/// Places for standard error where nothing arrives: a full disk, and a pipe that nobody reads.
fn deaf_ears() -> [(&'static str, Stdio); 2] {
    let full = OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    drop(reader);
    [("a full disk", full.into()), ("a closed pipe", writer.into())]
}

/// Reports are for whoever listens. Nobody's end depends on that.
#[test]
fn processes_trap_and_the_run_goes_on_where_no_report_gets_out() {
    let items = r#"(func (export "trap") unreachable)"#;
    let trap = format!("(call $join {})", spawn("trap"));
    let module = Module::wat(&program(items, &(trap + "(call $say (i64.const 7))")));
    for verbose in [&[][..], &["-v"], &["-vvv"], &["--stats"]] {
        for (name, ear) in deaf_ears() {
            let mut command = lunatic();
            command.arg("run").args(verbose).arg(module.path());
            let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(ear).spawn();
            let output = child.and_then(Child::wait_with_output).expect("the binary was built");
            assert_eq!(output.status.code(), Some(0), "{verbose:?}, {name}: {output:?}");
            assert_eq!(output.stdout, b"7\n", "{verbose:?}, {name}");
        }
    }
}

#[test]
fn exit_codes_do_not_depend_on_who_listens() {
    let trap = Module::wat(&program("", "unreachable"));
    let quiet = Module::wat(&program("", ""));
    let place = place();
    let profile = format!("--profile=guest={}", place.path().join("a.json").display());
    for (words, module, code) in [
        (&["run"][..], trap.path(), 134),
        (&["run", "/nowhere/a.wasm"], trap.path(), 3),
        (&["run", &profile], quiet.path(), 0),
        (&["test"], trap.path(), 134),
        (&["run", "--workers=1025"], quiet.path(), 2),
        (&["run", "--processes-max=9999999999"], quiet.path(), 2),
    ] {
        for (name, ear) in deaf_ears() {
            let mut command = lunatic();
            command.args(words).arg(&module).stdin(Stdio::null()).stderr(ear);
            let status = command.status().expect("the binary was built");
            assert_eq!(status.code(), Some(code), "{words:?}, {name}");
        }
    }
}
