//! Links, monitors and exit signals: who is told of an end, who dies with it, and why.

mod support;

use support::{
    Output, program, run_wat_with, spawn, spawn_linked, spawn_linked_with, spawn_with, times,
};

/// The result must be the same with one worker, two and eight.
#[track_caller]
fn run(text: &str, check: impl Fn(Output)) {
    for workers in ["1", "2", "8"] {
        check(run_wat_with(&["--workers", workers], text));
    }
}

/// Prints the parts of a reason that do not depend on ids.
const SAY_REASON: &str = "(call $say32 (call $kind)) (call $say32 (call $first_kind))
    (call $say (call $detail))";

/// Children that end in every way a child can.
const ENDS: &str = r#"
  (func (export "return"))
  (func (export "exit0") (call $exit (i32.const 0)))
  (func (export "exit7") (call $exit (i32.const 7)))
  (func (export "trap") unreachable)
  (func (export "fault") (call $seek (i64.const -1)))
  (func (export "deep") (call $deeper (i64.const 0)))
  (func $deeper (param i64) (call $deeper (call $many (local.get 0))) (call $say (local.get 0)))
  (func $many (param i64) (result i64) (i64.add (local.get 0) (i64.const 1)))
  (func (export "loop") (call $for_ever))
  (func (export "wait") (drop (call $recv)))"#;

#[test]
fn a_monitor_is_told_every_kind_of_end_with_its_reason() {
    let told = |child: String| {
        format!(
            "(local.set $child {child})
             (call $monitor (local.get $child))
             (if (i32.ne (call $notice) (i32.const 2)) (then unreachable))
             (if (i64.ne (call $died) (local.get $child)) (then unreachable))
             (if (i64.ne (call $ended) (local.get $child)) (then unreachable))
             (if (i64.ne (call $first) (local.get $child)) (then unreachable))
             (call $say32 (call $kind)) (call $say32 (call $first_kind))"
        )
    };
    // The child may have ended before it is monitored, so all wait for a word first.
    let gated: String = ["return", "exit0", "exit7", "trap", "fault", "deep"]
        .iter()
        .map(|name| format!("(func (export \"g{name}\") (drop (call $recv)) (call ${name}))"))
        .collect();
    let children = ["return", "exit0", "exit7", "trap", "fault", "deep"].iter().fold(
        ENDS.to_string(),
        |text, name| {
            text.replace(
                &format!("(func (export \"{name}\")"),
                &format!("(func ${name} (export \"{name}\")"),
            )
        },
    );
    let open = "(call $send (local.get $child) (i64.const 1))
        (if (i32.ne (call $notice) (i32.const 2))";
    let mut body = "(local $child i64)".to_string();
    for name in ["greturn", "gexit0", "gexit7", "gtrap", "gfault", "gdeep"] {
        body += &told(spawn(name)).replace("(if (i32.ne (call $notice) (i32.const 2))", open);
        body += "(call $say (call $detail))";
    }
    for name in ["loop", "wait"] {
        let kill = "(call $kill (local.get $child)) (if (i32.ne (call $notice) (i32.const 2))";
        body += &told(spawn(name)).replace("(if (i32.ne (call $notice) (i32.const 2))", kill);
        body += "(call $say32 (i64.eq (call $detail) (call $self)))";
    }
    run(&program(&(children + &gated), &body), |output| {
        let numbers = output.expect(0).numbers();
        let (deep, others) = (&numbers[15..18], [&numbers[..15], &numbers[18..]].concat());
        // Kind, the same as there is no chain, and a number: a code, a trap's code, the killer.
        assert_eq!(others[..9], [0, 0, 0, 1, 1, 0, 1, 1, 7]);
        assert_eq!(others[9..11], [2, 2]);
        assert_eq!(others[12..15], [3, 3, 0]);
        assert_eq!(others[15..], [4, 4, 1, 4, 4, 1]);
        assert_eq!(deep[..2], [8, 8]);
        assert!(deep[2] > 4096, "the stack's size: {deep:?}");
    });
}

#[test]
fn who_cannot_start_is_told_of_too() {
    let body = format!(
        "(call $monitor {}) (if (i32.ne (call $notice) (i32.const 2)) (then unreachable))
         (call $say32 (call $kind))",
        spawn("nobody")
    );
    // Whether it was still there when it was monitored is a race.
    run(&program("", &body), |output| {
        let kind = output.expect(0).numbers();
        assert!(kind == [12] || kind == [13], "{kind:?}");
    });
    let linked = format!(
        "(call $die_with_links (i32.const 0)) (drop {})
         (if (i32.ne (call $notice) (i32.const 1)) (then unreachable))
         (call $say (call $tag)) {SAY_REASON}",
        spawn_linked("nobody", 9)
    );
    run(&program("", &linked), |output| drop(output.expect(0).prints(&[9, 12, 12, 0])));
}

#[test]
fn the_dead_and_those_who_never_lived_are_told_of_at_once() {
    let body = format!(
        "(local $dead i64)
         (call $die_with_links (i32.const 0))
         (local.set $dead {})
         (call $join (local.get $dead))
         (call $monitor (local.get $dead))
         (call $say32 (call $notice)) (call $say32 (call $kind))
         (call $say32 (i64.eq (call $died) (local.get $dead)))
         (call $link (i64.const 5) (local.get $dead))
         (call $say32 (call $notice)) (call $say32 (call $kind)) (call $say (call $tag))
         (call $say (call $died))
         (call $monitor (i64.const 0))
         (call $say32 (call $notice)) (call $say (call $died))
         (call $monitor (i64.const -1))
         (call $say32 (call $notice)) (call $say (call $died))
         (call $monitor (call $self)) (call $link (i64.const 1) (call $self))
         (call $unlink (local.get $dead)) (call $stop_monitoring (i64.const -1))
         (call $say32 (call $receive (i32.const 0) (i32.const 0) (i64.const 0)))",
        spawn("return")
    );
    run(&program(ENDS, &body), |output| {
        output.expect_quiet_success().prints(&[2, 13, 1, 1, 13, 5, 0, 2, 0, 2, -1, 9027]);
    });
}

#[test]
fn a_link_with_nobody_kills_who_does_not_survive_it() {
    let items = "(func (export \"child\") (call $link (i64.const 1) (i64.const 12345678))
        (call $for_ever))";
    let body = format!(
        "(call $die_with_links (i32.const 0)) (drop {})
         (if (i32.ne (call $notice) (i32.const 1)) (then unreachable))
         (call $say (call $tag)) {SAY_REASON}",
        spawn_linked("child", 3)
    );
    run(&program(items, &body), |output| {
        drop(output.expect_quiet_success().prints(&[3, 5, 13, 0]));
    });
}

#[test]
fn a_failing_link_kills_the_other_and_a_normal_end_only_unlinks() {
    // The middle is linked with a child, and the main process monitors the middle.
    let middle = |name: &str| {
        format!(
            "(func (export \"m_{name}\") (call $join {})
               (drop (call $recv)) (call $say (i64.const 77)))",
            spawn_linked(name, 1)
        )
    };
    for (name, survives) in
        [("return", true), ("exit0", true), ("exit7", false), ("trap", false), ("fault", false)]
    {
        let body = format!(
            "(local $m i64) (local.set $m {}) (call $monitor (local.get $m))
             {}
             (if (i32.ne (call $notice) (i32.const 2)) (then unreachable))
             (call $say32 (call $kind))",
            spawn(&format!("m_{name}")),
            if survives { "(call $send (local.get $m) (i64.const 1))" } else { "" }
        );
        let items = format!("{ENDS} {}", middle(name));
        run(&program(&items, &body), |output| {
            let numbers = output.expect(0).numbers();
            assert_eq!(numbers, if survives { vec![77, 0] } else { vec![5] }, "{name}");
        });
    }
}

#[test]
fn the_reason_of_a_chain_of_links_is_that_of_the_first() {
    let items = format!(
        "(func (export \"a\") (drop {}) (call $for_ever))
         (func (export \"b\") (drop {}) (call $for_ever))
         (func (export \"c\") (call $exit (i32.const 42)))",
        spawn_linked("b", 1),
        spawn_linked("c", 2)
    );
    let body = format!(
        "(local $a i64) (call $die_with_links (i32.const 0)) (local.set $a {})
         (call $monitor (local.get $a))
         (if (i32.ne (call $notice) (i32.const 1)) (then unreachable))
         (call $say (call $tag))
         (call $say32 (i64.eq (call $ended) (local.get $a)))
         (call $say32 (i64.eq (call $died_with) (local.get $a)))
         (call $say32 (i64.eq (call $first) (call $died_with)))
         {SAY_REASON}
         (if (i32.ne (call $notice) (i32.const 2)) (then unreachable))
         {SAY_REASON}
         (call $put (i32.const 2048) (call $exit_text (i32.const 2048) (i32.const 1000)))",
        spawn_linked("a", 4)
    );
    run(&program(&items, &body), |output| {
        let output = output.expect(0);
        let lines: Vec<&str> = output.stdout.lines().collect();
        assert_eq!(lines[..10], ["4", "1", "0", "0", "5", "1", "42", "5", "1", "42"]);
        assert!(lines[10].starts_with("died with its link, process <"), "{output:#?}");
        assert!(lines[10].ends_with("> exited with code 42"), "{output:#?}");
    });
}

#[test]
fn the_main_process_dies_with_a_link_and_says_so() {
    let body = format!("(drop {}) (call $for_ever)", spawn_linked("trap", 1));
    run(&program(ENDS, &body), |output| {
        output.expect(134).says(&[
            "lunatic: the main process died with its link: process <",
            "> trapped: unreachable code reached",
        ]);
    });
}

#[test]
fn a_kill_cannot_be_refused_and_its_links_fail() {
    let items = "(func (export \"stays\") (call $die_with_links (i32.const 0))
        (drop (call $recv)) (call $say (i64.const 99)))";
    let body = format!(
        "(local $child i64) (call $die_with_links (i32.const 0))
         (local.set $child {})
         (call $kill (local.get $child))
         (call $say32 (call $notice)) (call $say (call $tag)) (call $say32 (call $kind))
         (call $say32 (i64.eq (call $detail) (call $self)))",
        spawn_linked("stays", 8)
    );
    run(&program(items, &body), |output| {
        drop(output.expect_quiet_success().prints(&[1, 8, 4, 1]));
    });
}

#[test]
fn notices_wait_for_their_tag_and_monitors_have_none() {
    let body = format!(
        "(local $child i64) (call $die_with_links (i32.const 0))
         (local.set $child {})
         (call $monitor (local.get $child))
         (call $send (call $self) (i64.const 1))
         (call $send_tagged (local.get $child) (i64.const 0) (i64.const 1))
         (call $join (local.get $child))
         (i64.store (i32.const 32) (i64.const 6))
         (call $say32 (call $receive (i32.const 32) (i32.const 1) (i64.const -1)))
         (call $say (call $tag))
         (i64.store (i32.const 32) (i64.const 7))
         (call $say32 (call $receive (i32.const 32) (i32.const 1) (i64.const 10)))
         (call $say (call $recv))
         (call $say32 (call $notice)) (call $say (call $tag)) (call $say (call $size))",
        spawn_linked("bad", 6)
    );
    let items = "(func (export \"bad\") (drop (call $recv)) unreachable)";
    run(&program(items, &body), |output| {
        drop(output.expect(0).prints(&[1, 6, 9027, 1, 2, 0, 0]));
    });
}

#[test]
fn who_has_untied_itself_hears_nothing() {
    // The child fails only when it has been told to, which is after all ties are undone: a link left
    // over would kill the parent, a monitor would be a message. The last tie that is kept is heard.
    let body = format!(
        "(local $child i64) (local $i i64)
         {}
         (call $say32 (call $receive (i32.const 0) (i32.const 0) (i64.const 0)))
         (local.set $child {})
         (call $monitor (local.get $child))
         (call $send (local.get $child) (i64.const 1))
         (call $say32 (call $notice))
         (call $say32 (i64.eq (call $died) (local.get $child)))",
        times(
            300,
            &format!(
                "(local.set $child {})
                 (call $monitor (local.get $child)) (call $monitor (local.get $child))
                 (call $link (i64.const 3) (local.get $child))
                 (call $unlink (local.get $child))
                 (call $stop_monitoring (local.get $child))
                 (call $send (local.get $child) (i64.const 1))
                 (call $join (local.get $child))
                 (call $yield)",
                spawn("exit")
            )
        ),
        spawn("exit"),
    );
    let items = "(func (export \"exit\") (drop (call $recv)) (call $exit (i32.const 1)))";
    for workers in ["1", "2", "8"] {
        run_wat_with(&["--workers", workers], &program(items, &body))
            .expect(0)
            .prints(&[9027, 2, 1]);
    }
}

#[test]
fn a_link_that_races_with_the_end_is_told_exactly_once() {
    // Each child ends at once, while it is linked and monitored: one notice each, whoever is first.
    let body = format!(
        "(local $i i64) (local $child i64) (local $links i64) (local $monitors i64) (local $what i32)
         (call $die_with_links (i32.const 0))
         {}
         (call $sleep (i64.const 20))
         (block $empty
           (loop $drain
             (local.set $what (call $receive (i32.const 0) (i32.const 0) (i64.const 0)))
             (br_if $empty (i32.eq (local.get $what) (i32.const 9027)))
             (if (i32.eq (local.get $what) (i32.const 1))
               (then (local.set $links (i64.add (local.get $links) (i64.const 1)))))
             (if (i32.eq (local.get $what) (i32.const 2))
               (then (local.set $monitors (i64.add (local.get $monitors) (i64.const 1)))))
             (br $drain)))
         (call $say (local.get $links)) (call $say (local.get $monitors))",
        times(
            2000,
            &format!(
                "(local.set $child {})
                 (call $link (i64.const 3) (local.get $child))
                 (call $monitor (local.get $child))
                 (call $link (i64.const 4) (local.get $child))
                 (call $monitor (local.get $child))
                 (call $join (local.get $child))",
                spawn("bad")
            )
        )
    );
    let items = "(func (export \"bad\") (call $exit (i32.const 1)))";
    for _ in 0..3 {
        run(&program(items, &body), |output| {
            // Two links may find the child gone, twice: they are two questions then.
            let numbers = output.expect(0).numbers();
            assert!((2000..=4000).contains(&numbers[0]), "{numbers:?}");
            assert!((2000..=4000).contains(&numbers[1]), "{numbers:?}");
        });
    }
}

#[test]
fn a_link_made_with_the_spawn_is_told_exactly_once_and_with_the_reason() {
    let body = format!(
        "(local $i i64) (local $sum i64)
         (call $die_with_links (i32.const 0))
         {} {}
         (call $say (local.get $sum))
         (call $sleep (i64.const 20))
         (call $say32 (call $receive (i32.const 0) (i32.const 0) (i64.const 0)))",
        times(5000, &format!("(drop {})", spawn_linked("bad", 3))),
        times(
            5000,
            "(if (i32.ne (call $notice) (i32.const 1)) (then unreachable))
             (if (i64.ne (call $tag) (i64.const 3)) (then unreachable))
             (local.set $sum (i64.add (local.get $sum) (call $detail)))"
        )
        .replace("$again", "$collect"),
    );
    let items = "(func (export \"bad\") (call $exit (i32.const 2)))";
    run(&program(items, &body), |output| {
        drop(output.expect(0).prints(&[10_000, 9027]));
    });
}

#[test]
fn both_ends_of_links_die_at_once_on_all_workers() {
    // Pairs that are linked both ways and kill each other.
    let items = format!(
        "(func (export \"one\") (param $main i64) (local $two i64)
           (local.set $two {})
           (call $link (i64.const 2) (local.get $two))
           (call $monitor (local.get $two))
           (call $send (local.get $main) (call $self))
           (call $send (local.get $two) (i64.const 1))
           (call $kill (local.get $two)) unreachable)
         (func (export \"two\") (param $one i64)
           (call $link (i64.const 5) (local.get $one))
           (drop (call $recv))
           (call $kill (local.get $one)) unreachable)",
        spawn_linked_with("two", "(call $self)", 1)
    );
    let body = format!(
        "(local $i i64) (local $ends i64)
         {}
         (block $empty (loop $drain
           (br_if $empty (i32.eq (i32.const 9027)
             (call $receive (i32.const 0) (i32.const 0) (i64.const 100))))
           (br_if $drain (i32.eqz (i64.eqz (call $size))))
           (local.set $ends (i64.add (local.get $ends) (i64.const 1)))
           (br $drain)))
         (call $say (local.get $ends))",
        times(1000, &format!("(call $monitor {})", spawn_with("one", "(call $self)")))
    );
    run(&program(&items, &body), |output| drop(output.expect(0).prints(&[1000])));
}

#[test]
fn notices_come_through_a_mailbox_full_of_other_mail() {
    let body = format!(
        "(local $i i64) (local $child i64)
         (call $die_with_links (i32.const 0))
         (local.set $child {})
         {}
         (call $kill (local.get $child))
         (i64.store (i32.const 32) (i64.const 11))
         (call $say32 (call $receive (i32.const 32) (i32.const 1) (i64.const -1)))",
        spawn_linked("wait", 11),
        times(100_000, "(call $send_tagged (call $self) (i64.const 1) (i64.const 1))"),
    );
    run(&program(ENDS, &body), |output| drop(output.expect_quiet_success().prints(&[1])));
}

#[test]
fn a_chain_of_a_hundred_thousand_links_dies() {
    let items = format!(
        "(func (export \"next\") (param $left i64)
           (if (i64.eqz (local.get $left)) (then (call $exit (i32.const 3))))
           (drop {})
           (call $sleep (i64.const -1)))",
        spawn_linked_with("next", "(i64.sub (local.get $left) (i64.const 1))", 1)
    );
    let body = format!(
        "(call $die_with_links (i32.const 0)) (drop {})
         (call $say32 (call $notice)) {SAY_REASON}",
        spawn_linked_with("next", "(i64.const 100000)", 2)
    );
    run(&program(&items, &body), |output| {
        drop(output.expect(0).prints(&[1, 5, 1, 3]));
    });
}

#[test]
fn a_star_of_a_hundred_thousand_links_dies_while_others_run() {
    let items = format!(
        "(func (export \"hub\") (param $main i64) (local $i i64)
           {}
           (call $send (local.get $main) (i64.const 1))
           (drop (call $recv))
           unreachable)
         (func (export \"leaf\") (call $sleep (i64.const -1)))
         (func (export \"last\") (param $main i64)
           (call $die_with_links (i32.const 0)) (call $send (local.get $main) (call $self))
           (drop (call $notice)) (call $send (local.get $main) (call $detail)))",
        times(100_000, &format!("(drop {})", spawn_linked("leaf", 1)))
    );
    let body = format!(
        "(local $hub i64)
         (call $die_with_links (i32.const 0))
         (local.set $hub {})
         (drop (call $recv))
         (call $send (local.get $hub) (i64.const 1))
         (call $say32 (call $notice)) (call $say32 (call $kind))
         (call $exit (i32.const 0))",
        spawn_linked_with("hub", "(call $self)", 2)
    );
    for workers in ["1", "2", "8"] {
        let output = run_wat_with(&["--stats=json", "--workers", workers], &program(&items, &body));
        let output = output.expect(0).prints(&[1, 2]);
        assert!(output.stderr.contains("\"host_bugs\":0"), "{output:#?}");
    }
}

#[test]
fn only_the_runtime_sends_notices() {
    for misuse in [
        "(drop (call $send_raw (call $self)))",
        "(drop (call $channel_send (call $open (i64.const 0)) (i64.const -1)))",
    ] {
        let body = format!("(call $monitor (i64.const 99)) (drop (call $notice)) {misuse}");
        run(&program("", &body), |output| {
            output.expect(134).says(&["the notice of a process's end, which only the runtime"]);
        });
    }
    run(
        &program(
            "",
            "(call $create (i64.const 0) (i64.const 0)) (call $exit_reason (i32.const 8))",
        ),
        |output| {
            output.expect(134).says(&["the current message is no notice"]);
        },
    );
    let body = "(call $monitor (i64.const 99)) (drop (call $receive (i32.const 0) (i32.const 0)
        (i64.const -1))) (call $exit_reason (i32.const -8))";
    run(&program("", body), |output| {
        drop(output.expect(134).says(&["lies outside of its memory"]))
    });
}

#[test]
fn the_ways_to_end_are_counted_apart() {
    let body = format!(
        "(call $die_with_links (i32.const 0))
         (drop {}) (drop (call $notice)) (drop {}) (drop (call $notice)) (call $exit (i32.const 0))",
        spawn_linked("chain", 1),
        spawn_linked("deep", 1),
    );
    let items = format!(
        "{ENDS} (func (export \"chain\") (drop {}) (call $for_ever))",
        spawn_linked("trap", 1)
    );
    let output = run_wat_with(&["--stats=json", "--workers", "2"], &program(&items, &body));
    let output = output.expect(0);
    for count in ["\"trapped\":1,", "\"linked\":1,", "\"stack_overflows\":1,", "\"killed\":0,"] {
        let totals =
            output.stderr.lines().find(|line| line.starts_with("{\"stats\"")).expect("json");
        let totals = totals.split('}').next().expect("a part");
        assert!(totals.contains(count), "{count}\n{output:#?}");
    }
}

/// Calls that later versions added.
const OWN_CALLS: &str = r#"
  (import "lunatic::process" "send_exit" (func $send_exit (param i64)))
  (import "lunatic::process" "monitor_with_tag" (func $monitor_tag (param i64 i64)))
  (import "lunatic::process" "stop_monitoring_with_tag" (func $stop_tag (param i64 i64)))
  (import "lunatic::process" "spawn_monitored"
    (func $spawn_monitored (param i64 i64 i64 i64 i32 i32 i32 i32 i32) (result i32)))
  "#;

/// A program that imports them, too.
fn with_own_calls(items: &str, body: &str) -> String {
    program(items, body).replacen("(import ", &format!("{OWN_CALLS}(import "), 1)
}

#[test]
fn who_is_asked_to_end_dies_or_is_told() {
    let items = "
        (func (export \"plain\") (call $for_ever))
        (func (export \"polite\") (call $die_with_links (i32.const 0))
          (call $say32 (call $notice)) (call $say32 (call $kind)) (call $exit (i32.const 0)))";
    let asked = |name| {
        format!(
            "(local.set $child {}) (call $monitor (local.get $child))
             (call $sleep (i64.const 20))
             (call $send_exit (local.get $child))
             (if (i32.ne (call $notice) (i32.const 2)) (then unreachable))
             (call $say32 (call $kind))",
            spawn(name)
        )
    };
    let body = format!(
        "(local $child i64) {} {} (call $send_exit (local.get $child)) (call $send_exit (i64.const -1))",
        asked("plain"),
        asked("polite")
    );
    run(&with_own_calls(items, &body), |output| {
        drop(output.expect_quiet_success().prints(&[4, 1, 11, 1]));
    });
}

#[test]
fn a_monitor_with_a_tag_is_waited_for_and_does_not_disturb_others() {
    let body = format!(
        "(local $child i64)
         (local.set $child {})
         (call $monitor_tag (i64.const 5) (local.get $child))
         (call $monitor_tag (i64.const 6) (local.get $child))
         (call $monitor_tag (i64.const 6) (local.get $child))
         (call $monitor_tag (i64.const 7) (local.get $child))
         (call $monitor (local.get $child))
         (call $stop_tag (i64.const 7) (local.get $child))
         (call $stop_tag (i64.const 6) (local.get $child))
         (call $stop_tag (i64.const 99) (local.get $child))
         (call $kill (local.get $child))
         (i64.store (i32.const 32) (i64.const 6))
         (call $say32 (call $receive (i32.const 32) (i32.const 1) (i64.const -1)))
         (i64.store (i32.const 32) (i64.const 5))
         (call $say32 (call $receive (i32.const 32) (i32.const 1) (i64.const -1)))
         (call $say32 (call $notice)) (call $say (call $tag))
         (call $say32 (call $receive (i32.const 0) (i32.const 0) (i64.const 20)))",
        spawn("wait")
    );
    run(&with_own_calls(ENDS, &body), |output| {
        drop(output.expect_quiet_success().prints(&[2, 2, 2, 0, 9027]));
    });
}

#[test]
fn a_child_that_is_monitored_from_its_birth_is_told_of_with_its_reason() {
    let body = format!(
        "(local $i i64) (local $sum i64) {}
         (call $say (local.get $sum))
         (call $say32 (call $receive (i32.const 0) (i32.const 0) (i64.const 20)))",
        times(
            2000,
            "(call $number (i64.const 0) (i64.const 1))
             (i64.store (i32.const 240) (i64.const 0x3774697865))
             (if (call $spawn_monitored (i64.const 0) (i64.const 3) (i64.const -1) (i64.const -1)
                   (i32.const 240) (i32.const 5) (i32.const 0) (i32.const 0) (i32.const 288))
               (then unreachable))
             (if (i32.ne (call $notice) (i32.const 2)) (then unreachable))
             (if (i64.ne (call $tag) (i64.const 3)) (then unreachable))
             (if (i64.ne (call $died) (i64.load (i32.const 288))) (then unreachable))
             (local.set $sum (i64.add (local.get $sum) (call $detail)))"
        )
    );
    run(&with_own_calls(ENDS, &body), |output| drop(output.expect(0).prints(&[14_000, 9027])));
}

#[test]
fn a_process_with_a_flooded_mailbox_ends_in_parts_and_nothing_is_lost() {
    let body = format!(
        "(local $i i64) (local $child i64)
         (local.set $child {})
         {}
         (call $kill (local.get $child)) (call $join (local.get $child))
         (call $say32 (call $exists (local.get $child)))
         (call $exit (i32.const 0))",
        spawn("deaf"),
        times(300_000, "(call $send (local.get $child) (local.get $i))")
    );
    let items = "(func (export \"deaf\") (call $sleep (i64.const -1)))";
    for workers in ["1", "2", "8"] {
        let output = run_wat_with(&["--stats=json", "--workers", workers], &program(items, &body));
        let output = output.expect(0).prints(&[0]);
        assert!(output.stderr.contains("\"sent\":300000,"), "{output:#?}");
        assert!(output.stderr.contains("\"dropped\":300000,"), "{output:#?}");
    }
}
