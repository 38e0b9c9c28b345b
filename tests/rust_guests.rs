//! Programs compiled from Rust: the examples, as the README runs them, and what only real code shows.

mod support;

use std::collections::BTreeSet;

use support::{Output, run_guest};

/// Runs an example with so many workers.
#[track_caller]
fn run_with(workers: &str, guest: &str) -> Option<Output> {
    run_guest(&["--workers", workers], guest, &[], b"")
}

#[test]
fn channel_sum_prints_each_of_a_thousand_sums_once() {
    for workers in ["1", "2", "8"] {
        let Some(output) = run_with(workers, "channel_sum") else { return };
        let output = output.expect_quiet_success();
        let found: BTreeSet<&str> = output.stdout.lines().collect();
        let expected: Vec<String> =
            (0..1000_u64).map(|i| format!("Sum until {i}: {}", i * (i + 1) / 2)).collect();
        assert_eq!(output.stdout.lines().count(), 1000, "each line once");
        assert_eq!(found, expected.iter().map(String::as_str).collect());
    }
}

#[test]
fn floats_and_vectors_survive_preemption_and_moves() {
    for workers in ["1", "4"] {
        let Some(output) = run_with(workers, "float_simd") else { return };
        let output = output.expect_quiet_success();
        assert_eq!(output.stdout, "16 of 16 children computed the same bits\n");
    }
}

#[test]
fn children_die_of_their_own_mistakes_only() {
    for workers in ["1", "4"] {
        let Some(output) = run_with(workers, "isolation") else { return };
        let output = output.expect(0).says(&["this child has had enough", "overflow_the_stack"]);
        assert_eq!(output.stdout, "10 children finished, 30 died alone\n");
    }
}

#[test]
fn an_endless_loop_does_not_stop_the_others() {
    for workers in ["1", "2"] {
        let Some(output) = run_with(workers, "endless_loop") else { return };
        let output = output.expect_quiet_success();
        let mut lines: Vec<&str> = output.stdout.lines().collect();
        assert_eq!(lines.pop(), Some("the looping one is still at it"));
        lines.sort_unstable();
        let expected: Vec<String> = (0..10).map(|n| format!("child {n} has run")).collect();
        assert_eq!(lines, expected);
    }
}

#[test]
fn the_other_examples_print_what_they_promise() {
    for (guest, expected) in [
        ("fan_in", "100 results, their sum is 338350\n"),
        ("ping_pong", "1000 rounds, the number is 2000\n"),
        ("mailbox", "the count is 155\nthe counter has stopped\n"),
        ("timeout", "the quick one says 42\nthe slow one has not answered within 200ms\n"),
    ] {
        for workers in ["1", "4"] {
            let Some(output) = run_with(workers, guest) else { return };
            assert_eq!(output.expect_quiet_success().stdout, expected, "{guest}");
        }
    }
}

#[test]
fn supervisors_calls_links_and_names_do_what_their_pages_say() {
    for workers in ["1", "2", "8"] {
        let Some(output) = run_with(workers, "supervision") else { return };
        let output = output.expect(0);
        assert!(output.stdout.lines().all(|line| line.starts_with("ok ")), "{output:#?}");
        assert!(output.stdout.contains("ok a name vanishes with its process"), "{output:#?}");
    }
}

#[test]
fn supervisors_hold_when_things_go_wrong() {
    for workers in ["1", "2", "8"] {
        let Some(output) = run_with(workers, "supervisor_faults") else { return };
        let output = output.expect(0);
        assert!(output.stdout.lines().all(|line| line.starts_with("ok ")), "{output:#?}");
        let last = "ok who starts once";
        assert!(output.stdout.contains(last), "{output:#?}");
    }
}

#[test]
fn children_of_every_kind_are_confined_and_late_answers_dropped() {
    for workers in ["1", "2", "8"] {
        let Some(output) = run_with(workers, "confined") else { return };
        let output = output.expect(0);
        assert!(output.stdout.lines().all(|line| line.starts_with("ok ")), "{output:#?}");
        assert!(output.stdout.contains("ok nor is anything left of it"), "{output:#?}");
    }
}

#[test]
fn supervisors_have_many_children_and_extreme_settings() {
    for workers in ["1", "2", "8"] {
        let Some(output) = run_with(workers, "supervisor_limits") else { return };
        let output =
            output.expect(0).says(&["the last one of \"returns\", whose process returned"]);
        assert!(output.stdout.lines().all(|line| line.starts_with("ok ")), "{output:#?}");
        let last = "ok a permanent child that returns too often is too much";
        assert!(output.stdout.contains(last), "{output:#?}");
    }
}

#[test]
fn who_sends_to_do_harm_does_none() {
    for workers in ["1", "2", "8"] {
        let options = ["--workers", workers, "--allow-net", "listen:127.0.0.1:*"];
        let Some(output) = run_guest(&options, "forgeries", &[], b"") else { return };
        let output = output.expect(0);
        assert!(output.stdout.lines().all(|line| line.starts_with("ok ")), "{output:#?}");
        assert!(output.stdout.contains("ok nor is any left"), "{output:#?}");
    }
}

#[test]
fn no_acknowledged_write_is_lost_while_ten_thousand_workers_are_killed() {
    for (workers, kills) in [("1", "500"), ("8", "500"), ("2", "10000")] {
        let output = run_guest(&["--workers", workers], "kv_store", &[kills], b"");
        let Some(output) = output else { return };
        let output = output.expect(0);
        assert_eq!(output.stdout, format!("{kills} workers killed, 0 acknowledged writes lost\n"));
    }
}

/// Lines of the backtrace on stderr.
fn frames(output: &Output) -> Vec<&str> {
    output.stderr.lines().filter_map(|line| line.trim().strip_prefix("at ")).collect()
}

#[test]
fn a_backtrace_has_the_names_that_the_author_wrote() {
    for (how, reason) in [
        ("panic", "unreachable code reached"),
        ("unreachable", "unreachable code reached"),
        // The shadow stack, at the bottom of the memory, is used up before the fiber's.
        ("stack_overflow", "out of bounds memory access"),
    ] {
        let Some(output) = run_guest(&[], "panic_main", &[how], b"") else { return };
        let output = output.expect(134).says(&["lunatic: the main process trapped: ", reason]);
        assert_eq!(output.stdout, "about to die\n");
        let frames = frames(&output);
        let name = |name| frames.iter().any(|frame| frame.starts_with(name));
        if how == "stack_overflow" {
            assert!(name("panic_main::recurse_for_ever"), "{output:#?}");
        } else {
            assert!(name("panic_main::inner_function"), "{output:#?}");
            assert!(name("panic_main::outer_function"), "{output:#?}");
            assert!(name("panic_main::main"), "{output:#?}");
        }
        let mangled =
            frames.iter().any(|frame| frame.starts_with("_ZN") || frame.starts_with("_R"));
        assert!(!mangled, "{output:#?}");
    }
}

#[test]
fn a_panic_message_comes_before_the_trap() {
    let Some(output) = run_guest(&[], "panic_main", &["panic"], b"") else { return };
    let output = output.expect(134);
    let panic = output.stderr.find("the main process panics on purpose").expect("the message");
    let trap = output.stderr.find("lunatic: the main process trapped").expect("the trap");
    assert!(panic < trap, "{output:#?}");
}

#[test]
fn children_are_configured_by_the_builder() {
    let place = tempfile::TempDir::new().expect("a temporary directory can be made");
    std::fs::write(place.path().join("file"), "text").expect("it can be written");
    let dir = format!("{}::/data", place.path().display());
    for workers in ["1", "4"] {
        let options = ["--dir", &dir, "--workers", workers];
        let Some(output) = run_guest(&options, "configs", &[], b"") else { return };
        let output = output.expect(0).says(&["has used up its fuel of 20 units"]);
        let lines: Vec<&str> = output.stdout.lines().collect();
        assert_eq!(lines[..3], ["Ok(\"text\") false false B false", "spawned 1", "used 20 of 20"]);
        assert!(lines[3].starts_with("5: configuring a process: "), "{output:#?}");
        assert!(
            lines[4].starts_with("directory: ") && lines[4].contains("\"/etc\""),
            "{output:#?}"
        );
        assert!(lines[5].contains("\"connect:db.local:5432\": no rule"), "{output:#?}");
        assert!(lines[6].contains("\"nonsense\" is no network rule"), "{output:#?}");
        assert_eq!(lines[7..], ["all: granted"]);
    }
    assert!(!place.path().join("new").exists());
}
