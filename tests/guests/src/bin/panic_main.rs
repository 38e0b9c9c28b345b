//! The main process dies, by `panic` (default), `unreachable` or `stack_overflow` as its argument says, below functions
//! whose names must show in the backtrace.

use std::hint::black_box;

fn main() {
    println!("about to die");
    let how = std::env::args().nth(1).unwrap_or_else(|| "panic".to_string());
    outer_function(&how);
}

#[inline(never)]
fn outer_function(how: &str) {
    inner_function(how);
    black_box(how);
}

#[inline(never)]
fn inner_function(how: &str) {
    match how {
        "panic" => panic!("the main process panics on purpose"),
        "unreachable" => unreachable_instruction(),
        "stack_overflow" => {
            black_box(recurse_for_ever(0));
        }
        other => panic!("{other:?} is no way to die; use panic, unreachable or stack_overflow"),
    }
    black_box(how);
}

#[cfg(target_family = "wasm")]
fn unreachable_instruction() {
    std::arch::wasm32::unreachable()
}

#[cfg(not(target_family = "wasm"))]
fn unreachable_instruction() {
    std::process::abort()
}

#[inline(never)]
#[allow(unconditional_recursion, reason = "running out of stack is the point")]
fn recurse_for_ever(depth: u32) -> u32 {
    black_box(recurse_for_ever(black_box(depth + 1)) + 1)
}
