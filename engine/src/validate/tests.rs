//! What is refused, in which words, and what is counted.

use proptest::prelude::*;

use super::*;

fn check(text: &str) -> Result<Validated, LoadError> {
    validate(&wat::parse_str(text).expect("the test's text is WebAssembly"))
}

fn refusal(text: &str) -> LoadError {
    check(text).expect_err(text)
}

#[test]
fn each_proposal_is_refused_by_its_name() {
    let cases: &[(&str, &str)] = &[
        ("(module (memory 1 1 shared))", "threads"),
        ("(module (memory 1) (func (drop (i32.atomic.load (i32.const 0)))))", "threads"),
        ("(module (func (atomic.fence)))", "threads"),
        ("(module (tag))", "exceptions"),
        ("(module (tag $e) (func (throw $e)))", "exceptions"),
        ("(module (func (block (try_table (catch_all 0)))))", "exceptions"),
        ("(module (func (param exnref)))", "exceptions"),
        ("(module (func try catch_all end))", "legacy exceptions"),
        ("(module (func $f (return_call $f)))", "tail calls"),
        ("(module (table 1 funcref) (func (return_call_indirect (i32.const 0))))", "tail calls"),
        (
            "(module (func (param v128 v128) (result v128)
               (i8x16.relaxed_swizzle (local.get 0) (local.get 1))))",
            "relaxed SIMD",
        ),
        ("(module (memory i64 1))", "64-bit memory"),
        ("(module (table i64 1 funcref))", "64-bit memory"),
        ("(module (memory 1) (memory 1))", "more than one memory"),
        (
            "(module (func (param i64 i64 i64 i64) (result i64 i64)
               (i64.add128 (local.get 0) (local.get 1) (local.get 2) (local.get 3))))",
            "wide arithmetic",
        ),
        ("(module (type $t (func)) (func (param (ref null $t))))", "typed function references"),
        ("(module (type $t (func)) (func (param (ref $t)) (call_ref $t (local.get 0))))", "typed"),
        ("(module (type (struct)))", "garbage collection"),
        ("(module (func (param anyref)))", "garbage collection"),
        ("(module (func (result i31ref) (ref.i31 (i32.const 1))))", "garbage collection"),
        ("(module (memory 1 (pagesize 1)))", "custom page sizes"),
    ];
    for (text, name) in cases {
        let error = refusal(text);
        let LoadErrorKind::Feature { name: found, .. } = error.kind() else {
            panic!("{text}: {error}");
        };
        assert!(found.starts_with(name), "{text}: {found} instead of {name}");
        assert!(error.is_unsupported() && !error.is_invalid(), "{text}");
        let message = error.to_string();
        assert!(message.contains(" at offset 0x"), "{message}");
        assert!(message.contains("which lunatic does not support; "), "{message}");
    }
}

#[test]
fn a_feature_is_named_where_it_begins() {
    let bytes = wat::parse_str("(module (memory 1 1 shared))").expect("text");
    let offset = validate(&bytes).expect_err("threads").offset().expect("an offset");
    // Behind the header, and before the end.
    assert!((8..bytes.len() as u64).contains(&offset), "{offset:#x} of {}", bytes.len());
}

#[test]
fn what_only_another_instance_could_provide_is_refused_by_name() {
    for (import, kind) in [
        ("(memory 1)", "memory"),
        ("(table 1 funcref)", "table"),
        ("(global i32)", "global"),
        ("(global (mut i64))", "global"),
    ] {
        let error = refusal(&format!(
            "(module (import \"env\" \"f\" (func)) (import \"env\" \"it\" {import}))"
        ));
        let message = error.to_string();
        assert!(message.contains(&format!("imports the {kind} \"env\" \"it\"")), "{message}");
        assert!(error.is_unsupported() && error.offset().is_some(), "{message}");
    }
}

#[test]
fn everything_in_webassembly_2_and_extended_const_is_accepted() {
    for text in [
        "(module)",
        "(module (global (mut i32) (i32.const 1)) (export \"g\" (global 0)))",
        "(module (func (param i32) (result i32) (i32.extend8_s (local.get 0))))",
        "(module (func (param f64) (result i32) (i32.trunc_sat_f64_s (local.get 0))))",
        "(module (func (param i32) (result i32 i64) (local.get 0) (i64.const 1)))",
        "(module (memory 1) (data $d \"a\") (func (memory.init $d (i32.const 0) (i32.const 0)
           (i32.const 1)) (data.drop $d)))",
        "(module (table 1 externref) (func (param externref)
           (table.set 0 (i32.const 0) (local.get 0))))",
        "(module (func (result v128) (i32x4.splat (i32.const 1))))",
        "(module (memory 1) (data (offset (i32.add (i32.const 1) (i32.const 2))) \"a\"))",
        "(module (import \"env\" \"f\" (func)) (start 0))",
    ] {
        check(text).expect(text);
    }
}

#[test]
fn each_way_of_not_being_a_module_has_its_own_message() {
    let message = |bytes: &[u8]| validate(bytes).expect_err("not a module").to_string();
    assert!(message(b"").contains("the file is empty"));
    assert!(message(b"hello\n").contains("begins with \"hello\\n\""));
    assert!(message(b"\x7fELF\x02").contains("begins with \"\\x7fELF"));
    assert!(message(b"\0as").contains("truncated"));
    assert!(message(b"\0asm\x01\0").contains("truncated"));
    assert!(message(b"\0asm\x02\0\0\0").contains("version 2"));
    assert!(message(b"\0asm\x0d\0\x01\0").contains("component"));
    assert!(message(b"\0asm\x01\0\0\0\x63\x00").contains("not valid at offset"));
    let invalid = refusal("(module (func (result i32)))");
    assert!(invalid.is_invalid() && invalid.to_string().contains("type mismatch"), "{invalid}");
}

#[test]
fn a_guest_cannot_name_what_the_compiler_adds() {
    let drop = refusal("(module (memory 1) (data \"a\") (func (data.drop 0xffffffff)))");
    assert!(drop.is_invalid(), "{drop}");
    let global = refusal("(module (global i32 (i32.const 0)) (func (drop (global.get 1))))");
    assert!(global.is_invalid(), "{global}");
}

#[test]
fn counts_beyond_a_limit_are_refused() {
    let too_many_globals = "(global i32 (i32.const 0))".repeat(MAX_GLOBALS as usize + 1);
    let too_many_imports = "(import \"a\" \"b\" (func))".repeat(MAX_IMPORTS as usize + 1);
    let too_many_types = "(type (func))".repeat(MAX_TYPES as usize + 1);
    let half = MAX_TABLE_ENTRIES / 2 + 1;
    for (text, what) in [
        (format!("(module {too_many_globals})"), "100001 globals"),
        (format!("(module {too_many_imports})"), "10001 imports"),
        (format!("(module {too_many_types})"), "100001 types"),
        (format!("(module (table {half} funcref) (table {half} funcref))"), "table entries"),
        (format!("(module (table {} funcref))", MAX_TABLE_ENTRIES + 1), "table entries"),
        (format!("(module {})", "(table 1 funcref)".repeat(101)), "101 tables"),
    ] {
        let error = refusal(&text);
        assert!(error.is_limit(), "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.to_string().contains("the limit is"), "{error}");
    }
    check("(module (table 1000000 1000000 funcref))").expect("a million entries fit");
}

/// A little of everything, to cut and to bend.
const SMALL: &str = r#"(module $small
  (type $t (func (param i32 i32) (result i32)))
  (import "env" "host" (func $host (param i32)))
  (table 3 funcref) (memory 1 2) (global $g (mut i64) (i64.const 7))
  (export "run" (func $run)) (start $init)
  (elem (i32.const 1) $run $init)
  (func $init (call $host (i32.const 1)))
  (func $run (type $t) (local f32 v128)
    (loop $l (br_if $l (i32.lt_s (local.get 0) (local.get 1))))
    (call_indirect (type $t) (i32.const 1) (i32.const 2) (i32.const 1)))
  (data (i32.const 8) "data") (data "passive"))"#;

#[test]
fn a_module_cut_at_any_byte_is_an_error() {
    let bytes = wat::parse_str(SMALL).expect("text");
    validate(&bytes).expect("whole");
    let payloads = Parser::new(0).parse_all(&bytes).map(|payload| payload.expect("valid"));
    let sections = payloads.filter_map(|payload| Some(payload.as_section()?.1.end as usize));
    let whole_sections: Vec<usize> = sections.chain([HEADER_BYTES]).collect();
    for length in 0..bytes.len() {
        match validate(&bytes[..length]) {
            Err(error) => assert!(error.is_invalid(), "cut at {length}: {error}"),
            // Between two sections there may be a valid module that needs nothing of the rest.
            Ok(_) => assert!(whole_sections.contains(&length), "cut at {length}"),
        }
    }
    let cut_in_a_body = validate(&bytes[..bytes.len() - 30]).expect_err("cut").to_string();
    assert!(cut_in_a_body.contains("truncated: it ends at byte"), "{cut_in_a_body}");
}

#[test]
fn regions_are_counted_without_the_loops_inside() {
    let costs = check(
        "(module (func (local i32)
           nop nop
           loop $a
             nop
             block nop end
             loop $b nop nop br $b end
             local.get 0
             if nop else nop end
             loop $c end
           end
           nop
           (loop $d (br_if $d (i32.const 0)))))",
    )
    .expect("valid")
    .costs;
    // entry: nop nop loop nop loop end; a: nop block nop end loop get if nop else nop end loop end
    assert_eq!(costs.of_function(0), Some(&[6, 13, 4, 1, 3][..]));
    assert_eq!(costs.of_function(1), None);
}

#[test]
fn leaves_are_paid_for_by_their_callers() {
    let costs = check(
        "(module
           (import \"env\" \"host\" (func $host))
           (func $leaf (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
           (func $caller (drop (call $leaf (i32.const 1))) (call $host)
             (loop (drop (call $leaf (call $leaf (i32.const 2))))))
           (func $recursive (call $recursive)))",
    )
    .expect("valid")
    .costs;
    // The leaf has 4 operators and no check.
    assert_eq!(costs.of_function(0), Some(&[0][..]));
    // const call drop call loop end + 4; const call call drop end + 8
    assert_eq!(costs.of_function(1), Some(&[10, 13][..]));
    // Short, but a call can go on for ever.
    assert_eq!(costs.of_function(2), Some(&[2][..]));
}

#[test]
fn a_long_function_without_loops_is_no_leaf() {
    let nops = "nop ".repeat(costs::LEAF_OPERATORS as usize);
    let costs = check(&format!("(module (func {nops}))")).expect("valid").costs;
    assert_eq!(costs.of_function(0), Some(&[costs::LEAF_OPERATORS + 1][..]));
}

proptest! {
    #[test]
    fn bytes_that_were_changed_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)
    ) {
        let mut bytes = wat::parse_str(SMALL).expect("text");
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        // Either verdict is right; the message must be printable.
        if let Err(error) = validate(&bytes) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn arbitrary_bytes_behind_a_header_never_panic(
        rest in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        let mut bytes = b"\0asm\x01\0\0\0".to_vec();
        bytes.extend(rest);
        let _ = validate(&bytes);
    }
}
