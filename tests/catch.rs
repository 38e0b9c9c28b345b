//! `lunatic::trap::catch`: a trap ends one call, whatever the call did before.

mod support;

use support::{program, run_wat, run_wat_with, spawn, spawn_with, times};

/// A guest whose `$try` runs an entry of its table and answers 7 if that returned, 0 if it trapped.
/// Functions are `() -> ()`; a local `$i` of `$start` counts.
fn guest(functions: &[&str], items: &str, body: &str) -> String {
    let names: String = (0..functions.len()).map(|at| format!(" $f{at}")).collect();
    let bodies: String = functions
        .iter()
        .enumerate()
        .map(|(at, body)| format!("(func $f{at} (local $i i64) {body})\n"))
        .collect();
    // The first global is the stack pointer, as in programs compiled by LLVM.
    let items = format!(
        "(global $stack (mut i32) (i32.const 70000))
         (type $plain (func))
         (table funcref (elem{names}))
         (func (export \"_lunatic_catch_trap\") (param $at i32) (param $pointer i32) (result i32)
           (global.set $stack (i32.sub (global.get $stack) (i32.const 64)))
           (call_indirect (type $plain) (local.get $at))
           (global.set $stack (i32.add (global.get $stack) (i32.const 64)))
           (i32.add (local.get $pointer) (i32.const 1)))
         (func $try (param $at i32) (result i32) (call $catch (local.get $at) (i32.const 6)))
         {bodies} {items}"
    );
    program(&items, &format!("(local $i i64) {body}")).replace(
        "(module",
        "(module (import \"lunatic::trap\" \"catch\" (func $catch (param i32 i32) (result i32)))",
    )
}

fn on_workers(guest: &str, lines: &[i64]) {
    for workers in ["1", "4"] {
        run_wat_with(&["--workers", workers], guest).expect_quiet_success().prints(lines);
    }
}

#[test]
fn all_kinds_of_traps_are_caught_and_the_process_goes_on() {
    let functions = [
        "(nop)",
        "unreachable",
        "(drop (i32.load (i32.const -1)))",
        "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
        "(call_indirect (type $plain) (i32.const 99))",
        // A builtin's.
        "(memory.fill (i32.const 131000) (i32.const 1) (i32.const 1000))",
        // A host function's, short and long.
        "(drop (call $send_raw (i64.const 1)))",
        "(call $close (i64.const 1234))",
        // For want of stack.
        "(call $deep)",
    ];
    let tries: String = (0..functions.len())
        .map(|at| format!("(call $say32 (call $try (i32.const {at})))"))
        .collect();
    let items = "(func $deep (call $deep) (call $deep))";
    let body = format!("{tries} (call $say32 (global.get $stack)) {tries}");
    let mut once = vec![7];
    once.extend([0; 8]);
    let lines = [&once[..], &[70000], &once[..]].concat();
    on_workers(&guest(&functions, items, &body), &lines);
    // On the small stack of a process that is spawned, too.
    let items = format!(
        "{items} (func (export \"child\") {body} (call $send (i64.load (i32.const 4096)) (i64.const 5)))"
    );
    let child = spawn_with("child", "(call $self)");
    let items = items
        .replace("(export \"child\")", "(export \"child\") (param $main i64) (local $i i64)")
        .replace("(i64.load (i32.const 4096))", "(local.get $main)");
    let body = format!("(drop {child}) (call $say (call $recv))");
    on_workers(&guest(&functions, &items, &body), &[&lines[..], &[5]].concat());
}

#[test]
fn catching_calls_nest_and_each_catches_its_own() {
    let functions = [
        // 0 catches the trap of 1, goes on, and traps itself.
        "(call $say32 (call $try (i32.const 1))) (call $say32 (global.get $stack)) unreachable",
        "(global.set $stack (i32.const 5)) unreachable",
        // 2 goes down as far as the stack goes.
        "(drop (call $try (i32.const 2)))
         (global.set $depth (i64.add (global.get $depth) (i64.const 1)))",
    ];
    let body = "
      (call $say32 (call $try (i32.const 0)))
      (call $say32 (global.get $stack))
      (call $say32 (call $try (i32.const 2)))
      (call $say32 (i32.and (i64.gt_u (global.get $depth) (i64.const 20))
                            (i64.lt_u (global.get $depth) (i64.const 100000))))
      (call $say32 (global.get $stack))";
    let guest = guest(&functions, "(global $depth (mut i64) (i64.const 0))", body);
    on_workers(&guest, &[0, 70000 - 64, 0, 70000, 7, 1, 70000]);
}

#[test]
fn a_caught_call_may_wait_be_preempted_and_move() {
    // Many processes, each of which catches traps that happen after waits and long loops.
    let functions = [
        "(call $sleep (i64.const 1)) (call $spin) (call $yield) unreachable",
        "(call $send (call $self) (i64.const 3)) (call $yield)
         (if (i64.ne (call $recv) (i64.const 3)) (then (call $exit (i32.const 9))))
         (if (call $try (i32.const 0)) (then (call $exit (i32.const 8))))
         (call $spin)",
    ];
    let child = format!(
        "(func (export \"child\") (param $main i64) (local $i i64)
           {}
           (if (i32.ne (global.get $stack) (i32.const 70000)) (then unreachable))
           (call $send (local.get $main) (i64.const 1)))
         (func $spin (local $i i64) {})",
        times(
            10,
            "(if (call $try (i32.const 0)) (then unreachable))
             (if (i32.ne (call $try (i32.const 1)) (i32.const 7)) (then unreachable))"
        ),
        times(200_000, "")
    );
    let body = format!(
        "(local $sum i64) {} {} (call $say (local.get $sum))",
        times(50, &format!("(drop {})", spawn_with("child", "(call $self)"))),
        times(50, "(local.set $sum (i64.add (local.get $sum) (call $recv)))")
    );
    on_workers(&guest(&functions, &child, &body), &[50]);
}

#[test]
fn the_end_of_a_process_is_no_trap() {
    let functions = ["(call $exit (i32.const 3))", "(call $for_ever)"];
    run_wat(&guest(&functions, "", "(drop (call $try (i32.const 0)))")).expect(3);
    // One that is killed while it catches.
    let child = "(func (export \"child\") (drop (call $try (i32.const 1))))";
    let body = format!(
        "(local $child i64) (local.set $child {})
         (call $sleep (i64.const 5)) (call $kill (local.get $child)) (call $join (local.get $child))
         (call $say (i64.const 1))",
        spawn("child")
    );
    on_workers(&guest(&functions, child, &body), &[1]);
}

#[test]
fn a_trap_after_a_caught_one_ends_the_process_with_its_own_reason() {
    let functions = ["unreachable"];
    let body = "(drop (call $try (i32.const 0))) (drop (i32.div_u (i32.const 1) (i32.const 0)))";
    run_wat(&guest(&functions, "", body)).expect(134).says(&["integer divide by zero", "main"]);
    // And one of a host function.
    let body = "(drop (call $try (i32.const 0))) (call $close (i64.const 77))";
    run_wat(&guest(&functions, "", body)).expect(134).says(&["77", "main"]);
}

#[test]
fn a_module_that_cannot_be_called_back_is_told_so() {
    let import = "(import \"lunatic::trap\" \"catch\" (func $catch (param i32 i32) (result i32)))";
    let body = "(drop (call $catch (i32.const 1) (i32.const 2)))";
    run_wat(&program("", body).replace("(module", &format!("(module {import}")))
        .expect(134)
        .says(&["exports no function \"_lunatic_catch_trap\""]);
    let wrong = "(func (export \"_lunatic_catch_trap\") (param i64))";
    run_wat(&program(wrong, body).replace("(module", &format!("(module {import}")))
        .expect(134)
        .says(&["\"_lunatic_catch_trap\" has the type"]);
}

/// Wherever in the machinery of a call the stack ends.
#[test]
fn catching_calls_inside_each_other_end_with_the_stack() {
    // Frames of different sizes, so that the end is met at different places.
    let functions: Vec<String> = (0..16)
        .map(|size| {
            let locals: String = (0..size).map(|at| format!("(local $v{at} i64)")).collect();
            let sets: String = (0..size)
                .map(|at| format!("(local.set $v{at} (i64.load (i32.const {})))", at * 8))
                .collect();
            let uses: String = (0..size)
                .map(|at| format!("(i64.store (i32.const {}) (local.get $v{at}))", at * 8))
                .collect();
            format!("{locals} {sets} (drop (call $try (i32.const {size}))) {uses}")
        })
        .collect();
    let functions: Vec<&str> = functions.iter().map(String::as_str).collect();
    let tries = "(loop $next
        (drop (call $try (i32.wrap_i64 (local.get $i))))
        (local.set $i (i64.add (local.get $i) (i64.const 1)))
        (br_if $next (i64.lt_u (local.get $i) (i64.const 16))))";
    let items = format!(
        "(func (export \"child\") (param $main i64) (local $i i64)
           {tries} (call $send (local.get $main) (i64.const 5)))"
    );
    let child = spawn_with("child", "(call $self)");
    let body =
        format!("{tries} (call $say (local.get $i)) (drop {child}) (call $say (call $recv))");
    let guest = guest(&functions, &items, &body);
    for options in [
        &["--preempt", "signal"][..],
        &["--preempt", "fuel"],
        &["--memory", "dense"],
        &["--max-fuel", "1000000000"],
        &["--max-stack", "16K"],
        &["--max-stack", "17K", "--preempt", "fuel"],
    ] {
        run_wat_with(options, &guest).expect_quiet_success().prints(&[16, 5]);
    }
}
