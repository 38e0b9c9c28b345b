//! Turns WebAssembly modules into process images, and images into instances.
//!
//! wasmer compiles; everything from the machine code on is ours. The path of a module:
//!
//! 1. `validate` refuses what is not supported, with its name and offset;
//! 2. `compile` (with the yield points of `meter`) makes machine code, or `cache` finds it on disk;
//!    `forms` keeps what a module was compiled to;
//! 3. `image` binds it to the host's functions (`link`) and lays out the block of an instance;
//! 4. `instance` stamps that block for each process and calls into it;
//! 5. `builtins` are what compiled code calls back; `signals` and `traps` are how it fails, `catch`
//!    is where a failure may stop; `preempt` is how it is interrupted; `profile` is how it tells
//!    where its time goes.
//!
//! The engine knows no host function and no queue: whoever owns an instance describes the fiber it
//! runs on through [`Hooks`] and [`signals::FiberHook`]. `standalone` is the smallest such owner.

// Under loom only the files that `tests/loom.rs` includes by path are compiled, there.
#![cfg(not(loom))]

mod abi;
mod builtins;
mod cache;
mod catch;
mod code_map;
mod compile;
mod data;
mod forms;
mod image;
mod instance;
mod link;
mod memory;
mod meter;
mod os;
pub mod preempt;
pub mod profile;
mod published;
pub mod signals;
pub mod standalone;
mod sync;
mod table;
pub mod text;
mod thunk;
mod traps;
mod validate;

pub use abi::VmCtx;
pub use cache::Cache;
pub use catch::CatchPoint;
pub use compile::{Abandoned, Compiled, Compiler, CompilerOptions, OptLevel, Progress, Weighed};
pub use forms::{Form, FormError, MemoryForm, Module};
pub use image::{Callable, ExportedFunction, Image, TableFunction};
pub use instance::{
    BoundCall, EXIT_FRAME_POINTER_BELOW, EXIT_STACK_POINTER_BELOW, Hooks, Instance,
    InstantiateError, Limits, Prepared, exit_backtrace, memory_at, owner_of,
};
pub use link::{HostFunction, HostFunctions, LinkError};
pub use memory::{
    GuardedBudget, GuardedRoom, MEMORY_BYTES_MAX, MemoryError, MemoryPool, PAGE_BYTES, Room,
};
pub use os::{do_without_page_guards, resident_bytes};
pub use traps::{BACKTRACE_FRAMES_MAX, Frame, RawBacktrace, Trap, TrapCode, describe};
pub use validate::{LoadError, Weight};
pub use wasmer_types::{FunctionType, RawValue, Type};
