//! What is promised about memory: nothing of the dead reaches the living, large beside small, and limits that are errors
//! and not crashes.

mod support;

use std::process::Command;

use support::{
    ERRORS, Module, Output, Running, TRY, lunatic, program, run_command, run_wat_with, spawn_with,
    times,
};

/// A program that spawns until that fails, 2,000,000 times at most; prints why, and how many there are; kills the last
/// 1,024, lets them die, and prints whether there is room now. (One may not do: each other worker may keep some free
/// slots to itself.)
fn spawn_until_refused() -> String {
    let at = "(i32.add (i32.const 65536)
      (i32.shl (i32.and (i32.wrap_i64 (local.get $count)) (i32.const 1023)) (i32.const 3)))";
    let each = |body: &str| {
        times(1024, &body.replace("$at", "(i32.wrap_i64 (i64.shl (local.get $i) (i64.const 3)))"))
    };
    let body = format!(
        "(local $i i64) (local $count i64)
         (loop $again
           (if (call $try)
             (then
               (i64.store {at} (i64.load (i32.const 288)))
               (local.set $count (i64.add (local.get $count) (i64.const 1)))
               (br_if $again (i64.lt_u (local.get $count) (i64.const 2000000))))))
         (call $say (local.get $count))
         {} {}
         (call $say32 (call $try))",
        each(
            "(if (i64.ne (i64.const 0) (i64.load offset=65536 $at)) (then (call $kill (i64.load offset=65536 $at))))"
        ),
        each(
            "(if (i64.ne (i64.const 0) (i64.load offset=65536 $at)) (then (call $join (i64.load offset=65536 $at))))"
        )
    );
    program(TRY, &body).replacen("(module", &format!("(module {ERRORS}"), 1)
}

/// The error that the spawner got, and how many processes it had by then.
#[track_caller]
fn refused(output: Output) -> (String, u64) {
    let output = output.expect(0);
    let lines: Vec<&str> = output.stdout.lines().collect();
    let [error, count, again] = lines[..] else { panic!("three lines\n{output:#?}") };
    assert_eq!(again, "1", "no room although many have ended\n{output:#?}");
    let count = count.parse().unwrap_or_else(|_| panic!("no number: {count}\n{output:#?}"));
    (error.to_string(), count)
}

#[test]
fn too_many_processes_are_an_error_that_names_the_limit_and_the_flag() {
    for (workers, most) in [("1", 49), ("4", 52)] {
        let options = ["--processes-max", "50", "--workers", workers];
        let (error, count) = refused(run_wat_with(&options, &spawn_until_refused()));
        assert!(error.contains("--processes-max") && error.contains("cannot spawn"), "{error}");
        // With the main process at least as many as asked for; each other worker may keep one.
        assert!((49..=most).contains(&count), "{count} processes");
    }
}

#[test]
fn processes_max_is_checked_and_named() {
    let module = Module::wat(&program("", ""));
    for value in ["0", "-1", "many"] {
        let mut command = lunatic();
        command.args(["run", "--processes-max", value]).arg(module.path());
        run_command(command, b"").expect(2).says(&["--processes-max"]);
    }
    let mut command = lunatic();
    command.args(["run", "--processes-max", "3000000000"]).arg(module.path());
    run_command(command, b"").expect(2).says(&["processes_max", "3000000000", "2^31"]);
}

/// Runs a guest with so little address space.
fn run_within(kibibytes: u64, text: &str) -> Output {
    let module = Module::wat(text);
    let lunatic = lunatic();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {kibibytes}; exec \"$0\" \"$@\"")]);
    command.arg(lunatic.get_program()).args(["run", "--workers", "2"]).arg(module.path());
    for (key, value) in lunatic.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    run_command(command, b"")
}

#[test]
fn little_address_space_is_an_error_that_names_it() {
    let text = spawn_until_refused();
    // Compiled once, with all the room it wants, for the memories that little address space has room for.
    let options = ["--memory", "dense", "--processes-max", "10", "--workers", "1"];
    run_wat_with(&options, &text).expect(0);
    let mut ran = 0;
    // From far too little, in steps that meet each stage of starting and spawning, to plenty.
    for kibibytes in (100_000..2_600_000).step_by(50_000).chain([4_000_000, 16_000_000]) {
        let output = run_within(kibibytes, &text);
        if output.code == 0 {
            let (error, count) = refused(output);
            assert!(error.contains("ulimit -v") || error.contains("processes_max"), "{error}");
            // Each thread of the runtime's takes 66 MiB of addresses, so little may be left.
            assert!(count > 30, "{count} processes in {kibibytes} KiB");
            ran += 1;
        } else {
            assert!(output.code == 70 || output.code == 3, "{kibibytes} KiB: {output:#?}");
            assert!(output.stderr.contains("ulimit -v"), "{kibibytes} KiB: {output:#?}");
        }
    }
    assert!(ran > 20, "only {ran} of the runs could begin");
}

#[test]
fn where_guards_cost_mappings_too_few_of_them_are_an_error_that_names_them() {
    let text = spawn_until_refused();
    let (error, count) = refused(run_wat_with(&["--without-guard-marks"], &text));
    // A machine may allow a million of them.
    assert!(error.contains("vm.max_map_count") || error.contains("processes_max"), "{error}");
    assert!(count > 10_000, "{count} processes");
}

/// What a process may change, and `$differences`: how much of it is not as the module says. `$dirty` changes all of it.
/// The function must be called before anything else, as the prelude uses the first KiB.
const STATE: &str = r#"
  (data (i32.const 70000) "0123456789abcdef")
  (data $passive "xyz")
  (table $table 20 40 funcref)
  (table $other 4 funcref)
  (elem (table $table) (i32.const 3) func $eleven)
  (elem $unused funcref (ref.func $eleven))
  (global $g32 (mut i32) (i32.const 7))
  (global $g64 (mut i64) (i64.const -9))
  (global $f64 (mut f64) (f64.const 1.5))
  (global $v (mut v128) (v128.const i64x2 1 2))
  (global $f (mut funcref) (ref.null func))
  (type $number (func (result i32)))
  (func $eleven (result i32) (i32.const 11))
  (func $differ (param i32) (result i64)
    (i64.extend_i32_u (i32.ne (i32.const 0) (local.get 0))))
  ;; Words of the memory from here to there that are not zero.
  (func $words (param $from i32) (param $to i32) (result i64) (local $count i64)
    (loop $next
      (if (i64.ne (i64.load (local.get $from)) (i64.const 0))
        (then (local.set $count (i64.add (local.get $count) (i64.const 1)))))
      (br_if $next (i32.lt_u (local.tee $from (i32.add (local.get $from) (i32.const 8)))
        (local.get $to))))
    (local.get $count))
  ;; Elements of a table, from here to there, that are not null.
  (func $elements (param $from i32) (param $to i32) (result i64) (local $count i64)
    (loop $next
      (local.set $count (i64.add (local.get $count)
        (call $differ (i32.eqz (ref.is_null (table.get $table (local.get $from)))))))
      (br_if $next (i32.lt_u (local.tee $from (i32.add (local.get $from) (i32.const 1)))
        (local.get $to))))
    (local.get $count))
  ;; Locals that are not zero at first, so many frames deep; leaves patterns on the stack.
  (func $frames (param $depth i32) (result i64)
    (local $a i64) (local $b i64) (local $c i64) (local $d i64) (local $e i64) (local $f i64)
    (local $v v128) (local $w v128) (local $x f64) (local $count i64)
    (local.set $count (call $differ (i64.ne (i64.const 0)
      (i64.or (i64.or (i64.or (local.get $a) (local.get $b)) (i64.or (local.get $c) (local.get $d)))
        (i64.or (i64.or (local.get $e) (local.get $f))
          (i64.or (i64.reinterpret_f64 (local.get $x))
            (i64x2.extract_lane 0 (v128.or (local.get $v) (local.get $w)))))))))
    (local.set $a (i64.const 0x5a5a5a5a5a5a5a5a)) (local.set $b (i64.add (local.get $a) (local.get $count)))
    (local.set $c (i64.mul (local.get $b) (i64.const 3))) (local.set $d (i64.mul (local.get $c) (i64.const 5)))
    (local.set $v (i64x2.splat (local.get $d))) (local.set $w (i64x2.splat (local.get $c)))
    (if (local.get $depth)
      (then (local.set $count (i64.add (local.get $count)
        (call $frames (i32.sub (local.get $depth) (i32.const 1)))))))
    (if (i64.eq (i64.add (i64.add (local.get $a) (local.get $b))
          (i64x2.extract_lane 1 (v128.xor (local.get $v) (local.get $w)))) (i64.const 1))
      (then unreachable))
    (local.get $count))
  (func $differences (result i64) (local $count i64)
    (local.set $count (i64.add (i64.add
      (call $words (i32.const 0) (i32.const 70000))
      (call $words (i32.const 70016) (i32.const 131072)))
      (call $frames (i32.const 300))))
    (local.set $count (i64.add (local.get $count) (call $differ (i32.or
      (i64.ne (i64.load (i32.const 70000)) (i64.const 0x3736353433323130))
      (i64.ne (i64.load (i32.const 70008)) (i64.const 0x6665646362613938))))))
    (local.set $count (i64.add (local.get $count) (call $differ (i32.or
      (i32.ne (memory.size) (i32.const 2)) (i32.ne (table.size $table) (i32.const 20))))))
    (local.set $count (i64.add (local.get $count) (call $differ (i32.or
      (i32.ne (global.get $g32) (i32.const 7)) (i64.ne (global.get $g64) (i64.const -9))))))
    (local.set $count (i64.add (local.get $count) (call $differ (i32.or (i32.or
      (f64.ne (global.get $f64) (f64.const 1.5)) (i32.eqz (ref.is_null (global.get $f))))
      (v128.any_true (v128.xor (global.get $v) (v128.const i64x2 1 2)))))))
    (local.set $count (i64.add (local.get $count) (i64.add
      (call $elements (i32.const 0) (i32.const 3)) (call $elements (i32.const 4) (i32.const 20)))))
    (local.set $count (i64.add (local.get $count) (call $differ
      (i32.eqz (ref.is_null (table.get $other (i32.const 1)))))))
    (if (ref.is_null (table.get $table (i32.const 3)))
      (then (local.set $count (i64.add (local.get $count) (i64.const 1))))
      (else (local.set $count (i64.add (local.get $count)
        (call $differ (i32.ne (call_indirect $table (type $number) (i32.const 3)) (i32.const 11)))))))
    (local.get $count))
  ;; One in eight lives in a larger memory, which must be as clean.
  (func $grown (result i64) (local $me i64)
    (local.set $me (call $self))
    (if (i64.ne (i64.const 0) (i64.and (i64.const 7)
          (i64.add (local.get $me) (i64.shr_u (local.get $me) (i64.const 32)))))
      (then (return (i64.const 0))))
    (if (i32.ne (memory.grow (i32.const 30)) (i32.const 2)) (then (return (i64.const 1))))
    (call $words (i32.const 131072) (i32.const 2097152)))
  (func $dirty
    ;; What was dropped by a predecessor could not be copied.
    (memory.init $passive (i32.const 80000) (i32.const 0) (i32.const 3))
    (table.init $other $unused (i32.const 1) (i32.const 0) (i32.const 1))
    (data.drop $passive) (elem.drop $unused)
    (memory.fill (i32.const 0) (i32.const 0xa5) (i32.mul (memory.size) (i32.const 65536)))
    (drop (table.grow $table (ref.func $eleven) (i32.const 20)))
    (table.fill $table (i32.const 0) (ref.func $eleven) (i32.const 40))
    (table.set $table (i32.const 3) (ref.null func))
    (global.set $g32 (i32.const 0xa5a5a5a5))
    (global.set $g64 (i64.const 0xa5a5a5a5a5a5a5a5))
    (global.set $f64 (f64.const 77))
    (global.set $f (ref.func $eleven))
    (global.set $v (v128.const i64x2 -1 -1)))
  (func $for_ever_deep (param i64) (result i64)
    (i64.add (i64.rotl (call $for_ever_deep (i64.add (local.get 0) (i64.const 1))) (i64.const 3))
      (local.get 0)))"#;

/// How the processes of [`STATE`] die, each an exported function of the process that gets the count of differences.
const DEATHS: [(&str, &str); 8] = [
    ("return", ""),
    ("trap", "unreachable"),
    ("exit", "(call $exit (i32.const 1))"),
    ("bounds", "(drop (i64.load (i32.const -8)))"),
    ("stack", "(drop (call $for_ever_deep (i64.const 1)))"),
    ("fault", "(drop (call $write (i32.const -8) (i32.const 8)))"),
    ("loop", "(call $for_ever)"),
    ("park", "(drop (call $recv))"),
];

#[test]
fn nothing_of_the_dead_reaches_the_living() {
    let children: String = DEATHS
        .map(|(name, death)| {
            format!(
                "(func (export \"{name}\") (param $parent i64) (local $count i64)
                   (local.set $count (call $differences))
                   (local.set $count (i64.add (local.get $count) (call $grown)))
                   (call $dirty)
                   (call $send (local.get $parent) (local.get $count))
                   {death})"
            )
        })
        .concat();
    let mut round: String = DEATHS[..6]
        .iter()
        .map(|(name, _)| format!("(drop {})", spawn_with(name, "(call $self)")))
        .collect();
    for (name, local) in [("loop", "$loop"), ("park", "$park")] {
        round += &format!("(local.set {local} {})", spawn_with(name, "(call $self)"));
    }
    let receive = "(local.set $sum (i64.add (local.get $sum) (call $recv)))
                   (local.set $answers (i64.add (local.get $answers) (i64.const 1)))";
    round += &receive.repeat(DEATHS.len());
    round += "(call $kill (local.get $loop)) (call $kill (local.get $park))";
    let body = format!(
        "(local $i i64) (local $loop i64) (local $park i64) (local $sum i64) (local $answers i64)
         {}
         (call $say (local.get $sum))
         (call $say (local.get $answers))
         ;; The check can fail: this process is dirty after it has made itself so.
         (call $dirty)
         (local.set $sum (call $differences))
         (call $say32 (i64.gt_u (local.get $sum) (i64.const 16000)))",
        times(1000, &round)
    );
    let text = program(&format!("{STATE}{children}"), &body);
    for options in [
        &["--workers", "1"][..],
        &["--workers", "4"],
        // As on older kernels: other ways to guard and to clean.
        &["--workers", "4", "--without-guard-marks"],
    ] {
        run_wat_with(options, &text).expect(0).prints(&[0, 8 * 1000, 1]);
    }
}

#[test]
fn large_memories_of_the_dead_are_given_back_in_parts_and_come_back_clean() {
    // Each of 2 to 66 MiB: counts the words that are not zero, fills it all and ends; the next one has
    // another length.
    let children = "
      (func $dirty_words (param $at i32) (result i64) (local $count i64)
        (loop $next
          (if (i64.ne (i64.const 0) (i64.load (local.get $at)))
            (then (local.set $count (i64.add (local.get $count) (i64.const 1)))))
          (local.set $at (i32.add (local.get $at) (i32.const 1016)))
          (br_if $next (i32.lt_u (local.get $at)
            (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 8)))))
        (local.get $count))
      (func $large (param $main i64) (param $pages i32)
        (if (i32.eq (memory.grow (local.get $pages)) (i32.const -1)) (then unreachable))
        (call $send (local.get $main) (call $dirty_words (i32.const 4096)))
        (memory.fill (i32.const 4096) (i32.const 0xa5)
          (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 4096))))
      (func $length (result i32)
        (i32.add (i32.const 30) (i32.mul (i32.const 73)
          (i32.and (i32.const 15) (i32.wrap_i64 (call $recv))))))
      (func (export \"returns\") (param $main i64)
        (call $large (local.get $main) (call $length)))
      (func (export \"traps\") (param $main i64)
        (call $large (local.get $main) (call $length)) unreachable)
      (func (export \"waits\") (param $main i64)
        (call $large (local.get $main) (call $length))
        (call $send (local.get $main) (i64.const 0)) (call $sleep (i64.const -1)))";
    let sum = "(local.set $sum (i64.add (local.get $sum) (call $recv)))";
    let one = |name: &str, end: &str| {
        format!(
            "(local.set $to {}) (call $send (local.get $to) (i64.mul (local.get $i) (i64.const 7)))
             {sum} {end} (call $join (local.get $to))",
            spawn_with(name, "(call $self)")
        )
    };
    let body = format!(
        "(local $i i64) (local $sum i64) (local $to i64) {} (call $say (local.get $sum))",
        times(
            16,
            &[
                one("returns", ""),
                one("waits", &format!("{sum} (call $kill (local.get $to))")),
                one("traps", "")
            ]
            .concat()
        )
    );
    for options in [
        &["--workers=1"][..],
        &["--workers=2", "--memory=dense"],
        &["--workers=2", "--without-guard-marks"],
    ] {
        run_wat_with(options, &program(children, &body)).expect(0).prints(&[0]);
    }
}

#[test]
fn a_memory_of_a_gibibyte_works_beside_many_small_ones() {
    let children = r#"
      (func (export "small") (param i64)
        (i64.store (i32.const 100000) (call $self))
        (call $send (local.get 0) (i64.const 1))
        (drop (call $recv))
        (call $send (local.get 0)
          (i64.extend_i32_u (i64.eq (i64.load (i32.const 100000)) (call $self)))))
      ;; A word at the end of each page; then nearly all of the last 64 MiB, once more.
      (func (export "big") (param $parent i64) (local $step i32) (local $old i32)
        (local.set $step (i32.const 1))
        (loop $more
          (local.set $old (memory.grow (local.get $step)))
          (if (i32.eq (local.get $old) (i32.const -1)) (then unreachable))
          (call $mark (local.get $old) (memory.size))
          (local.set $step (i32.sub (i32.const 16384) (memory.size)))
          (if (i32.gt_u (local.get $step) (memory.size)) (then (local.set $step (memory.size))))
          (br_if $more (local.get $step)))
        (memory.fill (i32.const 0x3c000000) (i32.const 0) (i32.const 0x03ff0000))
        (call $send (local.get $parent) (call $marked))
        (drop (call $recv))
        (call $send (local.get $parent) (call $marked)))
      (func $mark (param $from i32) (param $to i32)
        (loop $next
          (if (i64.ne (i64.const 0)
                (i64.load offset=65528 (i32.shl (local.get $from) (i32.const 16))))
            (then unreachable))
          (i64.store offset=65528 (i32.shl (local.get $from) (i32.const 16))
            (i64.extend_i32_u (local.get $from)))
          (br_if $next (i32.lt_u (local.tee $from (i32.add (local.get $from) (i32.const 1)))
            (local.get $to)))))
      (func $marked (result i64) (local $page i32) (local $count i64)
        (local.set $page (i32.const 2))
        (loop $next
          (local.set $count (i64.add (local.get $count) (i64.extend_i32_u (i64.eq
            (i64.extend_i32_u (local.get $page))
            (i64.load offset=65528 (i32.shl (local.get $page) (i32.const 16)))))))
          (br_if $next (i32.lt_u (local.tee $page (i32.add (local.get $page) (i32.const 1)))
            (memory.size))))
        (local.get $count))"#;
    // Their ids lie from the third page on.
    let at = "(i32.add (i32.const 131072) (i32.shl (i32.wrap_i64 (local.get $i)) (i32.const 3)))";
    let sum = "(local.set $sum (i64.add (local.get $sum) (call $recv)))";
    const SMALL: u64 = 20_000;
    let body = format!(
        "(local $i i64) (local $sum i64) (local $big i64)
         (drop (memory.grow (i32.const 4)))
         {} {}
         (call $say (local.get $sum))
         (local.set $big {})
         (call $say (call $recv))
         (local.set $sum (i64.const 0))
         {} {}
         (call $say (local.get $sum))
         (call $send (local.get $big) (i64.const 0))
         (call $say (call $recv))",
        times(SMALL, &format!("(i64.store {at} {})", spawn_with("small", "(call $self)"))),
        times(SMALL, sum),
        spawn_with("big", "(call $self)"),
        times(SMALL, &format!("(call $send (i64.load {at}) (i64.const 0))")),
        times(SMALL, sum),
    );
    // All marks but those in the 64 MiB that were filled; the first two pages have none.
    let whole = 16_384 - 2;
    let filled = 0x03ff_0000 / 65_536;
    let output = run_wat_with(&["--workers", "2"], &program(children, &body));
    output.expect_quiet_success().prints(&[
        SMALL as i64,
        whole - filled,
        SMALL as i64,
        whole - filled,
    ]);
}

#[test]
fn growing_a_memory_beyond_its_limit_answers_minus_one() {
    // The module's own maximum.
    let body = "(call $say32 (memory.grow (i32.const 3)))
                (call $say32 (memory.grow (i32.const 1)))
                (call $say32 (memory.grow (i32.const -1)))
                (call $say32 (memory.size))
                (i64.store (i32.const 327672) (i64.const 5))
                (call $say (i64.load (i32.const 327672)))";
    let text = program("", body).replacen("\"memory\") 2)", "\"memory\") 2 5)", 1);
    run_wat_with(&[], &text).expect_quiet_success().prints(&[2, -1, -1, 5, 5]);

    // What 32 bits can address.
    let body = "(call $say32 (memory.grow (i32.const 65535)))
                (call $say32 (memory.grow (i32.const 65534)))
                (call $say32 (memory.grow (i32.const 1)))
                (i64.store (i32.const -8) (i64.const 6))
                (call $say (i64.load (i32.const -8)))
                (call $say32 (memory.size))";
    let output = run_wat_with(&[], &program("", body)).expect_quiet_success();
    output.prints(&[-1, 2, -1, 6, 65536]);
}

/// MiB of the child that are resident now.
fn resident_mib(running: &Running) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.child.id()));
    let status = status.expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells");
    let number = line.trim().trim_end_matches("kB").trim();
    number.parse::<u64>().expect("a number") >> 10
}

#[test]

fn the_memory_of_a_burst_is_given_back() {
    let at = "(i32.add (i32.const 131072) (i32.shl (i32.wrap_i64 (local.get $i)) (i32.const 3)))";
    const BURST: u64 = 200_000;
    let body = format!(
        "(local $i i64)
         (drop (memory.grow (i32.const 30)))
         {} {}
         (call $say (i64.const 1))
         {} {}
         (call $say (i64.const 2))
         (call $sleep (i64.const -1))",
        times(BURST, &format!("(i64.store {at} {})", spawn_with("wait", "(call $self)"))),
        times(BURST, "(drop (call $recv))"),
        times(BURST, &format!("(call $kill (i64.load {at}))")),
        times(BURST, &format!("(call $join (i64.load {at}))")),
    );
    let children = "(func (export \"wait\") (param i64)
        (call $send (local.get 0) (i64.const 1)) (drop (call $recv)))";
    let module = Module::wat(&program(children, &body));
    let mut command = lunatic();
    command.arg(module.path());
    let mut running = Running::start(command);
    running.wait_for("1\n");
    let alive = resident_mib(&running);
    running.wait_for("2\n");
    assert!(alive > 400, "{BURST} processes took {alive} MiB: the test does not test");
    // Within two seconds on a machine with nothing else to do. What never comes back shows as a test that does not end.
    while resident_mib(&running) >= 200 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    running.signal(libc::SIGINT);
    running.finish().expect(130);
}

#[test]
fn a_spawn_that_fails_keeps_its_message() {
    // The one that could not be sent with the spawn is still the current one.
    let body = "(call $number (i64.const 0) (i64.const 42))
         (i64.store (i32.const 240) (i64.const 0x66616564))
         (call $say32 (call $spawn_with_message (i64.const 0) (i64.const -1) (i64.const -1)
           (i32.const 240) (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 288)))
         (call $seek (i64.const 0))
         (call $say (call $value))";
    let text = program("(func (export \"deaf\"))", body);
    let output = run_wat_with(&["--processes-max", "1", "--workers", "1"], &text);
    output.expect_quiet_success().prints(&[1, 42]);
}
