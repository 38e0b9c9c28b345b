//! Every shape of code, every way of failing, and the cache seen from the compiler.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use arbitrary::Unstructured;
use proptest::prelude::*;
use wasmer_types::{GlobalInit, Mutability, Type};

use super::*;

fn compile(text: &str) -> Result<Compiled, LoadError> {
    Compiler::default().compile(text.as_bytes())
}

#[test]
fn yield_points_fit_every_shape_of_code() {
    for body in [
        "",
        // Loops in loops, side by side, empty.
        "loop loop loop end end loop end end",
        "(loop $a (loop $b (loop $c (br_if $a (i32.const 0)) (br_if $b (i32.const 0))
           (br_if $c (i32.const 0)))))",
        // Dead code: a loop, a loop in a loop, an else branch.
        "unreachable loop loop br 0 end end",
        "(block (br 0) (loop (br 0)) (loop (loop)))",
        "(if (i32.const 1) (then (return) (loop (br 0))) (else (loop (unreachable))))",
        "return loop i32.const 1 br_if 0 end",
        // Tables of branches to loop headers.
        "(loop $a (block $x (loop $b (br_table $a $b $x $b (i32.const 2)))))",
        // Loops with results and parameters.
        "(drop (loop (result i32) (i32.const 1)))",
        "i32.const 1 i64.const 2 loop (param i32 i64) (result i64 i32)
           drop drop i64.const 3 i32.const 4 end drop drop",
        "i32.const 9 loop $l (param i32) (result i32)
           i32.const 1 i32.sub local.tee 0 local.get 0 br_if $l end drop",
        "(drop (loop $l (result f64) (br_if $l (i32.const 0)) (f64.const 1)))",
        "unreachable loop (param i32) drop end",
    ] {
        let text = format!("(module (func (local i32) {body}))");
        compile(&text).unwrap_or_else(|error| panic!("{body}: {error}"));
    }
}

#[test]
fn the_reductions_global_comes_last_and_is_not_exported() {
    let text = "(module (global i32 (i32.const 1)) (export \"g\" (global 0)))";
    let compiled = compile(text).expect("valid");
    let global = compiled.reductions_global().expect("metered");
    let module = compiled.module();
    assert_eq!(global.as_u32(), 1);
    assert_eq!(module.globals.len(), 2);
    assert_eq!(module.globals[global].ty, Type::I64);
    assert_eq!(module.globals[global].mutability, Mutability::Var);
    let initial = module.global_initializers.values().last();
    assert!(matches!(initial, Some(GlobalInit::I64Const(0))));
    assert_eq!(module.exports.len(), 1);
}

#[test]
fn without_yield_points_nothing_is_added() {
    let form = Form { yields: false, ..Form::default() };
    let options = CompilerOptions { form, ..CompilerOptions::default() };
    let compiled = Compiler::new(options).compile(b"(module (func (loop (br 0))))");
    let compiled = compiled.expect("valid");
    assert_eq!(compiled.reductions_global(), None);
    assert_eq!(compiled.module().globals.len(), 0);
}

#[test]
fn text_is_told_from_binary_by_its_first_parenthesis() {
    for text in ["(module)", " \n\t(module)", ";; hello\n;;\n (module)", "(; c ;) (module)"] {
        assert!(is_text(text.as_bytes()), "{text}");
        compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    for other in ["", " ", ";; only a comment", "hello", "\0asm"] {
        assert!(!is_text(other.as_bytes()), "{other}");
    }
}

#[test]
fn an_error_in_text_says_where() {
    let error = compile("(module\n  (func (local.get $nope)))").expect_err("no such local");
    let message = error.to_string();
    assert!(message.starts_with("the text at line 2, column "), "{message}");
    assert!(message.contains("unknown local") && !message.contains('\n'), "{message}");
    assert!(error.is_invalid());
}

#[test]
fn a_component_in_text_is_refused_like_one_in_binary() {
    let error = compile("(component)").expect_err("a component");
    assert!(error.to_string().contains("component"), "{error}");
}

#[test]
fn deep_nesting_and_long_functions_do_not_overflow_a_stack() {
    const DEEP: usize = 20_000;
    let blocks = format!("{}{}", "block ".repeat(DEEP), "end ".repeat(DEEP));
    let ifs = format!("{}{}", "i32.const 1 if ".repeat(DEEP), "end ".repeat(DEEP));
    let sum = format!("{}{} drop", "i32.const 1 ".repeat(DEEP), "i32.add ".repeat(DEEP - 1));
    for body in [blocks, ifs, sum] {
        compile(&format!("(module (func {body}))")).expect("deep but valid");
    }
}

#[test]
fn a_million_fixed_table_entries_compile() {
    let compiled = compile("(module (table 1000000 1000000 funcref) (func (loop)))");
    let compiled = compiled.expect("valid");
    assert!(compiled.module().tables.values().all(|table| table.is_fixed_funcref_table()));
}

#[test]
fn signatures_of_the_largest_size_compile() {
    let params = "i32 ".repeat(1000);
    compile(&format!("(module (func (param {params}) (result {params}) unreachable))"))
        .expect("valid");
}

#[test]
fn a_compiler_that_panics_is_an_error_and_the_next_one_works() {
    let panicking = Compiler::default().with_progress(Arc::new(|_, _| panic!("on purpose")));
    let error = panicking.compile(b"(module (func))").expect_err("a panic");
    assert!(error.is_compiler_bug(), "{error}");
    assert!(error.to_string().contains("on purpose"), "{error}");
    compile("(module (func))").expect("another compiler");
}

#[test]
fn progress_comes_to_its_end() {
    let most = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&most);
    // Relaxed: read after the compiler's threads have been joined.
    let compiler = Compiler::default().with_progress(Arc::new(move |done, total| {
        assert!(done <= total);
        seen.fetch_max(100 * done / total, Ordering::Relaxed);
    }));
    compiler.compile(b"(module (func) (func (loop (br 0))))").expect("valid");
    assert_eq!(most.load(Ordering::Relaxed), 100);
}

#[test]
fn a_cached_module_is_the_one_that_was_compiled() {
    let home = tempfile::tempdir().expect("a directory");
    let compiler =
        Compiler::default().with_cache(Cache::open(home.path().join("c")).expect("a cache"));
    let text = b"(module (func $named (export \"run\") (loop (br 0))) (memory 1)
        (data (i32.const 3) \"abc\"))";
    let cold = compiler.compile(text).expect("valid");
    let key = compiler.key(text);
    let payload = compiler.cache.as_ref().and_then(|cache| cache.load(&key));
    let warm = compiler.revive(payload.expect("stored")).expect("revived");
    assert_eq!(warm.reductions_global(), cold.reductions_global());
    assert_eq!(warm.module().exports, cold.module().exports);
    assert_eq!(warm.module().function_names, cold.module().function_names);
    assert!(!warm.module().function_names.is_empty());
    let code = |compiled: &Compiled| {
        let extents = compiled.artifact().finished_function_extents().expect("allocated");
        extents.iter().map(|(_, extent)| extent.length).collect::<Vec<_>>()
    };
    assert_eq!(code(&warm), code(&cold));
}

#[test]
fn options_and_content_decide_the_key_and_threads_do_not() {
    let key = |change: fn(&mut CompilerOptions), bytes: &[u8]| {
        let mut options = CompilerOptions::default();
        change(&mut options);
        Compiler::new(options).key(bytes)
    };
    let plain = key(|_| {}, b"a");
    assert_eq!(plain, key(|options| options.threads = NonZero::<usize>::MIN, b"a"));
    assert_ne!(plain, key(|_| {}, b"b"));
    assert_ne!(plain, key(|options| options.form.yields = false, b"a"));
    assert_ne!(plain, key(|options| options.form.memory = MemoryForm::Guarded, b"a"));
    assert_ne!(plain, key(|options| options.opt_level = OptLevel::None, b"a"));
}

#[test]
fn a_stored_module_that_wasmer_refuses_is_compiled_again() {
    let home = tempfile::tempdir().expect("a directory");
    let cache = Cache::open(home.path().join("c")).expect("a cache");
    let compiler = Compiler::default().with_cache(cache.clone());
    let key = compiler.key(b"(module)");
    // Trusted, whole, and nonsense: as an entry of another wasmer under our key would be.
    cache.store(&key, b"nonsense");
    compiler.compile(b"(module)").expect("valid");
    assert!(cache.load(&key).is_some_and(|payload| payload != b"nonsense"));
}

#[test]
fn compilers_that_share_a_cache_do_not_disturb_each_other() {
    let home = tempfile::tempdir().expect("a directory");
    let directory = home.path().join("c");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for index in 0..8 {
                    let cache = Cache::open(&directory).expect("a cache");
                    let compiler = Compiler::default().with_cache(cache);
                    let text = format!("(module (func (drop (i32.const {index}))))");
                    compiler.compile(text.as_bytes()).expect("valid");
                }
            });
        }
    });
    assert_eq!(fs::read_dir(&directory).expect("entries").count(), 8);
}

/// Valid modules of every shape that we support.
fn smith_config() -> wasm_smith::Config {
    wasm_smith::Config {
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        relaxed_simd_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        custom_page_sizes_enabled: false,
        shared_everything_threads_enabled: false,
        max_memories: 1,
        max_imports: 0,
        max_instructions: 200,
        ..wasm_smith::Config::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn valid_modules_compile(seed in prop::collection::vec(any::<u8>(), 0..4096)) {
        let mut seed = Unstructured::new(&seed);
        let module = wasm_smith::Module::new(smith_config(), &mut seed);
        let Ok(module) = module else { return Ok(()) };
        match Compiler::default().compile(&module.to_bytes()) {
            Ok(_) => {}
            // Its tables may be larger than ours.
            Err(error) => prop_assert!(error.is_limit(), "{}", error),
        }
    }
}
