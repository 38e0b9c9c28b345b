//! A kernel that is preempted at *every* instruction of its code computes what it does undisturbed.
//!
//! Each processor has its way to raise a signal at each instruction (`stepping`). If that is one of
//! the guest's, the handler does what the handler of preemption does. What runs then, in the place of
//! other processes, changes all registers that it may.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#![allow(clippy::multiple_unsafe_ops_per_block)] // Signal contexts, and assembly that changes all.

#[cfg_attr(target_arch = "x86_64", path = "preempt/x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "preempt/aarch64.rs")]
mod stepping;

use std::sync::Arc;

use lunatic_engine::standalone::{Standalone, when_preempted};
use lunatic_engine::{
    Compiler, CompilerOptions, Form, HostFunction, HostFunctions, Image, Limits, MEMORY_BYTES_MAX,
    MemoryForm, MemoryPool, RawValue, TrapCode, preempt,
};

use stepping::{disturb, stepping};

/// Everything that may be lost: general registers, flags between an instruction and the one that
/// asks for them, vectors, frames under construction, memory.
const KERNEL: &str = concat!(
    r#"(module
  (import "test" "begin" (func $begin))
  (memory 1)
  (type $unary (func (param i64) (result i64)))
  (table funcref (elem $double $square $mix))
  (func $double (type $unary) (i64.add (local.get 0) (local.get 0)))
  (func $square (type $unary) (i64.mul (local.get 0) (local.get 0)))
  (func $mix (type $unary) (i64.xor (i64.rotl (local.get 0) (i64.const 23)) (i64.shr_u (local.get 0) (i64.const 7))))
  (func $fib (param i64) (result i64)
    (if (result i64) (i64.lt_u (local.get 0) (i64.const 2)) (then (local.get 0))
      (else (i64.add (call $fib (i64.sub (local.get 0) (i64.const 1)))
                     (call $fib (i64.sub (local.get 0) (i64.const 2)))))))
  (func $integers (param i64) (result i64) (local $i i64) (local $h i64)
    (local.set $h (i64.xor (local.get 0) (i64.const 0xcbf29ce484222325)))
    (loop $next
      (local.set $h (i64.mul (i64.xor (local.get $h) (local.get $i)) (i64.const 0x100000001b3)))
      (local.set $h (i64.add (local.get $h) (i64.div_u (local.get $h) (i64.or (local.get $i) (i64.const 3)))))
      (local.set $h (i64.add (i64.popcnt (local.get $h)) (i64.rotr (local.get $h) (local.get $i))))
      (local.set $h (select (i64.add (local.get $h) (i64.const 5)) (i64.sub (local.get $h) (i64.const 9))
        (i64.gt_s (local.get $h) (i64.clz (local.get $i)))))
      (local.set $h (call_indirect (type $unary) (local.get $h) (i32.rem_u (i32.wrap_i64 (local.get $i)) (i32.const 3))))
      (i64.store (i32.wrap_i64 (i64.and (local.get $h) (i64.const 0xff8))) (local.get $h))
      (local.set $h (i64.xor (local.get $h) (i64.load (i32.wrap_i64 (i64.shl (i64.and (local.get $i) (i64.const 511)) (i64.const 3))))))
      (local.set $i (i64.add (local.get $i) (i64.const 1)))
      (br_if $next (i64.lt_u (local.get $i) (i64.const 40))))
    (local.get $h))
  (func $floats (param i64) (result i64) (local $i i32) (local $s f64) (local $t f32)
    (local.set $s (f64.convert_i64_s (local.get 0)))
    (local.set $t (f32.const 1.5))
    (loop $next
      (local.set $s (f64.add (f64.mul (local.get $s) (f64.const 0.999)) (f64.sqrt (f64.convert_i32_u (local.get $i)))))
      (local.set $t (f32.div (f32.add (local.get $t) (f32.demote_f64 (local.get $s))) (f32.const 3)))
      (local.set $s (f64.max (local.get $s) (f64.nearest (f64.promote_f32 (local.get $t)))))
      (local.set $s (select (f64.neg (local.get $s)) (f64.floor (local.get $s)) (f32.lt (local.get $t) (f32.const 100))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (i32.const 40))))
    (i64.add (i64.reinterpret_f64 (local.get $s)) (i64.extend_i32_u (i32.reinterpret_f32 (local.get $t)))))
  (func $vectors (param i64) (result i64) (local $i i32) (local $a v128) (local $b v128) (local $c v128)
    (local.set $a (i64x2.splat (local.get 0)))
    (local.set $b (v128.const i32x4 1 -2 3 -4))
    (loop $next
      (local.set $a (i8x16.add (local.get $a) (i8x16.shuffle 3 18 1 30 7 9 0 31 16 5 12 14 22 8 2 27 (local.get $a) (local.get $b))))
      (local.set $b (i32x4.mul (local.get $b) (i32x4.add (local.get $a) (i32x4.splat (local.get $i)))))
      (local.set $c (f32x4.add (local.get $c) (f32x4.sqrt (f32x4.convert_i32x4_u (local.get $b)))))
      (local.set $c (v128.bitselect (local.get $c) (f32x4.splat (f32.const 2)) (f32x4.lt (local.get $c) (f32x4.splat (f32.const 1e6)))))
      (local.set $a (i8x16.swizzle (local.get $a) (v128.and (local.get $b) (v128.const i64x2 0x0f0f0f0f0f0f0f0f 0x0f0f0f0f0f0f0f0f))))
      (local.set $a (i16x8.add_sat_s (local.get $a) (i16x8.extmul_low_i8x16_s (local.get $b) (local.get $c))))
      (v128.store (i32.shl (local.get $i) (i32.const 4)) (local.get $a))
      (local.set $i (i32.add (local.get $i) (i32.add (i32.const 1) (i32.and (i8x16.bitmask (local.get $a)) (i32.const 1)))))
      (br_if $next (i32.lt_u (local.get $i) (i32.const 40))))
    (local.set $a (v128.xor (local.get $a) (v128.xor (local.get $b) (local.get $c))))
    (i64.add (i64x2.extract_lane 0 (local.get $a)) (i64x2.extract_lane 1 (local.get $a))))
  (global $rounds i32 (i32.const 20))
"#,
    include_str!("../../tests/support/registers.wat"),
    r#"  (func $bulk (param i64) (result i64)
    (memory.fill (i32.const 100) (i32.wrap_i64 (local.get 0)) (i32.const 50))
    (memory.copy (i32.const 120) (i32.const 90) (i32.const 60))
    (i64.add (i64.load (i32.const 127)) (i64.extend_i32_u (memory.grow (i32.const 0)))))
  (func (export "kernel") (param i64) (result i64)
    (call $begin)
    (i64.add (call $fib (i64.const 9))
      (i64.xor
        (i64.xor (i64.xor (call $integers (local.get 0)) (call $floats (local.get 0)))
          (i64.add (call $many (local.get 0)) (call $equal (local.get 0))))
        (i64.add (call $vectors (local.get 0)) (call $bulk (local.get 0))))))
  (func (export "trap") (param i64) (result i64)
    (call $begin)
    (i64.div_u (call $integers (local.get 0)) (i64.const 0)))
  (func (export "overflow") (param i64) (result i64)
    (call $begin)
    (call $deep (local.get 0)))
  (func $deep (param i64) (result i64)
    (i64.add (i64.const 1) (call $deep (i64.add (local.get 0) (i64.const 1))))))"#
);

fn start(form: Form) -> Standalone {
    let options = CompilerOptions { form, ..CompilerOptions::default() };
    let compiled = Compiler::new(options).compile(KERNEL.as_bytes()).expect("a valid module");
    let mut host = HostFunctions::default();
    let (module, name) = ("test", "begin");
    host.add(HostFunction { module, name, params: &[], results: &[], code: stepping::BEGIN });
    let image = Image::new(compiled, &host).expect("its one import");
    let limits = Limits { memory_bytes_max: MEMORY_BYTES_MAX, slice: 10_000 };
    let pool = Arc::new(MemoryPool::default());
    Standalone::new(&image, &pool, limits).expect("memory").expect("no start function")
}

fn call(process: &mut Standalone, name: &str, argument: i64) -> Result<i64, TrapCode> {
    let function = process.image().function(name).expect("an export");
    let mut values = [RawValue::from(argument)];
    process.call(function, &mut values).map_err(|trap| trap.code)?;
    // SAFETY: every bit pattern is an i64.
    Ok(unsafe { values[0].i64 })
}

/// One test: the handlers and counters belong to the program.
#[test]
fn a_kernel_that_is_preempted_at_every_instruction_computes_the_same() {
    if !preempt::is_supported() {
        eprintln!("skipped: no preemption by signal on this machine");
        return;
    }
    when_preempted(disturb);
    stepping::install();
    for yields in [false, true] {
        let form = Form { yields, memory: MemoryForm::Dense };
        for argument in [1, -7_777_777_777, i64::MAX] {
            // A memory of its own for each run: the kernel leaves traces there.
            let (mut calm, mut stepped) = (start(form), start(form));
            let expected = call(&mut calm, "kernel", argument);
            assert!(expected.is_ok());
            let (result, preemptions) = stepping(|| call(&mut stepped, "kernel", argument));
            assert_eq!(result, expected, "{form:?}, {argument}");
            assert!(preemptions > 5_000, "{preemptions}");
            let (result, preemptions) = stepping(|| call(&mut stepped, "trap", argument));
            assert_eq!(result, Err(TrapCode::IntegerDivisionByZero));
            assert!(preemptions > 1_000, "{preemptions}");
            // What the traps leave behind does not disturb what follows.
            let again = call(&mut stepped, "kernel", argument);
            assert_eq!(again, call(&mut calm, "kernel", argument).and(again));
        }
        let mut deep = start(form);
        let (result, preemptions) = stepping(|| call(&mut deep, "overflow", 0));
        assert_eq!(result, Err(TrapCode::StackOverflow));
        assert!(preemptions > 5_000, "{preemptions}");
    }
}
