//! `--stats`: what it counts, and that it is printed however a run ends.

mod support;

use support::{Module, Output, Running, lunatic, program, run_command, run_wat_with, spawn, times};

/// The number behind a key of the totals.
#[track_caller]
fn total(output: &Output, key: &str) -> u64 {
    let line = output.stderr.lines().find(|line| line.starts_with("{\"stats\":"));
    let totals = line.and_then(|line| line.split('}').next());
    let number = totals.and_then(|totals| totals.split(&format!("\"{key}\":")).nth(1));
    let digits = number.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no {key}\n{output:#?}"))
}

#[track_caller]
fn assert_totals(output: &Output, expected: &[(&str, u64)]) {
    for &(key, number) in expected {
        assert_eq!(total(output, key), number, "{key}\n{output:#?}");
    }
}

/// Children that end in every way, and messages that meet every fate.
fn every_fate() -> String {
    let children = r#"
      (func (export "return"))
      (func (export "exit") (call $exit (i32.const 3)))
      (func (export "trap") unreachable)
      (func (export "fault") (call $seek (i64.const 0)))
      (func (export "loop") (call $for_ever))
      (func (export "deaf") (call $sleep (i64.const -1)))"#;
    let body = format!(
        "(local $i i64) (local $child i64) (local $channel i64)
         {}
         (local.set $child {}) (call $yield) (call $kill (local.get $child))
         (call $join (local.get $child))
         (local.set $child {})
         {}
         (call $kill (local.get $child)) (call $join (local.get $child))
         (call $send (local.get $child) (i64.const 1))
         {}
         {}
         (local.set $channel (call $open (i64.const 0)))
         {}
         (drop (call $channel_receive (local.get $channel) (i64.const -1)))
         (call $sleep (i64.const 1))
         (drop {})
         (call $exit (i32.const 0))",
        ["return", "exit", "trap", "fault", "none"]
            .map(|name| times(2, &format!("(call $join {})", spawn(name))))
            .concat(),
        spawn("loop"),
        spawn("deaf"),
        times(5, "(call $send (local.get $child) (local.get $i))"),
        times(3, "(call $send (call $self) (local.get $i))"),
        times(3, "(drop (call $recv))"),
        times(
            4,
            "(call $number (i64.const 0) (i64.const 9))
             (drop (call $channel_send (local.get $channel) (i64.const -1)))"
        ),
        spawn("deaf"),
    );
    program(children, &body)
}

#[test]
fn every_fate_is_counted_once() {
    for workers in ["1", "4"] {
        let options = ["--stats=json", "--workers", workers];
        let output = run_wat_with(&options, &every_fate()).expect(0);
        assert_totals(
            &output,
            &[
                ("spawned", 14),
                ("returned", 2),
                ("exited", 3),
                ("trapped", 4),
                ("not_started", 2),
                ("killed", 2),
                ("shut_down", 1),
                ("host_bugs", 0),
                ("sent", 8),
                ("received", 3),
                ("dropped", 5),
                ("refused", 1),
                ("channel_sent", 4),
                ("channel_received", 1),
                ("timers_fired", 1),
            ],
        );
        assert!(total(&output, "yielded") > 0, "{output:#?}");
    }
}

#[test]
fn the_parts_of_the_workers_add_up() {
    let body = times(1000, &format!("(drop {})", spawn("return")));
    let body = format!("(local $i i64) {body} (call $sleep (i64.const 1))");
    let text = program("(func (export \"return\"))", &body);
    let output = run_wat_with(&["--stats=json", "--workers", "3"], &text).expect(0);
    let line = output.stderr.lines().next().expect("a line");
    let numbers = line.split("\"spawned\":").skip(1).map(|rest| {
        let digits = rest.split(',').next().expect("a number");
        digits.parse::<u64>().unwrap_or_else(|_| panic!("{digits} is no number\n{output:#?}"))
    });
    let numbers: Vec<u64> = numbers.collect();
    // The total, three workers, other threads.
    assert_eq!(numbers.len(), 5, "{output:#?}");
    assert_eq!(numbers[0], 1001);
    assert_eq!(numbers[1..].iter().sum::<u64>(), 1001);
}

#[test]
fn the_most_that_were_alive_at_once_is_exact_on_one_worker() {
    let body = format!(
        "(local $i i64) {} (call $yield) {}",
        times(7, &format!("(drop {})", spawn("deaf"))),
        times(20, &format!("(call $join {})", spawn("return")))
    );
    let children = r#"(func (export "return"))
      (func (export "deaf") (call $sleep (i64.const -1)))"#;
    let text = program(children, &body);
    let output = run_wat_with(&["--stats=json", "--workers", "1"], &text).expect(0);
    // The main process, the deaf, and one of the others at a time.
    assert!(output.stderr.contains("\"alive_peak\":9,"), "{output:#?}");
    assert_totals(&output, &[("spawned", 28), ("returned", 21), ("shut_down", 7)]);
}

#[test]
fn used_up_slices_are_preemptions_and_yields_are_not() {
    let looping = "(local $i i64) (loop $again
        (br_if $again (i64.lt_u (local.tee $i (i64.add (local.get $i) (i64.const 1)))
          (i64.const 5000000))))";
    let options = ["--stats=json", "--workers", "1", "--preempt", "fuel"];
    let output = run_wat_with(&options, &program("", looping)).expect(0);
    assert_totals(&output, &[("yielded", 0)]);
    assert!(total(&output, "preempted") >= 100, "{output:#?}");

    let yielding = format!("(local $i i64) {}", times(100, "(call $yield)"));
    let output = run_wat_with(&options, &program("", &yielding)).expect(0);
    assert_totals(&output, &[("yielded", 100), ("preempted", 0)]);
}

/// The table is there, with its total of processes, and the memory.
#[track_caller]
fn assert_table(output: &Output) {
    for text in ["statistics of the run", "  spawned  ", "  alive at most  ", "preemptions", "MiB"]
    {
        assert!(output.stderr.contains(text), "no {text:?}\n{output:#?}");
    }
    assert!(!output.stderr.contains('\x1b'), "colours, but no terminal\n{output:#?}");
    let begin = output.stderr.find("statistics of the run").expect("just seen");
    let widths: Vec<usize> = output.stderr[begin..]
        .lines()
        .filter(|line| line.starts_with("  "))
        .filter(|line| !["MiB", "at most", "memory refused"].iter().any(|part| line.contains(part)))
        .map(str::len)
        .collect();
    assert!(!widths.is_empty() && widths.iter().all(|&width| width == widths[0]), "{output:#?}");
}

#[test]
fn the_table_is_printed_however_the_run_ends() {
    let options = ["--stats", "--workers", "2"];
    assert_table(&run_wat_with(&options, &program("", "")).expect(0));
    assert_table(&run_wat_with(&options, &program("", "(call $exit (i32.const 9))")).expect(9));
    let trapped = run_wat_with(&options, &program("", "unreachable")).expect(134);
    assert_table(&trapped);
    let reason = trapped.stderr.find("lunatic: the main process trapped").expect("the reason");
    assert!(reason < trapped.stderr.find("statistics").expect("the table"), "{trapped:#?}");
    let killed = program("", "(call $kill (call $self)) (call $yield)");
    assert_table(&run_wat_with(&options, &killed).expect(137));
}

#[test]
fn the_table_is_printed_after_ctrl_c() {
    let module = Module::wat(&program("", "(call $say (i64.const 1)) (call $for_ever)"));
    let mut command = lunatic();
    command.args(["run", "--stats"]).arg(module.path());
    let mut running = Running::start(command);
    running.wait_for("1\n");
    running.signal(libc::SIGINT);
    let output = running.finish().expect(130);
    assert_table(&output);
}

#[test]
fn nothing_is_printed_unless_asked_for() {
    run_wat_with(&[], &program("", "")).expect_quiet_success();
}

#[test]
fn an_unknown_format_is_refused_with_those_that_are() {
    let module = Module::wat(&program("", ""));
    let mut command = lunatic();
    command.args(["run", "--stats=xml"]).arg(module.path());
    run_command(command, b"").expect(2).says(&["xml", "table", "json"]);
}

#[test]
fn what_a_program_measures_is_shown() {
    let guest = r#"(module
      (import "lunatic::metrics" "counter" (func $counter (param i32 i32 i64)))
      (import "lunatic::metrics" "increment_counter" (func $increment (param i32 i32)))
      (import "lunatic::metrics" "gauge" (func $gauge (param i32 i32 f64)))
      (import "lunatic::metrics" "increment_gauge" (func $more (param i32 i32 f64)))
      (import "lunatic::metrics" "decrement_gauge" (func $less (param i32 i32 f64)))
      (import "lunatic::metrics" "histogram" (func $histogram (param i32 i32 f64)))
      (memory (export "memory") 1)
      (data (i32.const 0) "a\"b\1b")
      (func (export "_start")
        (call $counter (i32.const 0) (i32.const 1) (i64.const 40))
        (call $increment (i32.const 0) (i32.const 1))
        (call $increment (i32.const 0) (i32.const 1))
        (call $gauge (i32.const 0) (i32.const 1) (f64.const 1.5))
        (call $more (i32.const 0) (i32.const 1) (f64.const 3))
        (call $less (i32.const 0) (i32.const 1) (f64.const 1))
        (call $histogram (i32.const 0) (i32.const 4) (f64.const 2))
        (call $histogram (i32.const 0) (i32.const 4) (f64.const 6))
        (call $gauge (i32.const 0) (i32.const 4) (f64.const nan))))"#;
    run_wat_with(&["--stats=json"], guest).expect(0).says(&[
        "{\"name\":\"a\",\"counter\":42}",
        "{\"name\":\"a\",\"gauge\":3.5}",
        "{\"name\":\"a\\\"b\\u001b\",\"gauge\":null}",
        "\"histogram\":{\"count\":2,\"sum\":8,\"min\":2,",
    ]);
    run_wat_with(&["--stats"], guest).expect(0).says(&["metrics\n", "2 values: sum 8, min 2"]);
    let tiny = guest
        .replace("(f64.const 1.5)", "(f64.const 0x1p-1074)")
        .replace("(f64.const 3)", "(f64.const 0)");
    let tiny = tiny.replace("(f64.const 1))", "(f64.const 0))");
    run_wat_with(&["--stats=json"], &tiny).expect(0).says(&["{\"name\":\"a\",\"gauge\":5e-324}"]);
    let long = guest.replace("(i32.const 1) (i64.const 40)", "(i32.const 257) (i64.const 40)");
    run_wat_with(&[], &long).expect(134).says(&["a metric's name of 257 bytes; it may have 256"]);
}
