//! Guarded and dense memories through the real binary: which processes get which, and that nobody can tell by what a
//! program does.

mod support;

use std::process::Command;

use support::{Module, Output, lunatic, program, run_command, run_wat_with, spawn_with, times};

const KINDS: [&str; 3] = ["auto", "guarded", "dense"];

/// A child that runs with `i64` $n, then answers the main process (which is in the global $parent).
fn children(count: u64, items: &str, child: &str, main: &str) -> String {
    let items = format!(
        r#"{items}
        (func (export "child") (param $n i64) (local $i i64) (local $j i64) {child})"#
    );
    let body = format!("(local $i i64) (local $sum i64) {main}");
    program(&items, &body.replace("$CHILD", &spawn_with("child", "(local.get $i)")))
        .replace("$COUNT", &count.to_string())
}

/// Children that each try one wild access: all die by it, and the program goes on.
#[test]
fn wild_accesses_end_only_the_process_that_makes_them() {
    let wild = [
        "(drop (i32.load (i32.const 131072)))",
        "(drop (i32.load8_u offset=0xffffffff (i32.const 0xffffffff)))",
        "(drop (v128.load offset=0xffffffff (i32.const 0xffffffff)))",
        "(v128.store (i32.const 131057) (v128.const i64x2 -1 -1))",
        "(i64.store (i32.const -8) (i64.const -1))",
        "(i64.store (i32.const -1) (i64.const -1))",
        "(i32.store8 offset=0x80000000 (i32.const 0x80000000) (i32.const 1))",
        "(memory.fill (i32.const 131071) (i32.const 1) (i32.const 2))",
        "(memory.copy (i32.const 0) (i32.const 131071) (i32.const 2))",
        "(memory.copy (i32.const -1) (i32.const 0) (i32.const 1))",
        // Grown as far as it may, then one byte further.
        "(drop (memory.grow (i32.const 2000)))
         (i32.store8 (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1)) (i32.const 1))
         (i32.store8 (i32.mul (memory.size) (i32.const 65536)) (i32.const 1))",
    ];
    for workers in ["1", "4"] {
        for kind in KINDS {
            for access in wild {
                let text = children(
                    20,
                    "",
                    access,
                    &format!("{} (call $say (i64.const 7))", times(20, "(call $join $CHILD)")),
                );
                let options = ["--memory", kind, "--workers", workers];
                let output = run_wat_with(&options, &text).prints(&[7]);
                let deaths = output.stderr.matches("out of bounds memory access").count();
                assert_eq!(deaths, 20, "{kind}, {workers} workers, {access}\n{output:#?}");
            }
        }
    }
}

/// The trap of a main process says the same in each kind, with the same frames.
#[test]
fn a_trap_says_the_same_in_guarded_and_in_dense_memories() {
    let text = program(
        "(func $inner (param i32) (i32.store8 offset=7 (local.get 0) (i32.const 1)))
         (func $outer (call $inner (i32.const 0x7fffffff)))",
        "(call $outer)",
    );
    let stderr = |kind| run_wat_with(&["--memory", kind], &text).expect(134).stderr;
    let dense = stderr("dense");
    assert!(dense.contains("out of bounds memory access") && dense.contains("inner"), "{dense}");
    assert_eq!(stderr("guarded"), dense);
    assert_eq!(stderr("auto"), dense);
}

/// So many children live at once; each has grown its memory and knows its own number. Prints the sum of the numbers.
fn many_alive(count: u64) -> String {
    let child = r#"
        (if (i32.ne (memory.grow (i32.const 3)) (i32.const 2)) (then unreachable))
        (if (i64.ne (i64.load (i32.const 300000)) (i64.const 0)) (then unreachable))
        (i64.store (i32.const 300000) (local.get $n))
        (drop (call $recv))
        (call $send (i64.load (i32.const 1024)) (i64.load (i32.const 300000)))"#;
    // The parent's pid is the first thing that a child is sent.
    let child = format!("(i64.store (i32.const 1024) (call $recv)) {child}");
    let main = format!(
        "{} {} {} (call $say (local.get $sum))",
        times(
            count,
            "(i64.store offset=131072 (i32.wrap_i64 (i64.mul (local.get $i) (i64.const 8))) $CHILD)"
        ),
        times(
            2 * count,
            "(call $send (i64.load offset=131072
               (i32.wrap_i64 (i64.mul (i64.rem_u (local.get $i) (i64.const $COUNT)) (i64.const 8))))
               (call $self))"
        ),
        times(count, "(local.set $sum (i64.add (local.get $sum) (call $recv)))"),
    );
    children(count, "", &child, &format!("(drop (memory.grow (i32.const 20))) {main}"))
}

#[test]
fn more_processes_than_there_are_guarded_memories_find_dense_ones() {
    for (kind, workers) in [("auto", "1"), ("auto", "4"), ("guarded", "4"), ("dense", "1")] {
        // Auto keeps 1,024 guarded; there is room for more than 2,000 of them.
        let options = ["--memory", kind, "--workers", workers];
        run_wat_with(&options, &many_alive(2000)).prints(&[2000 * 1999 / 2]);
    }
}

/// How many compiled modules a fresh cache holds after a run.
fn forms_made(options: &[&str], text: &str) -> usize {
    let (module, home) = (Module::wat(text), tempfile::tempdir().expect("a directory"));
    let mut command = lunatic();
    command.env("XDG_CACHE_HOME", home.path()).arg("run").args(options).arg(module.path());
    run_command(command, b"").expect(0);
    let entries = std::fs::read_dir(home.path().join("lunatic/modules")).expect("a cache");
    entries.count()
}

#[test]
fn a_program_is_compiled_twice_only_if_it_has_many_processes() {
    assert_eq!(forms_made(&[], &many_alive(10)), 1);
    assert_eq!(forms_made(&[], &many_alive(1500)), 2);
    assert_eq!(forms_made(&["--memory", "dense"], &many_alive(1500)), 1);
    assert_eq!(forms_made(&["--memory", "guarded"], &many_alive(1500)), 1);
}

#[test]
fn guarded_memories_that_are_all_in_use_are_an_error_that_names_the_way_out() {
    let main = r#"
        (i64.store (i32.const 240) (i64.const 0x646c696863))
        (call $argument (i64.const 0))
        (loop $again (br_if $again (i32.eqz
          (call $spawn_raw (i64.const 0) (i64.const -1) (i64.const -1)
            (i32.const 240) (i32.const 5) (i32.const 256) (i32.const 17) (i32.const 288)))))
        (call $error_text (i64.load (i32.const 288)) (i32.const 1024))
        (call $put (i32.const 1024) (call $error_size (i64.load (i32.const 288))))"#;
    let text = children(0, "", "(call $sleep (i64.const -1))", main).replacen(
        "(module",
        r#"(module
        (import "lunatic::error" "string_size" (func $error_size (param i64) (result i32)))
        (import "lunatic::error" "to_string" (func $error_text (param i64 i32)))"#,
        1,
    );
    let output = run_wat_with(&["--memory", "guarded"], &text).expect(0);
    assert!(output.stdout.contains("--memory auto"), "{output:#?}");
}

/// Runs a guest with so much address space.
fn run_within(gibibytes: u64, options: &[&str], text: &str) -> Output {
    let (module, lunatic) = (Module::wat(text), lunatic());
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {}; exec \"$0\" \"$@\"", gibibytes << 20)]);
    command.arg(lunatic.get_program()).arg("run").args(options).arg(module.path());
    command.envs(lunatic.get_envs().filter_map(|(key, value)| Some((key, value?))));
    run_command(command, b"")
}

#[test]
fn where_addresses_are_few_memories_are_dense_or_an_error_says_why_not() {
    let text = many_alive(300);
    for gibibytes in [8, 20, 31, 40, 100, 1000] {
        let output = run_within(gibibytes, &["-v"], &text).expect(0);
        let guarded = output.stderr.contains("memories are guarded while");
        assert_eq!(guarded, gibibytes > 32, "{gibibytes} GiB\n{output:#?}");
        assert_eq!(output.stdout, format!("{}\n", 300 * 299 / 2));
    }
    run_within(20, &["--memory", "guarded"], &text)
        .expect(70)
        .says(&["--memory dense", "ulimit -v"]);
    run_within(20, &["--memory", "dense"], &text).expect(0);
}

/// Memories that grow far and at once, beyond what is kept open, and others that come after them: what was gained is
/// new and stays one's own, and what is not there traps.
#[test]
fn many_memories_grow_at_once_and_stay_apart() {
    let child = format!(
        r#"{}
        (if (i64.ne (i64.load (i32.const 65536)) (local.get $n)) (then unreachable))
        ;; One in four leaves by the end of its memory.
        (if (i64.eqz (i64.and (local.get $n) (i64.const 3)))
          (then (i32.store (i32.mul (memory.size) (i32.const 65536)) (i32.const 1))))"#,
        times(
            40,
            "(i64.store (i32.const 65536) (local.get $n))
             (if (i32.eq (memory.grow (i32.const 7)) (i32.const -1)) (then unreachable))
             (local.set $j (i64.mul (i64.extend_i32_u (memory.size)) (i64.const 65536)))
             (if (i64.ne (i64.const 0) (i64.load (i32.wrap_i64 (i64.sub (local.get $j) (i64.const 8)))))
               (then unreachable))
             (i64.store (i32.wrap_i64 (i64.sub (local.get $j) (i64.const 8))) (local.get $n))
             (call $yield)"
        )
    );
    let main = format!(
        "{} {} (call $say (i64.const 1))",
        times(
            400,
            "(i64.store offset=65536 (i32.wrap_i64 (i64.mul (local.get $i) (i64.const 8))) $CHILD)"
        ),
        times(
            400,
            "(call $join (i64.load offset=65536 (i32.wrap_i64 (i64.mul (local.get $i) (i64.const 8)))))"
        ),
    );
    let text = children(400, "", &child, &main);
    for kind in KINDS {
        for workers in ["1", "4"] {
            let options = ["-v", "--memory", kind, "--workers", workers];
            let output = run_wat_with(&options, &text).prints(&[1]);
            let deaths = output.stderr.matches("out of bounds memory access").count();
            assert_eq!(deaths, 100, "{kind}, {workers} workers\n{output:#?}");
            assert!(!output.stderr.contains("unreachable"), "{output:#?}");
        }
    }
}

/// The same without marks in page tables, where each memory's end is a mapping's.
#[test]
fn without_marks_guarded_memories_end_where_they_should() {
    let text = many_alive(600);
    for kind in KINDS {
        let options = ["--memory", kind, "--workers", "2", "--without-guard-marks"];
        run_wat_with(&options, &text).prints(&[600 * 599 / 2]);
    }
}
