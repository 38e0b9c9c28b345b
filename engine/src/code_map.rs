//! Which addresses are compiled wasm code, for the fault handler and the backtrace.
//!
//! Modules are added when they are loaded and removed when the last process image of theirs goes.
//! Readers are fault handlers and backtraces. A handler may take the lock: it only looks here
//! after it knows that its thread was running a fiber, and such a thread holds no lock of ours.

use std::sync::Arc;

use parking_lot::RwLock;
use wasmer_compiler::{Artifact, FunctionExtent};

use crate::profile::{self, Listed};

/// The code of all loaded modules.
static LOADED: RwLock<CodeMap> = RwLock::new(CodeMap { modules: Vec::new() });

/// Runs `look` on the code that is loaded now.
pub(crate) fn with<R>(look: impl FnOnce(&CodeMap) -> R) -> R {
    look(&LOADED.read())
}

/// Sorted, disjoint function bodies of one module.
type Functions = Arc<[Function]>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Function {
    start: usize,
    end: usize,
}

/// Looks up code addresses.
#[derive(Debug)]
pub(crate) struct CodeMap {
    modules: Vec<Functions>,
}

impl CodeMap {
    /// Whether `pc` lies in the body of a wasm function.
    pub(crate) fn contains(&self, pc: usize) -> bool {
        self.function_at(pc).is_some()
    }

    fn function_at(&self, pc: usize) -> Option<Function> {
        self.modules.iter().find_map(|functions| {
            let after = functions.partition_point(|function| function.start <= pc);
            let function = *functions.get(after.checked_sub(1)?)?;
            (pc < function.end).then_some(function)
        })
    }

    /// How far above the stack pointer the return address lies, if `pc` is in a function that has
    /// not set up its frame: at its first instructions, or anywhere in a leaf without one.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn return_address_depth(&self, pc: usize) -> Option<usize> {
        /// `push rbp; mov rbp, rsp`
        const PROLOGUE: [u8; 4] = [0x55, 0x48, 0x89, 0xe5];
        let function = self.function_at(pc)?;
        let body_bytes = function.end - function.start;
        // SAFETY: the map holds only functions of loaded modules; their bodies stay readable while
        // they are listed, and the caller holds the lock under which they are unlisted.
        let body = unsafe { std::slice::from_raw_parts(function.start as *const u8, body_bytes) };
        match pc - function.start {
            _ if !body.starts_with(&PROLOGUE) => Some(0),
            0 => Some(0),
            1 => Some(crate::abi::POINTER_BYTES),
            _ => None,
        }
    }

    /// aarch64 keeps the return address of a leaf in a register: its caller is left out.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn return_address_depth(&self, _pc: usize) -> Option<usize> {
        None
    }
}

/// Keeps a module's code in the map.
#[derive(Debug)]
pub(crate) struct Registration {
    functions: Functions,
    _listed: Listed,
}

impl Registration {
    /// Lists the functions of `artifact`, which must outlive the registration.
    pub(crate) fn new(artifact: &Artifact) -> Self {
        let extents = artifact.finished_function_extents().unwrap_or_default();
        let mut functions: Vec<Function> =
            extents.into_iter().map(|(_, extent)| Function::from(extent)).collect();
        functions.sort_unstable_by_key(|function| function.start);
        let functions: Functions = functions.into();
        LOADED.write().modules.push(Arc::clone(&functions));
        Self { functions, _listed: profile::code_loaded(artifact) }
    }
}

impl From<FunctionExtent> for Function {
    fn from(extent: FunctionExtent) -> Self {
        let start = extent.ptr.0 as usize;
        Self { start, end: start + extent.length }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        LOADED.write().modules.retain(|module| !Arc::ptr_eq(module, &self.functions));
    }
}
