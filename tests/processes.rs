//! What processes may rely on: they start, end and die alone, and nobody keeps others from running.

mod support;

use support::{Module, Running, lunatic, program, run_wat_with, spawn, spawn_with, times};

const ONE_WORKER: &[&str] = &["--workers", "1"];
const FOUR_WORKERS: &[&str] = &["--workers", "4"];

/// Runs with one worker and with four; the result must be the same.
#[track_caller]
fn run(text: &str, check: impl Fn(support::Output)) {
    check(run_wat_with(ONE_WORKER, text));
    check(run_wat_with(FOUR_WORKERS, text));
}

#[test]
fn a_trapping_child_dies_alone() {
    let children = r#"
      (func (export "bad") unreachable)
      (func (export "good") (param i64)
        (if (i64.ne (call $recv) (i64.const 7)) (then unreachable))
        (call $send (local.get 0) (i64.const 8)))"#;
    let body = format!(
        "(local $good i64) (local $bad i64)
         (local.set $good {})
         (local.set $bad {})
         (call $join (local.get $bad))
         (call $say32 (call $exists (local.get $bad)))
         (call $say32 (call $exists (local.get $good)))
         (call $send (local.get $good) (i64.const 7))
         (call $say (call $recv))",
        spawn_with("good", "(call $self)"),
        spawn("bad")
    );
    run(&program(children, &body), |output| {
        output.expect(0).prints(&[0, 1, 8]).says(&["process <", "unreachable code reached"]);
    });
}

#[test]
fn an_endless_loop_does_not_keep_others_from_running() {
    let children = r#"
      (func (export "loop") (call $for_ever))
      (func (export "good") (param i64) (call $send (local.get 0) (i64.const 1)))"#;
    let body = format!(
        "(local $i i64) (local $loop i64)
         {}
         (local.set $loop {})
         {}
         (call $say32 (call $exists (local.get $loop)))",
        times(8, &format!("(drop {})", spawn("loop"))),
        spawn("loop"),
        times(100, &format!("(drop {}) (drop (call $recv))", spawn_with("good", "(call $self)")))
    );
    run(&program(children, &body), |output| drop(output.expect_quiet_success().prints(&[1])));
}

#[test]
fn a_main_process_that_loops_does_not_keep_children_from_running() {
    let child = "(func (export \"child\") (call $say (i64.const 1)) (call $exit (i32.const 0)))";
    let text = program(child, &format!("(drop {}) (call $for_ever)", spawn("child")));
    let module = Module::wat(&text);
    let mut command = lunatic();
    command.args(["run", "--workers", "1"]).arg(module.path());
    let mut running = Running::start(command);
    running.wait_for("1\n");
    running.signal(libc::SIGINT);
    running.finish().expect(130);
}

#[test]
fn kill_ends_a_loop_a_wait_and_a_sleep() {
    let children = r#"
      (func (export "loop") (call $for_ever))
      (func (export "wait") (drop (call $recv)))
      (func (export "sleep") (call $sleep (i64.const -1)))
      (func (export "channel")
        (drop (call $channel_receive (call $open (i64.const 0)) (i64.const 1000000))))"#;
    let ends = |name| {
        format!(
            "(local.set $child {})
             (call $yield) (call $yield)
             (if (i32.eqz (call $exists (local.get $child))) (then unreachable))
             (call $kill (local.get $child))
             (call $join (local.get $child))
             (call $say32 (call $exists (local.get $child)))",
            spawn(name)
        )
    };
    let body = format!(
        "(local $child i64) {} {} {} {}",
        ends("loop"),
        ends("wait"),
        ends("sleep"),
        ends("channel")
    );
    run(&program(children, &body), |output| {
        drop(output.expect_quiet_success().prints(&[0, 0, 0, 0]));
    });
}

#[test]
fn a_process_may_kill_itself() {
    let child = "(func (export \"child\") (call $kill (call $self)) (call $for_ever))";
    let body = format!("(call $join {}) (call $say (i64.const 1))", spawn("child"));
    run(&program(child, &body), |output| drop(output.expect_quiet_success().prints(&[1])));
}

#[test]
fn ten_thousand_processes_start_answer_and_end() {
    let child = r#"(func (export "child") (param i64)
      (call $send (local.get 0) (i64.const 3)))"#;
    let body = format!(
        "(local $i i64) (local $sum i64) {} {} (call $say (local.get $sum))",
        times(10_000, &format!("(drop {})", spawn_with("child", "(call $self)"))),
        times(10_000, "(local.set $sum (i64.add (local.get $sum) (call $recv)))")
            .replace("$again", "$collect")
    );
    run(&program(child, &body), |output| {
        drop(output.expect_quiet_success().prints(&[30_000]));
    });
}

#[test]
fn ten_thousand_processes_are_alive_at_once() {
    let child = r#"(func (export "child") (param $main i64)
      (call $send (local.get $main) (call $self))
      (call $send (local.get $main) (call $recv)))"#;
    // Ids are kept from 65536 on.
    let id = "(i32.add (i32.const 65536) (i32.mul (i32.wrap_i64 (local.get $i)) (i32.const 8)))";
    let body = format!(
        "(local $i i64) (local $sum i64)
         (drop (memory.grow (i32.const 2)))
         {} {} {} {}
         (call $say (local.get $sum))",
        times(10_000, &format!("(drop {})", spawn_with("child", "(call $self)"))),
        times(10_000, &format!("(i64.store {id} (call $recv))")).replace("$again", "$ids"),
        times(10_000, &format!("(call $send (i64.load {id}) (i64.const 2))"))
            .replace("$again", "$wake"),
        times(10_000, "(local.set $sum (i64.add (local.get $sum) (call $recv)))")
            .replace("$again", "$collect")
    );
    run(&program(child, &body), |output| {
        drop(output.expect_quiet_success().prints(&[20_000]));
    });
}

#[test]
fn a_missing_export_gives_a_process_that_dies() {
    let body = format!("(call $join {}) (call $say (i64.const 1))", spawn("nobody"));
    run(&program("", &body), |output| {
        output.expect(0).prints(&[1]).says(&["process <", "exports no function \"nobody\""]);
    });
}

#[test]
fn an_export_of_another_type_gives_a_process_that_dies() {
    let children = r#"
      (func (export "i32") (param i32) (call $say (i64.const 9)))
      (func (export "two") (param i64 i64) (call $say (i64.const 9)))
      (func (export "none") (call $say (i64.const 9)))
      (global (export "global") i32 (i32.const 0))"#;
    let dies = |name| format!("(call $join {})", spawn_with(name, "(i64.const 1)"));
    let body = format!(
        "{} {} {} {} (call $say (i64.const 1))",
        dies("i32"),
        dies("two"),
        dies("none"),
        dies("global")
    );
    run(&program(children, &body), |output| {
        output.expect(0).prints(&[1]).says(&["\"i32\" takes", "\"two\" takes", "\"none\" takes"]);
    });
}

#[test]
fn parameters_of_all_types_arrive() {
    let child = r#"(func (export "child") (param i32 i64 v128 i64 i64 i64 i64 i64 i64 i64)
      (call $say32 (local.get 0))
      (call $say (local.get 1))
      (call $say (i64x2.extract_lane 1 (local.get 2)))
      (call $say (i64.add (local.get 3) (local.get 9)))
      (call $exit (i32.const 0)))"#;
    let mut records = String::new();
    for (ty, value, high) in [(0x7f, -5_i64, 0_i64), (0x7e, i64::MIN + 1, 0), (0x7b, 1, 77)]
        .into_iter()
        .chain((0..7).map(|n| (0x7e, n, 0)))
    {
        records += &format!("\\{ty:02x}");
        for byte in value.to_le_bytes().into_iter().chain(high.to_le_bytes()) {
            records += &format!("\\{byte:02x}");
        }
    }
    let items = format!("{child} (data (i32.const 1024) \"{records}\")");
    let body = "(i64.store (i32.const 240) (i64.const 0x646c696863))
      (if (call $spawn_raw (i64.const 0) (i64.const -1) (i64.const -1) (i32.const 240)
            (i32.const 5) (i32.const 1024) (i32.const 170) (i32.const 288)) (then unreachable))
      (call $join (i64.load (i32.const 288)))";
    run(&program(&items, body), |output| {
        drop(output.expect_quiet_success().prints(&[-5, i64::MIN + 1, 77, 6]));
    });
}

#[test]
fn parameters_that_are_no_records_trap() {
    for (records, len, reason) in
        [("\\7e", 16, "records of 17 bytes"), ("\\7d", 17, "type 0x7d"), ("\\00", 17, "type 0x0")]
    {
        let items = format!("(data (i32.const 1024) \"{records}\")");
        let body = format!(
            "(drop (call $spawn_raw (i64.const 0) (i64.const -1) (i64.const -1) (i32.const 1024)
               (i32.const 0) (i32.const 1024) (i32.const {len}) (i32.const 288)))"
        );
        run(&program(&items, &body), |output| drop(output.expect(134).says(&[reason])));
    }
}

#[test]
fn a_chain_of_processes_may_be_long() {
    let child = format!(
        r#"(func (export "child") (param $left i64)
          (if (i64.eqz (local.get $left)) (then
            (call $say (i64.const 1)) (call $exit (i32.const 0))))
          (call $join {}))"#,
        spawn_with("child", "(i64.sub (local.get $left) (i64.const 1))")
    );
    let body = format!("(call $join {})", spawn_with("child", "(i64.const 1000)"));
    run(&program(&child, &body), |output| drop(output.expect_quiet_success().prints(&[1])));

    // Each ends before its child does.
    let child = format!(
        r#"(global $main (mut i64) (i64.const 0))
        (func (export "child") (param $left i64)
          (drop (call $receive (i32.const 0) (i32.const 0) (i64.const -1)))
          (global.set $main (call $value))
          (if (i64.eqz (local.get $left))
            (then (call $send (global.get $main) (i64.const 5)))
            (else (call $send {} (global.get $main)))))"#,
        spawn_with("child", "(i64.sub (local.get $left) (i64.const 1))")
    );
    let body = format!(
        "(call $send {} (call $self)) (call $say (call $recv))",
        spawn_with("child", "(i64.const 10000)")
    );
    run(&program(&child, &body), |output| drop(output.expect_quiet_success().prints(&[5])));
}

#[test]
fn the_dead_and_the_never_born_take_messages_and_kills_in_silence() {
    let child = "(func (export \"child\"))";
    let forget = |id: &str| {
        format!(
            "(call $send {id} (i64.const 1)) (call $kill {id}) (call $say32 (call $exists {id}))"
        )
    };
    let mut body = format!(
        "(local $dead i64) (local.set $dead {}) (call $join (local.get $dead))",
        spawn("child")
    );
    body += &forget("(local.get $dead)");
    // The slot has another tenant now, whom nothing of this concerns.
    body += &format!("(drop {})", spawn("child"));
    body += &forget("(local.get $dead)");
    let forged = ["0", "-1", "0x7fffffffffffffff", "0xffffffff", "0xffffffff00000001", "12345678"];
    for id in forged {
        body += &forget(&format!("(i64.const {id})"));
    }
    body += &forget("(i64.add (call $self) (i64.const 0x100000000))");
    run(&program(child, &body), |output| {
        drop(output.expect_quiet_success().prints(&[0; 9]));
    });
}

#[test]
fn an_id_is_no_channel_and_a_handle_is_nobody_elses() {
    let child = r#"(func (export "child") (param i64)
      (drop (call $channel_receive (local.get 0) (i64.const 0)))
      (call $exit (i32.const 0)))"#;
    let body = format!(
        "(local $channel i64)
         (local.set $channel (call $open (i64.const 0)))
         (call $join {})
         (call $join {})
         (call $say32 (call $channel_receive (local.get $channel) (i64.const 0)))",
        spawn_with("child", "(local.get $channel)"),
        spawn_with("child", "(call $self)")
    );
    run(&program(child, &body), |output| {
        let output = output.expect(0).says(&["lunatic::channel::receive", "holds no channel"]);
        assert_eq!(output.stderr.matches("holds no channel").count(), 2, "{output:#?}");
    });
}

#[test]
fn a_child_has_memory_and_globals_of_its_own() {
    let child = r#"(global $g (mut i64) (i64.const 3))
      (data (i32.const 4096) "\05")
      (func (export "child") (param i64)
        (call $send (local.get 0) (i64.add (global.get $g) (i64.load (i32.const 4096))))
        (global.set $g (i64.const 100))
        (i64.store (i32.const 4096) (i64.const 100)))"#;
    let body = format!(
        "(local $i i64)
         (global.set $g (i64.const 50))
         (i64.store (i32.const 4096) (i64.const 50))
         {}
         (call $say (i64.add (global.get $g) (i64.load (i32.const 4096))))",
        // One after the other, so that the second has the memory of the first.
        times(
            20,
            &format!("(drop {}) (call $say (call $recv))", spawn_with("child", "(call $self)"))
        )
    );
    let mut expected = vec![8; 20];
    expected.push(100);
    run(&program(child, &body), |output| drop(output.expect_quiet_success().prints(&expected)));
}

#[test]
fn the_end_of_the_main_process_ends_all_others() {
    let children = r#"
      (func (export "loop") (call $for_ever))
      (func (export "wait") (drop (call $recv)))"#;
    let body = format!(
        "(local $i i64) {} (call $exit (i32.const 6))",
        times(50, &format!("(drop {}) (drop {})", spawn("loop"), spawn("wait")))
    );
    run(&program(children, &body), |output| {
        assert_eq!(output.expect(6).stderr, "");
    });
}

#[test]
fn exit_in_a_child_ends_only_that_child() {
    let child = "(func (export \"child\") (call $exit (i32.const 9)))";
    let body = format!("(call $join {}) (call $say (i64.const 1))", spawn("child"));
    run(&program(child, &body), |output| {
        output.expect(0).prints(&[1]).says(&["exited with code 9"]);
    });
}

#[test]
fn stacks_that_overflowed_are_good_for_others() {
    let children = r#"
      (func $deep (param i64) (result i64)
        (i64.add (call $deep (i64.add (local.get 0) (i64.const 1))) (i64.const 1)))
      (func (export "bad") (drop (call $deep (i64.const 0))))
      (func $fib (param i64) (result i64)
        (if (result i64) (i64.lt_u (local.get 0) (i64.const 2))
          (then (local.get 0))
          (else (i64.add (call $fib (i64.sub (local.get 0) (i64.const 1)))
                         (call $fib (i64.sub (local.get 0) (i64.const 2)))))))
      (func (export "good") (param i64)
        (call $send (local.get 0) (call $fib (i64.const 15))))"#;
    let body = format!(
        "(local $i i64) (local $sum i64) {} (call $say (local.get $sum))",
        times(
            200,
            &format!(
                "(call $join {}) (drop {}) (local.set $sum (i64.add (local.get $sum) (call $recv)))",
                spawn("bad"),
                spawn_with("good", "(call $self)")
            )
        )
    );
    run(&program(children, &body), |output| {
        output.expect(0).prints(&[200 * 610]).says(&["stack overflow"]);
    });
}

#[test]
fn processes_that_moved_between_threads_trap_alone() {
    let child = format!(
        r#"(global $zero (mut i32) (i32.const 0))
        (func (export "child") (param $main i64) (local $i i64)
          {}
          (call $send (local.get $main) (i64.const 1))
          (drop (i32.div_u (i32.const 1) (global.get $zero)))
          (call $send (local.get $main) (i64.const 1000)))"#,
        times(100, "(call $yield)")
    );
    let body = format!(
        "(local $i i64) (local $sum i64) {} {} (call $say (local.get $sum))",
        times(500, &format!("(drop {})", spawn_with("child", "(call $self)"))),
        times(500, "(local.set $sum (i64.add (local.get $sum) (call $recv)))")
            .replace("$again", "$collect")
    );
    run(&program(&child, &body), |output| {
        output.expect(0).prints(&[500]).says(&["integer divide by zero"]);
    });
}

#[test]
fn a_storm_of_failures_is_told_in_a_few_lines() {
    let child = "(func (export \"child\") unreachable)";
    let body =
        format!("(local $i i64) {}", times(1000, &format!("(call $join {})", spawn("child"))));
    run(&program(child, &body), |output| {
        let output = output.expect(0).says(&["further failures are shown with -v"]);
        assert_eq!(output.stderr.matches("unreachable code reached").count(), 20, "{output:#?}");
    });
    let output = run_wat_with(&["-v"], &program(child, &body)).expect(0);
    assert_eq!(output.stderr.matches("unreachable code reached").count(), 1000, "{output:#?}");
    assert!(!output.stderr.contains("further failures"), "{output:#?}");
}

#[test]
fn configurations_and_modules_of_others_trap() {
    for (config, module) in [(0, -1), (-1, 0)] {
        let body = format!(
            "(drop (call $spawn_raw (i64.const 0) (i64.const {config}) (i64.const {module})
               (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 288)))"
        );
        run(&program("", &body), |output| {
            drop(output.expect(134).says(&["lunatic::process::spawn"]));
        });
    }
}
