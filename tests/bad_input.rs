//! Modules that are broken, hostile or merely large: one clear message and a defined exit code, or
//! they run. The runtime never crashes (the harness fails every run that ends by a signal).

mod support;

use support::imports::{Import, imports, random};
use support::{Module, Running, lunatic, program, run, run_command, run_wat, spawn, spawn_with};

/// Bytes of a file that is to be run.
#[track_caller]
fn run_bytes(bytes: &[u8]) -> support::Output {
    run(&[Module::wasm(bytes).path()], b"")
}

/// A whole program, written by hand: a type, a memory, a function that is `_start` and loads a
/// number, a data segment, and a custom section.
const SMALL: &[u8] = b"\0asm\x01\0\0\0\
    \x01\x04\x01\x60\0\0\
    \x03\x02\x01\0\
    \x05\x03\x01\0\x01\
    \x07\x0a\x01\x06_start\0\0\
    \x0a\x0d\x01\x0b\0\x41\x08\x28\x02\0\x1a\x41\0\x1a\x0b\
    \x0b\x09\x01\0\x41\x08\x0b\x03abc\
    \0\x05\x04text";

#[test]
fn the_small_module_is_a_program() {
    run_bytes(SMALL).expect_quiet_success();
}

#[test]
fn an_empty_file_is_refused() {
    run_bytes(b"").expect_refused(&["guest.wasm", "empty"]);
}

#[test]
fn a_text_file_is_refused() {
    run_bytes(b"<!DOCTYPE html>\n<html>")
        .expect_refused(&["not a WebAssembly module", "<!DOCTYPE"]);
    run_bytes(b"\x7fELF\x02\x01\x01\0").expect_refused(&["not a WebAssembly module", "ELF"]);
}

#[test]
fn every_truncation_of_a_module_is_refused() {
    for length in 0..SMALL.len() {
        let output = run_bytes(&SMALL[..length]);
        // Where a section ends, the rest is a module of its own: one without `_start`, or a whole
        // program that lacks only what came after the code.
        let whole = matches!(length, 50 | 61);
        assert_eq!(output.code, if whole { 0 } else { 3 }, "{length} bytes: {output:#?}");
        assert_eq!(output.stderr.lines().count(), usize::from(!whole), "{output:#?}");
    }
}

#[test]
fn no_changed_byte_crashes_the_runtime() {
    for at in 0..SMALL.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut bytes = SMALL.to_vec();
            bytes[at] ^= change;
            let output = run_bytes(&bytes);
            assert!(matches!(output.code, 0 | 3 | 134), "byte {at} ^ {change:#x}: {output:#?}");
            assert_eq!(output.code == 0, output.stderr.is_empty(), "{output:#?}");
        }
    }
}

#[test]
fn text_that_is_no_module_is_refused_with_its_place() {
    run_wat("(module\n  (func (export \"_start\") i32.nonsense))")
        .expect_refused(&["line 2", "unknown operator"]);
    run_wat("").expect_refused(&["guest.wat"]);
    run_wat("(module").expect_refused(&["line 1"]);
}

#[test]
fn an_invalid_module_is_refused_with_its_offset() {
    run_wat("(module (func (export \"_start\") (result i32) i64.const 0))")
        .expect_refused(&["not valid", "offset"]);
    run_wat("(module (func (export \"_start\") drop))").expect_refused(&["not valid", "offset"]);
}

#[test]
fn a_component_is_refused_as_such() {
    run_bytes(b"\0asm\x0d\0\x01\0").expect_refused(&["component"]);
}

#[test]
fn a_module_without_start_is_refused() {
    let nothing = "exports no function \"_start\", nor any other function; build it";
    run_wat("(module)").expect_refused(&[nothing]);
    run_wat("(module (func (export \"run\")))").expect_refused(&["\"_start\"", "others (run"]);
    run_wat("(module (memory (export \"_start\") 1))").expect_refused(&["\"_start\""]);
}

#[test]
fn a_start_of_another_type_is_refused() {
    run_wat("(module (func (export \"_start\") (param i32)))").expect_refused(&["_start", "type"]);
    run_wat("(module (func (export \"_start\") (result i32) (i32.const 0)))")
        .expect_refused(&["_start", "type"]);
}

fn importing(what: &str) -> String {
    format!("(module (import {what}) (func (export \"_start\")))")
}

#[test]
fn an_unknown_import_is_named_with_the_nearest_known() {
    run_wat(&importing("\"lunatic::process\" \"spwan\" (func)")).expect_refused(&[
        "\"lunatic::process\" \"spwan\"",
        "nearest",
        "\"spawn\"",
    ]);
    run_wat(&importing("\"wasi_snapshot_preview0\" \"fd_write\" (func)")).expect_refused(&[
        "\"wasi_snapshot_preview0\" \"fd_write\"",
        "\"wasi_snapshot_preview1\" \"fd_write\"",
    ]);
    run_wat(&importing("\"env\" \"emscripten_resize_heap\" (func)"))
        .expect_refused(&["\"env\" \"emscripten_resize_heap\""]);
    run_wat(&importing("\"\" \"\" (func)")).expect_refused(&["\"\" \"\""]);
}

#[test]
fn an_import_of_the_wrong_type_shows_both_types() {
    run_wat(&importing("\"lunatic::process\" \"sleep_ms\" (func (param i32))")).expect_refused(&[
        "\"lunatic::process\" \"sleep_ms\"",
        "(I32) -> ()",
        "(I64) -> ()",
    ]);
    run_wat(&importing("\"lunatic::process\" \"process_id\" (func (result i32))"))
        .expect_refused(&["\"process_id\""]);
}

#[test]
fn imports_that_are_no_functions_are_refused() {
    run_wat(&importing("\"env\" \"memory\" (memory 1)")).expect_refused(&["memory", "\"env\""]);
    run_wat(&importing("\"env\" \"table\" (table 1 funcref)")).expect_refused(&["table"]);
    run_wat(&importing("\"env\" \"base\" (global i32)")).expect_refused(&["global"]);
}

#[test]
fn what_is_not_supported_is_named() {
    for (text, name) in [
        ("(memory 1 1 shared)", "threads"),
        ("(memory 1) (memory 1)", "more than one memory"),
        ("(memory i64 1)", "64-bit memory"),
        ("(tag)", "exceptions"),
        ("(type (struct (field i32)))", "garbage collection"),
        ("(func (return_call 0))", "tail calls"),
    ] {
        run_wat(&format!("(module {text} (func (export \"_start\")))"))
            .expect_refused(&[name, "offset"]);
    }
}

/// Writes to the first and the last byte of a memory.
fn touching(pages: u64) -> String {
    let last = pages * 65536 - 1;
    format!(
        "(module (memory {pages}) (func (export \"_start\")
           (i32.store8 (i32.const 0) (i32.const 1))
           (i32.store8 (i32.const {last}) (i32.const 1))
           (if (i32.ne (i32.load8_u (i32.const {last})) (i32.const 1)) (then unreachable))))"
    )
}

#[test]
fn large_memories_run() {
    for pages in [1, 17, 32_767, 32_768, 65_535, 65_536] {
        run_wat(&touching(pages)).expect_quiet_success();
    }
    run_wat("(module (memory 65537) (func (export \"_start\")))").expect_refused(&["memory"]);
}

#[test]
fn a_memory_grows_to_its_end_and_not_beyond() {
    let text = "(module (memory 1) (func (export \"_start\")
      (i32.store (i32.const 65532) (i32.const 7))
      (if (i32.ne (memory.grow (i32.const 65536)) (i32.const -1)) (then unreachable))
      (if (i32.ne (memory.grow (i32.const -1)) (i32.const -1)) (then unreachable))
      (if (i32.ne (memory.grow (i32.const 32767)) (i32.const 1)) (then unreachable))
      (i32.store8 (i32.const 0x7fffffff) (i32.const 1))
      (if (i32.ne (memory.grow (i32.const 32768)) (i32.const 32768)) (then unreachable))
      (i32.store8 (i32.const 0xffffffff) (i32.const 1))
      (if (i32.ne (i32.load (i32.const 65532)) (i32.const 7)) (then unreachable))
      (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))))";
    run_wat(text).expect_quiet_success();
}

#[test]
fn a_module_without_memory_runs() {
    run_wat("(module (func (export \"_start\")))").expect_quiet_success();
}

#[test]
fn a_table_of_a_million_entries_works() {
    let text = "(module
      (global $called (mut i32) (i32.const 0))
      (table $t 1000000 funcref) (elem (i32.const 999999) $f)
      (func $f (global.set $called (i32.const 1)))
      (func (export \"_start\")
        (call_indirect (i32.const 999999))
        (if (i32.eqz (global.get $called)) (then unreachable))
        (if (i32.ne (table.size $t) (i32.const 1000000)) (then unreachable))
        (if (i32.eqz (ref.is_null (table.get $t (i32.const 500000)))) (then unreachable))
        (call_indirect (i32.const 999998))))";
    run_wat(text).expect(134).says(&["indirect call of an empty table element"]);
    run_wat("(module (table 4000000000 funcref) (func (export \"_start\")))")
        .expect_refused(&["4000000000", "limit"]);
}

#[test]
fn a_table_grows_within_limits_or_says_no() {
    let text = "(module (table $t 1 externref) (func (export \"_start\")
      (if (i32.ne (table.grow $t (ref.null extern) (i32.const 1000)) (i32.const 1))
        (then unreachable))
      (if (i32.ne (table.grow $t (ref.null extern) (i32.const -1)) (i32.const -1))
        (then unreachable))
      (drop (table.grow $t (ref.null extern) (i32.const 0x7fffffff)))))";
    run_wat(text).expect_quiet_success();
}

#[test]
fn a_start_function_runs_before_the_entry() {
    run_wat(&program(
        "(func $begin (call $say (i64.const 1))) (start $begin)",
        "(call $say (i64.const 2))",
    ))
    .expect_quiet_success()
    .prints(&[1, 2]);
}

#[test]
fn a_start_function_that_traps_is_a_trap() {
    run_wat("(module (func $begin unreachable) (start $begin) (func (export \"_start\")))")
        .expect(134)
        .says(&["unreachable code reached", "at begin "]);
}

#[test]
fn a_start_function_that_loops_stops_at_ctrl_c() {
    let text = program(
        "(func $begin (call $say (i64.const 1)) (call $for_ever)) (start $begin)",
        "(call $say (i64.const 2))",
    );
    let module = Module::wat(&text);
    let mut command = lunatic();
    command.arg(module.path());
    let mut running = Running::start(command);
    running.wait_for("1\n");
    running.signal(libc::SIGINT);
    assert_eq!(running.finish().expect(130).stdout, "1\n");
}

#[test]
fn a_million_nested_calls_end_or_overflow() {
    let text = |locals: &str| {
        format!(
            "(module
               (func $deep (param $n i32) (result i32) {locals}
                 (if (result i32) (local.get $n)
                   (then (i32.add (i32.const 1)
                     (call $deep (i32.sub (local.get $n) (i32.const 1)))))
                   (else (i32.const 0))))
               (func (export \"_start\")
                 (if (i32.ne (call $deep (i32.const 1000000)) (i32.const 1000000))
                   (then unreachable))))"
        )
    };
    let output = run_wat(&text(""));
    if output.code != 0 {
        output.expect(134).says(&["stack overflow", "at deep "]);
    }
    // Frames that are larger than a guard page must not step over it.
    let many = "(local i64)".repeat(40_000);
    let output = run_wat(&text(&many));
    if output.code != 0 {
        output.expect(134).says(&["stack overflow"]);
    }
}

#[test]
fn frames_larger_than_a_guard_do_not_step_over_it() {
    // Each of these values must live across the call: 20,000 of them are 160 KB on the stack.
    let count = 20_000;
    let values: String =
        (0..count).map(|n| format!("(i64.load offset={} (i32.const 0))", n % 4096 * 8)).collect();
    let sums = "(i64.add)".repeat(count - 1);
    let text = format!(
        "(module (memory 1)
           (func $deep (param $n i32) (result i64)
             {values}
             (drop (call $deep (i32.add (local.get $n) (i32.const 1))))
             {}
           )
           (func (export \"_start\") (drop (call $deep (i32.const 0)))))",
        sums.replace("(i64.add)", "i64.add ")
    );
    run_wat(&text).expect(134).says(&["stack overflow"]);
}

/// What the host does for a process that is deep in its stack must not need what is left of it: here a function's name
/// takes the demangler deep, too.
#[test]
fn a_fault_deep_in_the_stack_is_named_and_is_no_overflow() {
    let name = format!("_RMC1a{}{}u", "F".repeat(490), "Eu".repeat(490));
    let items = format!(
        "(func ${name} (param $depth i64) (param $fault i32)
           (if (i64.eqz (local.get $depth))
             (then (if (local.get $fault) (then (drop (call $read (i32.const 0) (i32.const 0))))))
             (else (call ${name} (i64.sub (local.get $depth) (i64.const 1)) (local.get $fault)))))
         (func (export \"fault\") (param $depth i64) (call ${name} (local.get $depth) (i32.const 1)))
         (func (export \"fine\") (param $depth i64)
           (call ${name} (local.get $depth) (i32.const 0)) (call $say (local.get $depth)))"
    );
    let children: String = (1..=9)
        .map(|step| {
            let depth = format!("(i64.const {})", step * 250);
            let child = |name| format!("(call $join {})", spawn_with(name, &depth));
            child("fine") + &child("fault")
        })
        .collect();
    let output = run_wat(&program(&items, &children)).expect(0);
    let fine = output.numbers().len();
    assert!(fine >= 4, "the stack is too small for this test\n{output:#?}");
    assert_eq!(output.stderr.matches("no current message").count(), fine, "{output:#?}");
}

#[test]
fn segments_out_of_bounds_are_refused() {
    run_wat("(module (memory 1) (data (i32.const 65534) \"abc\") (func (export \"_start\")))")
        .expect_refused(&["data segment", "65534", "65536"]);
    run_wat("(module (memory 1) (data (i32.const -1) \"abc\") (func (export \"_start\")))")
        .expect_refused(&["data segment", "4294967295"]);
    run_wat("(module (memory 0) (data (i32.const 0) \"a\") (func (export \"_start\")))")
        .expect_refused(&["data segment"]);
    run_wat("(module (table 2 funcref) (elem (i32.const 1) 0 0) (func (export \"_start\")))")
        .expect_refused(&["element segment"]);
}

#[test]
fn segments_that_just_fit_are_fine() {
    run_wat("(module (memory 1) (data (i32.const 65533) \"abc\") (func (export \"_start\")))")
        .expect_quiet_success();
    run_wat("(module (memory 1) (data (i32.const 65536) \"\") (func (export \"_start\")))")
        .expect_quiet_success();
    run_wat("(module (table 2 funcref) (elem (i32.const 0) 0 0) (func (export \"_start\")))")
        .expect_quiet_success();
}

#[test]
fn many_locals_params_results_and_exports_are_fine() {
    let exports: String = (0..10_000).map(|n| format!("(export \"f{n}\" (func 0))")).collect();
    run_wat(&format!("(module (func (export \"_start\")) {exports})")).expect_quiet_success();
    let params = "i64 ".repeat(1000);
    let zeroes = "(i64.const 0)".repeat(1000);
    run_wat(&format!(
        "(module (func $f (param {params}) (result {params}) {zeroes})
           (func (export \"_start\") (call $f {zeroes}) {}))",
        "drop ".repeat(1000)
    ))
    .expect_quiet_success();
}

/// End of the memory of [`program`].
const END: i64 = 2 * 65536;

/// Addresses, lengths, handles and numbers at which something may go wrong. 1024 is a good address.
const EDGES: [i64; 13] = [
    0,
    1,
    3,
    1024,
    END - 8,
    END - 1,
    END,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fff0,
    -1,
    i64::MAX,
    i64::MIN,
];

/// Values for so many parameters: every edge everywhere, every edge at each place among good
/// addresses, and mixtures.
fn rows(params: usize) -> Vec<Vec<i64>> {
    if params == 0 {
        return vec![Vec::new()];
    }
    let mut rows: Vec<Vec<i64>> = EDGES.iter().map(|&edge| vec![edge; params]).collect();
    for place in 0..params {
        for edge in EDGES {
            let mut row = vec![1024; params];
            row[place] = edge;
            rows.push(row);
        }
    }
    // The same numbers in every run: a failure can be repeated.
    let mut seed = 1_u64;
    for _ in 0..40 {
        rows.push((0..params).map(|_| EDGES[random(&mut seed, EDGES.len())]).collect());
    }
    rows
}

/// Values to call it with.
fn rows_of(import: &Import) -> Vec<Vec<i64>> {
    let mut rows = rows(import.params.len());
    let kills = ["kill", "send_exit"].contains(&import.name.as_str());
    if kills && import.module == "lunatic::process" {
        // The main process may have this id, and any process may kill any other.
        rows.retain(|row| row[0] != 1);
    }
    rows
}

/// A guest that makes every call in a process of its own, which has a message, a channel, and
/// at 1024 what may pass for vectors. A call that waits is ended.
fn hostile_guest(imports: &[Import]) -> String {
    let (mut declarations, mut functions, mut calls) =
        (String::new(), String::new(), String::new());
    let mut number = 0;
    for (index, import) in imports.iter().enumerate() {
        let name = format!("$hostile{index}");
        declarations += &import.declaration(&name);
        for row in rows_of(import) {
            let call = import.call(&name, &row);
            functions += &format!("(func (export \"h{number}\") (call $prepare) {call})\n");
            calls += &format!("(call $attack {})\n", spawn(&format!("h{number}")));
            number += 1;
        }
    }
    let items = format!(
        r#"(data (i32.const 1024) "\00\08\00\00\08\00\00\00\00\08\00\00\08\00\00\00")
        (func $prepare
          (call $number (i64.const 0) (i64.const 42))
          (drop (call $push_channel (call $open (i64.const 1)))))
        (func $attack (param $process i64) (local $turns i32)
          (loop $again
            (call $yield)
            (local.set $turns (i32.add (local.get $turns) (i32.const 1)))
            (br_if $again (i32.and (call $exists (local.get $process))
              (i32.lt_u (local.get $turns) (i32.const 50)))))
          (call $kill (local.get $process))
          (call $join (local.get $process)))
        {functions}"#
    );
    let body = format!("{calls} (call $exit (i32.const 77))");
    program(&items, &body).replacen("(module", &format!("(module {declarations}"), 1)
}

#[test]
fn no_value_of_any_parameter_of_any_import_harms_others() {
    let mut by_module: Vec<(String, Vec<Import>)> = Vec::new();
    for import in imports() {
        match by_module.last_mut() {
            Some((module, list)) if *module == import.module => list.push(import),
            _ => by_module.push((import.module.clone(), vec![import])),
        }
    }
    for (module, imports) in &by_module {
        eprintln!("imports of {module}: {}", imports.len());
        let file = Module::wat(&hostile_guest(imports));
        let mut command = lunatic();
        command.args(["run", "-v", "--workers", "1", "--no-cache"]).arg(file.path());
        run_command(command, b"some input\n").expect(77);
    }
}

#[test]
fn every_import_can_be_called_without_a_memory() {
    for import in imports() {
        let zeroes = vec![0; import.params.len()];
        let declaration = import.declaration("$hostile");
        let call = import.call("$hostile", &zeroes);
        let output = run_wat(&format!("(module {declaration} (func (export \"_start\") {call}))"));
        assert!(matches!(output.code, 0 | 134), "{declaration}: {output:#?}");
    }
}
