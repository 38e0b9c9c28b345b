//! Projects of cargo whose programs run on lunatic: `lunatic new`, `lunatic init`, `cargo lunatic …`.
//!
//! All that a project needs are two keys in `.cargo/config.toml`: what it is compiled for, and what
//! runs the result. `settings` knows them, `init` adds them to a project that is there, `new` makes
//! one, `cargo` does without. `compiler` looks for the target's standard library.

mod cargo;
mod compiler;
mod init;
mod new;
mod settings;

pub(crate) use cargo::{cargo, is_called_by_cargo};
pub(crate) use init::{InitArguments, init};
pub(crate) use new::{NewArguments, new};

/// What programs are compiled for: WASI preview 1.
const TARGET: &str = "wasm32-wasip1";

/// What runs them. The dashes: all that cargo adds is the program and its arguments.
const RUNNER: &str = "lunatic run --";
