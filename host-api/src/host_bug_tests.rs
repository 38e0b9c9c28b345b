//! Host functions that panic, which no function of ours should: the process ends as a host bug, and
//! its links and monitors are told.

use std::sync::Arc;

use lunatic_engine::{Compiler, CompilerOptions, Module};
use parking_lot::Mutex;

use crate::bind::{Fault, host_functions};
use crate::{ExitReason, NodeBuilder, ProcessConfig, Right, Stats, Stdio, functions};

/// What guests of these tests have said.
static SAID: Mutex<Vec<i64>> = Mutex::new(Vec::new());

host_functions! {
    /// Only for these tests.
    pub(crate) MODULE: "lunatic::test";

    /// Panics on the worker's stack.
    fn panic(_call) -> Result<(), Fault> {
        panic!("a bug on purpose, with {} words", 6)
    }

    /// Panics on the process's own stack.
    [short] fn panic_short(_call) -> Result<(), Fault> {
        panic!("a short bug on purpose")
    }

    /// Panics when it is asked for the second time.
    fn panic_later(call) -> std::task::Poll<Result<(), Fault>> {
        assert!(!std::mem::replace(&mut call.state.wait.yields, true), "a bug after a wait");
        std::task::Poll::Pending
    }

    /// Notes a number.
    fn say(_call, number: i64) -> Result<(), Fault> {
        SAID.lock().push(number);
        Ok(())
    }
}

/// Runs `_start` with these children beside it.
fn run(text: &str, workers: usize) -> (ExitReason, Stats) {
    let mut all = functions();
    MODULE.functions.iter().for_each(|function| all.add(function.function));
    let text = format!(
        r#"(module
        (import "lunatic::test" "panic" (func $panic))
        (import "lunatic::test" "panic_short" (func $panic_short))
        (import "lunatic::test" "panic_later" (func $panic_later))
        (import "lunatic::test" "say" (func $say (param i64)))
        (import "lunatic::process" "spawn"
          (func $spawn (param i64 i64 i64 i32 i32 i32 i32 i32) (result i32)))
        (import "lunatic::process" "monitor" (func $monitor (param i64)))
        (import "lunatic::process" "die_when_link_dies" (func $die_with_links (param i32)))
        (import "lunatic::message" "receive" (func $receive (param i32 i32 i64) (result i32)))
        (import "lunatic::message" "get_exit_reason" (func $reason (param i32)))
        (memory (export "memory") 1)
        (data (i32.const 64) "one") (data (i32.const 72) "two") (data (i32.const 80) "six")
        (func (export "one") (call $panic))
        (func (export "two") (call $panic_short))
        (func (export "six") (call $panic_later))
        (func $child (param $name i32)
          (if (call $spawn (i64.const 7) (i64.const -1) (i64.const -1) (local.get $name)
                (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0)) (then unreachable)))
        (func $notice
          (call $say (i64.extend_i32_u
            (call $receive (i32.const 0) (i32.const 0) (i64.const -1))))
          (call $reason (i32.const 128))
          (call $say (i64.extend_i32_u (i32.load (i32.const 128)))))
        {text})"#
    );
    let module =
        Module::new(text.as_bytes(), Compiler::new(CompilerOptions::default()), Arc::new(all));
    let builder = NodeBuilder::new().workers(workers);
    let mut config = ProcessConfig::new(Stdio::inherit());
    Right::ALL.into_iter().for_each(|right| config.set_right(right, true));
    let node = builder.start().expect("workers");
    let observer = node.observer();
    let reason = node.run(&module, config, "_start").expect("it can be loaded");
    (reason, observer.stats())
}

#[test]
fn a_host_function_that_panics_ends_its_process_and_its_links_are_told() {
    for workers in [1, 2, 8] {
        SAID.lock().clear();
        let (reason, stats) = run(
            r#"(func (export "_start")
                 (call $die_with_links (i32.const 0))
                 (call $child (i32.const 64)) (call $notice)
                 (call $child (i32.const 72)) (call $notice)
                 (call $child (i32.const 80)) (call $notice))"#,
            workers,
        );
        assert!(matches!(reason, ExitReason::Returned), "{reason}");
        assert_eq!(*SAID.lock(), [1, 10, 1, 10, 1, 10]);
        assert_eq!((stats.total.host_bugs, stats.total.returned), (3, 1));
    }
    // One that does not survive its links dies of it, and says whose fault it was.
    let (reason, _) = run(
        r#"(func (export "_start") (call $child (i32.const 64)) (loop $again (br $again)))"#,
        2,
    );
    let text = reason.to_string();
    assert!(text.contains("was ended by a bug in lunatic, please report it"), "{text}");
    assert!(text.contains("lunatic::test::panic: a bug on purpose, with 6 words"), "{text}");
    let (reason, _) = run(r#"(func (export "_start") (call $panic))"#, 1);
    assert!(matches!(reason, ExitReason::HostBug { .. }), "{reason}");
}
