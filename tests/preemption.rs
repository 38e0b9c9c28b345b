//! Preemption by signal, seen from guests: nothing is lost, nobody is starved, all can be ended.
//!
//! The two that compute under a fast tick disturb for ten seconds each. The long form:
//! `LUNATIC_TEST_PREEMPTION_SECONDS=60 cargo test --release --workspace --test preemption`.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod support;

use support::{Module, Running, lunatic, program, run_wat_with, spawn, spawn_with, times};

/// Work that would notice one lost register or flag: `$kernel` of a seed.
const KERNEL: &str = concat!(
    r#"
  (func $hash (param i64) (result i64) (local $i i64) (local $h i64)
    (local.set $h (local.get 0))
    (loop $next
      (local.set $h (i64.mul (i64.xor (local.get $h) (local.get $i)) (i64.const 0x100000001b3)))
      (local.set $h (i64.add (local.get $h) (i64.rem_u (local.get $h) (i64.or (local.get $i) (i64.const 77)))))
      (local.set $h (select (i64.rotl (local.get $h) (i64.const 9)) (i64.add (local.get $h) (i64.const 3))
        (i64.gt_s (local.get $h) (local.get $i))))
      (i64.store (i32.add (i32.const 2048) (i32.wrap_i64 (i64.and (local.get $h) (i64.const 0x3ff8)))) (local.get $h))
      (local.set $h (i64.xor (local.get $h)
        (i64.load (i32.add (i32.const 2048) (i32.wrap_i64 (i64.and (i64.shl (local.get $i) (i64.const 3)) (i64.const 0x3ff8)))))))
      (local.set $i (i64.add (local.get $i) (i64.const 1)))
      (br_if $next (i64.lt_u (local.get $i) (i64.const 3000))))
    (local.get $h))
  (func $sum (param i64) (result i64) (local $i i32) (local $s f64) (local $t f32)
    (local.set $s (f64.convert_i64_s (local.get 0)))
    (loop $next
      (local.set $s (f64.add (f64.mul (local.get $s) (f64.const 0.99)) (f64.sqrt (f64.convert_i32_u (local.get $i)))))
      (local.set $t (f32.div (f32.add (local.get $t) (f32.demote_f64 (local.get $s))) (f32.const 3)))
      (local.set $s (select (f64.neg (local.get $s)) (f64.add (local.get $s) (f64.const 0.1)) (f32.lt (local.get $t) (f32.const 100))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (i32.const 3000))))
    (i64.add (i64.reinterpret_f64 (local.get $s)) (i64.extend_i32_u (i32.reinterpret_f32 (local.get $t)))))
  (func $checksum (param i64) (result i64) (local $i i32) (local $a v128) (local $b v128) (local $c v128)
    (local.set $a (i64x2.splat (local.get 0)))
    (local.set $b (v128.const i32x4 1 -2 3 -4))
    (loop $next
      (local.set $a (i8x16.add (local.get $a) (i8x16.shuffle 3 18 1 30 7 9 0 31 16 5 12 14 22 8 2 27 (local.get $a) (local.get $b))))
      (local.set $b (i32x4.mul (local.get $b) (i32x4.add (local.get $a) (i32x4.splat (local.get $i)))))
      (local.set $c (f32x4.add (local.get $c) (f32x4.sqrt (f32x4.convert_i32x4_u (local.get $b)))))
      (local.set $c (v128.bitselect (local.get $c) (f32x4.splat (f32.const 2)) (f32x4.lt (local.get $c) (f32x4.splat (f32.const 1e6)))))
      (local.set $a (v128.xor (local.get $a) (local.get $c)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (i32.const 3000))))
    (local.set $a (v128.xor (local.get $a) (v128.xor (local.get $b) (local.get $c))))
    (i64.add (i64x2.extract_lane 0 (local.get $a)) (i64x2.extract_lane 1 (local.get $a))))
  (global $rounds i32 (i32.const 1000))
"#,
    include_str!("support/registers.wat"),
    r#"  (func $fib (param i64) (result i64)
    (if (result i64) (i64.lt_u (local.get 0) (i64.const 2)) (then (local.get 0))
      (else (i64.add (call $fib (i64.sub (local.get 0) (i64.const 1)))
                     (call $fib (i64.sub (local.get 0) (i64.const 2)))))))
  (func $kernel (param i64) (result i64)
    (memory.fill (i32.const 2048) (i32.const 0) (i32.const 16384))
    (i64.add (i64.xor (call $hash (local.get 0)) (call $sum (local.get 0)))
      (i64.xor (i64.add (call $many (local.get 0)) (call $equal (local.get 0)))
        (i64.add (call $checksum (local.get 0)) (call $fib (i64.const 12))))))"#
);

/// A thousand processes that compute, for so long or only once; prints the sum of the first results, and how many
/// differed later. `meanwhile` is what the main process does in between.
fn thousand(again: bool, meanwhile: &str, millis: u64, more: &str) -> String {
    let again = i64::from(again);
    let children = format!(
        r#"{KERNEL} {more}
        (func $compute_for (export "work") (param i64) (local $seed i64) (local $first i64)
          (local.set $seed (call $recv))
          (local.set $first (call $kernel (local.get $seed)))
          (call $send_tagged (local.get 0) (i64.const 1) (local.get $first))
          (if (i64.eqz (call $recv)) (then (return)))
          (loop $again
            (if (i64.ne (call $kernel (local.get $seed)) (local.get $first))
              (then (call $send_tagged (local.get 0) (i64.const 2) (local.get $seed))))
            (br $again)))"#
    );
    let body = format!(
        "(local $i i64) (local $sum i64) (local $child i64)
         {}
         {}
         (call $say (local.get $sum))
         {}
         {meanwhile}
         (call $sleep (i64.const {millis}))
         (i64.store (i32.const 32) (i64.const 2))
         (local.set $sum (i64.const 0))
         (block $none
           (loop $bad
             (br_if $none (call $receive (i32.const 32) (i32.const 1) (i64.const 0)))
             (local.set $sum (i64.add (local.get $sum) (i64.const 1)))
             (br $bad)))
         (call $say (local.get $sum))",
        times(
            1000,
            &format!(
                "(i64.store (i32.add (i32.const 65536) (i32.wrap_i64 (i64.shl (local.get $i) (i64.const 3))))
                   (local.tee $child {}))
                 (call $send (local.get $child) (local.get $i))",
                spawn_with("work", "(call $self)")
            )
        ),
        times(
            1000,
            "(local.set $sum (i64.add (local.get $sum) (call $recv_tagged (i64.const 1))))"
        ),
        times(
            1000,
            &format!(
                "(call $send (i64.load (i32.add (i32.const 65536)
                   (i32.wrap_i64 (i64.shl (local.get $i) (i64.const 3))))) (i64.const {again}))"
            )
        ),
    );
    program(&children, &body)
}

/// How long the long tests disturb: ten seconds, or what the environment says.
fn disturb_ms() -> u64 {
    let seconds = std::env::var("LUNATIC_TEST_PREEMPTION_SECONDS").ok();
    seconds.map_or(10_000, |text| text.parse::<u64>().expect("a number of seconds") * 1000)
}

/// The sum that a thousand undisturbed processes find, one after the other.
fn undisturbed() -> i64 {
    let text = thousand(false, "", 0, "");
    let output =
        run_wat_with(&["--preempt", "signal", "--tick-us", "60000000", "--workers", "1"], &text);
    output.expect(0).numbers()[0]
}

const DISTURBED: &[&str] =
    &["--preempt", "signal", "--tick-us", "100", "--workers", "4", "--stats=json"];

fn preemptions(output: &support::Output) -> u64 {
    let stats = output.stderr.split("\"preempted\":").nth(1).expect("statistics");
    stats.split(',').next().and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn a_thousand_processes_compute_the_same_under_a_tick_of_100_us() {
    let output = run_wat_with(DISTURBED, &thousand(true, "", disturb_ms(), "")).expect(0);
    assert_eq!(output.numbers(), [undisturbed(), 0]);
    let preemptions = preemptions(&output);
    assert!(preemptions > 1_000, "{preemptions}");
}

#[test]
fn the_same_among_traps_stack_overflows_and_kills() {
    let more = r#"
      (func (export "trap") (drop (i64.div_u (call $kernel (i64.const 5)) (i64.const 0))))
      (func (export "bad") (drop (call $kernel (i64.const 6))) (drop (i64.load (i32.const -8))))
      (func $deep (param i64) (result i64)
        (i64.add (i64.const 1) (call $deep (i64.add (local.get 0) (call $fib (i64.const 3))))))
      (func (export "deep") (drop (call $deep (i64.const 0))))
      (func $spin (loop $again (drop (call $kernel (i64.const 7))) (br $again)))
      (func $sink (param i64) (if (i64.eqz (local.get 0)) (then (call $for_ever))) (call $sink (i64.sub (local.get 0) (i64.const 1))))
      (func (export "alarm") (param i64)
        (call $sleep (i64.const MILLIS)) (call $send_tagged (local.get 0) (i64.const 3) (i64.const 0)))
      (func (export "spin") (call $spin))
      (func (export "sink") (call $sink (i64.const 500)))"#;
    let more = more.replace("MILLIS", &disturb_ms().to_string());
    let meanwhile = format!(
        "(drop {})
         (i64.store (i32.const 32) (i64.const 3))
         (loop $round
           (drop {}) (drop {}) (drop {})
           (local.set $child {})
           (call $sleep (i64.const 3))
           (call $kill (local.get $child))
           (local.set $child {})
           (call $sleep (i64.const 3))
           (call $kill (local.get $child))
           (br_if $round (call $receive (i32.const 32) (i32.const 1) (i64.const 0))))",
        spawn_with("alarm", "(call $self)"),
        spawn("trap"),
        spawn("bad"),
        spawn("deep"),
        spawn("spin"),
        spawn("sink")
    );
    let output = run_wat_with(DISTURBED, &thousand(true, &meanwhile, 100, &more)).expect(0);
    assert_eq!(output.numbers(), [undisturbed(), 0]);
}

#[test]
fn an_interrupt_ends_endless_loops_in_both_modes() {
    // It says something, then loops where hardly any stack is left.
    let items = "
      (func $sink (param i64)
        (if (i64.eqz (local.get 0)) (then (call $say (i64.const 7)) (call $for_ever)))
        (call $sink (i64.sub (local.get 0) (i64.const 1))))";
    let module = Module::wat(&program(items, "(call $sink (i64.const 1000))"));
    for mode in ["signal", "fuel"] {
        let mut command = lunatic();
        command.args(["run", "--workers", "1", "--preempt", mode]).arg(module.path());
        let mut running = Running::start(command);
        running.wait_for("7\n");
        running.signal(libc::SIGINT);
        running.finish().expect(130);
    }
}
