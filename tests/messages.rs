//! What mailboxes promise: order, selection by tag, timeouts and limits.

mod support;

use support::{program, run_wat, run_wat_with, spawn_with, times};

/// "The time has passed."
const TIMEOUT: i64 = 9027;

#[test]
fn a_message_over_the_limit_is_cut_and_the_rest_refused() {
    let body = "
      (call $create (i64.const 0) (i64.const 100000))
      (call $say32 (call $write (i32.const 1024) (i32.const 1000)))
      (call $say32 (call $write (i32.const 1024) (i32.const 1000)))
      (call $say32 (call $write (i32.const 1024) (i32.const 1)))
      (call $say (call $size))
      (call $say32 (call $send_raw (call $self)))
      (call $say32 (call $receive (i32.const 0) (i32.const 0) (i64.const -1)))
      (call $say (call $size))";
    run_wat_with(&["--max-message", "1K"], &program("", body))
        .expect_quiet_success()
        .prints(&[1000, 24, 0, 1024, 0, 0, 1024]);
    run_wat_with(&["--max-message", "0"], &program("", body))
        .expect_quiet_success()
        .prints(&[0, 0, 0, 0, 0, 0, 0]);
    run_wat_with(&["--max-message", "1G"], &program("", body))
        .expect_quiet_success()
        .prints(&[1000, 1000, 1, 2001, 0, 0, 2001]);
}

#[test]
fn a_capacity_is_only_a_hint() {
    let body = "
      (call $create (i64.const 0) (i64.const -1))
      (call $say (call $size))
      (call $create (i64.const 0) (i64.const 0x7fffffffffffffff))
      (call $say32 (call $write (i32.const 1024) (i32.const 3)))";
    run_wat(&program("", body)).expect_quiet_success().prints(&[0, 3]);
}

#[test]
fn each_senders_messages_arrive_in_order() {
    // Four senders; a value is the sender times a million plus a number that counts up.
    let child = format!(
        "(func $child (param $to i64) (param $base i64) (local $i i64)
           {})
         (func (export \"a\") (param i64) (call $child (local.get 0) (i64.const 0)))
         (func (export \"b\") (param i64) (call $child (local.get 0) (i64.const 1000000)))
         (func (export \"c\") (param i64) (call $child (local.get 0) (i64.const 2000000)))
         (func (export \"d\") (param i64) (call $child (local.get 0) (i64.const 3000000)))",
        times(5_000, "(call $send (local.get $to) (i64.add (local.get $base) (local.get $i)))")
    );
    let spawns: String = ["a", "b", "c", "d"]
        .iter()
        .map(|name| format!("(drop {})", spawn_with(name, "(call $self)")))
        .collect();
    let next = "(i32.add (i32.const 1024) (i32.mul (i32.const 8)
                  (i32.wrap_i64 (i64.div_u (local.get $value) (i64.const 1000000)))))";
    let body = format!(
        "(local $i i64) (local $value i64) {spawns} {}
         (call $say (i64.add (i64.load (i32.const 1024)) (i64.load (i32.const 1048))))",
        times(
            20_000,
            &format!(
                "(local.set $value (call $recv))
                 (if (i64.ne (i64.load {next})
                       (i64.rem_u (local.get $value) (i64.const 1000000)))
                   (then unreachable))
                 (i64.store {next} (i64.add (i64.load {next}) (i64.const 1)))"
            )
        )
    );
    for workers in ["1", "2", "8"] {
        run_wat_with(&["--workers", workers], &program(&child, &body))
            .expect_quiet_success()
            .prints(&[10_000]);
    }
}

#[test]
fn a_receive_by_tag_leaves_the_others_in_order() {
    let send = |tag, value| {
        format!("(call $send_tagged (call $self) (i64.const {tag}) (i64.const {value}))")
    };
    let sends = [send(1, 10), send(2, 20), send(1, 11), send(0, 30), send(-7, 40), send(2, 21)];
    let body = format!(
        "{}
         (call $say (call $recv_tagged (i64.const 2)))
         (call $say (call $tag))
         (call $say (call $recv_tagged (i64.const -7)))
         (call $say (call $recv))
         (call $say (call $recv_tagged (i64.const 0)))
         (call $say (call $recv))
         (call $say (call $tag))
         (call $say (call $recv))",
        sends.concat()
    );
    run_wat(&program("", &body)).expect_quiet_success().prints(&[20, 2, 40, 10, 30, 11, 1, 21]);
}

#[test]
fn a_receive_may_name_several_tags() {
    let body = "
      (call $send_tagged (call $self) (i64.const 1) (i64.const 10))
      (call $send_tagged (call $self) (i64.const 3) (i64.const 30))
      (call $send_tagged (call $self) (i64.const 2) (i64.const 20))
      (i64.store (i32.const 1024) (i64.const 2))
      (i64.store (i32.const 1032) (i64.const 3))
      (call $say32 (call $receive (i32.const 1024) (i32.const 2) (i64.const -1)))
      (call $say (call $value))
      (call $say32 (call $receive (i32.const 1024) (i32.const 2) (i64.const -1)))
      (call $say (call $value))
      (call $say32 (call $receive (i32.const 1024) (i32.const 2) (i64.const 0)))
      (call $say (call $recv))";
    run_wat(&program("", body)).expect_quiet_success().prints(&[0, 30, 0, 20, TIMEOUT, 10]);
}

#[test]
fn one_who_waits_for_a_tag_is_not_content_with_another() {
    let child = "(func (export \"child\") (param i64)
      (call $send_tagged (local.get 0) (i64.const 1) (i64.const 10))
      (call $yield)
      (call $send_tagged (local.get 0) (i64.const 1) (i64.const 11))
      (call $yield)
      (call $send_tagged (local.get 0) (i64.const 2) (i64.const 20)))";
    let body = format!(
        "(drop {})
         (call $say (call $recv_tagged (i64.const 2)))
         (call $say (call $recv))
         (call $say (call $recv))",
        spawn_with("child", "(call $self)")
    );
    run_wat(&program(child, &body)).expect_quiet_success().prints(&[20, 10, 11]);
}

#[test]
fn a_receive_with_a_timeout_ends() {
    let body = "
      (call $say32 (call $receive (i32.const 0) (i32.const 0) (i64.const 0)))
      (call $say32 (call $receive (i32.const 0) (i32.const 0) (i64.const 5)))
      (call $send_tagged (call $self) (i64.const 1) (i64.const 10))
      (i64.store (i32.const 1024) (i64.const 2))
      (call $say32 (call $receive (i32.const 1024) (i32.const 1) (i64.const 5)))
      (call $say32 (call $receive (i32.const 0) (i32.const 0) (i64.const 5)))
      (call $say (call $value))";
    run_wat(&program("", body)).expect_quiet_success().prints(&[TIMEOUT, TIMEOUT, TIMEOUT, 0, 10]);
}

#[test]
fn a_message_ends_a_wait_with_a_timeout() {
    let child = "(func (export \"child\") (param i64)
      (call $sleep (i64.const 5))
      (call $send (local.get 0) (i64.const 1)))";
    let body = format!(
        "(local $i i64) {}",
        times(
            20,
            &format!(
                "(drop {})
                 (call $say32 (call $receive (i32.const 0) (i32.const 0) (i64.const 3600000)))",
                spawn_with("child", "(call $self)")
            )
        )
    );
    run_wat(&program(child, &body)).expect_quiet_success().prints(&[0; 20]);
}

#[test]
fn reading_goes_on_where_it_stopped() {
    let body = "
      (call $create (i64.const 5) (i64.const 0))
      (i64.store (i32.const 1024) (i64.const 0x0807060504030201))
      (drop (call $write (i32.const 1024) (i32.const 8)))
      (call $say32 (call $read (i32.const 2048) (i32.const 3)))
      (call $say32 (call $read (i32.const 2048) (i32.const 100)))
      (call $say32 (i32.load8_u (i32.const 2048)))
      (call $say32 (call $read (i32.const 2048) (i32.const 100)))
      (call $seek (i64.const 7))
      (call $say32 (call $read (i32.const 2048) (i32.const 100)))
      (call $say32 (i32.load8_u (i32.const 2048)))
      (call $seek (i64.const 8))
      (call $seek (i64.const 9))";
    run_wat(&program("", body)).expect(134).prints(&[3, 5, 4, 0, 1, 8]).says(&[
        "lunatic::message::seek_data",
        "9",
        "8 bytes",
    ]);
}

#[test]
fn a_sent_message_is_gone() {
    let body = "(call $send (call $self) (i64.const 1)) (drop (call $send_raw (call $self)))";
    run_wat(&program("", body)).expect(134).says(&["no current message"]);
    for call in ["(drop (call $size))", "(drop (call $tag))", "(call $seek (i64.const 0))"] {
        run_wat(&program("", call)).expect(134).says(&["no current message"]);
    }
}

#[test]
fn a_message_that_came_with_the_spawn_is_the_first() {
    let child = "(func (export \"child\") (param i64)
      (call $say (call $recv))
      (call $say (call $recv))
      (call $send (local.get 0) (i64.const 3)))";
    let body = "
      (local $child i64)
      (call $argument (call $self))
      (i64.store (i32.const 240) (i64.const 0x646c696863))
      (call $number (i64.const 0) (i64.const 1))
      (drop (call $spawn_with_message (i64.const 0) (i64.const -1) (i64.const -1) (i32.const 240)
              (i32.const 5) (i32.const 256) (i32.const 17) (i32.const 288)))
      (call $send (i64.load (i32.const 288)) (i64.const 2))
      (call $say (call $recv))";
    run_wat(&program(child, body)).expect_quiet_success().prints(&[1, 2, 3]);
}

#[test]
fn too_many_tags_trap() {
    let call = |count: &str| {
        format!("(drop (call $receive (i32.const 0) (i32.const {count}) (i64.const 0)))")
    };
    run_wat(&program("", &call("1024"))).expect_quiet_success();
    for count in ["1025", "0x20000000", "-1"] {
        run_wat(&program("", &call(count))).expect(134).says(&["tags"]);
    }
}

#[test]
fn a_long_message_is_copied_in_parts_and_is_the_same() {
    let body = "(local $at i32) (local $sum i64)
      (drop (memory.grow (i32.const 200)))
      (loop $fill
        (i32.store (i32.add (local.get $at) (i32.const 4096))
          (i32.mul (local.get $at) (i32.const -1640531527)))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (br_if $fill (i32.lt_u (local.get $at) (i32.const 5000000))))
      (call $create (i64.const 0) (i64.const 0))
      (call $say32 (call $write (i32.const 4096) (i32.const 5000000)))
      (call $say32 (call $write (i32.const 4096) (i32.const 5000000)))
      (drop (call $send_raw (call $self)))
      (if (call $receive (i32.const 0) (i32.const 0) (i64.const 0)) (then unreachable))
      (call $seek (i64.const 5000000))
      (call $say32 (call $read (i32.const 6000000) (i32.const 7000000)))
      (local.set $at (i32.const 0))
      (loop $compare
        (if (i32.ne (i32.load (i32.add (local.get $at) (i32.const 6000000)))
              (i32.mul (local.get $at) (i32.const -1640531527)))
          (then unreachable))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (br_if $compare (i32.lt_u (local.get $at) (i32.const 3000000))))
      (call $say32 (call $read (i32.const 6000000) (i32.const 7000000)))";
    let text = program("", body);
    run_wat_with(&["--max-message=8000000"], &text)
        .expect_quiet_success()
        .prints(&[5_000_000, 3_000_000, 3_000_000, 0]);
}
