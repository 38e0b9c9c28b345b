//! Fuzzing of load-and-run: whatever the bytes are, the runtime answers and lives.
//!
//! Two generators: modules made by wasm-smith (valid, with every feature we have, importing our
//! host functions), and real modules with bytes changed, cut or doubled. What loads is run as the
//! main process on two workers and stopped after a moment, so that endless loops end too. The
//! oracle is this process: a crash or a hang is the failure, as is a valid module that the compiler
//! breaks on. Each round prints its seed when it fails.
//!
//! Runs for a second; longer with `LUNATIC_FUZZ_SECONDS=600 cargo test --release --test fuzz`, and
//! from another starting point with `LUNATIC_FUZZ_SEED`.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use arbitrary::Unstructured;
use lunatic_engine::{Compiler, FormError, Module, OptLevel};
use lunatic_host_api::{ExitReason, NodeBuilder, ProcessConfig, Right, Stdio, functions};
use wasm_smith::Config;

/// How long a module that loads may run before it is stopped.
const RUN: Duration = Duration::from_millis(20);

/// Memory that a guest of these tests may have: many run in a row.
const MEMORY_BYTES_MAX: usize = 64 << 20;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// xorshift64*: a generator whose whole state is the seed that is printed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

#[test]
fn any_bytes_are_loaded_and_run_or_refused() {
    let seconds = number("LUNATIC_FUZZ_SECONDS").unwrap_or(1);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut seed = number("LUNATIC_FUZZ_SEED").unwrap_or(0x5eed);
    let (mut rounds, mut loaded) = (0_u64, 0_u64);
    while rounds < 20 || Instant::now() < end {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let outcome = catch_unwind(AssertUnwindSafe(|| round(seed)));
        match outcome {
            Ok(ran) => loaded += u64::from(ran),
            Err(panic) => {
                eprintln!("failed in the round with the seed {seed}");
                resume_unwind(panic);
            }
        }
        rounds += 1;
    }
    eprintln!("{rounds} modules, {loaded} of them loaded and ran");
    assert!(loaded > 0, "not one of {rounds} modules was valid: the generator is broken");
}

/// One module; whether it loaded.
fn round(seed: u64) -> bool {
    let mut random = Random(seed | 1);
    let valid = generate(&mut random);
    match random.below(4) {
        0 => run(&mutate(&mut random, valid), false),
        _ => run(&valid, true),
    }
}

fn generate(random: &mut Random) -> Vec<u8> {
    let len = 1024 + random.below(8192);
    let bytes = random.bytes(len);
    let config = Config {
        available_imports: Some(imports()),
        exceptions_enabled: false,
        gc_enabled: false,
        compact_imports_enabled: false,
        max_memories: 1,
        max_tables: 4,
        // Room for all imports at once.
        max_exports: 1000,
        max_funcs: 1000,
        max_imports: 1000,
        max_types: 1000,
        max_type_size: 20_000,
        memory64_enabled: false,
        min_funcs: 1,
        export_everything: true,
        relaxed_simd_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        ..Config::default()
    };
    wasm_smith::Module::new(config, &mut Unstructured::new(&bytes))
        .expect("enough bytes")
        .to_bytes()
}

/// A module that imports all of our functions, for wasm-smith to choose from.
fn imports() -> Vec<u8> {
    let mut text = String::from("(module\n");
    for module in lunatic_host_api::modules() {
        for doc in module.functions {
            let function = doc.function;
            // They would end the run, or wait for the terminal of whoever runs the tests.
            if matches!(function.name, "proc_exit" | "fd_write" | "fd_read") {
                continue;
            }
            let types = |types: &[lunatic_engine::Type]| {
                types.iter().map(|ty| ty.to_string().to_lowercase()).collect::<Vec<_>>().join(" ")
            };
            text += &format!(
                "(import \"{}\" \"{}\" (func (param {}) (result {})))\n",
                function.module,
                function.name,
                types(function.params),
                types(function.results)
            );
        }
    }
    text.push(')');
    wat::parse_str(text).expect("a module of imports")
}

fn mutate(random: &mut Random, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..1 + random.below(8) {
        let at = random.below(bytes.len());
        match random.below(4) {
            0 => bytes.truncate(at.max(1)),
            1 => {
                let piece: Vec<u8> = bytes[at..].iter().copied().take(16).collect();
                bytes.splice(at..at, piece);
            }
            _ => bytes[at] = random.next() as u8,
        }
    }
    bytes
}

/// Loads and runs; whether it loaded.
fn run(bytes: &[u8], is_valid: bool) -> bool {
    // Compiled without much effort: the time goes into more modules.
    let options = lunatic_engine::CompilerOptions {
        opt_level: OptLevel::None,
        ..lunatic_engine::CompilerOptions::default()
    };
    let module = Module::new(bytes, Compiler::new(options), Arc::new(functions()));
    let builder = NodeBuilder::new().workers(2);
    let image = match module.make(builder.form()) {
        Ok(image) => image,
        Err(FormError::Load(error)) => {
            assert!(!error.is_compiler_bug(), "{error}");
            assert!(!is_valid || !error.is_invalid(), "{error}");
            return false;
        }
        Err(_) => return false,
    };
    let entry = image.function_names().min().unwrap_or("none").to_string();
    let mut config = ProcessConfig::new(Stdio::inherit());
    config.memory_bytes_max = MEMORY_BYTES_MAX;
    for right in Right::ALL {
        config.set_right(right, true);
    }
    let node = builder.start().expect("workers");
    let stopper = node.stopper();
    let (done, watched) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        // Ends early when the sender is dropped.
        let _ = watched.recv_timeout(RUN);
        stopper.stop();
    });
    let reason = node.run(&module, config, &entry);
    drop(done);
    watch.join().expect("the watch does not panic");
    if let Ok(ExitReason::HostBug { message }) = reason {
        panic!("the runtime blames itself: {message}");
    }
    true
}
