//! Modules that a program compiles and spawns while it runs.

mod support;

use support::{program, run_wat, run_wat_with, spawn, times};

/// A guest that can compile the module of these bytes, which lie at 4096; `$compile` leaves the
/// status, and the id is at 1024.
fn guest(module: &[u8], items: &str, body: &str) -> String {
    let data: String = module.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let length = module.len();
    let items = format!(
        "(data (i32.const 4096) \"{data}\")
         (data (i32.const 2048) \"child\")
         (func $compile (result i32)
           (call $compile_module (i32.const 4096) (i32.const {length}) (i32.const 1024)))
         (func $module (result i64)
           (if (call $compile) (then unreachable))
           (i64.load (i32.const 1024)))
         (func $spawn_child (param $module i64) (result i64)
           (call $argument (call $self))
           (if (call $spawn_raw (i64.const 0) (i64.const -1) (local.get $module)
                 (i32.const 2048) (i32.const 5) (i32.const 256) (i32.const 17) (i32.const 288))
             (then unreachable))
           (i64.load (i32.const 288)))
         ;; Prints the text of the error at 1024.
         (func $complain
           (call $error_text (i64.load (i32.const 1024)) (i32.const 3072))
           (call $put (i32.const 3072) (call $error_size (i64.load (i32.const 1024)))))
         {items}"
    );
    program(&items, &format!("(local $i i64) (local $n i64) {body}")).replace(
        "(module",
        r#"(module
        (import "lunatic::process" "compile_module"
          (func $compile_module (param i32 i32 i32) (result i32)))
        (import "lunatic::process" "drop_module" (func $drop_module (param i64)))
        (import "lunatic::message" "push_module" (func $push_module (param i64) (result i64)))
        (import "lunatic::message" "take_module" (func $take_module (param i64) (result i64)))
        (import "lunatic::error" "string_size" (func $error_size (param i64) (result i32)))
        (import "lunatic::error" "to_string" (func $error_text (param i64 i32)))"#,
    )
}

fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the text is a module")
}

/// Its child sends 42 to the process that it is told.
fn plugin() -> Vec<u8> {
    wasm(&program(
        "(func (export \"child\") (param i64) (call $send (local.get 0) (i64.const 42)))
         (func (export \"trap\") (param i64) unreachable)",
        "",
    ))
}

#[test]
fn a_module_runs_and_goes_with_its_last_process() {
    let body = format!(
        "(local $module i64)
         {}
         ;; Its processes run on when it is dropped, and a number is not used again.
         (local.set $module (call $module))
         (drop (call $spawn_child (local.get $module)))
         (call $drop_module (local.get $module))
         (call $say (call $recv))
         (call $say (local.get $module))
         (call $drop_module (local.get $module))",
        times(
            20,
            "(local.set $module (call $module))
             (drop (call $spawn_child (local.get $module)))
             (drop (call $spawn_child (local.get $module)))
             (call $drop_module (local.get $module))
             (if (i64.ne (call $recv) (i64.const 42)) (then unreachable))
             (if (i64.ne (call $recv) (i64.const 42)) (then unreachable))"
        )
    );
    for workers in ["1", "4"] {
        let output = run_wat_with(&["--workers", workers], &guest(&plugin(), "", &body));
        let said = ["drop_module: the process has no module with id 20"];
        output.expect(134).prints(&[42, 20]).says(&said);
    }
}

#[test]
fn a_module_travels_in_a_message() {
    let body = "
      (local $module i64)
      (local.set $module (call $module))
      (call $create (i64.const 0) (i64.const 0))
      (call $say (call $push_module (local.get $module)))
      (call $drop_module (local.get $module))
      (drop (call $send_raw (call $self)))
      (drop (call $receive (i32.const 0) (i32.const 0) (i64.const -1)))
      (local.set $module (call $take_module (i64.const 0)))
      (call $say (local.get $module))
      (drop (call $spawn_child (local.get $module)))
      (call $say (call $recv))
      (drop (call $take_module (i64.const 0)))";
    run_wat(&guest(&plugin(), "", body))
        .expect(134)
        .prints(&[0, 1, 42])
        .says(&["take_module: the message has no module at index 0"]);
}

#[test]
fn what_is_no_module_is_an_error_with_the_reason() {
    for (bytes, reason) in [
        (&b"\0asm"[..], "truncated"),
        (b"garbage", "not a WebAssembly module"),
        (b"(module (func (export \"child\") (param i64)", "is not WebAssembly"),
        (&wasm("(module (import \"a\" \"b\" (func)))"), "\"a\" \"b\""),
        (b"", "empty"),
    ] {
        let body =
            "(if (i32.ne (call $compile) (i32.const 1)) (then unreachable)) (call $complain)";
        let output = run_wat(&guest(bytes, "", body)).expect_quiet_success();
        assert!(output.stdout.contains(reason), "{reason:?} is not in {output:?}");
    }
}

#[test]
fn others_run_while_a_module_compiles() {
    // A module that takes a while: 2,000 functions of 100 additions.
    let line = "(local.set 0 (i64.add (local.get 0) (i64.const 1)))";
    let body = line.repeat(100);
    let functions = format!("(func (param i64) {body})\n").repeat(2_000);
    let module = wasm(&format!("(module (func (export \"child\") (param i64)) {functions})"));
    // The ticker counts until it is killed; with one worker it runs only while the other waits.
    let items = format!(
        "(func (export \"tick\") (param $main i64) (local $i i64)
           {})",
        times(u64::MAX, "(call $send (local.get $main) (i64.const 1)) (call $sleep (i64.const 1))")
    );
    let body = format!(
        "(drop {}) (drop (call $module))
         (loop $count
           (if (i32.eqz (call $receive (i32.const 0) (i32.const 0) (i64.const 0)))
             (then (local.set $n (i64.add (local.get $n) (i64.const 1))) (br $count))))
         (call $say32 (i64.gt_u (local.get $n) (i64.const 5)))",
        support::spawn_with("tick", "(call $self)")
    );
    let guest = guest(&module, &items, &body)
        .replace("(memory (export \"memory\") 2)", "(memory (export \"memory\") 40)");
    run_wat_with(&["--workers", "1"], &guest).expect_quiet_success().prints(&[1]);
}

/// The compiler cannot be stopped within a function: neither the minute that a module may take nor a
/// kill of who waits for it would end it, and the memory that it takes is nobody's.
#[test]
fn a_function_that_would_take_gigabytes_of_the_compiler_is_refused() {
    let thousand = "i32 ".repeat(1000);
    let types = format!(
        "(table 1 funcref) (type $none (func)) (type $t (func (param {thousand}) (result {thousand})))
         (func $none) (func $many (type $t) {})",
        (0..1000).map(|n| format!("(local.get {n})")).collect::<String>()
    );
    let with_values = |count: usize, operators: &str| {
        let (begin, end) = ("i32.const 0 ".repeat(1000), "drop ".repeat(1000));
        begin + &operators.repeat(count) + &end
    };
    for body in [
        with_values(500, "call $many "),
        with_values(500, "i32.const 0 call_indirect (type $t) "),
        with_values(4_000, "loop (type $t) end "),
        "i32.const 0 call_indirect (type $none) ".repeat(90_000),
        "call $none ".repeat(400_000),
        "i32.const 0 memory.grow drop ".repeat(200_000),
    ] {
        let text = format!(
            "(module {types} (memory (export \"memory\") 1) (func (export \"_start\") {body}))"
        );
        let module = support::Module::wasm(&wasm(&text));
        let mut command = support::lunatic();
        command.arg("run").arg(module.path());
        support::run_command(command, b"").expect_refused(&[
            "bytes for the compiler to hold in a function, as estimated,",
            "the limit is 536870912",
        ]);
    }
}

#[test]
fn a_module_that_would_take_for_ever_is_refused() {
    let (locals, loops) = (20_000, 20_000);
    // Each loop's header would need a value for each local.
    let body = format!(
        "{}{}{}",
        "(loop ".repeat(loops),
        (0..locals)
            .map(|n| format!("(local.set {n} (i64.add (local.get {n}) (i64.const 1)))"))
            .collect::<String>(),
        ")".repeat(loops)
    );
    let text = format!(
        "(module (func (export \"child\") (param i64) (local {}) {body}))",
        "i64 ".repeat(locals)
    );
    let module = wasm(&text);
    let main = "(call $say32 (call $compile)) (call $complain)";
    let guest = guest(&module, "", main)
        .replace("(memory (export \"memory\") 2)", "(memory (export \"memory\") 40)");
    let output = run_wat(&guest).expect_quiet_success();
    assert!(output.stdout.starts_with("1\n"), "{output:?}");
    assert!(output.stdout.contains("the limit is"), "{output:?}");
}

#[test]
fn modules_come_and_go_under_a_fast_tick() {
    // One child computes, another is killed wherever it is, among others that compute for ever. Signals
    // come all the time, also while code is unloaded.
    let compute = "(local $i i64) (local $h i64)
        (loop $next
          (local.set $h (i64.add (i64.mul (i64.xor (local.get $h) (local.get $i)) (i64.const 0x100000001b3))
            (i64.rotl (local.get $h) (i64.const 9))))
          (local.set $i (i64.add (local.get $i) (i64.const 1)))
          (br_if $next (i64.lt_u (local.get $i) (i64.const 300000))))";
    let plugin = wasm(&program(
        &format!(
            "(func (export \"child\") (param $main i64) {compute}
               (call $send (local.get $main) (local.get $h)))
             (func (export \"spins\") (param i64) (call $for_ever))"
        ),
        "",
    ));
    let items = "(data (i32.const 2064) \"spins\")
        (func (export \"busy\") (call $for_ever))
        (func $spawn_spinner (param $module i64) (result i64)
          (call $argument (call $self))
          (if (call $spawn_raw (i64.const 0) (i64.const -1) (local.get $module)
                (i32.const 2064) (i32.const 5) (i32.const 256) (i32.const 17) (i32.const 288))
            (then unreachable))
          (i64.load (i32.const 288)))";
    let body = format!(
        "(local $module i64) (local $spinner i64) (local $first i64)
         (drop {0}) (drop {0}) (drop {0})
         {1}
         (call $say (i64.const 1))",
        spawn("busy"),
        times(
            100,
            "(local.set $module (call $module))
             (drop (call $spawn_child (local.get $module)))
             (local.set $spinner (call $spawn_spinner (local.get $module)))
             (call $drop_module (local.get $module))
             (local.set $n (call $recv))
             (if (i64.eqz (local.get $i)) (then (local.set $first (local.get $n))))
             (if (i64.ne (local.get $n) (local.get $first)) (then unreachable))
             (call $kill (local.get $spinner))"
        )
    );
    let options = ["--workers", "4", "--tick-us", "100"];
    run_wat_with(&options, &guest(&plugin, items, &body)).expect_quiet_success().prints(&[1]);
}

/// A module of so many functions that do nothing, of four bytes each.
fn many_functions(count: usize) -> Vec<u8> {
    let leb = |number: usize| -> Vec<u8> {
        (0..4).map(|at| (number >> (7 * at)) as u8 & 0x7f | if at < 3 { 0x80 } else { 0 }).collect()
    };
    let section = |kind: u8, each: &[u8]| {
        let items = [leb(count), each.repeat(count)].concat();
        [vec![kind], leb(items.len()), items].concat()
    };
    let head = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0";
    [&head[..], &section(3, &[0]), &section(10, &[2, 0, 0x0b])].concat()
}

#[test]
fn what_a_compilation_holds_counts_for_who_asked_for_it() {
    // A kilobyte for each function: more than there may be. The main process holds more than most, too.
    let items = "(func (export \"child\") (param i64) (drop (call $compile)) (call $send (local.get 0) (i64.const 1)))";
    let body = "
      (call $die_with_links (i32.const 0)) (drop (memory.grow (i32.const 40)))
      (call $create (i64.const 0) (i64.const 0))
      (drop (call $write (i32.const 0) (i32.const 2000000)))
      (call $argument (call $self))
      (drop (call $spawn_linked (i64.const 0x646c696863) (i32.const 5) (i32.const 17) (i64.const 7)))
      (if (i32.ne (call $notice) (i32.const 1)) (then (call $say (i64.const -1)) (return)))
      (call $say32 (call $kind))
      ;; All was given back: there is room for as much of something else.
      (drop (call $write (i32.const 0) (i32.const 2000000)))
      (if (i32.eqz (call $compile_module (i32.const 2048) (i32.const 5) (i32.const 1024)))
        (then unreachable))
      (call $say (i64.const 2))";
    let guest = guest(&many_functions(14_000), items, body);
    for workers in ["1", "2"] {
        run_wat_with(&["--workers", workers, "--max-host-memory=16M"], &guest)
            .expect(0)
            .prints(&[6, 2])
            .says(&["ran out of host memory"]);
    }
    // Where there may be more, it compiles.
    run_wat_with(&["--max-host-memory=64M"], &guest).expect(0).prints(&[-1]);
}
