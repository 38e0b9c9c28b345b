//! Mailboxes with a limit: senders wait, messages are dropped, or the receiver ends; and nobody waits
//! for ever who need not.

mod support;

use support::{Output, program, run_wat_with, spawn_with, times};

/// Imports beside the prelude.
const IMPORTS: &str = r#"(module
  (import "lunatic::process" "create_config" (func $config (result i64)))
  (import "lunatic::config" "set_limit" (func $set_limit (param i64 i32 i64 i32) (result i32)))
  (import "lunatic::config" "set_overflow" (func $set_overflow (param i64 i32)))
  (import "lunatic::message" "send_timeout" (func $send_timeout (param i64 i64) (result i32)))"#;

/// A child with a mailbox of `$room` messages; its id is at 288.
const ITEMS: &str = r#"
  (func $limited (param $room i64) (param $overflow i32) (param $name i64) (result i64)
    (local $c i64)
    (local.set $c (call $config))
    (if (call $set_limit (local.get $c) (i32.const 7) (local.get $room) (i32.const 288))
      (then unreachable))
    (call $set_overflow (local.get $c) (local.get $overflow))
    (call $argument (call $self))
    (i64.store (i32.const 240) (local.get $name))
    (if (call $spawn_raw (i64.const 0) (local.get $c) (i64.const -1)
          (i32.const 240) (i32.const 5) (i32.const 256) (i32.const 17) (i32.const 288))
      (then unreachable))
    (i64.load (i32.const 288)))
  ;; Receives nothing but messages with tag 9, until one says 0.
  (func (export "deaf_") (param i64)
    (loop $again (br_if $again (i64.ne (call $recv_tagged (i64.const 9)) (i64.const 0)))))
  ;; Passes what it receives on, slowly; ends after 0.
  (func (export "echo_") (param $main i64) (local $value i64)
    (loop $again
      (local.set $value (call $recv))
      (call $yield)
      (call $send (local.get $main) (local.get $value))
      (br_if $again (i64.ne (local.get $value) (i64.const 0)))))
  (func (export "sleep") (param i64) (call $sleep (i64.const 3600000)))"#;

fn named(name: &str) -> String {
    let mut bytes = [0; 8];
    bytes[..5].copy_from_slice(name.as_bytes());
    format!("(i64.const {})", i64::from_le_bytes(bytes))
}

#[track_caller]
fn run(options: &[&str], items: &str, body: &str) -> Output {
    let body = format!("(local $to i64) (local $i i64) (local $sum i64) {body}");
    let text = program(&format!("{ITEMS} {items}"), &body).replacen("(module", IMPORTS, 1);
    run_wat_with(options, &text)
}

#[test]
fn senders_wait_for_room_and_no_message_is_lost() {
    for workers in ["--workers=1", "--workers=4"] {
        for room in [1, 3] {
            // Ten senders of a hundred messages each, through a mailbox of a few.
            let items = "(func (export \"sender\") (param $to i64) (local $i i64)
              (loop $again
                (local.set $i (i64.add (local.get $i) (i64.const 1)))
                (call $send (local.get $to) (local.get $i))
                (br_if $again (i64.lt_u (local.get $i) (i64.const 100)))))";
            let body = format!(
                "(local.set $to (call $limited (i64.const {room}) (i32.const 0) {}))
                 {} {}
                 (call $say (local.get $sum))
                 (call $send (local.get $to) (i64.const 0))
                 (call $say (call $recv))
                 (call $join (local.get $to))",
                named("echo_"),
                times(10, &format!("(drop {})", spawn_with("sender", "(local.get $to)"))),
                times(1000, "(local.set $sum (i64.add (local.get $sum) (call $recv)))"),
            );
            run(&[workers], items, &body).expect_quiet_success().prints(&[50500, 0]);
        }
    }
}

#[test]
fn whoever_waits_for_room_goes_on_when_the_receiver_ends() {
    for workers in ["--workers=1", "--workers=4"] {
        let items = "(func (export \"sender\") (param $to i64)
          (call $send (local.get $to) (i64.const 5))
          (call $send (local.get $to) (i64.const 5))
          (call $send (i64.load (i32.const 4096)) (i64.const 7)))";
        // They know the main process by a message of its own.
        let items = items.replace(
            "(param $to i64)",
            "(param $to i64) (i64.store (i32.const 4096) (call $recv_tagged (i64.const 3)))",
        );
        let body = format!(
            "(local.set $to (call $limited (i64.const 1) (i32.const 0) {}))
             {}
             (call $sleep (i64.const 5))
             (call $kill (local.get $to))
             {}
             (call $say (local.get $sum))",
            named("sleep"),
            times(
                20,
                &format!(
                    "(call $send_tagged {} (i64.const 3) (call $self))",
                    spawn_with("sender", "(local.get $to)")
                )
            ),
            times(20, "(local.set $sum (i64.add (local.get $sum) (call $recv)))"),
        );
        run(&[workers], &items, &body).expect_quiet_success().prints(&[140]);
    }
}

#[test]
fn a_sender_that_is_killed_while_it_waits_gives_its_turn_up() {
    let items = "(func (export \"sender\") (param $to i64)
      (call $send (local.get $to) (i64.const 5)))";
    let spawn = spawn_with("sender", "(local.get $to)");
    let body = format!(
        "(local $a i64) (local $b i64)
         (local.set $to (call $limited (i64.const 1) (i32.const 0) {}))
         (call $send (local.get $to) (i64.const 1))
         {}
         (call $send (local.get $to) (i64.const 0))
         {}
         (call $say (local.get $sum))",
        named("echo_"),
        times(
            30,
            &format!(
                "(local.set $a {spawn}) (local.set $b {spawn}) (call $yield)
                 (call $kill (local.get $a)) (call $join (local.get $a))
                 (call $join (local.get $b))"
            )
        ),
        // 1, thirty or more of 5, 0.
        "(loop $again
           (local.set $i (call $recv))
           (if (i64.eq (local.get $i) (i64.const 5))
             (then (local.set $sum (i64.add (local.get $sum) (i64.const 1)))))
           (br_if $again (i64.ne (local.get $i) (i64.const 0))))"
    );
    let output = run(&["--workers=2"], items, &body).expect_quiet_success();
    assert!((30..=60).contains(&output.numbers()[0]), "{output:#?}");
}

#[test]
fn a_sender_need_not_wait_longer_than_it_wants() {
    let body = format!(
        "(local.set $to (call $limited (i64.const 2) (i32.const 0) {}))
         (call $send (local.get $to) (i64.const 1)) (call $send (local.get $to) (i64.const 1))
         (call $number (i64.const 0) (i64.const 1))
         (call $say32 (call $send_timeout (local.get $to) (i64.const 0)))
         (call $say32 (call $send_timeout (local.get $to) (i64.const 20)))
         (call $say (call $size))
         (call $kill (local.get $to)) (call $join (local.get $to))
         (call $say32 (call $send_timeout (local.get $to) (i64.const 20)))
         (call $number (i64.const 0) (i64.const 42))
         (call $say32 (call $send_timeout (call $self) (i64.const 0)))
         (call $say (call $recv))",
        named("sleep")
    );
    run(&[], "", &body).expect_quiet_success().prints(&[9027, 9027, 8, 0, 0, 42]);
}

#[test]
fn what_finds_no_room_is_dropped_if_that_was_chosen() {
    let body = format!(
        "(local.set $to (call $limited (i64.const 3) (i32.const 1) {}))
         {}
         (call $sleep (i64.const 1))
         (call $say (call $recv)) (call $say (call $recv)) (call $say (call $recv))
         (call $sleep (i64.const 1))
         (call $send (local.get $to) (i64.const 0))
         (call $say (call $recv))",
        named("echo_"),
        times(10, "(call $send (local.get $to) (i64.add (i64.const 1) (local.get $i)))"),
    );
    run(&["--workers=1"], "", &body).expect_quiet_success().prints(&[1, 2, 3, 0]);
}

#[test]
fn a_flooded_receiver_ends_if_that_was_chosen() {
    let body = format!(
        "(local.set $to (call $limited (i64.const 3) (i32.const 2) {}))
         {}
         (call $join (local.get $to))
         (call $say (i64.const 1))",
        named("deaf_"),
        times(4, "(call $send (local.get $to) (i64.const 1))"),
    );
    run(&[], "", &body)
        .expect(0)
        .prints(&[1])
        .says(&["ended because more than 3 messages waited for it"]);
}

#[test]
fn the_main_process_has_limits_as_well() {
    let flood = times(10, "(call $send (call $self) (local.get $i))");
    let said = format!("{flood} (call $say (call $recv)) (call $say (call $recv))");
    run(&["--max-mailbox=2:drop"], "", &said).expect_quiet_success().prints(&[0, 1]);
    run(&["--max-mailbox=2"], "", &said).expect(134).says(&["sending to oneself"]);
    let waits = format!("{flood} (call $yield) (call $yield)");
    let output = run(&["--max-mailbox=2:kill"], "", &waits);
    assert_ne!(output.code, 0, "{output:#?}");
    output.says(&["more than 2 messages waited for it"]);
    run(&["--max-mailbox=2:maybe"], "", "")
        .expect(2)
        .says(&["\"maybe\" is not block, drop or kill"]);
}

#[test]
fn stacks_have_the_size_that_was_asked_for() {
    // 100 frames of about 100 bytes, or endless ones.
    let items = "(func $deep (param $n i64) (result i64)
        (if (result i64) (i64.eqz (local.get $n))
          (then (i64.const 0))
          (else (i64.add (i64.const 1) (call $deep (i64.sub (local.get $n) (i64.const 1)))))))
      (func (export \"deep_\") (param $main i64)
        (call $send (local.get $main) (call $deep (call $recv))))
      (func $with_stack (param $bytes i64) (param $depth i64) (local $c i64)
        (local.set $c (call $config))
        (if (call $set_limit (local.get $c) (i32.const 6) (local.get $bytes) (i32.const 288))
          (then unreachable))
        (call $argument (call $self))
        (i64.store (i32.const 240) NAME)
        (if (call $spawn_raw (i64.const 0) (local.get $c) (i64.const -1)
              (i32.const 240) (i32.const 5) (i32.const 256) (i32.const 17) (i32.const 288))
          (then unreachable))
        (call $send (i64.load (i32.const 288)) (local.get $depth)))"
        .replace("NAME", &named("deep_"));
    let body = "(call $with_stack (i64.const 16384) (i64.const 50)) (call $say (call $recv))
      (call $with_stack (i64.const 4000000) (i64.const 20000)) (call $say (call $recv))
      (call $with_stack (i64.const 0) (i64.const 10)) (call $say (call $recv))
      (call $with_stack (i64.const 32768) (i64.const 20000))
      (call $join (i64.load (i32.const 288)))
      (call $with_stack (i64.const -1) (i64.const 1000000))
      (call $join (i64.load (i32.const 288)))
      (call $say (i64.const 1))";
    let output = run(&[], &items, body).expect(0).prints(&[50, 20000, 10, 1]);
    assert!(output.stderr.matches("stack").count() >= 2, "{output:#?}");
    run(&["--max-stack=64K"], &items, "(call $say (call $deep (i64.const 100000)))")
        .expect(134)
        .says(&["stack"]);
}
