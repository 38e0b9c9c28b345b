//! However much a guest gives up at once, a worker drops little of it in one go. Drops are counted: by
//! thread, and all.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use lunatic_engine::{Compiler, CompilerOptions, Module};
use parking_lot::Mutex;

use crate::bind::{Fault, host_functions};
use crate::{ExitReason, NodeBuilder, ProcessConfig, Right, Stdio, functions};

/// One test at a time: all are counted together.
static TURN: Mutex<()> = Mutex::new(());

static DROPPED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static DROPPED_HERE: Cell<u64> = const { Cell::new(0) };
}

/// A message is dropped.
pub(crate) fn note_drop() {
    DROPPED.fetch_add(1, Relaxed);
    DROPPED_HERE.set(DROPPED_HERE.get() + 1);
}

host_functions! {
    /// Only for these tests.
    pub(crate) MODULE: "lunatic::test";

    /// Messages that this thread has dropped.
    fn dropped_here(_call) -> Result<u64, Fault> {
        Ok(DROPPED_HERE.get())
    }

    /// Messages that all threads have dropped.
    fn dropped(_call) -> Result<u64, Fault> {
        Ok(DROPPED.load(Relaxed))
    }
}

/// Runs a guest on one worker: `give_up` gives so many messages up, of which that may drop few. Then
/// waits until all are gone.
fn runs(messages: u64, items: &str, give_up: &str) {
    let _turn = TURN.lock();
    let mut all = functions();
    MODULE.functions.iter().for_each(|function| all.add(function.function));
    // A worker keeps some envelopes for others, and drops what it does in one go.
    let (kept, few) = (messages / 10, messages / 10);
    let text = format!(
        r#"(module
        (import "lunatic::test" "dropped_here" (func $dropped_here (result i64)))
        (import "lunatic::test" "dropped" (func $dropped (result i64)))
        (import "lunatic::process" "spawn"
          (func $spawn (param i64 i64 i64 i32 i32 i32 i32 i32) (result i32)))
        (import "lunatic::process" "die_when_link_dies" (func $die_with_links (param i32)))
        (import "lunatic::process" "sleep_ms" (func $sleep (param i64)))
        (import "lunatic::message" "create_data" (func $create (param i64 i64)))
        (import "lunatic::message" "push_channel" (func $attach (param i64) (result i64)))
        (import "lunatic::message" "receive" (func $receive (param i32 i32 i64) (result i32)))
        (import "lunatic::channel" "open" (func $open (param i64) (result i64)))
        (import "lunatic::channel" "close" (func $close (param i64)))
        (import "lunatic::channel" "send" (func $send_on (param i64 i64) (result i32)))
        (memory (export "memory") 1) (data (i32.const 0) "child")
        (func $send (param i64)
          (if (call $send_on (local.get 0) (i64.const 0)) (then unreachable)))
        (func $fill (param $channel i64) (param $count i64)
          (loop $again
            (call $create (i64.const 0) (i64.const 0)) (call $send (local.get $channel))
            (local.set $count (i64.sub (local.get $count) (i64.const 1)))
            (br_if $again (i64.gt_s (local.get $count) (i64.const 0)))))
        {items}
        (func (export "_start")
          (local $before i64) (local $all i64) (local $channel i64) (local $next i64) (local $i i64)
          (local.set $all (call $dropped))
          {give_up}
          (if (i64.gt_u (i64.sub (call $dropped_here) (local.get $before)) (i64.const {few}))
            (then unreachable))
          (loop $again
            (call $sleep (i64.const 1))
            (br_if $again (i64.lt_u (i64.add (i64.sub (call $dropped) (local.get $all))
              (i64.const {kept})) (i64.const {messages}))))))"#
    );
    let options = CompilerOptions::default();
    let module = Module::new(text.as_bytes(), Compiler::new(options), Arc::new(all));
    let mut config = ProcessConfig::new(Stdio::inherit());
    config.resources_max = usize::MAX;
    Right::ALL.into_iter().for_each(|right| config.set_right(right, true));
    let node = NodeBuilder::new().workers(1).start().expect("a worker");
    let reason = node.run(&module, config, "_start").expect("it can be loaded");
    assert!(matches!(reason, ExitReason::Returned), "{reason}");
}

const BEGIN: &str = "(local.set $before (call $dropped_here))";

#[test]
fn a_worker_drops_little_of_a_full_channel_that_is_closed() {
    runs(
        100_000,
        "",
        &format!(
            "(local.set $channel (call $open (i64.const 0)))
             (call $fill (local.get $channel) (i64.const 100000))
             {BEGIN} (call $close (local.get $channel))"
        ),
    );
}

#[test]
fn a_worker_drops_little_of_what_a_process_had_that_ends() {
    runs(
        100_000,
        r#"(func (export "child")
             (call $fill (call $open (i64.const 0)) (i64.const 50000))
             (call $fill (call $open (i64.const 0)) (i64.const 50000))
             unreachable)"#,
        &format!(
            "(call $die_with_links (i32.const 0))
             {BEGIN}
             (if (call $spawn (i64.const 7) (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 5)
               (i32.const 0) (i32.const 0) (i32.const 0)) (then unreachable))
             (if (i32.ne (call $receive (i32.const 0) (i32.const 0) (i64.const -1)) (i32.const 1))
               (then unreachable))"
        ),
    );
}

#[test]
fn a_worker_drops_little_of_a_long_chain_of_channels() {
    runs(
        40_000,
        "",
        &format!(
            "(local.set $channel (call $open (i64.const 0)))
             (loop $again
               (call $create (i64.const 0) (i64.const 0))
               (drop (call $attach (local.get $channel)))
               (call $close (local.get $channel))
               (local.set $channel (call $open (i64.const 0)))
               (call $send (local.get $channel))
               (call $fill (local.get $channel) (i64.const 1))
               (br_if $again (i64.lt_u
                 (local.tee $i (i64.add (local.get $i) (i64.const 1))) (i64.const 20000))))
             {BEGIN} (call $close (local.get $channel))"
        ),
    );
}

#[test]
fn a_worker_drops_little_of_a_message_with_many_channels() {
    let each = |what: &str| {
        format!(
            "(local.set $i (i64.const 0))
             (loop $again {what}
               (br_if $again (i64.lt_u
                 (local.tee $i (i64.add (local.get $i) (i64.const 1))) (i64.const 5000))))"
        )
    };
    runs(
        50_000,
        "",
        &format!(
            "{} (call $create (i64.const 0) (i64.const 0)) {}
             {BEGIN} (call $create (i64.const 0) (i64.const 0))",
            each("(call $fill (call $open (i64.const 0)) (i64.const 10))"),
            each("(drop (call $attach (local.get $i))) (call $close (local.get $i))")
        ),
    );
}
