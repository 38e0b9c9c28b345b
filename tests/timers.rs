//! `lunatic::timer`: messages that are sent later.

mod support;

use support::{Module, Running, lunatic, program, run_wat, run_wat_with, spawn, spawn_with, times};

fn guest(items: &str, body: &str) -> String {
    program(items, &format!("(local $i i64) (local $n i64) {body}")).replace(
        "(module",
        r#"(module
        (import "lunatic::timer" "send_after" (func $send_after (param i64 i64) (result i64)))
        (import "lunatic::timer" "cancel_timer" (func $cancel (param i64) (result i32)))
        (import "lunatic::message" "send_receive_skip_search"
          (func $request (param i64 i64 i64) (result i32)))"#,
    )
}

#[test]
fn messages_come_when_their_time_has_come_and_in_that_order() {
    let later = |value: u32, delay: u32| {
        format!(
            "(call $number (i64.const 0) (i64.const {value}))
             (call $say (call $send_after (call $self) (i64.const {delay})))"
        )
    };
    let body = format!(
        "{} {} {} {} {}",
        later(3, 60),
        later(1, 0),
        later(2, 20),
        "(call $say (call $recv))".repeat(3),
        // All have been sent.
        "(call $say32 (call $cancel (i64.const 0)))
         (call $say32 (call $receive (i32.const 0) (i32.const 0) (i64.const 50)))"
    );
    for workers in ["1", "4"] {
        run_wat_with(&["--workers", workers], &guest("", &body))
            .expect_quiet_success()
            .prints(&[0, 1, 2, 1, 2, 3, 0, 9027]);
    }
}

#[test]
fn a_cancelled_message_is_never_sent() {
    let body = "
      (call $number (i64.const 0) (i64.const 1))
      (local.set $n (call $send_after (call $self) (i64.const 30)))
      (call $say32 (call $cancel (local.get $n)))
      (call $say32 (call $cancel (local.get $n)))
      (call $say32 (call $cancel (i64.const 99)))
      (call $say32 (call $receive (i32.const 0) (i32.const 0) (i64.const 100)))";
    run_wat(&guest("", body)).expect_quiet_success().prints(&[1, 0, 0, 9027]);
}

#[test]
fn a_timer_survives_its_maker_and_its_receiver_is_looked_up_late() {
    let items = "
      (func (export \"maker\") (param $main i64)
        (call $number (i64.const 0) (i64.const 7))
        (drop (call $send_after (local.get $main) (i64.const 50)))
        ;; To a process that will be gone by then: dropped.
        (call $number (i64.const 0) (i64.const 8))
        (drop (call $send_after (call $self) (i64.const 20))))";
    let body = format!(
        "(local.set $n {}) (call $join (local.get $n)) (call $say (call $recv))",
        spawn_with("maker", "(call $self)")
    );
    for workers in ["1", "4"] {
        run_wat_with(&["--workers", workers, "--stats=json"], &guest(items, &body))
            .expect(0)
            .prints(&[7])
            .says(&["\"refused\":1,"]);
    }
}

#[test]
fn far_deadlines_are_deadlines_and_the_end_of_the_run_ends_them() {
    let body = "
      (call $number (i64.const 0) (i64.const 1))
      (drop (call $send_after (call $self) (i64.const -1)))
      (call $say (i64.const 1))";
    run_wat(&guest("", body)).expect_quiet_success().prints(&[1]);
}

#[test]
fn a_process_may_set_any_number_of_timers_one_after_the_other() {
    let body = times(
        200_000,
        "(call $number (i64.const 0) (local.get $i))
         (drop (call $send_after (call $self) (i64.const 0)))
         (if (i64.ne (call $recv) (local.get $i)) (then unreachable))",
    );
    run_wat(&guest("", &body)).expect_quiet_success();
}

#[test]
fn too_many_timers_at_once_end_the_process() {
    let body = times(
        3_000_000,
        "(call $create (i64.const 0) (i64.const 0))
         (drop (call $send_after (call $self) (i64.const 100000000)))",
    );
    run_wat(&guest("", &body)).expect(134).says(&["send_after", "the most there can be"]);
    run_wat_with(&["--max-resources=1000"], &guest("", &body))
        .expect(134)
        .says(&["send_after", "1000 resources, its limit (--max-resources)"]);
}

#[test]
fn a_request_looks_only_at_what_comes_after_it() {
    let items = "
      (func (export \"echo\") (param $main i64)
        (loop $again
          (call $send_tagged (local.get $main) (i64.const 5) (i64.add (call $recv) (i64.const 1)))
          (br $again)))";
    let body = format!(
        "(local $echo i64) (local.set $echo {})
         ;; An old message with the same tag stays where it is.
         (call $send_tagged (call $self) (i64.const 5) (i64.const -1))
         {}
         (call $say (call $recv))
         (call $number (i64.const 0) (i64.const 1))
         (call $say32 (call $request (call $self) (i64.const 9) (i64.const 20)))
         (call $say (call $recv))
         (drop (call $send_raw (call $self)))
         (call $say32 (call $request (local.get $echo) (i64.const 9) (i64.const 20)))",
        spawn_with("echo", "(call $self)"),
        times(
            1_000,
            "(call $number (i64.const 0) (local.get $i))
             (if (call $request (local.get $echo) (i64.const 5) (i64.const -1)) (then unreachable))
             (if (i64.ne (call $value) (i64.add (local.get $i) (i64.const 1))) (then unreachable))"
        )
    );
    for workers in ["1", "4"] {
        run_wat_with(&["--workers", workers], &guest(items, &body))
            .expect(134)
            .prints(&[-1, 9027, 1])
            .says(&["send_receive_skip_search: the process has no current message"]);
    }
}

/// The guest says 7 and computes for ever.
#[track_caller]
fn says_seven_while_it_computes(guest: &str) {
    let module = Module::wat(guest);
    for workers in ["1", "2", "4"] {
        let mut command = lunatic();
        command.args(["run", "--workers", workers]).arg(module.path());
        let mut running = Running::start(command);
        running.wait_for("7\n");
        running.signal(libc::SIGINT);
        running.finish().expect(130);
    }
}

#[test]
fn a_message_comes_though_its_sender_computes_for_ever() {
    // Other workers have nothing to do, and fall asleep before there is a timer.
    let items = "(func (export \"receiver\") (call $say (call $recv)))";
    for delay in [10, 150] {
        let body = format!(
            "(local.set $n {})
             (call $sleep (i64.const 50))
             (call $number (i64.const 0) (i64.const 7))
             (drop (call $send_after (local.get $n) (i64.const {delay})))
             (call $for_ever)",
            spawn("receiver")
        );
        says_seven_while_it_computes(&guest(items, &body));
    }
}

#[test]
fn who_sleeps_for_long_gets_up_though_another_computes_for_ever() {
    // Its timer is far away when the other begins, and is nobody's who sleeps.
    let items =
        "(func (export \"sleeper\") (call $sleep (i64.const 150)) (call $say (i64.const 7)))";
    let body = format!(
        "(call $sleep (i64.const 50)) (drop {}) (call $sleep (i64.const 1)) (call $for_ever)",
        spawn("sleeper")
    );
    says_seven_while_it_computes(&guest(items, &body));
}
