//! What channels promise, through compiled guests and at the level of imports.

mod support;

use support::{program, run_guest, run_wat, run_wat_with, spawn, spawn_with, times};

const CLOSED: i64 = 1;
const TIMEOUT: i64 = 9027;

/// A guest that checks promises and ends with this line.
#[track_caller]
fn promises_hold(guest: &str, last_line: &str) {
    for workers in ["1", "2", "8"] {
        let Some(output) = run_guest(&["--workers", workers], guest, &[], b"") else { return };
        let output = output.expect(0);
        assert_eq!(output.stdout.lines().last(), Some(last_line), "{output:#?}");
        assert!(output.stdout.lines().count() > 10, "{output:#?}");
    }
}

#[test]
fn channels_keep_their_promises_to_rust() {
    promises_hold("channel_semantics", "all channel promises hold");
}

#[test]
fn mailboxes_keep_their_promises_to_rust() {
    promises_hold("mailbox_semantics", "all mailbox promises hold");
}

/// Items for children that are given a channel as the first thing attached to their first message:
/// `$given` takes it; `$spawn_given` spawns.
const GIVEN: &str = r#"
  (func $given (result i64)
    (if (call $receive (i32.const 0) (i32.const 0) (i64.const -1)) (then unreachable))
    (call $take_channel (i64.const 0)))
  (func $give (param $process i64) (param $channel i64)
    (call $create (i64.const 0) (i64.const 0))
    (drop (call $push_channel (local.get $channel)))
    (drop (call $send_raw (local.get $process))))"#;

#[test]
fn a_full_channel_makes_its_sender_wait() {
    let child = format!(
        r#"{GIVEN} (func (export "child") (param $main i64) (local $channel i64) (local $i i64)
          (local.set $channel (call $given))
          {})"#,
        times(
            10,
            "(call $number (i64.const 0) (local.get $i))
             (if (call $channel_send (local.get $channel) (i64.const -1)) (then unreachable))
             (call $send (local.get $main) (local.get $i))"
        )
    );
    let body = format!(
        "(local $i i64) (local $channel i64)
         (local.set $channel (call $open (i64.const 3)))
         (call $give {} (local.get $channel))
         ;; Three have been sent, and no more are.
         (drop (call $recv)) (drop (call $recv)) (call $say (call $recv))
         (call $say32 (call $receive (i32.const 0) (i32.const 0) (i64.const 20)))
         {}
         {}",
        spawn_with("child", "(call $self)"),
        times(
            10,
            "(call $say32 (call $channel_receive (local.get $channel) (i64.const -1)))
             (call $say (call $value))"
        ),
        times(7, "(drop (call $recv))").replace("$again", "$rest")
    );
    let mut expected = vec![2, TIMEOUT];
    expected.extend((0..10).flat_map(|number| [0, number]));
    for workers in ["1", "4"] {
        run_wat_with(&["--workers", workers], &program(&child, &body))
            .expect_quiet_success()
            .prints(&expected);
    }
}

#[test]
fn a_channel_closes_when_the_last_holder_dies() {
    let children = format!(
        r#"{GIVEN}
        (func (export "returns") (param i64) (drop (call $given)))
        (func (export "traps") (param i64) (drop (call $given)) unreachable)
        (func (export "exits") (param i64) (drop (call $given)) (call $exit (i32.const 3)))
        (func (export "loops") (param i64)
          (drop (call $given)) (call $send (local.get 0) (i64.const 1)) (call $for_ever))
        (func (export "closes") (param i64)
          (call $close (call $given)) (call $send (local.get 0) (i64.const 1)) (drop (call $recv)))
        (func (export "ignores") (param i64))"#
    );
    let mut body = "(local $channel i64) (local $child i64)".to_string();
    for (name, then) in [
        ("returns", ""),
        ("traps", ""),
        ("exits", ""),
        ("loops", "(drop (call $recv)) (call $kill (local.get $child))"),
        ("closes", ""),
        ("ignores", ""),
    ] {
        body += &format!(
            "(local.set $channel (call $open (i64.const 0)))
             (local.set $child {})
             (call $give (local.get $child) (local.get $channel))
             {then}
             (call $say32 (call $channel_receive (local.get $channel) (i64.const -1)))",
            spawn_with(name, "(call $self)")
        );
    }
    for workers in ["1", "4"] {
        run_wat_with(&["--workers", workers], &program(&children, &body))
            .expect(0)
            .prints(&[CLOSED; 6]);
    }
}

#[test]
fn a_receive_that_nobody_can_satisfy_ends() {
    let body = "(local $channel i64)
      (local.set $channel (call $open (i64.const 0)))
      (call $say32 (call $channel_receive (local.get $channel) (i64.const -1)))
      ;; Another handle of one's own is no help.
      (drop (call $clone_handle (local.get $channel)))
      (call $say32 (call $channel_receive (local.get $channel) (i64.const -1)))";
    run_wat(&program("", body)).expect_quiet_success().prints(&[CLOSED, CLOSED]);
}

#[test]
fn a_send_that_nobody_can_make_room_for_ends_and_keeps_the_message() {
    let body = "(local $channel i64)
      (local.set $channel (call $open (i64.const 1)))
      (call $number (i64.const 0) (i64.const 5))
      (call $say32 (call $channel_send (local.get $channel) (i64.const -1)))
      (call $number (i64.const 0) (i64.const 6))
      (call $say32 (call $channel_send (local.get $channel) (i64.const -1)))
      (call $say (call $value))
      (call $say32 (call $channel_receive (local.get $channel) (i64.const -1)))
      (call $say (call $value))";
    run_wat(&program("", body)).expect_quiet_success().prints(&[0, CLOSED, 6, 0, 5]);
}

#[test]
fn holders_who_all_receive_are_all_told() {
    let child = format!(
        r#"{GIVEN} (func (export "child") (param i64)
          (call $send (local.get 0)
            (i64.extend_i32_u (call $channel_receive (call $given) (i64.const -1)))))"#
    );
    let body = format!(
        "(local $i i64) (local $channel i64)
         (local.set $channel (call $open (i64.const 0)))
         {}
         (call $say32 (call $channel_receive (local.get $channel) (i64.const -1)))
         {}",
        times(
            5,
            &format!("(call $give {} (local.get $channel))", spawn_with("child", "(call $self)"))
        ),
        times(5, "(call $say (call $recv))").replace("$again", "$all")
    );
    for workers in ["1", "4"] {
        run_wat_with(&["--workers", workers], &program(&child, &body))
            .expect_quiet_success()
            .prints(&[CLOSED; 6]);
    }
}

#[test]
fn what_a_closed_channel_holds_can_be_received() {
    let child = format!(
        r#"{GIVEN} (func (export "child") (param i64) (local $i i64) (local $channel i64)
          (local.set $channel (call $given))
          {})"#,
        times(
            3,
            "(call $number (i64.const 0) (local.get $i))
             (drop (call $channel_send (local.get $channel) (i64.const -1)))"
        )
    );
    let receive = "(call $say32 (call $channel_receive (local.get $channel) (i64.const -1)))";
    let body = format!(
        "(local $channel i64) (local $child i64)
         (local.set $channel (call $open (i64.const 0)))
         (local.set $child {})
         (call $give (local.get $child) (local.get $channel))
         (call $join (local.get $child))
         {receive} {receive} {receive} {receive}",
        spawn_with("child", "(call $self)")
    );
    run_wat(&program(&child, &body)).expect_quiet_success().prints(&[0, 0, 0, CLOSED]);
}

#[test]
fn a_channel_in_a_mailbox_nobody_reads_is_still_held() {
    let child =
        format!(r#"{GIVEN} (func (export "child") (param i64) (call $sleep (i64.const -1)))"#);
    let body = format!(
        "(local $channel i64) (local $child i64)
         (local.set $channel (call $open (i64.const 0)))
         (local.set $child {})
         (call $give (local.get $child) (local.get $channel))
         (call $say32 (call $channel_receive (local.get $channel) (i64.const 10)))
         (call $kill (local.get $child))
         (call $say32 (call $channel_receive (local.get $channel) (i64.const -1)))",
        spawn_with("child", "(i64.const 0)")
    );
    run_wat(&program(&child, &body)).expect_quiet_success().prints(&[TIMEOUT, CLOSED]);
}

#[test]
fn a_channel_that_travels_in_itself_is_let_go() {
    let body = "(local $channel i64)
      (local.set $channel (call $open (i64.const 0)))
      (call $create (i64.const 0) (i64.const 0))
      (drop (call $push_channel (local.get $channel)))
      (call $say32 (call $channel_send (local.get $channel) (i64.const -1)))
      (call $say32 (call $channel_receive (local.get $channel) (i64.const -1)))
      (call $say32 (call $channel_receive (call $take_channel (i64.const 0)) (i64.const 0)))";
    let output = run_wat(&program("", body)).expect_quiet_success();
    assert_eq!(output.numbers()[..2], [0, 0]);
    assert!([CLOSED, TIMEOUT].contains(&output.numbers()[2]), "{output:#?}");
}

#[test]
fn a_closed_handle_is_unknown() {
    for call in [
        "(drop (call $channel_receive (local.get $channel) (i64.const 0)))",
        "(call $number (i64.const 0) (i64.const 0))
         (drop (call $channel_send (local.get $channel) (i64.const 0)))",
        "(call $close (local.get $channel))",
        "(drop (call $clone_handle (local.get $channel)))",
        "(call $number (i64.const 0) (i64.const 0))
         (drop (call $push_channel (local.get $channel)))",
    ] {
        let body = format!(
            "(local $channel i64)
             (local.set $channel (call $open (i64.const 0)))
             (call $close (local.get $channel))
             {call}"
        );
        run_wat(&program("", &body)).expect(134).says(&["holds no channel"]);
    }
}

#[test]
fn a_handle_outlives_its_clone() {
    let body = "(local $channel i64)
      (local.set $channel (call $open (i64.const 0)))
      (call $close (call $clone_handle (local.get $channel)))
      (call $number (i64.const 0) (i64.const 4))
      (call $say32 (call $channel_send (local.get $channel) (i64.const -1)))
      (call $say32 (call $channel_receive (local.get $channel) (i64.const -1)))
      (call $say (call $value))";
    run_wat(&program("", body)).expect_quiet_success().prints(&[0, 0, 4]);
}

#[test]
fn an_attachment_can_be_taken_once() {
    let body = "
      (call $create (i64.const 0) (i64.const 0))
      (drop (call $push_channel (call $open (i64.const 0))))
      (drop (call $take_channel (i64.const 0)))
      (drop (call $take_channel (i64.const 0)))";
    run_wat(&program("", body)).expect(134).says(&["no channel at index 0"]);
    let body = "
      (call $create (i64.const 0) (i64.const 0))
      (drop (call $take_channel (i64.const -1)))";
    run_wat(&program("", body)).expect(134).says(&["no channel at index"]);
}

#[test]
fn many_senders_and_receivers_lose_and_double_nothing() {
    let children = format!(
        r#"{GIVEN}
        (func (export "sender") (param i64) (local $i i64) (local $channel i64)
          (local.set $channel (call $given))
          {})
        (func (export "receiver") (param $main i64) (local $sum i64) (local $channel i64)
          (local.set $channel (call $given))
          (loop $again
            (if (i32.eqz (call $channel_receive (local.get $channel) (i64.const -1)))
              (then
                (local.set $sum (i64.add (local.get $sum) (call $value)))
                (br $again))))
          (call $send (local.get $main) (local.get $sum)))"#,
        times(
            1000,
            "(call $number (i64.const 0) (i64.const 1))
             (if (call $channel_send (local.get $channel) (i64.const -1)) (then unreachable))"
        )
    );
    let give =
        |name| format!("(call $give {} (local.get $channel))", spawn_with(name, "(call $self)"));
    for (bound, workers) in [(0, "1"), (1, "1"), (1, "4"), (7, "4"), (0, "4")] {
        let body = format!(
            "(local $i i64) (local $sum i64) (local $channel i64)
             (local.set $channel (call $open (i64.const {bound})))
             {}
             {}
             (call $close (local.get $channel))
             {}
             (call $say (local.get $sum))",
            times(8, &give("receiver")),
            times(8, &give("sender")).replace("$again", "$senders"),
            times(8, "(local.set $sum (i64.add (local.get $sum) (call $recv)))")
                .replace("$again", "$sums")
        );
        run_wat_with(&["--workers", workers], &program(&children, &body))
            .expect_quiet_success()
            .prints(&[8000]);
    }
}

/// Each of many channels holds a message that carries the one before: dropping the last drops them all, and must not
/// need stack for each.
#[test]
fn a_long_chain_of_channels_in_channels_is_dropped() {
    let link = "(local.set $next (call $open (i64.const 0)))
      (call $create (i64.const 0) (i64.const 0))
      (drop (call $push_channel (local.get $last)))
      (if (call $channel_send (local.get $next) (i64.const -1)) (then unreachable))
      (call $close (local.get $last))
      (local.set $last (local.get $next))";
    let ends = [
        // By a handle; by a message that is sent to nobody; by the end of the process.
        "(call $close (local.get $last))",
        "(call $create (i64.const 0) (i64.const 0))
         (drop (call $push_channel (local.get $last)))
         (call $close (local.get $last))
         (drop (call $send_raw (i64.const -1)))",
        "",
    ];
    for end in ends {
        let body = format!(
            "(local $i i64) (local $last i64) (local $next i64)
             (local.set $last (call $open (i64.const 0)))
             {}
             {end}
             (call $say (i64.const 1))",
            times(100_000, link)
        );
        run_wat(&program("", &body)).expect_quiet_success().prints(&[1]);
    }
}

#[test]
fn a_channel_in_its_own_message_goes_with_its_last_holder() {
    // A quarter of a kilobyte each: if they stayed, too much would be held, and the one that holds most end.
    let items = r#"(func (export "keeper")
      (drop (memory.grow (i32.const 40)))
      (call $create (i64.const 0) (i64.const 0))
      (drop (call $write (i32.const 0) (i32.const 2000000)))
      (call $sleep (i64.const -1)))"#;
    let body = format!(
        "(local $i i64) (local $c i64) (local $keeper i64)
         (local.set $keeper {})
         (local.set $i (i64.const 300000))
         (loop $again
           (local.set $c (call $open (i64.const 0)))
           (call $create (i64.const 0) (i64.const 0))
           (drop (call $push_channel (local.get $c)))
           (drop (call $push_channel (local.get $c)))
           (if (call $channel_send (local.get $c) (i64.const -1)) (then unreachable))
           (call $close (local.get $c))
           (br_if $again (i64.ne (local.tee $i (i64.sub (local.get $i) (i64.const 1))) (i64.const 0))))
         (call $say32 (call $exists (local.get $keeper)))
         ;; What is on its way elsewhere stays, with what is in it.
         (local.set $c (call $open (i64.const 0)))
         (call $create (i64.const 0) (i64.const 0))
         (drop (call $push_channel (local.get $c)))
         (if (call $channel_send (local.get $c) (i64.const -1)) (then unreachable))
         (call $create (i64.const 0) (i64.const 0))
         (drop (call $push_channel (local.get $c)))
         (call $close (local.get $c))
         (local.set $c (call $take_channel (i64.const 0)))
         (call $say32 (call $channel_receive (local.get $c) (i64.const -1)))
         (call $close (local.get $c))
         (local.set $c (call $take_channel (i64.const 0)))
         (call $say32 (call $channel_receive (local.get $c) (i64.const -1)))",
        spawn("keeper")
    );
    for workers in ["--workers=1", "--workers=2"] {
        run_wat_with(&[workers, "--max-host-memory=16M"], &program(items, &body))
            .expect(0)
            .prints(&[1, 0, CLOSED]);
    }
}
