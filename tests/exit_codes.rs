//! How a run ends for whoever started it: exit codes, and what stderr says about them.

mod support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use support::{
    Module, Running, full_disk, lunatic, program, run, run_guest, run_into, run_wat, spawn,
    spawn_with,
};

#[test]
fn a_guests_code_passes_through() {
    for code in [0, 1, 2, 3, 42, 130, 134, 255] {
        run_wat(&program("", &format!("(call $exit (i32.const {code}))"))).expect(code);
    }
}

#[test]
fn a_code_that_does_not_fit_is_no_success() {
    for code in ["256", "0x7fffffff", "-1"] {
        run_wat(&program("", &format!("(call $exit (i32.const {code}))"))).expect(255);
    }
}

#[test]
fn a_guest_that_returns_has_succeeded() {
    run_wat("(module (func (export \"_start\")))").expect_quiet_success();
}

#[test]
fn what_a_guest_has_printed_comes_out_before_it_exits() {
    let Some(output) = run_guest(&[], "exit_code", &["9"], b"") else { return };
    assert_eq!(output.expect(9).stdout, "exiting with 9");
}

/// Each kind of trap: its name, items of the module, the body of the function that traps, and what
/// stderr says.
const TRAPS: &[(&str, &str, &str, &str)] = &[
    ("unreachable", "", "unreachable", "unreachable code reached"),
    ("load", "", "(drop (i32.load (i32.const -4)))", "out of bounds memory access"),
    ("load_end", "", "(drop (i64.load (i32.const 131065)))", "out of bounds memory access"),
    ("store", "", "(i32.store offset=131072 (i32.const 0) (i32.const 1))", "out of bounds memory"),
    (
        "fill",
        "",
        "(memory.fill (i32.const 131000) (i32.const 1) (i32.const 1000))",
        "out of bounds memory access",
    ),
    (
        "copy",
        "",
        "(memory.copy (i32.const 0) (i32.const 131000) (i32.const 1000))",
        "out of bounds memory access",
    ),
    (
        "init",
        "(data $d \"abc\")",
        "(memory.init $d (i32.const 0) (i32.const 0) (i32.const 4))",
        "out of bounds memory access",
    ),
    ("division", "", "(drop (i32.div_u (i32.const 1) (call $zero)))", "integer divide by zero"),
    ("remainder", "", "(drop (i32.rem_s (i32.const 1) (call $zero)))", "integer divide by zero"),
    (
        "overflow",
        "",
        "(drop (i32.div_s (i32.const 0x80000000) (i32.sub (call $zero) (i32.const 1))))",
        "integer overflow",
    ),
    (
        "conversion",
        "",
        "(drop (i32.trunc_f32_s (f32.div (f32.const 0) (f32.convert_i32_s (call $zero)))))",
        "invalid conversion to integer",
    ),
    ("recursion", "", "(call $guilty)", "stack overflow"),
    (
        "null",
        "(table 4 funcref)",
        "(call_indirect (param i32) (i32.const 1) (i32.const 2))",
        "indirect call of an empty table element",
    ),
    (
        "signature",
        "(table 4 funcref) (elem (i32.const 2) $zero)",
        "(call_indirect (param i32) (i32.const 1) (i32.const 2))",
        "indirect call type mismatch",
    ),
    ("index", "(table 4 funcref)", "(call_indirect (i32.const 4))", "out of bounds table access"),
    (
        "table_get",
        "(table $t 4 funcref)",
        "(drop (table.get $t (i32.const 4)))",
        "out of bounds table access",
    ),
];

fn trapping(items: &str, body: &str) -> String {
    let items = format!(
        "{items}
         (func $zero (result i32) (i32.wrap_i64 (i64.shr_u (call $self) (i64.const 63))))
         (func $guilty {body})
         (func $caller (call $guilty))
         (func (export \"child\") (call $caller))"
    );
    program(&items, "(call $caller)")
}

#[test]
fn every_kind_of_trap_is_134_and_names_process_reason_and_functions() {
    for &(name, items, body, reason) in TRAPS {
        eprintln!("trap: {name}");
        let output = run_wat(&trapping(items, body)).expect(134).says(&[
            "lunatic: the main process trapped: ",
            reason,
            "at guilty ",
        ]);
        if name != "recursion" {
            output.says(&["at caller ", "at main "]);
        }
    }
}

#[test]
fn every_kind_of_trap_in_a_child_is_told_and_the_main_process_goes_on() {
    for &(name, items, body, reason) in TRAPS {
        eprintln!("trap: {name}");
        let text = trapping(items, body);
        let start = text.rfind("(func $main").expect("the program has one");
        let body = format!("(call $join {}) (call $exit (i32.const 5))", spawn("child"));
        let text = format!("{}(func $main (export \"_start\") {body}))", &text[..start]);
        run_wat(&text).expect(5).says(&["process ", "trapped: ", reason, "at guilty "]);
    }
}

#[test]
fn a_host_function_used_wrongly_is_a_trap_that_names_it() {
    run_wat(&program("", "(drop (call $write (i32.const 1) (i32.const 0x7fffffff)))"))
        .expect(134)
        .says(&["main process trapped: lunatic::message::write_data", "0x1", "at main "]);
    run_wat(&program("", "(drop (call $send_raw (i64.const 1)))"))
        .expect(134)
        .says(&["lunatic::message::send", "no current message"]);
}

#[test]
fn functions_without_names_are_named_by_their_numbers() {
    run_wat("(module (func (export \"_start\") unreachable))")
        .expect(134)
        .says(&["at <function 0>"]);
}

#[test]
fn a_main_process_that_another_kills_is_137() {
    let child = "(func (export \"child\") (param i64) (call $kill (local.get 0)))";
    let body = format!("(drop {}) (drop (call $recv))", spawn_with("child", "(call $self)"));
    run_wat(&program(child, &body)).expect(137).says(&["the main process was killed"]);
}

#[test]
fn wrong_usage_is_2() {
    let no_args: [&str; 0] = [];
    run(&no_args, b"").expect(2).says(&["Usage"]);
    run(&["run"], b"").expect(2).says(&["MODULE"]);
    run(&["--no-such-flag", "a.wasm"], b"").expect(2).says(&["--no-such-flag"]);
    for bad in [
        ["--workers", "0"],
        ["--workers", "many"],
        ["--workers", "-1"],
        ["--max-message", "1T"],
        ["--max-message", ""],
        ["--env", "NAME"],
        ["--env", "=value"],
    ] {
        let output = run(&["run", bad[0], bad[1], "a.wasm"], b"").expect(2).says(&[bad[0]]);
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    run(&["completions", "cobol"], b"").expect(2);
}

#[test]
fn a_file_that_cannot_be_read_is_3_and_named() {
    run(&["no/such/file.wasm"], b"").expect_refused(&["no/such/file.wasm", "No such file"]);
    run(&[env!("CARGO_MANIFEST_DIR")], b"").expect_refused(&[env!("CARGO_MANIFEST_DIR")]);
}

#[test]
fn a_directory_that_is_not_there_is_3_and_named() {
    let module = Module::wat("(module (func (export \"_start\")))");
    let path = module.path();
    let mut command = lunatic();
    command.args(["run", "--dir", "no/such/directory"]).arg(&path);
    support::run_command(command, b"").expect_refused(&["no/such/directory"]);
}

/// Ctrl-C once the guest has printed its line.
#[track_caller]
fn interrupted(options: &[&str], text: &str) {
    let module = Module::wat(text);
    let mut command = lunatic();
    command.arg("run").args(options).arg(module.path());
    let mut running = Running::start(command);
    running.wait_for("1\n");
    running.signal(libc::SIGINT);
    // stdin stays open until the end is seen: the end must not depend on it.
    let stdin = running.child.stdin.take();
    let output = running.finish().expect(130);
    drop(stdin);
    assert_eq!(output.stdout, "1\n");
    assert!(!output.stderr.contains("trapped"), "{output:#?}");
}

const ONE: &str = "(call $say (i64.const 1))";

#[test]
fn ctrl_c_ends_a_loop() {
    interrupted(&["--workers", "1"], &program("", &format!("{ONE} (call $for_ever)")));
    interrupted(&["--workers", "4"], &program("", &format!("{ONE} (call $for_ever)")));
}

#[test]
fn ctrl_c_ends_those_who_wait() {
    interrupted(&[], &program("", &format!("{ONE} (call $sleep (i64.const -1))")));
    interrupted(&[], &program("", &format!("{ONE} (drop (call $recv))")));
}

#[test]
fn ctrl_c_ends_one_who_waits_for_input() {
    let read = "(import \"wasi_snapshot_preview1\" \"fd_read\"
                  (func $fd_read (param i32 i32 i32 i32) (result i32)))";
    let text = program(
        "",
        &format!(
            "{ONE} (i32.store (i32.const 1024) (i32.const 2048))
             (i32.store (i32.const 1028) (i32.const 10))
             (drop (call $fd_read (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 1032)))"
        ),
    );
    interrupted(&[], &text.replacen("(module", &format!("(module {read}"), 1));
}

#[test]
fn ctrl_c_ends_many_processes() {
    let child = "(func (export \"loop\") (call $for_ever))
                 (func (export \"wait\") (drop (call $recv)))";
    let body = format!(
        "(local $i i64) {} {ONE} (drop (call $recv))",
        support::times(100, &format!("(drop {}) (drop {})", spawn("loop"), spawn("wait")))
    );
    interrupted(&["--workers", "2"], &program(child, &body));
}

#[test]
fn ctrl_c_ends_a_start_function() {
    let text =
        program("(func $begin (call $say (i64.const 1)) (call $for_ever)) (start $begin)", "");
    interrupted(&[], &text);
}

#[test]
fn a_broken_pipe_ends_quietly() {
    let yes = "(func $yes (loop $again (call $say (i64.const 1)) (br $again)))
               (func (export \"child\") (call $yes))";
    let alone = program(yes, "(call $yes)");
    let by_child = program(yes, &format!("(drop {}) (drop (call $recv))", spawn("child")));
    for text in [alone, by_child] {
        let module = Module::wat(&text);
        let mut command = lunatic();
        command.arg(module.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary was built");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("it is a pipe"));
        stdout.read_line(&mut line).expect("the guest prints");
        assert_eq!(line, "1\n");
        drop(stdout);
        let mut stderr = child.stderr.take().expect("it is a pipe");
        let (status, hung) = support::wait(child);
        let mut said = String::new();
        std::io::Read::read_to_string(&mut stderr, &mut said).expect("it is UTF-8");
        assert!(!hung, "it writes on: {said}");
        assert_eq!((status.code(), said.as_str()), (Some(0), ""));
    }
}

/// Runs a guest whose streams lead there.
fn run_with_streams(
    options: &[&str],
    text: &str,
    stdout: Stdio,
    stderr: Option<Stdio>,
) -> support::Output {
    let module = Module::wat(text);
    let mut command = lunatic();
    command.arg("run").args(options).arg(module.path());
    run_into(command, stdout, stderr)
}

#[test]
fn output_that_is_lost_behind_the_programs_back_is_74() {
    let lost = ["not all that the program wrote to its standard output", "No space left on device"];
    let says = program("", ONE);
    run_with_streams(&[], &says, full_disk(), None).expect(74).says(&lost);
    // The program's own failure is the one that counts.
    let fails = program("", &format!("{ONE} (call $exit (i32.const 5))"));
    run_with_streams(&[], &fails, full_disk(), None).expect(5).says(&lost);
    let traps = program("", &format!("{ONE} unreachable"));
    run_with_streams(&[], &traps, full_disk(), None).expect(134).says(&lost);
}

#[test]
fn a_profile_that_cannot_be_written_is_74() {
    let directory = tempfile::TempDir::new().expect("a temporary directory can be made");
    for ending in ["json", "folded"] {
        let file = directory.path().join("profile").with_extension(ending);
        std::os::unix::fs::symlink("/dev/full", &file).expect("a link can be made");
        let profile = format!("guest={}", file.display());
        let busy = program(
            "",
            "(local $i i32)
             (loop $again
               (local.set $i (i32.add (local.get $i) (i32.const 1)))
               (br_if $again (i32.lt_u (local.get $i) (i32.const 400000000))))",
        );
        run_with_streams(&["--profile", &profile], &busy, Stdio::null(), None)
            .expect(74)
            .says(&["cannot write the profile to", "No space left on device"]);
    }
}
