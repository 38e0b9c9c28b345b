//! What the host holds for guests is bounded: messages, wherever they wait, and resources. Whoever makes
//! it hold most ends, and nobody else.

mod support;

use support::{Output, program, run_wat_with, spawn, spawn_linked_with, spawn_with, times};

/// The reason "out of memory" of `get_exit_reason`.
const OUT_OF_MEMORY: i64 = 6;

#[track_caller]
fn run(options: &[&str], items: &str, body: &str) -> Output {
    let body = format!("(local $to i64) (local $i i64) (local $sum i64) {body}");
    run_wat_with(options, &program(items, &body))
}

/// Sends small messages for ever.
const FLOOD: &str = r#"(func (export "flood") (param $to i64)
  (loop $again (call $send (local.get $to) (i64.const 1)) (br $again)))"#;

#[test]
fn whoever_floods_a_process_that_is_busy_ends_and_the_process_goes_on() {
    // Without a limit of its own it is half of what there may be in all.
    let limits = ["--max-host-memory=32M", "--max-total-memory=64M"];
    for (workers, limit) in
        limits.into_iter().flat_map(|it| [("--workers=1", it), ("--workers=2", it)])
    {
        // The main process does not receive until the flooder has ended, but others do not mind.
        let body = format!(
            "(call $die_with_links (i32.const 0))
             (local.set $to {})
             (if (i32.ne (call $receive (i32.const 32) (i32.const 1) (i64.const -1)) (i32.const 1))
               (then unreachable))
             (call $exit_reason (i32.const 320))
             (call $say32 (call $kind)) (call $say (call $detail))
             (call $say (call $recv))",
            spawn_linked_with("flood", "(call $self)", 77)
        );
        let items = format!("{FLOOD} (data (i32.const 32) \"\\4d\")");
        let body = format!("(i64.store (i32.const 32) (i64.const 77)) {body}");
        run(&[workers, limit], &items, &body)
            .expect(0)
            .prints(&[OUT_OF_MEMORY, 32 << 20, 1])
            .says(&["ran out of host memory: it has sent most of the", "that wait for process"]);
    }
}

#[test]
fn a_flood_by_several_or_one_after_the_other_ends_those_who_made_them() {
    // One child of the main process has others flood that: three at once, or each for a moment. The one
    // beside it goes on.
    let heavy = "(call $create (i64.const 0) (i64.const 0))
      (drop (call $write (i32.const 0) (i32.const 60000)))
      (drop (call $send_raw (local.get $to)))";
    let items = format!(
        r#"{DEAF}
      (func (export "flood") (param $to i64) (loop $again {heavy} (br $again)))
      (func (export "short") (param $to i64) (local $i i64) {})
      (func (export "three") (param $to i64) (local $i i64) {} (call $sleep (i64.const -1)))
      (func (export "turns") (param $to i64) (loop $again (call $join {}) (br $again)))"#,
        times(20, heavy),
        times(3, &format!("(drop {})", spawn_with("flood", "(local.get $to)"))),
        spawn_with("short", "(local.get $to)"),
    );
    for hostile in ["three", "turns"] {
        let body = format!(
            "(call $die_with_links (i32.const 0)) (local.set $to {})
             (i64.store (i32.const 32) (i64.const 77)) (drop {})
             (if (i32.ne (call $receive (i32.const 32) (i32.const 1) (i64.const -1)) (i32.const 1))
               (then unreachable))
             (call $exit_reason (i32.const 320)) (call $say32 (call $kind))
             (call $say32 (call $exists (local.get $to)))",
            spawn("deaf"),
            spawn_linked_with(hostile, "(call $self)", 77)
        );
        run(&["--workers=2", "--max-host-memory=32M"], &items, &body)
            .expect(0)
            .prints(&[OUT_OF_MEMORY, 1])
            .says(&["it and those that descend from the same child of the main process have sent"]);
    }
}

/// `send_after`, and `$later`, which sends a message of 60,000 bytes in a millisecond.
const LATER: [&str; 2] = [
    r#"(import "lunatic::timer" "send_after" (func $send_after (param i64 i64) (result i64)))"#,
    r#"(func $later (param $to i64) (param $after i64)
      (call $create (i64.const 0) (i64.const 0))
      (drop (call $write (i32.const 0) (i32.const 60000)))
      (drop (call $send_after (local.get $to) (local.get $after))))"#,
];

#[test]
fn who_floods_by_delayed_messages_ends() {
    let [import, later] = LATER;
    let items = format!(
        r#"{later} (func (export "flood") (param $to i64)
          (loop $again (call $later (local.get $to) (i64.const 1)) (call $yield) (br $again)))"#
    );
    let body = format!(
        "(call $die_with_links (i32.const 0)) (i64.store (i32.const 32) (i64.const 77)) (drop {})
         (if (i32.ne (call $receive (i32.const 32) (i32.const 1) (i64.const -1)) (i32.const 1))
           (then unreachable))
         (call $exit_reason (i32.const 320)) (call $say32 (call $kind))",
        spawn_linked_with("flood", "(call $self)", 77)
    );
    run_importing(import, &["--workers=2", "--max-host-memory=32M"], &items, &body)
        .expect(0)
        .prints(&[OUT_OF_MEMORY])
        .says(&["ran out of host memory: it has sent most of the"]);
}

#[test]
fn many_who_hold_little_are_not_spared_because_somebody_else_holds_more() {
    // Two megabytes wait for the main process from one who did nothing else; another child takes the rest in
    // small portions: by children of its own, or in channels.
    let [import, later] = LATER;
    let items = format!(
        r#"{DEAF} {later}
      (func (export "sender") (param $to i64) (local $i i64)
        {}
        (call $sleep (i64.const -1)))
      (func (export "small") (local $i i64)
        {}
        (call $sleep (i64.const -1)))
      (func (export "many") (local $i i64) {} (call $sleep (i64.const -1)))
      (func (export "chans") (local $c i64) (local $i i64) {})"#,
        times(
            40,
            "(call $create (i64.const 3) (i64.const 0))
             (drop (call $write (i32.const 0) (i32.const 60000)))
             (drop (call $send_raw (local.get $to)))"
        ),
        times(10, "(call $later (call $self) (i64.const 3600000))"),
        times(300, &format!("(drop {})", spawn("small"))),
        times(
            1000,
            &format!(
                "(local.set $c (call $open (i64.const 0))) {}",
                "(call $create (i64.const 0) (i64.const 0))
                 (drop (call $write (i32.const 0) (i32.const 60000)))
                 (drop (call $channel_send (local.get $c) (i64.const 0)))"
                    .repeat(8)
            )
        ),
    );
    for (hostile, says) in
        [("many", "as one of many that together had most"), ("chans", "closed and emptied")]
    {
        let body = format!(
            "(local.set $to {}) (call $sleep (i64.const 20)) (drop {}) (call $sleep (i64.const 700))
             (call $say32 (call $exists (local.get $to)))
             {} (call $say (local.get $sum))",
            spawn_with("sender", "(call $self)"),
            spawn(hostile),
            times(
                40,
                "(i64.store (i32.const 32) (i64.const 3))
                 (if (i32.eqz (call $receive (i32.const 32) (i32.const 1) (i64.const -1)))
                   (then (local.set $sum (i64.add (local.get $sum) (i64.const 1)))))"
            )
        );
        run_importing(import, &["--workers=2", "--max-host-memory=40M"], &items, &body)
            .expect(0)
            .prints(&[1, 40])
            .says(&[says]);
    }
}

#[test]
fn a_process_that_receives_nothing_from_many_ends() {
    let items = format!(
        "{FLOOD} (func (export \"deaf\") (param i64)
           (drop (call $receive (i32.const 48) (i32.const 1) (i64.const -1))))"
    );
    let body = format!(
        "(i64.store (i32.const 48) (i64.const 5))
         (local.set $to {})
         {}
         (call $join (local.get $to))
         (call $say (i64.const 1))",
        spawn_with("deaf", "(i64.const 0)"),
        times(8, &format!("(drop {})", spawn_with("flood", "(local.get $to)"))),
    );
    // With tag 5 as what it waits for, in its own memory.
    let items =
        items.replace("(param i64)\n", "(param i64) (i64.store (i32.const 48) (i64.const 5))\n");
    run(&["--workers=2", "--max-host-memory=32M"], &items, &body).expect(0).prints(&[1]).says(&[
        "the most of all, and all processes together may have 33554432 (--max-host-memory)",
    ]);
}

#[test]
fn who_floods_itself_ends() {
    let body = "(loop $again (call $send (call $self) (i64.const 1)) (br $again))";
    run(&["--max-host-memory=16M"], "", body)
        .expect(134)
        .says(&["the main process ran out of host memory", "the most of all"]);
}

#[test]
fn long_messages_count_with_their_length() {
    let items = r#"(func (export "heavy") (param $to i64)
      (drop (memory.grow (i32.const 16)))
      (loop $again
        (call $create (i64.const 0) (i64.const 0))
        (drop (call $write (i32.const 0) (i32.const 1000000)))
        (drop (call $send_raw (local.get $to)))
        (br $again)))"#;
    let body = format!(
        "(call $die_with_links (i32.const 0)) (drop {})
         (i64.store (i32.const 32) (i64.const 77))
         (if (i32.ne (call $receive (i32.const 32) (i32.const 1) (i64.const -1)) (i32.const 1))
           (then unreachable))
         (call $exit_reason (i32.const 320)) (call $say32 (call $kind))",
        spawn_linked_with("heavy", "(call $self)", 77)
    );
    run(&["--max-host-memory=64M"], items, &body).expect(0).prints(&[OUT_OF_MEMORY]);
}

#[test]
fn messages_that_are_written_and_kept_count_as_well() {
    // Each keeps 4 MB in its hands; all of them more than there may be. Some end, not the main one.
    let items = r#"(func (export "keep") (param $main i64)
      (drop (memory.grow (i32.const 70)))
      (call $create (i64.const 0) (i64.const 0))
      (drop (call $write (i32.const 0) (i32.const 4000000)))
      (call $sleep (i64.const -1)))"#;
    let spawn = spawn_linked_with("keep", "(call $self)", 7);
    let body = format!(
        "(call $die_with_links (i32.const 0)) {}
         (if (i32.ne (call $notice) (i32.const 1)) (then unreachable))
         (call $say32 (call $kind))",
        times(30, &format!("(drop {spawn})"))
    );
    run(&["--max-host-memory=64M"], items, &body).expect(0).prints(&[OUT_OF_MEMORY]);
}

#[test]
fn messages_that_come_with_a_spawn_count_for_the_child() {
    // Each child never receives its 4 MB, and keeps one more: some end, and not the one that wrote them, and
    // has at most one of them at a time.
    let items = r#"(func (export "keep")
        (drop (memory.grow (i32.const 20)))
        (call $create (i64.const 0) (i64.const 0))
        (drop (call $write (i32.const 0) (i32.const 1000000)))
        (call $sleep (i64.const -1)))
      (func $keeper
        (call $create (i64.const 0) (i64.const 0))
        (drop (call $write (i32.const 4096) (i32.const 4000000)))
        (if (call $spawn_with_message (i64.const 7) (i64.const -1) (i64.const -1)
              (i32.const 32) (i32.const 4) (i32.const 256) (i32.const 0) (i32.const 288))
          (then unreachable)))"#;
    let body = format!(
        "(call $die_with_links (i32.const 0)) (drop (memory.grow (i32.const 70)))
         (i32.store (i32.const 32) (i32.const 0x7065656b)) {}
         (if (i32.ne (call $notice) (i32.const 1)) (then unreachable))
         (call $say32 (call $kind))",
        times(30, "(call $keeper)")
    );
    run(&["--max-host-memory=64M"], items, &body).expect(0).prints(&[OUT_OF_MEMORY]);
}

#[test]
fn a_channel_that_nobody_empties_is_closed_and_nobody_ends() {
    let body = "(local $c i64)
      (local.set $c (call $open (i64.const 0)))
      (loop $again
        (call $number (i64.const 0) (i64.const 1))
        (br_if $again (i32.eqz (call $channel_send (local.get $c) (i64.const -1)))))
      (call $say32 (call $channel_send (local.get $c) (i64.const -1)))";
    run(&["--max-host-memory=32M"], "", body)
        .expect(0)
        .prints(&[1])
        .says(&["a channel is closed and emptied", "33554432 bytes for all processes"]);
}

#[test]
fn hoards_of_channels_count() {
    let items =
        r#"(func (export "hoard") (loop $again (drop (call $open (i64.const 0))) (br $again)))"#;
    let body = format!(
        "(local.set $to {}) (call $join (local.get $to)) (call $say (i64.const 1))",
        spawn("hoard")
    );
    run(&["--max-host-memory=16M"], items, &body)
        .expect(0)
        .prints(&[1])
        .says(&["ran out of host memory"]);
}

#[test]
fn others_do_not_notice_a_flood() {
    // Ten times the limit is sent and received meanwhile, by processes that keep nothing.
    let items = format!(
        "{FLOOD}
         (func (export \"echo\") (param $main i64)
           (loop $again (call $send (local.get $main) (call $recv)) (br $again)))
         (func (export \"floods\") (local $i i64)
           {}
           (call $sleep (i64.const -1)))",
        times(3, &format!("(drop {})", spawn_with("flood", "(call $self)")))
    );
    let body = format!(
        "(local.set $to {}) (drop {})
         {}
         (call $say (local.get $sum))",
        spawn_with("echo", "(call $self)"),
        spawn("floods"),
        times(
            100_000,
            "(call $send (local.get $to) (local.get $i))
             (local.set $sum (i64.add (local.get $sum) (i64.sub (call $recv) (local.get $i))))"
        ),
    );
    run(&["--workers=2", "--max-host-memory=16M"], &items, &body).expect(0).prints(&[0]);
}

#[test]
fn a_mailbox_may_be_limited_in_bytes() {
    let deaf = "(func (export \"deaf\") (call $sleep (i64.const -1)))";
    let flood = |count: u32| times(count.into(), "(call $send (call $self) (local.get $i))");
    // Each takes 96 bytes.
    let body = format!("{} (call $say (i64.const 1))", flood(30));
    run(&["--max-mailbox-bytes=4K", "--max-mailbox=1000:drop"], deaf, &body)
        .expect_quiet_success()
        .prints(&[1]);
    let count = "(loop $again
        (if (i32.eqz (call $receive (i32.const 0) (i32.const 0) (i64.const 0)))
          (then (local.set $sum (i64.add (local.get $sum) (i64.const 1))) (br $again))))
      (call $say (local.get $sum))";
    run(
        &["--max-mailbox-bytes=4K", "--max-mailbox=1000:drop"],
        deaf,
        &format!("{} {count}", flood(500)),
    )
    .expect_quiet_success()
    .prints(&[43]);
    run(&["--max-mailbox-bytes=4K"], deaf, &flood(100)).expect(134).says(&["sending to oneself"]);
    let killed = format!("{} (call $yield) (call $yield)", flood(100));
    run(&["--max-mailbox-bytes=4K", "--max-mailbox=1000:kill"], deaf, &killed)
        .expect(134)
        .says(&["more than 4096 bytes of messages waited for it"]);
}

#[test]
fn a_flood_of_delayed_messages_is_bounded_in_number_and_in_memory() {
    let items = r#"
      (import "lunatic::timer" "send_after" (func $send_after (param i64 i64) (result i64)))
      (func (export "many") (param $to i64)
        (loop $again
          (call $number (i64.const 0) (i64.const 1))
          (drop (call $send_after (local.get $to) (i64.const 3600000)))
          (br $again)))
      (func (export "heavy") (param $to i64)
        (drop (memory.grow (i32.const 16)))
        (loop $again
          (call $create (i64.const 0) (i64.const 0))
          (drop (call $write (i32.const 0) (i32.const 1000000)))
          (drop (call $send_after (local.get $to) (i64.const 3600000)))
          (br $again)))"#;
    let (import, items) = items.trim_start().split_once('\n').expect("two parts");
    let body = format!(
        "(local $to i64) (call $die_with_links (i32.const 0))
         (drop {}) (if (i32.ne (call $notice) (i32.const 1)) (then unreachable))
         (call $say32 (call $kind))
         (drop {}) (if (i32.ne (call $notice) (i32.const 1)) (then unreachable))
         (call $say32 (call $kind))",
        spawn_linked_with("many", "(call $self)", 7),
        spawn_linked_with("heavy", "(call $self)", 7),
    );
    let text = program(items, &body).replacen("(module", &format!("(module {import}"), 1);
    // A trap in a host call; out of memory.
    run_wat_with(&["--max-host-memory=64M"], &text)
        .expect(0)
        .prints(&[3, OUT_OF_MEMORY])
        .says(&["the process has 100000 delayed messages, the most there can be"]);
}

#[test]
fn delayed_messages_of_those_who_have_ended_make_room_first() {
    let items = r#"
      (import "lunatic::timer" "send_after" (func $send_after (param i64 i64) (result i64)))
      (func (export "leave") (param $to i64) (local $i i64)
        (drop (memory.grow (i32.const 16)))
        (loop $again
          (call $create (i64.const 0) (i64.const 0))
          (drop (call $write (i32.const 0) (i32.const 1000000)))
          (drop (call $send_after (local.get $to) (i64.const 3600000)))
          (local.set $i (i64.add (local.get $i) (i64.const 1)))
          (br_if $again (i64.lt_u (local.get $i) (i64.const 10)))))"#;
    let (import, items) = items.trim_start().split_once('\n').expect("two parts");
    let body = format!(
        "(local $to i64) (local $i i64) {}
         (call $say (i64.const 1))",
        times(
            30,
            &format!(
                "(local.set $to {}) (call $join (local.get $to))",
                spawn_with("leave", "(call $self)")
            )
        )
    );
    let text = program(items, &body).replacen("(module", &format!("(module {import}"), 1);
    run_wat_with(&["--max-host-memory=64M"], &text).expect_quiet_success().prints(&[1]);
}

#[test]
fn a_delayed_message_honours_the_limit_of_the_mailbox() {
    // Two fit; five come.
    let import = r#"(import "lunatic::timer" "send_after"
      (func $send_after (param i64 i64) (result i64)))"#;
    let later = times(
        5,
        "(call $number (i64.const 0) (i64.add (local.get $i) (i64.const 1)))
         (drop (call $send_after (call $self) (i64.const 1)))",
    );
    let sum = |count: u64| {
        format!(
            "{} (call $say (local.get $sum))",
            times(count, "(local.set $sum (i64.add (local.get $sum) (call $recv)))")
        )
    };
    let run = |options: &[&str], body: &str| {
        let body = format!("(local $i i64) (local $sum i64) {later} {body}");
        let text = program("", &body).replacen("(module", &format!("(module {import}"), 1);
        run_wat_with(options, &text)
    };
    // They wait, and come when there is room.
    run(&["--max-mailbox=2"], &sum(5)).expect_quiet_success().prints(&[15]);
    run(&["--max-mailbox=2"], &format!("(call $sleep (i64.const 30)) {}", sum(5)))
        .expect_quiet_success()
        .prints(&[15]);
    let only = "(call $sleep (i64.const 30)) (call $say (call $recv)) (call $say (call $recv))
      (call $say32 (call $receive (i32.const 0) (i32.const 0) (i64.const 30)))";
    let output = run(&["--max-mailbox=2:drop"], only).expect_quiet_success();
    assert_eq!(output.numbers()[2], 9027, "{output:#?}");
    run(&["--max-mailbox=2:kill"], "(call $sleep (i64.const -1))")
        .expect(134)
        .says(&["more than 2 messages waited for it"]);
}

const TAGS: &str = r#"
  (import "lunatic::process" "monitor_with_tag" (func $monitor_tag (param i64 i64)))
  (import "lunatic::process" "stop_monitoring_with_tag" (func $unmonitor_tag (param i64 i64)))"#;

/// Waits for ever.
const DEAF: &str = r#"(func (export "deaf") (call $sleep (i64.const -1)))"#;

/// The main process holds so many bytes itself, and says how another one ends.
fn holds_and_watches(bytes: u32, other: &str) -> String {
    format!(
        "(drop (memory.grow (i32.const 70)))
         (call $create (i64.const 0) (i64.const 0))
         (drop (call $write (i32.const 0) (i32.const {bytes})))
         (call $die_with_links (i32.const 0)) (drop {})
         (if (i32.ne (call $receive (i32.const 0) (i32.const 0) (i64.const -1)) (i32.const 1))
           (then unreachable))
         (call $exit_reason (i32.const 320))
         (call $say32 (call $kind))",
        spawn_linked_with(other, "(call $self)", 7)
    )
}

#[test]
fn ties_count_for_whoever_makes_them() {
    // The tier monitors 1,500 others with 1,000 tags each. One that holds 4 MB beside it, and those who are
    // monitored, go on.
    let items = format!(
        r#"{DEAF}
      (func (export "tier") (param $main i64) (local $to i64) (local $i i64) (local $j i64)
        (loop $next
          (local.set $to {})
          {}
          (local.set $j (i64.add (local.get $j) (i64.const 1)))
          (br_if $next (i64.lt_u (local.get $j) (i64.const 1500))))
        (call $sleep (i64.const -1)))"#,
        spawn("deaf"),
        times(1000, "(call $monitor_tag (local.get $i) (local.get $to))")
    );
    let body = holds_and_watches(4_000_000, "tier");
    run_importing(TAGS, &["--max-host-memory=12M"], &items, &body)
        .expect(0)
        .prints(&[OUT_OF_MEMORY])
        .says(&["the most of all, and all processes together may have 12582912"]);
}

#[test]
fn ties_that_are_undone_or_whose_peers_end_no_longer_count() {
    // 200 times 2 MB: each half is given back in another way.
    let items = format!(
        r#"{DEAF}
      (func $tie (param $to i64) (local $i i64) {})
      (func $untie (param $to i64) (local $i i64) {})"#,
        times(1000, "(call $monitor_tag (local.get $i) (local.get $to))"),
        times(1000, "(call $unmonitor_tag (local.get $i) (local.get $to))")
    );
    let body = format!(
        "{} (call $say (i64.const 1))",
        times(
            2000,
            &format!(
                "(local.set $to {}) (call $tie (local.get $to)) (call $untie (local.get $to))
                 (call $link (i64.const 1) (local.get $to)) (call $unlink (local.get $to))
                 (call $kill (local.get $to))",
                spawn("deaf")
            )
        )
    );
    run_importing(TAGS, &["--max-host-memory=4M"], &items, &body)
        .expect_quiet_success()
        .prints(&[1]);
    // Notices come instead, and are received.
    let body = format!(
        "{} (call $say (local.get $sum))",
        times(
            500,
            &format!(
                "(local.set $to {}) (call $tie (local.get $to)) (call $kill (local.get $to))
                 (local.set $j (i64.const 0))
                 (loop $more
                   (local.set $sum (i64.add (local.get $sum) (i64.extend_i32_u (call $notice))))
                   (local.set $j (i64.add (local.get $j) (i64.const 1)))
                   (br_if $more (i64.lt_u (local.get $j) (i64.const 1000))))",
                spawn("deaf")
            )
        )
    );
    run_importing(TAGS, &["--max-host-memory=4M"], &items, &format!("(local $j i64) {body}"))
        .expect_quiet_success()
        .prints(&[1_000_000]);
}

#[test]
fn names_count_for_whoever_gives_them() {
    // 1,000 names of 4 KiB for itself and four others.
    let items = format!(
        r#"{DEAF}
      (func $name (param $to i64) (local $i i64) {})
      (func (export "namer") (param $main i64)
        (call $name (call $self))
        {}
        (call $sleep (i64.const -1)))"#,
        times(
            1000,
            "(i64.store (i32.const 2000) (i64.add (local.get $i) (i64.const 0x2020202020202020)))
             (i64.store (i32.const 2008) (i64.const 0x2020202020202020))
             (i32.store8 (i32.const 2001)
               (i32.add (i32.const 32) (i32.wrap_i64 (i64.shr_u (local.get $i) (i64.const 6)))))
             (i32.store8 (i32.const 2000)
               (i32.add (i32.const 32) (i32.wrap_i64 (i64.and (local.get $i) (i64.const 63)))))
             (i64.store (i32.const 2016) (i64.and (local.get $to) (i64.const 0x7f7f7f7f7f7f7f7f)))
             (call $put_name (i32.const 2000) (i32.const 4096) (i64.const 0) (local.get $to))"
        ),
        format!("(call $name {})", spawn("deaf")).repeat(4)
    );
    let body = holds_and_watches(3_000_000, "namer");
    run(&["--max-host-memory=16M"], &items, &body).expect(0).prints(&[OUT_OF_MEMORY]);
}

const CONFIG_IMPORTS: &str = r#"
  (import "lunatic::process" "create_config" (func $create_config (result i64)))
  (import "lunatic::process" "drop_config" (func $drop_config (param i64)))
  (import "lunatic::wasi" "config_add_command_line_argument"
    (func $add_argument (param i64 i32 i32)))"#;

/// `$large_config` makes a configuration of some 60 KB.
const CONFIGS: &str = r#"
  (func $large_config (result i64) (local $config i64)
    (memory.fill (i32.const 2000) (i32.const 97) (i32.const 60000))
    (local.set $config (call $create_config))
    (call $add_argument (local.get $config) (i32.const 2000) (i32.const 60000))
    (local.get $config))"#;

#[test]
fn configurations_count_with_their_texts() {
    let items = format!(
        r#"{CONFIGS} (func (export "hoard") (param $main i64)
          (loop $again (drop (call $large_config)) (br $again)))"#
    );
    let body = format!(
        "(call $die_with_links (i32.const 0)) (drop {})
         (if (i32.ne (call $notice) (i32.const 1)) (then unreachable))
         (call $say32 (call $kind))",
        spawn_linked_with("hoard", "(call $self)", 7)
    );
    run_importing(CONFIG_IMPORTS, &["--max-host-memory=16M"], &items, &body)
        .expect(0)
        .prints(&[OUT_OF_MEMORY]);
    // Dropped ones do not.
    let body = format!(
        "{} (call $say (i64.const 1))",
        times(2000, "(call $drop_config (call $large_config))")
    );
    run_importing(CONFIG_IMPORTS, &["--max-host-memory=4M"], &items, &body)
        .expect_quiet_success()
        .prints(&[1]);
}

#[test]
fn a_configuration_counts_for_as_long_as_a_child_has_it() {
    // The parent drops each: when the host holds too much, no more children get one.
    let items = format!("{CONFIGS} {DEAF}");
    let body = "(local $c i64)
      (i64.store (i32.const 240) (i64.const 0x66616564))
      (loop $again
        (local.set $c (call $large_config))
        (if (i32.eqz (call $spawn_raw (i64.const 0) (local.get $c) (i64.const -1)
              (i32.const 240) (i32.const 4) (i32.const 256) (i32.const 0) (i32.const 288)))
          (then
            (call $drop_config (local.get $c))
            (local.set $sum (i64.add (local.get $sum) (i64.const 1)))
            (br_if $again (i64.lt_u (local.get $sum) (i64.const 5000))))))
      (call $say (local.get $sum))";
    let output = run_importing(CONFIG_IMPORTS, &["--max-host-memory=16M"], &items, body)
        .expect_quiet_success();
    // 16 MiB by 60 KB, and what workers count late.
    let spawned = output.numbers()[0];
    assert!((200..400).contains(&spawned), "{spawned} of 5000");
}

/// As [`run`], with imports that the prelude lacks.
#[track_caller]
fn run_importing(imports: &str, options: &[&str], items: &str, body: &str) -> Output {
    let body = format!("(local $to i64) (local $i i64) (local $sum i64) {body}");
    let text = program(items, &body).replacen("(module", &format!("(module {imports}"), 1);
    run_wat_with(options, &text)
}
