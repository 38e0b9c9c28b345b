//! Where child processes begin: the function this crate exports, and functions as numbers that may travel. A part of
//! [`abi`](super), under its rules.

use serde::{Deserialize, Serialize};

#[cfg(all(target_family = "wasm", not(linker_runs_constructors)))]
extern "C" {
    /// Made by the linker: runs the constructors of C libraries and of the WASI library, once for each instance. Not to
    /// be named where the linker runs it by itself: see build.rs.
    fn __wasm_call_ctors();
}

/// A function of this module as its index in the function table: what a function pointer is in WebAssembly. Every
/// process of a module has the same table, so an index means the same function in all of them.
#[derive(Clone, Copy)]
pub(crate) struct FnIndex(u32);

/// What a process is to run: a trampoline, which knows the types, and an entry, which is the user's. They are numbers
/// that may travel to other processes of this module. Two that do not belong together end in a trap of the new process.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Routine {
    trampoline: u32,
    entry: u32,
}

impl Routine {
    /// `trampoline` takes the entry with [`entry_of_spawn`], as the same type.
    pub(crate) fn new<C>(trampoline: fn(FnIndex), entry: fn(C)) -> Routine {
        Routine { trampoline: trampoline as usize as u32, entry: entry as usize as u32 }
    }

    /// `trampoline` takes the entry with [`entry_of_spawn_with_mailbox`], as the same type.
    pub(crate) fn with_mailbox<C, B>(trampoline: fn(FnIndex), entry: fn(C, B)) -> Routine {
        Routine { trampoline: trampoline as usize as u32, entry: entry as usize as u32 }
    }

    /// As parameters of `spawn_entry`: for each a type byte and 16 bytes, little-endian.
    pub(super) fn params(self) -> [u8; 34] {
        const TYPE_I32: u8 = 0x7F;
        const RECORD: usize = 17;
        let mut params = [0; 2 * RECORD];
        for (record, value) in params.chunks_exact_mut(RECORD).zip([self.trampoline, self.entry]) {
            record[0] = TYPE_I32;
            record[1..5].copy_from_slice(&value.to_le_bytes());
        }
        params
    }
}

/// The function a child was started with. Only trampolines call this, and a trampoline for `C` is only ever sent together
/// with an entry for the same `C`: see `process::spawn`.
pub(crate) fn entry_of_spawn<C>(index: FnIndex) -> fn(C) {
    let pointer = index.0 as usize as *const ();
    // SAFETY: the number was made by `Routine::new::<C>` in a process of this module, whose table is the same. Should
    // a stranger start this export with another number, WebAssembly checks index and signature at the call, and what is
    // left of the mistake stays inside this process's own memory.
    unsafe { std::mem::transmute::<*const (), fn(C)>(pointer) }
}

/// As `entry_of_spawn`, for a function of two arguments.
pub(crate) fn entry_of_spawn_with_mailbox<C, B>(index: FnIndex) -> fn(C, B) {
    let pointer = index.0 as usize as *const ();
    // SAFETY: as in `entry_of_spawn`, with `Routine::with_mailbox::<C, B>`.
    unsafe { std::mem::transmute::<*const (), fn(C, B)>(pointer) }
}

/// The export children start at. It carries the version of this crate, so that a program may contain several.
pub(super) const SPAWN_EXPORT: &str = concat!("_lunatic_spawn_", env!("CARGO_PKG_VERSION"));

/// To be called once, before anything else in an instance that does not begin at `_start`.
pub(crate) fn run_constructors() {
    #[cfg(all(target_family = "wasm", not(linker_runs_constructors)))]
    // SAFETY: takes no pointer; runs once, before anything else in this instance, as in the `_start` of a main process.
    unsafe {
        __wasm_call_ctors();
    }
}

/// Where the runtime starts a child: `trampoline` knows the types, `entry` is the user's function.
#[export_name = concat!("_lunatic_spawn_", env!("CARGO_PKG_VERSION"))]
extern "C" fn spawn_entry(trampoline: u32, entry: u32) {
    run_constructors();
    let trampoline = trampoline as usize as *const ();
    // SAFETY: only `process::spawn` names this export, and it passes a `fn(FnIndex)` of this module. A stranger
    // who passes anything else is stopped by WebAssembly's check of index and signature. FnIndex is one u32.
    let trampoline = unsafe { std::mem::transmute::<*const (), fn(FnIndex)>(trampoline) };
    trampoline(FnIndex(entry));
    // Ends as a main function ends: buffered output of Rust and C is written, exit handlers run. Returning instead would
    // lose what `print!` holds back until the end of a line.
    std::process::exit(0);
}

#[cfg(test)]
mod tests {
    use super::Routine;

    #[test]
    fn parameters_are_records_of_17_bytes() {
        let params = Routine { trampoline: 0x0403_0201, entry: 9 }.params();
        assert_eq!(params[..6], [0x7F, 1, 2, 3, 4, 0]);
        assert_eq!(params[6..17], [0; 11]);
        assert_eq!(params[17..22], [0x7F, 9, 0, 0, 0]);
    }
}
