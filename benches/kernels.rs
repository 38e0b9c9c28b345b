//! What yield points and bounds checks cost: kernels in all four forms of one module, in one process.
//!
//! Recursive calls, an integer chain, memory accesses and floating point are what yield points
//! touch differently: a call clobbers registers, and cranelift then keeps a loop's accumulators on
//! the stack. Prints the median of `RUNS` alternating runs. Not for comparing machines, nor for
//! how well cranelift compiles.
//!
//! `cargo bench --bench kernels`

use std::sync::Arc;
use std::time::{Duration, Instant};

use lunatic_engine::standalone::Standalone;
use lunatic_engine::{
    Compiler, CompilerOptions, Form, HostFunctions, Image, Limits, MEMORY_BYTES_MAX, MemoryForm,
    MemoryPool, RawValue,
};
use lunatic_host_api::NodeBuilder;

const RUNS: usize = 7;

/// Exported functions, without arguments and results.
const KERNELS: &str = include_str!("kernels.wat");

const KERNEL_NAMES: [&str; 7] = [
    "fib(35)",
    "two-instruction loop",
    "integer loop",
    "sieve 1 MB",
    "sieve 8 MB",
    "f32 matrix multiply 256",
    "f64 matrix multiply 256",
];

/// The forms, and what their columns are called. The others are compared with the first.
const FORMS: [(&str, Form); 4] = [
    ("guarded", Form { yields: false, memory: MemoryForm::Guarded }),
    ("dense", Form { yields: false, memory: MemoryForm::Dense }),
    ("guarded, yields", Form { yields: true, memory: MemoryForm::Guarded }),
    ("dense, yields", Form { yields: true, memory: MemoryForm::Dense }),
];

fn main() {
    let mut instances = FORMS.map(|(_, form)| instance(form));
    print!("{:<26}", "kernel, ms");
    FORMS.iter().for_each(|(name, _)| print!(" {name:>22}"));
    println!();
    for kernel in KERNEL_NAMES {
        let mut times: [Vec<Duration>; FORMS.len()] = Default::default();
        for _ in 0..RUNS {
            for (instance, times) in instances.iter_mut().zip(&mut times) {
                times.push(time(instance, kernel));
            }
        }
        let medians = times.map(|times| median(times).as_secs_f64() * 1e3);
        print!("{kernel:<26}");
        medians.iter().for_each(|ms| print!(" {ms:>14.2} ({:>5.2})", ms / medians[0]));
        println!();
    }
    let slices = instances[2].yields();
    println!("slices of {} reductions in the runs with yield points: {slices}", NodeBuilder::SLICE);
}

fn instance(form: Form) -> Standalone {
    let options = CompilerOptions { form, ..CompilerOptions::default() };
    let compiled = Compiler::new(options).compile(KERNELS.as_bytes()).expect("a valid module");
    let image = Image::new(compiled, &HostFunctions::default()).expect("no imports");
    let limits = Limits { memory_bytes_max: MEMORY_BYTES_MAX, slice: NodeBuilder::SLICE };
    Standalone::new(&image, &Arc::new(MemoryPool::default()), limits)
        .expect("memory")
        .expect("no start function")
}

fn time(instance: &mut Standalone, kernel: &str) -> Duration {
    let function = instance.image().function(kernel).expect("an export");
    let begun = Instant::now();
    instance.call(function, &mut [RawValue::default(); 1]).expect("no trap");
    begun.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
