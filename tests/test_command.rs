//! `lunatic test`: what it runs, and what it says about it.

mod support;

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use support::{Module, Output, broken_pipe, guest, lunatic, run_command, run_into};

/// A module whose tests print and end in these ways: pairs of an export and a body.
fn module(tests: &[(&str, &str)]) -> Module {
    let functions: String = tests
        .iter()
        .map(|(name, body)| {
            let name = name.replace('\\', "\\\\").replace('\u{1b}', "\\1b").replace('\n', "\\n");
            format!("(func (export \"#lunatic_test_{name}\") {body})\n")
        })
        .collect();
    Module::wat(&format!(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write"
            (func $fd_write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (import "lunatic::process" "sleep_ms" (func $sleep (param i64)))
          (memory (export "memory") 2)
          (data (i32.const 1024) "hello from a test\n")
          (data (i32.const 1100) "\nthread 'main' (7) panicked at src/lib.rs:1:2:\nthe new #1 message\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n")
          (data (i32.const 1300) "thread 'main' panicked at 'the old message', src/lib.rs:1:2\n")
          (func $print (param $at i32) (param $len i32)
            (i32.store (i32.const 0) (local.get $at))
            (i32.store (i32.const 4) (local.get $len))
            (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8))))
          (func $hello (call $print (i32.const 1024) (i32.const 18)))
          (func $panic_new (call $print (i32.const 1100) (i32.const 146)) unreachable)
          (func $panic_old (call $print (i32.const 1300) (i32.const 60)) unreachable)
          {functions})"#
    ))
}

fn command(module: &Module, words: &[&str]) -> Command {
    let mut command = lunatic();
    command.arg("test").arg(module.path()).args(words);
    command.env_remove("RUST_TEST_THREADS").env_remove("RUST_TEST_NOCAPTURE");
    command
}

fn test(tests: &[(&str, &str)], words: &[&str]) -> Output {
    let module = module(tests);
    run_command(command(&module, words), b"")
}

#[track_caller]
fn assert_prints(output: &Output, texts: &[&str]) {
    for text in texts {
        assert!(output.stdout.contains(text), "{text:?} is missing\n{}", output.stdout);
    }
}

/// Without the time, which differs.
fn summary(output: &Output) -> &str {
    let line = output.stdout.lines().find(|line| line.starts_with("test result: "));
    line.and_then(|line| line.split("; finished in ").next()).expect("there is a summary")
}

#[test]
fn tests_that_pass_are_told_of_in_cargos_words() {
    let output = test(&[("a::b", "(call $hello)"), ("a::a", "")], &["--test-threads", "1"]);
    let output = output.expect_quiet_success();
    let (head, time) = output.stdout.split_once("; finished in ").expect("it is the end");
    assert_eq!(
        head,
        "\nrunning 2 tests\ntest a::a ... ok\ntest a::b ... ok\n\n\
         test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out"
    );
    assert!(time.ends_with("s\n\n"), "{time:?}");
}

#[test]
fn a_trap_fails_one_test_and_shows_what_it_printed() {
    let output = test(
        &[
            ("good", "(call $hello)"),
            ("bad", "(call $hello) unreachable"),
            ("exit", "(call $exit (i32.const 7))"),
        ],
        &[],
    )
    .expect(101);
    assert_eq!(
        summary(&output),
        "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out"
    );
    assert_prints(
        &output,
        &[
            "test good ... ok\n",
            "test bad ... FAILED\n",
            "\nfailures:\n\n---- bad stdout ----\nhello from a test\nnote: the test trapped: ",
            "\n---- exit stdout ----\nnote: the test exited with code 7\n",
            "\nfailures:\n    bad\n    exit\n\ntest result",
        ],
    );
}

#[test]
fn panics_are_expected_in_the_words_of_old_and_new_rust() {
    let output = test(
        &[
            ("#panic_#any_new", "(call $panic_new)"),
            ("#panic_#any_trap", "unreachable"),
            ("#panic_new \\#1 mess#new", "(call $panic_new)"),
            ("#panic_old message#old", "(call $panic_old)"),
            ("#panic_other#wrong", "(call $panic_new)"),
            ("#panic_other#trapped", "unreachable"),
            ("#panic_#none", ""),
            ("unexpected", "(call $panic_old)"),
        ],
        &[],
    )
    .expect(101);
    assert_prints(
        &output,
        &[
            "test any_new - should panic ... ok\n",
            "test any_trap - should panic ... ok\n",
            "test new - should panic ... ok\n",
            "test old - should panic ... ok\n",
            "test wrong - should panic ... FAILED\n",
            "test trapped - should panic ... FAILED\n",
            "test none - should panic ... FAILED\n",
            "---- none stdout ----\nnote: test did not panic as expected\n",
            "panic message: \"the new #1 message\"\n expected substring: \"other\"\n",
            "---- unexpected stdout ----\nthread 'main' panicked at 'the old message', src/lib.rs:1:2\n\n",
        ],
    );
    assert_eq!(
        summary(&output),
        "test result: FAILED. 4 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out"
    );
}

#[test]
fn panics_are_judged_without_capture_too() {
    let tests = [("#panic_old#x", "(call $panic_old)"), ("loud", "(call $hello)")];
    let output = test(&tests, &["--nocapture"]).expect(0);
    assert!(output.stderr.contains("hello from a test"), "{output:#?}");
    assert!(output.stderr.contains("the old message"), "{output:#?}");
    // What was printed is not printed again among the failures.
    let output = test(&[("#panic_new#a", "(call $panic_old)")], &["--nocapture"]).expect(101);
    assert_eq!(output.stderr.matches("the old message").count(), 1, "{output:#?}");
    assert_prints(&output, &["---- a stdout ----\nnote: panic did not contain expected string\n"]);
}

#[test]
fn ignored_tests_stand_between_the_others() {
    let tests = [("a", ""), ("#ignore_#panic_#b", ""), ("c", ""), ("#ignore_d", "")];
    let output = test(&tests, &["--test-threads", "1"]).expect_quiet_success();
    assert_prints(
        &output,
        &["test a ... ok\ntest b ... ignored\ntest c ... ok\ntest d ... ignored\n"],
    );
    // One that runs after all is told of as what it is.
    assert_prints(
        &test(&tests, &["--ignored"]).expect(101),
        &["test b - should panic ... FAILED\n", "test d ... ok\n"],
    );
}

#[test]
fn ignored_tests_run_on_request_only() {
    let tests = [("#ignore_slow", ""), ("#ignore_#panic_#slow_panic", ""), ("quick", "")];
    let summary_of = |words: &[&str], code| {
        let output = test(&tests, words).expect(code);
        summary(&output).trim_start_matches("test result: ").to_string()
    };
    assert_eq!(summary_of(&[], 0), "ok. 1 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out");
    assert_eq!(
        summary_of(&["--ignored"], 101),
        "FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 1 filtered out"
    );
    assert_eq!(
        summary_of(&["--include-ignored", "--skip", "panic"], 0),
        "ok. 2 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out"
    );
    assert_eq!(
        summary_of(&["--bench"], 0),
        "ok. 0 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out"
    );
}

#[test]
fn names_are_listed_for_people_and_for_programs() {
    let tests = [("b", ""), ("#ignore_#panic_x#a", ""), ("c::d", "unreachable")];
    let list = |words: &[&str]| test(&tests, words).expect_quiet_success().stdout;
    assert_eq!(list(&["--list", "--format", "terse"]), "a: test\nb: test\nc::d: test\n");
    assert_eq!(list(&["--list", "--format", "terse", "--ignored"]), "a: test\n");
    assert_eq!(list(&["--list", "c::d", "--exact"]), "c::d: test\n\n1 test, 0 benchmarks\n");
}

#[test]
fn a_terse_report_is_a_character_a_test() {
    let tests = [("a", ""), ("#ignore_b", ""), ("c", "unreachable"), ("d", "")];
    let output = test(&tests, &["-q", "--test-threads", "1"]).expect(101);
    assert_prints(&output, &["\nrunning 4 tests\n.i 2/4\nc --- FAILED\n.\nfailures:\n"]);
    let colored = test(&[("a", "")], &["--color", "always"]).expect(0);
    assert_prints(&colored, &["test a ... \x1b[32mok\x1b[m\n"]);
}

#[test]
fn output_of_tests_that_pass_is_shown_on_request() {
    let tests = [("a", "(call $hello)"), ("b", "")];
    let output = test(&tests, &["--show-output"]).expect_quiet_success();
    assert_prints(
        &output,
        &["\nsuccesses:\n\n---- a stdout ----\nhello from a test\n\n\nsuccesses:\n    a\n    b\n"],
    );
}

#[test]
fn a_test_that_never_ends_is_stopped_and_the_others_are_not() {
    let tests = [
        ("spins", "(loop $l (br $l))"),
        ("sleeps", "(call $hello) (call $sleep (i64.const 1000000000))"),
        ("#panic_#should_panic", "(loop $l (br $l))"),
        ("good", ""),
    ];
    for words in [&["--timeout", "0.3"][..], &["--timeout", "0.3", "--test-threads", "1"]] {
        let output = test(&tests, words).expect(101);
        assert_prints(
            &output,
            &["---- sleeps stdout ----\nhello from a test\nnote: the test was stopped after 300ms"],
        );
        assert_eq!(
            summary(&output),
            "test result: FAILED. 1 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out"
        );
    }
}

#[test]
fn all_tests_run_at_once() {
    // A second for each, one after the other, would be far beyond the limit of one.
    let names: Vec<String> = (0..40).map(|number| format!("t{number}")).collect();
    let tests: Vec<(&str, &str)> =
        names.iter().map(|name| (name.as_str(), "(call $sleep (i64.const 1000))")).collect();
    let output = test(&tests, &["--timeout", "25"]).expect(0);
    let time = output.stdout.split("finished in ").nth(1).and_then(|rest| rest.split('s').next());
    let time: f64 = time.and_then(|time| time.parse().ok()).expect("there is a time");
    assert!(time < 40.0, "they ran one after the other: {time} s");
}

#[test]
fn tests_of_a_wrong_kind_fail_alone() {
    let module = Module::wat(
        r##"(module (func (export "#lunatic_test_takes") (param i32))
             (func (export "#lunatic_test_gives") (result i32) (i32.const 1))
             (global (export "#lunatic_test_global") i32 (i32.const 1)))"##,
    );
    let output = run_command(command(&module, &[]), b"").expect(101);
    assert_prints(&output, &["test gives ... ok", "test takes ... FAILED", "could not start"]);
}

#[test]
fn a_test_that_prints_without_end_does_not_fill_the_memory() {
    let endless = "(local $i i32)
        (loop $l (call $print (i32.const 1024) (i32.const 60000))
          (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
                              (i32.const 400))))
        unreachable";
    let output = test(&[("prints", endless)], &[]).expect(101);
    assert_prints(&output, &["bytes before this are left out"]);
    assert!(output.stdout.len() < 17 << 20, "{} bytes", output.stdout.len());
}

#[test]
fn tests_of_our_own_crate_end_as_their_attributes_say() {
    let Some(program) = guest("attribute") else { return };
    let mut command = lunatic();
    command.arg("test").arg(program);
    let output = run_command(command, b"").expect(101);
    assert_eq!(
        summary(&output),
        "test result: FAILED. 4 passed; 3 failed; 2 ignored; 0 measured; 0 filtered out"
    );
    assert_prints(
        &output,
        &[
            "test attribute::passes ... ok\n",
            "test attribute::spawns_and_waits ... ok\n",
            "test attribute::panics - should panic ... ok\n",
            "test attribute::panics_with_a_text - should panic ... ok\n",
            "test attribute::is_ignored ... ignored\n",
            "test attribute::inner::is_ignored_and_panics ... ignored\n",
            "---- attribute::fails stdout ----\nthis is shown\n",
            "Error: \"an error of its own\"\nnote: the test exited with code 1\n",
            "expected substring: \"something else\"",
        ],
    );
    assert!(
        !output.stdout.contains("this is not shown") && !output.stdout.contains("is_not_there")
    );
}

#[test]
fn a_program_without_such_tests_gets_all_the_words() {
    let Some(program) = guest("args_env") else { return };
    let mut command = lunatic();
    command.arg("test").arg(program).args(["--nocapture", "-q", "--", "filter", "--list"]);
    let output = run_command(command, b"").expect(0);
    assert_prints(&output, &["--nocapture", "-q", "filter", "--list"]);
}

#[test]
fn wrong_words_are_refused_with_the_right_ones() {
    let one = [("a", "")];
    test(&one, &["--no-such-option"]).expect(2).says(&["--no-such-option"]);
    test(&one, &["--ignored", "--include-ignored"]).expect(2);
    test(&one, &["--timeout", "0"]).expect(2).says(&["seconds"]);
    let mut command = lunatic();
    command.arg("test").arg(PathBuf::from("no-such-file.wasm"));
    run_command(command, b"").expect_refused(&["no-such-file.wasm"]);
    let nothing = Module::wat("(module)");
    run_command(self::command(&nothing, &[]), b"").expect(3).says(&["_start"]);
}

/// A module chooses the names of its tests.
#[test]
fn orders_for_terminals_in_names_of_tests_are_shown_and_not_obeyed() {
    let tests = [("a\u{1b}[31m", ""), ("b\nc", "unreachable")];
    for words in [&[][..], &["--list"], &["--format", "terse"], &["--test-threads=1"]] {
        let output = test(&tests, words);
        let lists = words == ["--list"];
        assert_eq!(output.code, if lists { 0 } else { 101 }, "{words:?}\n{output:#?}");
        assert!(output.stdout.contains("b\\nc"), "{words:?}\n{output:#?}");
        assert!(!output.stdout.contains('\u{1b}'), "{words:?}\n{output:#?}");
        assert!(!output.stdout.contains("b\nc"), "{words:?}\n{output:#?}");
    }
    let output = test(&tests, &["--exact", "a\\u{1b}[31m"]).expect(0);
    assert!(summary(&output).starts_with("test result: ok. 1 passed"), "{output:#?}");
}

/// Runs the tests for somebody who has closed the pipe already.
fn unread(tests: &[(&str, &str)], words: &[&str]) -> Output {
    let module = module(tests);
    run_into(command(&module, words), broken_pipe(), None)
}

#[test]
fn a_reader_of_results_that_has_enough_ends_the_tests_quietly() {
    // Without a reader they end, though one of them would not.
    let tests =
        [("a", "(call $print (i32.const 1024) (i32.const 18))"), ("b", "(loop $l (br $l))")];
    for words in [&[][..], &["-q"], &["--nocapture"], &["--test-threads", "1"], &["--list"]] {
        let output = unread(&tests, words);
        assert_eq!(
            (output.code, output.stderr.replace("hello from a test\n", "")),
            (0, String::new())
        );
    }
}

#[test]
fn a_test_that_has_failed_counts_though_nobody_reads_the_rest() {
    let module = module(&[("a", "unreachable"), ("b", "(call $sleep (i64.const -1))")]);
    let mut command = command(&module, &["--timeout", "0.5"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary was built");
    let stdout = BufReader::new(child.stdout.take().expect("it is a pipe"));
    let mut lines = stdout.lines().map(|line| line.expect("it is text"));
    assert!(lines.any(|line| line == "test a ... FAILED"));
    // The line about the other one, which is stopped, finds nobody.
    drop(lines);
    let mut said = String::new();
    child.stderr.take().expect("it is a pipe").read_to_string(&mut said).expect("it is text");
    let (status, hung) = support::wait(child);
    assert!(!hung);
    assert_eq!((status.code(), said.as_str()), (Some(101), ""));
}
