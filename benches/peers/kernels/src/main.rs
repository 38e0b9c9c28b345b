//! Our compiled code beside what others make of the same modules: wasmer's own `Instance`, which has
//! the same compiler and no interruption, and wasmtime with and without epochs.
//!
//! Each figure is the median of `RUNS` runs, which take turns, each with a new instance that is made
//! before the clock starts. In brackets: the time over that of wasmer. Imports answer 0, which is
//! what the programs of `guests/` need of WASI.
//!
//! `bench-kernels KERNELS.wat [PROGRAM.wasm ...]`

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunatic_engine::standalone::Standalone;
use lunatic_engine::{
    Compiler, CompilerOptions, Form, HostFunction, HostFunctions, Image, Limits, MEMORY_BYTES_MAX,
    MemoryForm, MemoryPool, RawValue,
};

const RUNS: usize = 7;

/// As `NodeBuilder::SLICE`.
const SLICE: i64 = 50_000;

/// Calls an exported function in a new instance; how long the call took.
type Run = Box<dyn FnMut(&str) -> Duration>;

/// The engines, the one that others are compared with first.
fn engines(bytes: &[u8]) -> Vec<(&'static str, Run)> {
    let form = |yields, memory| ours(bytes, Form { yields, memory });
    vec![
        ("wasmer", with_wasmer(bytes)),
        ("guarded", form(false, MemoryForm::Guarded)),
        ("dense", form(false, MemoryForm::Dense)),
        ("guarded, yields", form(true, MemoryForm::Guarded)),
        ("wasmtime", with_wasmtime(bytes, false)),
        ("wasmtime, epochs", with_wasmtime(bytes, true)),
    ]
}

fn main() {
    let mut is_first = true;
    for path in std::env::args().skip(1) {
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("reading {path}: {error}"));
        let bytes = wat::parse_bytes(&bytes).expect("a module").into_owned();
        let module = wasmtime::Module::new(&wasmtime::Engine::default(), &bytes).expect("valid");
        let mut engines = engines(&bytes);
        if std::mem::take(&mut is_first) {
            let names = engines.iter().map(|(name, _)| format!(" {name:>18}"));
            println!("{:<26}{}", "kernel, ms", names.collect::<String>());
        }
        let is_program = module.get_export("_start").is_some();
        let functions = module.exports().filter(|export| export.ty().func().is_some());
        for function in functions.filter(|f| !is_program || f.name() == "_start") {
            let label = if is_program {
                Path::new(&path).file_stem().map(|stem| stem.to_string_lossy().into_owned())
            } else {
                Some(function.name().to_string())
            };
            measure(&label.unwrap_or_default(), function.name(), &mut engines);
        }
    }
}

fn measure(label: &str, function: &str, engines: &mut [(&'static str, Run)]) {
    let mut times = vec![Vec::new(); engines.len()];
    for _ in 0..RUNS {
        for ((_, run), times) in engines.iter_mut().zip(&mut times) {
            times.push(run(function));
        }
    }
    let medians: Vec<f64> = times.into_iter().map(|times| median(times) * 1e3).collect();
    let mut line = format!("{label:<26}");
    for ms in &medians {
        let _ = write!(line, " {ms:>10.2} ({:>4.2})", ms / medians[0]);
    }
    println!("{line}");
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

fn ours(bytes: &[u8], form: Form) -> Run {
    /// Any import of ours: WASI's answer for success, whatever the arguments.
    extern "C" fn zero() -> i64 {
        0
    }
    let module = wasmtime::Module::new(&wasmtime::Engine::default(), bytes).expect("valid");
    let mut host = HostFunctions::default();
    for import in module.imports() {
        let ty = import.ty().func().cloned().expect("programs import functions only");
        let leak = |text: &str| -> &'static str { Box::leak(text.into()) };
        host.add(HostFunction {
            module: leak(import.module()),
            name: leak(import.name()),
            params: Box::leak(ty.params().map(our_type).collect()),
            results: Box::leak(ty.results().map(our_type).collect()),
            code: zero as *const (),
        });
    }
    let options = CompilerOptions { form, ..CompilerOptions::default() };
    let compiled = Compiler::new(options).compile(bytes).expect("valid");
    let image = Image::new(compiled, &host).expect("all imports are there");
    let pool = Arc::new(MemoryPool::default());
    let limits = Limits { memory_bytes_max: MEMORY_BYTES_MAX, slice: SLICE };
    Box::new(move |name| {
        let instance = Standalone::new(&image, &pool, limits).expect("memory");
        let mut instance = instance.unwrap_or_else(|trap| panic!("{trap}"));
        let function = image.function(name).expect("an export");
        let begun = Instant::now();
        let result = instance.call(function, &mut [RawValue::default(); 1]);
        result.unwrap_or_else(|trap| panic!("{name}: {trap}"));
        begun.elapsed()
    })
}

fn our_type(ty: wasmtime::ValType) -> lunatic_engine::Type {
    match ty {
        wasmtime::ValType::I32 => lunatic_engine::Type::I32,
        wasmtime::ValType::I64 => lunatic_engine::Type::I64,
        wasmtime::ValType::F32 => lunatic_engine::Type::F32,
        wasmtime::ValType::F64 => lunatic_engine::Type::F64,
        other => panic!("no program imports a function with {other}"),
    }
}

fn with_wasmer(bytes: &[u8]) -> Run {
    let engine: wasmer::Engine = wasmer::sys::Cranelift::new().into();
    let module = wasmer::Module::new(&engine, bytes).expect("valid");
    Box::new(move |name| {
        let mut store = wasmer::Store::new(engine.clone());
        let mut imports = wasmer::Imports::new();
        for import in module.imports() {
            let wasmer::ExternType::Function(ty) = import.ty() else { panic!("a function") };
            let zeros: Vec<_> = ty.results().iter().map(|_| wasmer::Value::I32(0)).collect();
            let function = wasmer::Function::new(&mut store, ty, move |_| Ok(zeros.clone()));
            imports.define(import.module(), import.name(), function);
        }
        let instance = wasmer::Instance::new(&mut store, &module, &imports).expect("an instance");
        let function = instance.exports.get_function(name).expect("an export");
        let begun = Instant::now();
        function.call(&mut store, &[]).expect("no trap");
        begun.elapsed()
    })
}

fn with_wasmtime(bytes: &[u8], epochs: bool) -> Run {
    let mut config = wasmtime::Config::new();
    config.epoch_interruption(epochs);
    let engine = wasmtime::Engine::new(&config).expect("a configuration for this machine");
    let module = wasmtime::Module::new(&engine, bytes).expect("valid");
    Box::new(move |name| {
        let mut store = wasmtime::Store::new(&engine, ());
        store.set_epoch_deadline(1 << 40);
        let mut linker = wasmtime::Linker::new(&engine);
        linker.define_unknown_imports_as_default_values(&mut store, &module).expect("functions");
        let instance = linker.instantiate(&mut store, &module).expect("an instance");
        let function = instance.get_typed_func::<(), ()>(&mut store, name).expect("an export");
        let begun = Instant::now();
        function.call(&mut store, ()).expect("no trap");
        begun.elapsed()
    })
}
