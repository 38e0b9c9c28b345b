//! Finds out who runs a program's constructors, those of C libraries and of the WASI library.
//!
//! A newer WASI library's `_start` calls them by name, and then so must every other export that a
//! process can begin at. With an older one (Debian's of 2022) the linker wraps each export into a call
//! of them, unless anything calls them by name: then it wraps none, and a main process would never
//! find its directories. So this crate calls them by name exactly if the library does.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

const NAME: &[u8] = b"__wasm_call_ctors";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(linker_runs_constructors)");
    if start_object().is_some_and(|object| !object.windows(NAME.len()).any(|name| name == NAME)) {
        println!("cargo::rustc-cfg=linker_runs_constructors");
    }
}

/// The object with `_start` that the compiler links into programs; `None` where there is none.
fn start_object() -> Option<Vec<u8>> {
    let target = env::var("TARGET").ok()?;
    if !target.starts_with("wasm32-") {
        return None;
    }
    let output = Command::new(env::var_os("RUSTC")?).args(["--print", "sysroot"]).output().ok()?;
    let sysroot = String::from_utf8(output.stdout).ok()?;
    let directory = PathBuf::from(sysroot.trim()).join("lib/rustlib").join(target);
    fs::read(directory.join("lib/self-contained/crt1-command.o")).ok()
}
