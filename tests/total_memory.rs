//! All processes together may have so much memory: who asks for more is told, who has touched most ends,
//! and whatever way a process ends in, what it had can be had again.

mod support;

use support::{ERRORS, Output, TRY, program, run_wat_with, spawn_linked_with, spawn_with, times};

const LIMIT: &str = "--max-total-memory=64M";
/// WebAssembly pages of the limit.
const PAGES: i64 = 1024;

const OUT_OF_MEMORY: i64 = 6;

/// The kinds of memory, and workers.
const WAYS: [&[&str]; 4] = [
    &[LIMIT, "--workers=1"],
    &[LIMIT, "--workers=1", "--memory=dense"],
    &[LIMIT, "--workers=2"],
    &[LIMIT, "--workers=2", "--memory=dense"],
];

/// A program that declares so many pages of memory.
fn program_of(pages: u32, items: &str, body: &str) -> String {
    let memory = format!("(memory (export \"memory\") {pages})");
    program(items, body).replacen("(memory (export \"memory\") 2)", &memory, 1)
}

#[track_caller]
fn run(options: &[&str], items: &str, body: &str) -> Output {
    let body = format!("(local $to i64) (local $i i64) (local $sum i64) {body}");
    run_wat_with(options, &program(items, &body))
}

/// Grows page by page until it may not; leaves how many there were.
const GREED: &str = "(func $greed (result i64) (local $pages i64)
  (loop $more
    (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1))
      (then (local.set $pages (i64.add (local.get $pages) (i64.const 1))) (br $more))))
  (local.get $pages))";

/// Spawns until it cannot, and says how many.
const COUNT_SPAWNS: &str = "(local $count i64)
      (loop $again
        (if (call $try) (then
          (local.set $count (i64.add (local.get $count) (i64.const 1)))
          (br_if $again (i64.lt_u (local.get $count) (i64.const 100))))))
      (call $say (local.get $count))";

#[test]
fn growing_beyond_what_all_may_have_answers_minus_one_and_says_so_once() {
    for options in WAYS {
        let body = "(call $say (call $greed)) (call $say (call $greed))
          (call $say32 (memory.grow (i32.const 0)))";
        let output = run(options, GREED, body).expect(0).prints(&[PAGES, 0, PAGES + 2]);
        assert_eq!(output.stderr.lines().count(), 1, "{output:#?}");
        output.says(&["not given more memory", "67108864", "--max-total-memory"]);
    }
}

#[test]
fn processes_that_compete_get_exactly_all_of_it() {
    let items = format!(
        "{GREED} (func (export \"greedy\") (param $main i64)
           (call $send (local.get $main) (call $greed)) (call $sleep (i64.const -1)))"
    );
    let body = format!(
        "{} {} (call $say (local.get $sum))",
        times(8, &format!("(drop {})", spawn_with("greedy", "(call $self)"))),
        times(8, "(local.set $sum (i64.add (local.get $sum) (call $recv)))")
    );
    for options in WAYS {
        run(options, &items, &body).expect(0).prints(&[PAGES]);
    }
}

#[test]
fn however_a_process_ends_its_memory_can_be_had_again() {
    // Each takes all, in one go, once there is all: forever, if somebody had kept a page.
    let take = "(loop $again (call $yield)
      (br_if $again (i32.eq (memory.grow (i32.const 1024)) (i32.const -1))))";
    let ends = [
        ("returns", ""),
        ("exits", "(call $exit (i32.const 3))"),
        ("traps", "unreachable"),
        ("faults", "(call $seek (i64.const 0))"),
        ("overflow", "(call $deep)"),
        ("beyond", "(drop (i32.load (i32.const -8)))"),
        ("waits", "(call $send (local.get 0) (i64.const 1)) (call $sleep (i64.const -1))"),
        ("loops", "(call $send (local.get 0) (i64.const 1)) (call $for_ever)"),
    ];
    let items: String = ends
        .iter()
        .map(|(name, end)| format!("(func (export \"{name}\") (param i64) {take} {end})"))
        .collect();
    let items = format!("(func $deep (call $deep) (call $deep)) {items}");
    let body: String = ends
        .iter()
        .map(|(name, end)| {
            let spawn = format!("(local.set $to {})", spawn_linked_with(name, "(call $self)", 7));
            let kill = if end.contains("$send") {
                "(drop (call $recv)) (call $kill (local.get $to))"
            } else {
                ""
            };
            format!("{spawn} {kill} (call $join (local.get $to))")
        })
        .collect();
    let body = format!(
        "(call $die_with_links (i32.const 0)) {}
         (call $say (i64.const 1))",
        times(3, &body.replace("(call $recv)", "(call $recv_tagged (i64.const 0))"))
    );
    for options in WAYS {
        run(options, &items, &body).expect(0).prints(&[1]);
    }
}

#[test]
fn tables_that_grow_count() {
    let items = "(table $wide 1 funcref)";
    // 8 bytes each: eight million fill it, and most of a million do not fit any more.
    let body = "(call $say32 (table.grow $wide (ref.null func) (i32.const 8000000)))
      (call $say32 (memory.grow (i32.const 1000)))
      (call $say32 (table.grow $wide (ref.null func) (i32.const 900000)))
      (call $say32 (table.size $wide))";
    for options in WAYS {
        run(options, items, body).expect(0).prints(&[1, -1, -1, 8_000_001]);
    }
}

#[test]
fn tables_that_a_module_declares_count() {
    // 32 bytes an entry, some thirteen million in all: five of them, the main process among them.
    let items = format!("{TRY} (table 400000 400000 funcref)");
    let text = program(&items, COUNT_SPAWNS).replacen("(module", &format!("(module {ERRORS}"), 1);
    for options in WAYS {
        let output = run_wat_with(options, &text).expect_quiet_success();
        let lines: Vec<&str> = output.stdout.lines().collect();
        let [error, count] = lines[..] else { panic!("two lines\n{output:#?}") };
        assert!(error.contains("--max-total-memory"), "{error}");
        assert_eq!(count, "4", "{output:#?}");
    }
}

#[test]
fn a_process_whose_declared_memory_does_not_fit_is_an_error_that_says_why() {
    // 8 MiB each, of which one (a 64th of the limit) is free: nine, the main process among them.
    let text =
        program_of(128, TRY, COUNT_SPAWNS).replacen("(module", &format!("(module {ERRORS}"), 1);
    for options in WAYS {
        let output = run_wat_with(options, &text).expect_quiet_success();
        let lines: Vec<&str> = output.stdout.lines().collect();
        let [error, count] = lines[..] else { panic!("two lines\n{output:#?}") };
        for part in ["cannot spawn", "8388608", "66060288", "67108864", "--max-total-memory"] {
            assert!(error.contains(part), "no {part:?} in {error:?}");
        }
        assert_eq!(count, "8", "{output:#?}");
    }
    let main = "(module (memory 4096) (func (export \"_start\")))";
    run_wat_with(&[LIMIT], main).expect(3).says(&["268435456", "67108864", "--max-total-memory"]);
}

#[test]
fn those_who_touch_most_of_what_is_free_end_and_others_do_not() {
    // Two hundred have a declared megabyte each, which is free, and touch it all: three times what
    // there may be. Whoever does not, lives.
    let items = "
      (func (export \"heavy\") (param $main i64) (local $at i32)
        (drop (call $recv))
        (loop $touch
          (i32.store (local.get $at) (i32.const 1))
          (local.set $at (i32.add (local.get $at) (i32.const 4096)))
          (br_if $touch (i32.lt_u (local.get $at) (i32.const 1048576))))
        (call $sleep (i64.const -1)))
      (func (export \"light\") (param $main i64)
        (loop $again (call $send (local.get $main) (call $recv)) (br $again)))";
    let at = "(i32.add (i32.const 65536) (i32.shl (i32.wrap_i64 (local.get $i)) (i32.const 3)))";
    let body = format!(
        "(call $die_with_links (i32.const 0))
         (local.set $to {})
         {} {}
         (if (i32.ne (call $receive (i32.const 48) (i32.const 1) (i64.const -1)) (i32.const 1))
           (then unreachable))
         (call $exit_reason (i32.const 320))
         (call $say32 (call $kind)) (call $say (call $detail))
         (call $send (local.get $to) (i64.const 5)) (call $say (call $recv_tagged (i64.const 0)))",
        spawn_linked_with("light", "(call $self)", 8),
        times(200, &format!("(i64.store {at} {})", spawn_linked_with("heavy", "(call $self)", 7))),
        times(200, &format!("(call $send (i64.load {at}) (i64.const 1))")),
    );
    let body = format!("(i64.store (i32.const 48) (i64.const 7)) {body}");
    for options in WAYS {
        let body = format!("(local $to i64) (local $i i64) (local $sum i64) {body}");
        let text = program_of(16, items, &body);
        run_wat_with(options, &text).expect(0).prints(&[OUT_OF_MEMORY, 64 << 20, 5]).says(&[
            "ran out of memory: it took",
            "as one of many that together had most, and all processes together may take 67108864",
        ]);
    }
}

/// Touches its memory up to here.
const TOUCH: &str = "(func $touch (param $end i32) (local $at i32)
  (loop $touch
    (i32.store (local.get $at) (i32.const 1))
    (local.set $at (i32.add (local.get $at) (i32.const 4096)))
    (br_if $touch (i32.lt_u (local.get $at) (local.get $end)))))";

#[test]
fn a_main_process_that_takes_most_stays_unless_it_takes_twice_as_much() {
    // The main process takes 30 MB, another one 20 MB, and each of sixty one that is free.
    let items = format!(
        "{TOUCH}
         (func (export \"big\") (param $main i64)
           (drop (memory.grow (i32.const 304))) (call $touch (i32.const 20971520))
           (call $send (local.get $main) (i64.const 1)) (call $sleep (i64.const -1)))
         (func (export \"light\") (param i64)
           (drop (call $recv)) (call $touch (i32.const 1048576)) (call $sleep (i64.const -1)))"
    );
    let at = "(i32.add (i32.const 65536) (i32.shl (i32.wrap_i64 (local.get $i)) (i32.const 3)))";
    let body = format!(
        "(local $to i64) (local $i i64) (local $sum i64)
         (i64.store (i32.const 48) (i64.const 7))
         (call $die_with_links (i32.const 0))
         (drop (memory.grow (i32.const 464))) (call $touch (i32.const 31457280))
         (local.set $to {}) (call $say (call $recv_tagged (i64.const 0)))
         {} {}
         (if (i32.ne (call $receive (i32.const 48) (i32.const 1) (i64.const -1)) (i32.const 1))
           (then unreachable))
         (call $exit_reason (i32.const 320))
         (call $say32 (call $kind)) (call $say (call $detail))",
        spawn_linked_with("big", "(call $self)", 7),
        times(60, &format!("(i64.store {at} {})", spawn_with("light", "(call $self)"))),
        times(60, &format!("(call $send (i64.load {at}) (i64.const 1))")),
    );
    for options in WAYS {
        let text = program_of(16, &items, &body);
        run_wat_with(options, &text).expect(0).prints(&[1, OUT_OF_MEMORY, 64 << 20]);
    }
}

#[test]
fn many_who_take_little_are_not_spared_because_somebody_else_takes_more() {
    // One takes three megabytes; another child has a hundred children that take one each, which is free at
    // first.
    let at = "(i32.add (i32.const 65536) (i32.shl (i32.wrap_i64 (local.get $i)) (i32.const 3)))";
    let items = format!(
        "{TOUCH}
         (func (export \"big\") (param $main i64)
           (drop (memory.grow (i32.const 48))) (call $touch (i32.const 3145728))
           (call $send (local.get $main) (i64.const 1)) (call $sleep (i64.const -1)))
         (func (export \"light\") (param i64)
           (drop (call $recv)) (call $touch (i32.const 1048576)) (call $sleep (i64.const -1)))
         (func (export \"hostile\") (param $main i64) (local $i i64)
           {} {} (call $send (local.get $main) (i64.const 1)) (call $sleep (i64.const -1)))",
        times(100, &format!("(i64.store {at} {})", spawn_with("light", "(i64.const 0)"))),
        times(100, &format!("(call $send (i64.load {at}) (i64.const 1))")),
    );
    let body = format!(
        "(local $to i64) (local $i i64) (local $sum i64)
         (local.set $to {}) (call $say (call $recv))
         (drop {}) (drop (call $recv))
         (call $sleep (i64.const 500)) (call $say32 (call $exists (local.get $to)))",
        spawn_with("big", "(call $self)"),
        spawn_with("hostile", "(call $self)"),
    );
    for options in WAYS {
        let text = program_of(16, &items, &body);
        run_wat_with(options, &text)
            .expect(0)
            .prints(&[1, 1])
            .says(&["as one of many that together had most"]);
    }
}

#[test]
fn one_who_takes_nearly_all_ends_alone() {
    // It takes 448 MB, others 8 MB each, which are free and which they touch while it ends; they go on.
    let items = format!(
        "{TOUCH}
         (func (export \"bomb\") (param $main i64)
           (drop (memory.grow (i32.const 7040))) (call $touch (i32.const 469762048))
           (call $send (local.get $main) (i64.const 1)) (call $for_ever))
         (func (export \"light\") (param $main i64)
           (drop (call $recv)) (call $touch (i32.const 8388608))
           (call $send (local.get $main) (i64.const 1)) (call $for_ever))"
    );
    let at = "(i32.add (i32.const 65536) (i32.shl (i32.wrap_i64 (local.get $i)) (i32.const 3)))";
    let body = format!(
        "(local $to i64) (local $i i64) (local $sum i64)
         (i64.store (i32.const 48) (i64.const 7))
         (call $die_with_links (i32.const 0))
         (local.set $to {}) (call $say (call $recv_tagged (i64.const 0)))
         {} {}
         (if (i32.ne (call $receive (i32.const 48) (i32.const 1) (i64.const -1)) (i32.const 1))
           (then unreachable))
         (call $exit_reason (i32.const 320)) (call $say32 (call $kind))
         {} (call $say (local.get $sum))",
        spawn_linked_with("bomb", "(call $self)", 7),
        times(20, &format!("(i64.store {at} {})", spawn_with("light", "(call $self)"))),
        times(20, &format!("(call $send (i64.load {at}) (i64.const 1))")),
        times(20, "(local.set $sum (i64.add (local.get $sum) (call $recv_tagged (i64.const 0))))"),
    );
    for options in WAYS {
        let options = [&["-v", "--max-total-memory=512M"], &options[1..]].concat();
        let text = program_of(128, &items, &body);
        let output = run_wat_with(&options, &text).expect(0).prints(&[1, OUT_OF_MEMORY, 20]);
        assert_eq!(output.stderr.matches("ran out of memory").count(), 1, "{output:#?}");
    }
}

#[test]
fn statistics_show_what_there_may_be_and_what_there_was() {
    let options = [LIMIT, "--workers=1", "--stats=json"];
    let output = run(&options, GREED, "(drop (call $greed)) (drop (call $greed))").expect(0);
    output.says(&[
        "\"asked_peak_bytes\":67108864,",
        "\"total_limit_bytes\":67108864,\"memory_refused\":2}",
    ]);
    // What it is if nobody says: less than the machine has.
    run(&["--stats"], "", "").expect(0).says(&["of processes, limit", "memory refused"]);
}
