//! Memory accesses at every edge that a hostile guest can aim at, in dense and in guarded memories:
//! each traps exactly where the specification says, and what traps has written nothing.

#![allow(clippy::result_large_err)] // A trap carries its backtrace; here nothing is hot.

use std::fmt::Write as _;
use std::sync::Arc;

use lunatic_engine::standalone::Standalone;
use lunatic_engine::{
    Compiler, CompilerOptions, Form, HostFunctions, Image, Limits, MEMORY_BYTES_MAX, MemoryForm,
    MemoryPool, PAGE_BYTES, RawValue, Trap, TrapCode,
};

const FORMS: [MemoryForm; 2] = [MemoryForm::Dense, MemoryForm::Guarded];

/// Loads and stores, by how many bytes they touch.
const LOADS: [(&str, u64); 9] = [
    ("i64.load8_u", 1),
    ("i64.load16_s", 2),
    ("i64.load32_u", 4),
    ("i64.load", 8),
    ("f64.load", 8),
    ("v128.load8_splat", 1),
    ("v128.load64_zero", 8),
    ("v128.load32x2_s", 8),
    ("v128.load", 16),
];
const STORES: [(&str, &str, u64); 6] = [
    ("i64.store8", "(i64.const -1)", 1),
    ("i64.store16", "(i64.const -1)", 2),
    ("i64.store32", "(i64.const -1)", 4),
    ("i64.store", "(i64.const -1)", 8),
    ("f64.store", "(f64.const nan)", 8),
    ("v128.store", "(v128.const i64x2 -1 -1)", 16),
];
/// Those around a page are where dense code stops to rely on the page behind the memory.
const OFFSETS: [u64; 14] = [
    0,
    1,
    4080,
    4081,
    4088,
    4092,
    4095,
    4096,
    65_535,
    65_536,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fff0,
    0xffff_ffff,
];

fn options(memory: MemoryForm) -> CompilerOptions {
    CompilerOptions { form: Form { memory, ..Form::default() }, ..CompilerOptions::default() }
}

fn start(memory: MemoryForm, wat: &str) -> Standalone {
    let compiled = Compiler::new(options(memory)).compile(wat.as_bytes()).expect("a valid module");
    let image = Image::new(compiled, &HostFunctions::default()).expect("no imports");
    let limits = Limits { memory_bytes_max: MEMORY_BYTES_MAX, slice: 10_000 };
    let pool = Arc::new(MemoryPool::default());
    Standalone::new(&image, &pool, limits).expect("memory").expect("no start function")
}

fn call(process: &mut Standalone, name: &str, arguments: &[u32]) -> Result<i32, Trap> {
    let function = process.image().function(name).expect("an export");
    let mut values = [RawValue::from(0_i64); 4];
    for (value, &argument) in values.iter_mut().zip(arguments) {
        *value = RawValue::from(argument.cast_signed());
    }
    process.call(function, &mut values)?;
    // SAFETY: every bit pattern is an i32.
    Ok(unsafe { values[0].i32 })
}

fn assert_out_of_bounds(result: Result<i32, Trap>, what: &str) {
    match result {
        Err(trap) => assert_eq!(trap.code, TrapCode::HeapAccessOutOfBounds, "{what}"),
        Ok(value) => panic!("{what}: no trap, but {value}"),
    }
}

fn bytes(process: &Standalone) -> &[u8] {
    let (base, len) = process.instance().memory();
    // SAFETY: the instance's memory, whose code does not run meanwhile.
    unsafe { std::slice::from_raw_parts(base, len) }
}

/// A function for each instruction with each offset, named by both.
fn every_access() -> String {
    let mut text = String::from(
        r#"(module (memory 0 40)
          (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))"#,
    );
    for offset in OFFSETS {
        for (load, _) in LOADS {
            let _ = write!(
                text,
                r#"(func (export "{load} {offset}") (param i32)
                   (drop ({load} offset={offset} (local.get 0))))"#
            );
        }
        for (store, value, _) in STORES {
            let _ = write!(
                text,
                r#"(func (export "{store} {offset}") (param i32)
                   ({store} offset={offset} (local.get 0) {value}))"#
            );
        }
    }
    text + ")"
}

/// Numbers around everything that might be an edge of a memory of `len` bytes.
fn indices(len: u64, offset: u64) -> impl Iterator<Item = u32> {
    let edges = [0, len, len.wrapping_sub(offset), 1 << 21, 1 << 31, 1 << 32, 12_345];
    edges.into_iter().flat_map(|edge| (0..36).map(move |by| (edge + by).wrapping_sub(18) as u32))
}

#[test]
fn accesses_trap_exactly_beyond_the_end_whatever_its_size() {
    let text = every_access();
    for memory in FORMS {
        let mut process = start(memory, &text);
        // No page, one, and from there to the ends of the smaller slots and beyond.
        for grown in [0, 1, 1, 13, 16, 1, 8] {
            assert_ne!(call(&mut process, "grow", &[grown]).expect("no trap"), -1);
            check_accesses(&mut process, memory);
        }
        assert_eq!(call(&mut process, "grow", &[1]).expect("no trap"), -1, "40 are the most");
    }
}

fn check_accesses(process: &mut Standalone, memory: MemoryForm) {
    let len = bytes(process).len() as u64;
    let accesses = LOADS.map(|(name, bytes)| (name, bytes, false));
    let stores = STORES.map(|(name, _, bytes)| (name, bytes, true));
    for (name, size, stores) in accesses.into_iter().chain(stores) {
        for offset in OFFSETS {
            for index in indices(len, offset) {
                let what = format!("{memory:?}, {len} bytes: {name} offset={offset} at {index}");
                let at = u64::from(index) + offset;
                let result = call(process, &format!("{name} {offset}"), &[index]);
                if at + size <= len {
                    result.expect(&what);
                    if stores {
                        let range = at as usize..(at + size) as usize;
                        assert!(bytes(process)[range.clone()].iter().any(|&b| b != 0), "{what}");
                        clear(process, range);
                    }
                } else {
                    assert_out_of_bounds(result, &what);
                    let end = len.saturating_sub(32) as usize;
                    assert!(bytes(process)[end..].iter().all(|&byte| byte == 0), "{what}");
                }
            }
        }
    }
    assert!(bytes(process).iter().all(|&byte| byte == 0), "a store went elsewhere");
}

fn clear(process: &Standalone, range: std::ops::Range<usize>) {
    let (base, len) = process.instance().memory();
    assert!(range.end <= len);
    // SAFETY: inside of the instance's memory, whose code does not run meanwhile.
    unsafe { base.wrapping_add(range.start).write_bytes(0, range.len()) };
}

#[test]
fn bulk_operations_trap_at_the_end_and_change_nothing() {
    let text = r#"(module (memory 2 4) (data $bytes "0123456789abcdef")
        (func (export "fill") (param i32 i32 i32)
          (memory.fill (local.get 0) (local.get 1) (local.get 2)))
        (func (export "copy") (param i32 i32 i32)
          (memory.copy (local.get 0) (local.get 1) (local.get 2)))
        (func (export "init") (param i32 i32 i32)
          (memory.init $bytes (local.get 0) (local.get 1) (local.get 2))))"#;
    let len = 2 * PAGE_BYTES as u32;
    for memory in FORMS {
        let mut process = start(memory, text);
        let outside = [
            ("fill", [len - 1, 7, 2]),
            ("fill", [len + 1, 7, 0]),
            ("fill", [0, 7, u32::MAX]),
            ("fill", [u32::MAX, 7, u32::MAX]),
            ("copy", [0, len - 3, 4]),
            ("copy", [len - 3, 0, 4]),
            ("copy", [1 << 31, 0, 1]),
            ("copy", [0, u32::MAX, 1]),
            ("init", [len - 15, 0, 16]),
            ("init", [0, 15, 2]),
        ];
        for (name, arguments) in outside {
            let what = format!("{memory:?} {name} {arguments:?}");
            assert_out_of_bounds(call(&mut process, name, &arguments), &what);
            assert!(bytes(&process).iter().all(|&byte| byte == 0), "{what}");
        }
        for (name, arguments) in
            [("fill", [len, 7, 0]), ("copy", [len, len, 0]), ("init", [len - 16, 0, 16])]
        {
            call(&mut process, name, &arguments).expect("in bounds");
        }
        assert_eq!(&bytes(&process)[len as usize - 16..], b"0123456789abcdef");
    }
}

#[test]
fn a_memory_that_was_refused_more_goes_on_with_what_it_has() {
    let text = r#"(module (memory 1 65536)
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "put") (param i32) (i32.store8 (local.get 0) (i32.const 1))))"#;
    for memory in FORMS {
        let mut process = start(memory, text);
        assert_eq!(call(&mut process, "grow", &[65_536]).expect("no trap"), -1);
        assert_eq!(call(&mut process, "grow", &[u32::MAX]).expect("no trap"), -1);
        // All of 4 GiB, of which one byte at each end is touched.
        assert_eq!(call(&mut process, "grow", &[65_535]).expect("no trap"), 1);
        for at in [0, u32::MAX, 1 << 31, u32::MAX - 4096, 65_536] {
            call(&mut process, "put", &[at]).expect("in bounds");
        }
        assert_eq!(call(&mut process, "grow", &[1]).expect("no trap"), -1);
        assert_eq!(call(&mut process, "grow", &[0]).expect("no trap"), 65_536);
    }
}

/// Instances of one image one after the other: what one was given is closed to the next.
#[test]
fn nobody_inherits_what_another_gained() {
    let text = r#"(module (memory 1)
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "put") (param i32) (i32.store (local.get 0) (i32.const 0x5a5a)))
        (func (export "get") (param i32) (result i32) (i32.load (local.get 0))))"#;
    for memory in FORMS {
        let compiled =
            Compiler::new(options(memory)).compile(text.as_bytes()).expect("a valid module");
        let image = Image::new(compiled, &HostFunctions::default()).expect("no imports");
        let limits = Limits { memory_bytes_max: MEMORY_BYTES_MAX, slice: 10_000 };
        let pool = Arc::new(MemoryPool::default());
        for round in 0..40_u32 {
            let process = Standalone::new(&image, &pool, limits).expect("memory");
            let mut process = process.expect("no start function");
            let gained = [0, 1, 5, 31, 32, 100][round as usize % 6];
            for at in [65_536, 65_536 * 31, 65_536 * 32, 65_536 * 90] {
                let what = format!("{memory:?}, round {round}, {at}");
                assert_out_of_bounds(call(&mut process, "get", &[at]), &what);
            }
            assert_eq!(call(&mut process, "grow", &[gained]).expect("no trap"), 1);
            let len = (gained + 1) * 65_536;
            for at in (0..len - 4).step_by(4096 * 3) {
                let what = format!("{memory:?}, round {round}, {at} of {len}");
                assert_eq!(call(&mut process, "get", &[at]).expect(&what), 0, "{what}");
                call(&mut process, "put", &[at]).expect(&what);
            }
            assert_out_of_bounds(call(&mut process, "put", &[len - 3]), "the new end");
        }
    }
}
