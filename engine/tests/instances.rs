//! Instances on fibers of their own: every kind of trap, the builtins, yield points, backtraces.

#![allow(clippy::result_large_err)] // A trap carries its backtrace; here nothing is hot.

use std::sync::Arc;

use lunatic_engine::standalone::Standalone;
use lunatic_engine::{
    BACKTRACE_FRAMES_MAX, Compiler, Frame, HostFunctions, Image, Limits, MEMORY_BYTES_MAX,
    MemoryPool, RawValue, Trap, TrapCode,
};

const LIMITS: Limits = Limits { memory_bytes_max: MEMORY_BYTES_MAX, slice: 10_000 };

fn image(wat: &str) -> Image {
    let compiled = Compiler::default().compile(wat.as_bytes()).expect("a valid module");
    Image::new(compiled, &HostFunctions::default()).expect("no imports")
}

fn start(wat: &str) -> Standalone {
    let pool = Arc::new(MemoryPool::default());
    Standalone::new(&image(wat), &pool, LIMITS).expect("memory").expect("no start function")
}

fn call(process: &mut Standalone, name: &str, arguments: &[i64]) -> Result<i64, Trap> {
    let function = process.image().function(name).expect("an export");
    let mut values = [RawValue::from(0_i64); 4];
    for (value, &argument) in values.iter_mut().zip(arguments) {
        *value = RawValue::from(argument);
    }
    process.call(function, &mut values)?;
    // SAFETY: every bit pattern is an i64.
    Ok(unsafe { values[0].i64 })
}

/// The trap and the frames, named while the module is still loaded.
fn trap_of(body: &str) -> (Trap, Vec<Frame>) {
    let wat = format!(
        r#"(module (memory 1) (type $t (func (param i32))) (table 4 funcref) (elem (i32.const 0) $f)
             (func $f) (func $inner {body}) (func $outer (call $inner)) (func (export "run") (call $outer)))"#
    );
    let mut process = start(&wat);
    let trap = call(&mut process, "run", &[]).expect_err("a trap");
    (trap, trap.backtrace.resolve())
}

#[test]
fn every_trap_has_its_code_and_its_frames() {
    let cases = [
        ("unreachable", TrapCode::UnreachableCodeReached),
        ("(drop (i32.load (i32.const 65536)))", TrapCode::HeapAccessOutOfBounds),
        ("(drop (i32.load offset=4294967295 (i32.const 1)))", TrapCode::HeapAccessOutOfBounds),
        ("(drop (i32.div_s (i32.const 1) (i32.const 0)))", TrapCode::IntegerDivisionByZero),
        ("(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))", TrapCode::IntegerOverflow),
        ("(drop (i32.trunc_f32_s (f32.const nan)))", TrapCode::BadConversionToInteger),
        ("(call_indirect (type $t) (i32.const 0) (i32.const 0))", TrapCode::BadSignature),
        ("(call_indirect (type $t) (i32.const 0) (i32.const 1))", TrapCode::IndirectCallToNull),
        ("(call_indirect (type $t) (i32.const 0) (i32.const 9))", TrapCode::TableAccessOutOfBounds),
        (
            "(memory.fill (i32.const 65530) (i32.const 0) (i32.const 7))",
            TrapCode::HeapAccessOutOfBounds,
        ),
        (
            "(memory.copy (i32.const 0) (i32.const -1) (i32.const 2))",
            TrapCode::HeapAccessOutOfBounds,
        ),
        ("(drop (table.get 0 (i32.const 4)))", TrapCode::TableAccessOutOfBounds),
    ];
    for (body, code) in cases {
        let (trap, frames) = trap_of(body);
        assert_eq!(trap.code, code, "{body}");
        let names: Vec<_> = frames.iter().filter_map(|f| f.function_name.as_deref()).collect();
        assert_eq!(names, ["inner", "outer"], "{body}: {frames:?}");
        assert_eq!(frames.len(), 3, "{body}: {frames:?}");
    }
}

#[test]
fn a_stack_overflow_is_a_trap_with_frames() {
    let mut process = start(
        r#"(module (func $deep (export "run") (param i64) (result i64)
             (i64.add (i64.const 1) (call $deep (local.get 0)))))"#,
    );
    let trap = call(&mut process, "run", &[1]).expect_err("too deep");
    assert_eq!(trap.code, TrapCode::StackOverflow);
    assert!(trap.backtrace.truncated());
    let frames = trap.backtrace.resolve();
    assert_eq!(frames.len(), BACKTRACE_FRAMES_MAX);
    assert!(frames.iter().all(|f| f.function_name.as_deref() == Some("deep")));
}

#[test]
fn an_instance_goes_on_after_a_trap_and_keeps_its_state() {
    let mut process = start(
        r#"(module (global $n (mut i64) (i64.const 0))
             (func (export "run") (result i64)
               (global.set $n (i64.add (global.get $n) (i64.const 1)))
               (if (i64.eq (global.get $n) (i64.const 2)) (then unreachable))
               (global.get $n)))"#,
    );
    assert_eq!(call(&mut process, "run", &[]).expect("first"), 1);
    call(&mut process, "run", &[]).expect_err("second");
    assert_eq!(call(&mut process, "run", &[]).expect("third"), 3);
}

#[test]
fn loops_and_recursion_reach_yield_points() {
    let mut process = start(
        r#"(module
             (func (export "spin") (param i64)
               (loop $l (br_if $l (i64.ne (local.tee 0 (i64.sub (local.get 0) (i64.const 1))) (i64.const 0)))))
             (func $fib (export "fib") (param i64) (result i64)
               (if (result i64) (i64.lt_u (local.get 0) (i64.const 2)) (then (local.get 0))
                 (else (i64.add (call $fib (i64.sub (local.get 0) (i64.const 1)))
                                (call $fib (i64.sub (local.get 0) (i64.const 2))))))))"#,
    );
    call(&mut process, "spin", &[1_000_000]).expect("no trap");
    let spins = process.yields();
    assert!((300..2_000).contains(&spins), "a million iterations: {spins} slices of 10,000");
    assert_eq!(call(&mut process, "fib", &[25]).expect("no trap"), 75_025);
    assert!(process.yields() > spins + 100);
    assert!(process.instance().reductions_used() > 5_000_000);
}

#[test]
fn bulk_operations_are_charged() {
    let mut process = start(
        r#"(module (memory 1024)
             (func (export "fill") (memory.fill (i32.const 0) (i32.const 7) (i32.const 67108864)))
             (func (export "copy") (memory.copy (i32.const 1) (i32.const 0) (i32.const 67108863)))
             (func (export "last") (result i64) (i64.load8_u (i32.const 67108863))))"#,
    );
    call(&mut process, "fill", &[]).expect("in bounds");
    assert!(process.yields() > 100, "{} slices", process.yields());
    call(&mut process, "copy", &[]).expect("in bounds");
    assert_eq!(call(&mut process, "last", &[]).expect("in bounds"), 7);
}

#[test]
fn overlapping_copies_larger_than_a_piece_are_exact() {
    let wat = r#"(module (memory (export "memory") 16)
        (func (export "copy") (param i64 i64 i64)
          (memory.copy (i32.wrap_i64 (local.get 0)) (i32.wrap_i64 (local.get 1)) (i32.wrap_i64 (local.get 2)))))"#;
    let len = 700_000;
    for (to, from) in [(0, 1000), (1000, 0), (5, 200_000), (200_000, 5)] {
        let mut process = start(wat);
        let (base, bytes) = process.instance().memory();
        // SAFETY: the instance's memory, which no code runs on meanwhile.
        let memory = unsafe { std::slice::from_raw_parts_mut(base, bytes) };
        for (at, byte) in memory.iter_mut().enumerate() {
            *byte = (at * 31 % 251) as u8;
        }
        let mut expected = memory.to_vec();
        expected.copy_within(from..from + len, to);
        call(&mut process, "copy", &[to as i64, from as i64, len as i64]).expect("in bounds");
        // SAFETY: as above.
        let memory = unsafe { std::slice::from_raw_parts(base, bytes) };
        assert!(memory == expected, "{from} -> {to}");
    }
}

#[test]
fn memory_grows_to_its_maximum_and_moves_with_its_contents() {
    let mut process = start(
        r#"(module (memory 1 100)
             (func (export "grow") (param i64) (result i64)
               (i64.extend_i32_s (memory.grow (i32.wrap_i64 (local.get 0)))))
             (func (export "put") (i64.store (i32.const 65528) (i64.const 99)))
             (func (export "get") (result i64) (i64.load (i32.const 65528)))
             (func (export "end") (param i64) (result i64)
               (i64.load8_u (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1)))))"#,
    );
    call(&mut process, "put", &[]).expect("in bounds");
    assert_eq!(call(&mut process, "grow", &[1]).expect("no trap"), 1);
    assert_eq!(call(&mut process, "grow", &[98]).expect("no trap"), 2);
    assert_eq!(call(&mut process, "grow", &[1]).expect("no trap"), -1);
    assert_eq!(call(&mut process, "grow", &[0]).expect("no trap"), 100);
    assert_eq!(call(&mut process, "get", &[]).expect("in bounds"), 99);
    assert_eq!(call(&mut process, "end", &[0]).expect("in bounds"), 0);
}

#[test]
fn tables_grow_and_their_functions_are_called() {
    let mut process = start(
        r#"(module (type $f (func (result i64))) (table $t 2 20 funcref)
             (table $fixed 2 2 funcref)
             (elem (table $t) (i32.const 0) func $one) (elem (table $fixed) (i32.const 1) func $two)
             (elem declare func $three)
             (func $one (result i64) (i64.const 1)) (func $two (result i64) (i64.const 2))
             (func $three (result i64) (i64.const 3))
             (func (export "run") (result i64)
               (if (i32.ne (table.grow $t (ref.func $three) (i32.const 10)) (i32.const 2)) (then unreachable))
               (table.copy $t $fixed (i32.const 1) (i32.const 1) (i32.const 1))
               (table.set $fixed (i32.const 0) (table.get $t (i32.const 11)))
               (i64.add (i64.mul (i64.const 1000) (call_indirect $fixed (type $f) (i32.const 0)))
                 (i64.add (i64.mul (i64.const 100) (call_indirect $t (type $f) (i32.const 0)))
                   (i64.add (i64.mul (i64.const 10) (call_indirect $t (type $f) (i32.const 1)))
                     (call_indirect $t (type $f) (i32.const 11)))))))"#,
    );
    assert_eq!(call(&mut process, "run", &[]).expect("no trap"), 3123);
}

#[test]
fn a_reused_block_and_memory_are_clean() {
    let image = image(
        r#"(module (memory 17) (global $g (mut i64) (i64.const 5)) (data (i32.const 1000) "abc")
             (func (export "run") (result i64) (local $seen i64)
               (local.set $seen (i64.add (i64.load8_u (i32.const 1001))
                 (i64.add (global.get $g) (i64.load (i32.const 70000)))))
               (global.set $g (i64.const 77)) (i64.store (i32.const 70000) (i64.const 1234))
               (i32.store8 (i32.const 1001) (i32.const 0x78))
               (local.get $seen)))"#,
    );
    let pool = Arc::new(MemoryPool::default());
    for _ in 0..3 {
        let mut process =
            Standalone::new(&image, &pool, LIMITS).expect("memory").expect("no start function");
        assert_eq!(call(&mut process, "run", &[]).expect("no trap"), 5 + i64::from(b'b'));
    }
}
