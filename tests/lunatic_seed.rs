//! Programs of the first months of 2021: crates `lunatic` 0.3.0, 0.3.4 and 0.3.10 as the registry has
//! them, and guests that misuse what those import.

mod support;

use support::{Output, run_guest, run_wat, run_wat_with};

/// With one worker and with several.
#[track_caller]
fn on_workers(name: &str, check: impl Fn(&Output)) {
    for workers in ["1", "4"] {
        let Some(output) = run_guest(&["--workers", workers], name, &[], b"") else { return };
        check(&output.expect(0));
    }
}

#[test]
fn the_example_of_the_readme_of_2021_runs() {
    on_workers("seed_readme", |output| {
        let mut lines: Vec<&str> = output.stdout.lines().collect();
        assert_eq!(output.stderr, "", "{output:#?}");
        let expected: Vec<String> =
            (0..1_000).map(|i| format!("Sum until {i}: {}", i * (i + 1) / 2)).collect();
        let mut expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        lines.sort_unstable();
        expected.sort_unstable();
        assert_eq!(lines, expected);
    });
}

#[test]
fn channels_that_are_numbers_travel_block_and_are_joined_by() {
    on_workers("seed_numbered", |output| {
        assert_eq!(
            output.stdout, "bounded 4950\nrelayed 285\njoined true\njoined one that failed\n",
            "{output:#?}"
        );
    });
}

#[test]
fn senders_and_receivers_travel_and_close() {
    on_workers("seed_sided", |output| {
        assert_eq!(
            output.stdout,
            "sums 166666500\nbounded 4950\nanswered 285\nleft Ok(1) Err(())\nnobody Err(())\n\
             reader Err(())\nwell Ok(())\nbadly Err(())\ncancelled Err(())\n",
            "{output:#?}"
        );
    });
}

#[test]
fn the_first_version_with_senders_runs_too() {
    on_workers("seed_sided_early", |output| {
        assert_eq!(
            output.stdout, "sum 999000\nwell Ok(())\nbadly Err(())\nclosed Err(())\n",
            "{output:#?}"
        );
    });
}

/// A module that imports all of both interfaces, with a table of functions: 0 and 4 are empty, 1
/// takes nothing, 2 takes two numbers, 3 takes a large one.
fn program(body: &str, child: &str) -> String {
    format!(
        r#"(module
          (import "lunatic" "yield_" (func $yield))
          (import "lunatic" "sleep_ms" (func $sleep (param i64)))
          (import "lunatic" "spawn" (func $spawn (param i32 i32 i32) (result i32)))
          (import "lunatic" "join" (func $join (param i32)))
          (import "lunatic" "channel_open" (func $open (param i32) (result i32)))
          (import "lunatic" "channel_close" (func $close (param i32)))
          (import "lunatic" "channel_send" (func $send (param i32 i32 i32)))
          (import "lunatic" "channel_receive_prepare" (func $prepare (param i32) (result i32)))
          (import "lunatic" "channel_receive" (func $receive (param i32 i32)))
          (import "lunatic" "spawn_with_context"
            (func $spawn_with (param i32 i32 i32) (result i32)))
          (import "lunatic" "join" (func $join_well (param i32) (result i32)))
          (import "lunatic" "detach_process" (func $detach (param i32)))
          (import "lunatic" "cancel_process" (func $cancel (param i32)))
          (import "lunatic" "channel" (func $channel (param i32 i32) (result i32)))
          (import "lunatic" "close_sender" (func $close_sender (param i32)))
          (import "lunatic" "close_receiver" (func $close_receiver (param i32)))
          (import "lunatic" "channel_send" (func $send_sided (param i32 i32 i32) (result i32)))
          (import "lunatic" "channel_receive_prepare"
            (func $prepare_sided (param i32 i32) (result i32)))
          (import "lunatic" "channel_receive" (func $receive_sided (param i32 i32) (result i32)))
          (import "lunatic" "drop_last_message" (func $drop_message))
          (import "lunatic" "sender_serialize" (func $sender_out (param i32) (result i32)))
          (import "lunatic" "sender_deserialize" (func $sender_in (param i32) (result i32)))
          (import "lunatic" "receiver_serialize" (func $receiver_out (param i32) (result i32)))
          (import "lunatic" "receiver_deserialize" (func $receiver_in (param i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 1)
          (table 5 funcref)
          (elem (i32.const 1) $nothing $two $large)
          (func $nothing)
          (func $two (param $a i32) (param $b i32) {child})
          (func $large (param i64))
          ;; The four bytes at 64 as a slice at 80.
          (func $slice (param $value i32) (result i32)
            (i32.store (i32.const 64) (local.get $value))
            (i32.store (i32.const 80) (i32.const 64))
            (i32.store (i32.const 84) (i32.const 4))
            (i32.const 80))
          (func $put (param $channel i32) (param $value i32)
            (call $send (local.get $channel) (call $slice (local.get $value)) (i32.const 1)))
          (func $get (param $channel i32) (result i32)
            (if (i32.ne (call $prepare (local.get $channel)) (i32.const 4)) (then unreachable))
            (call $receive (call $slice (i32.const 0)) (i32.const 1))
            (i32.load (i32.const 64)))
          (func (export "_start") (local $i i32) (local $c i32) (local $d i32) {body}))"#
    )
}

#[test]
fn every_wrong_handle_and_pointer_is_a_fault_of_the_guest() {
    for (body, words) in [
        ("(call $join (i32.const 7))", "child process with number 7"),
        ("(drop (call $join_well (i32.const 0)))", "child process with number 0"),
        ("(call $detach (i32.const 1))", "child process"),
        ("(call $cancel (i32.const -1))", "child process"),
        ("(call $close (i32.const 5))", "knows no channel with number 5"),
        ("(call $send (i32.const 5) (i32.const 0) (i32.const 0))", "knows no channel"),
        ("(drop (call $prepare (i32.const 5)))", "no channel"),
        ("(call $receive (i32.const 0) (i32.const 0))", "no message was prepared"),
        ("(call $send (call $open (i32.const 0)) (i32.const -8) (i32.const 2))", "outside"),
        ("(call $send (call $open (i32.const 0)) (i32.const 0) (i32.const -1))", "at most 1024"),
        (
            "(i32.store (i32.const 4) (i32.const -1))
             (call $send (call $open (i32.const 0)) (i32.const 0) (i32.const 1))",
            "outside",
        ),
        ("(drop (call $channel (i32.const 0) (i32.const -2)))", "outside"),
        ("(call $close_sender (i32.const 1))", "end of a channel with number 1"),
        ("(call $close_receiver (i32.const 1))", "end of a channel"),
        ("(drop (call $send_sided (i32.const 1) (i32.const 0) (i32.const 0)))", "channel"),
        ("(drop (call $prepare_sided (i32.const 1) (i32.const 0)))", "channel"),
        ("(drop (call $prepare_sided (i32.const 0) (i32.const -1)))", "outside"),
        ("(drop (call $receive_sided (i32.const 0) (i32.const -1)))", "outside"),
        ("(drop (call $sender_out (i32.const 1)))", "end of a channel"),
        ("(drop (call $receiver_out (i32.const 1)))", "end of a channel"),
        ("(drop (call $sender_in (i32.const 0)))", "no sender at 0"),
        ("(drop (call $receiver_in (i32.const -1)))", "no receiver at"),
        ("(drop (call $spawn_with (i32.const 1) (i32.const -1) (i32.const 2)))", "outside"),
        (
            "(drop (call $channel (i32.const 0) (i32.const 0)))
             (drop (call $receiver_out (i32.const 1)))
             (drop (call $send_sided (i32.const 1) (i32.const 0) (i32.const 0)))
             (drop (call $prepare_sided (i32.const 1) (i32.const 0)))
             (drop (call $sender_in (i32.const 0)))",
            "no sender at 0",
        ),
    ] {
        run_wat(&program(body, "")).expect(134).says(&["lunatic::", words]);
    }
}

#[test]
fn a_function_of_the_table_that_does_not_fit_ends_the_new_process_alone() {
    let body = "(loop $next
        (call $join (call $spawn (local.get $i) (i32.const 0) (i32.const 0)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $i) (i32.const 6))))
      (call $join (call $spawn (i32.const -1) (i32.const 0) (i32.const 0)))
      (if (i32.ne (call $join_well (call $spawn_with (i32.const 2) (i32.const 0) (i32.const 0)))
                  (i32.const 1)) (then unreachable))
      (if (call $join_well (call $spawn_with (i32.const 1) (i32.const 0) (i32.const 0)))
        (then unreachable))";
    let output = run_wat(&program(body, "")).expect(0);
    assert_eq!(output.stderr.matches("could not start").count(), 7, "{output:#?}");
    output.says(&["holds no function at 0", "at 3 of the table takes [I64]", "at 4294967295"]);
}

#[test]
fn a_number_that_was_guessed_finds_no_channel() {
    // The child is given one channel, and tries the other, whose number it gets as if by a guess:
    // less one, which no message tells of.
    let body = "(local.set $c (call $open (i32.const 0))) (local.set $d (call $open (i32.const 0)))
      (call $join (call $spawn (i32.const 2) (local.get $c)
                     (i32.sub (local.get $d) (i32.const 1))))
      (if (i32.ne (call $get (local.get $c)) (i32.const 9)) (then unreachable))";
    let child = "(call $put (local.get $a) (i32.const 9))
      (call $put (i32.add (local.get $b) (i32.const 1)) (i32.const 9))";
    run_wat(&program(body, child)).expect(0).says(&["knows no channel with number"]);
}

#[test]
fn a_number_in_a_message_is_a_channel_only_if_its_sender_knew_it() {
    // The child learns of $d by a message, and answers there.
    let body = "(local.set $c (call $open (i32.const 0))) (local.set $d (call $open (i32.const 0)))
      (call $put (local.get $c) (local.get $d))
      (drop (call $spawn (i32.const 2) (local.get $c) (i32.const 0)))
      (call $exit (call $get (local.get $d)))";
    run_wat(&program(body, "(call $put (call $get (local.get $a)) (i32.const 9))")).expect(9);
    // One who was only told the number cannot hand the channel on.
    let child = "(call $put (local.get $a) (i32.add (local.get $b) (i32.const 1)))";
    let body = "(local.set $c (call $open (i32.const 0))) (local.set $d (call $open (i32.const 0)))
      (call $join (call $spawn (i32.const 2) (local.get $c)
                     (i32.sub (local.get $d) (i32.const 1))))
      (local.set $i (call $get (local.get $c)))
      (call $close (local.get $d))
      (call $put (local.get $i) (i32.const 1))";
    run_wat(&program(body, child)).expect(134).says(&["knows no channel"]);
}

#[test]
fn numbers_of_channels_differ_and_a_closed_one_is_unknown() {
    let body = "(local.set $c (call $open (i32.const 0))) (local.set $d (call $open (i32.const 0)))
      (if (i32.eq (local.get $c) (local.get $d)) (then unreachable))
      (call $close (local.get $c)) (call $close (local.get $c))";
    run_wat(&program(body, "")).expect(134).says(&["channel_close", "knows no channel"]);
}

#[test]
fn a_message_is_cut_to_the_place_for_it() {
    let body = "(local.set $c (call $open (i32.const 0)))
      (call $put (local.get $c) (i32.const 0x11223344))
      (drop (call $prepare (local.get $c)))
      (i32.store (i32.const 0) (i32.const 32)) (i32.store (i32.const 4) (i32.const 1))
      (i32.store (i32.const 8) (i32.const 33)) (i32.store (i32.const 12) (i32.const 2))
      (call $receive (i32.const 0) (i32.const 2))
      (call $exit (i32.eq (i32.load (i32.const 32)) (i32.const 0x00223344)))";
    run_wat(&program(body, "")).expect(1);
}

#[test]
fn the_slices_of_a_receive_may_lie_over_their_own_list() {
    let body = "(local.set $c (call $open (i32.const 0)))
      (call $put (local.get $c) (i32.const -1))
      (drop (call $prepare (local.get $c)))
      (i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 4) (i32.const 4))
      (i32.store (i32.const 8) (i32.const 0)) (i32.store (i32.const 12) (i32.const 0))
      (call $receive (i32.const 0) (i32.const 2))
      (call $exit (i32.load8_u (i32.const 8)))";
    run_wat(&program(body, "")).expect(255);
}

#[test]
fn a_message_larger_than_allowed_is_refused() {
    let body = "(i32.store (i32.const 4) (i32.const 2048))
      (call $send (call $open (i32.const 0)) (i32.const 0) (i32.const 1))";
    let options = ["--max-message", "1K"];
    run_wat_with(&options, &program(body, "")).expect(134).says(&["1024", "--max-message"]);
    let body = "(drop (call $channel (i32.const 0) (i32.const 0)))
      (drop (call $send_sided (i32.const 1) (i32.const 0) (i32.const 1025)))";
    run_wat_with(&options, &program(body, "")).expect(134).says(&["1025", "--max-message"]);
}

#[test]
fn ends_inside_of_messages_inside_of_ends_are_dropped_without_depth() {
    // Each channel's only receiver and message hang on the one before: 200,000 deep.
    let body = "(local.set $c (call $channel (i32.const 0) (i32.const 0)))
      (local.set $d (i32.load (i32.const 0)))
      (loop $deeper
        (drop (call $receiver_out (local.get $d)))
        (call $close_receiver (local.get $d))
        (call $close_sender (local.get $c))
        (local.set $c (call $channel (i32.const 0) (i32.const 0)))
        (local.set $d (i32.load (i32.const 0)))
        (if (call $send_sided (local.get $c) (i32.const 0) (i32.const 0)) (then unreachable))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $deeper (i32.lt_u (local.get $i) (i32.const 200000))))
      (call $close_sender (local.get $c))
      (call $close_receiver (local.get $d))";
    run_wat(&program(body, "")).expect_quiet_success();
}

#[test]
fn a_channel_in_its_own_queue_is_given_up_with_its_process() {
    let body = "(loop $again
        (local.set $c (call $channel (i32.const 0) (i32.const 0)))
        (drop (call $sender_out (local.get $c)))
        (if (call $send_sided (local.get $c) (i32.const 0) (i32.const 0)) (then unreachable))
        (call $close_sender (local.get $c))
        (call $close_receiver (i32.load (i32.const 0)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $i) (i32.const 10000))))";
    run_wat(&program(body, "")).expect_quiet_success();
}

#[test]
fn what_is_attached_to_no_message_is_limited() {
    let body = "(local.set $c (call $channel (i32.const 0) (i32.const 0)))
      (loop $l (drop (call $sender_out (local.get $c))) (br $l))";
    run_wat(&program(body, "")).expect(134).says(&["at most 10000"]);
}

#[test]
fn a_type_of_no_age_is_refused_with_the_known_ones() {
    let module = r#"(module (import "lunatic" "join" (func (param i64)))
                      (func (export "_start")))"#;
    run_wat(module).expect_refused(&["\"join\"", "(I64) -> ()", "(I32) -> ()", "(I32) -> (I32)"]);
}
