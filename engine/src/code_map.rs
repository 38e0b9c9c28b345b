//! Which addresses are compiled wasm code, for signal handlers and backtraces.
//!
//! Signal handlers look while others load and drop modules: `published.rs` says how. The map never
//! changes; a new one takes its place.
//!
//! The code itself may be unmapped as soon as it is removed from the map. A handler that finds its
//! pc in an older map runs that code: its process is alive, so its image is.

use std::sync::Arc;

use wasmer_compiler::{Artifact, FunctionExtent};

use crate::profile::{self, Listed};
use crate::published::Published;

static NOTHING: CodeMap = CodeMap { modules: Vec::new() };

/// The code of all loaded modules; nothing before the first.
static LOADED: Published<CodeMap> = Published::new();

/// Runs `look` on the code that is loaded now. Async-signal-safe, if `look` is.
pub(crate) fn with<R>(look: impl FnOnce(&CodeMap) -> R) -> R {
    LOADED.with(|map| look(map.unwrap_or(&NOTHING)))
}

/// Puts a map in the place of the present one that `make` makes of it.
fn change(make: impl FnOnce(&[Functions]) -> Vec<Functions>) {
    LOADED.change(|map| CodeMap { modules: make(map.map_or(&[], |map| &map.modules)) });
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
    /// By their addresses; each module's code is one piece of memory, so they do not interleave.
    modules: Vec<Functions>,
}

impl CodeMap {
    /// Whether `pc` lies in the body of a wasm function.
    pub(crate) fn contains(&self, pc: usize) -> bool {
        self.function_at(pc).is_some()
    }

    fn function_at(&self, pc: usize) -> Option<Function> {
        let after = self.modules.partition_point(|functions| functions[0].start <= pc);
        let functions = self.modules.get(after.checked_sub(1)?)?;
        let after = functions.partition_point(|function| function.start <= pc);
        let function = *functions.get(after.checked_sub(1)?)?;
        (pc < function.end).then_some(function)
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
        // they are listed, and the caller asks about code that a living process runs.
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
        forget_fetched();
        if let Some(first) = functions.first() {
            change(|modules| {
                let at = modules.partition_point(|other| other[0].start < first.start);
                let mut modules = modules.to_vec();
                modules.insert(at, Arc::clone(&functions));
                modules
            });
        }
        Self { functions, _listed: profile::code_loaded(artifact) }
    }
}

/// Where there was other code before, processors may have fetched some of it ahead. On x86-64 they notice.
#[cfg(not(target_arch = "aarch64"))]
fn forget_fetched() {}

/// On aarch64 they do not. The kernel has emptied their caches when it made the pages executable;
/// what the program's other threads have in their pipelines goes with this.
#[cfg(target_arch = "aarch64")]
fn forget_fetched() {
    use std::sync::OnceLock;
    static REGISTERED: OnceLock<()> = OnceLock::new();
    // SAFETY: takes three numbers and touches no memory. Kernels before 4.16 do not know it: they
    // are left to the many other ways in which a pipeline is emptied before code is called.
    let membarrier =
        |command: libc::c_int| unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) };
    REGISTERED.get_or_init(|| {
        membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE);
    });
    membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE);
}

impl From<FunctionExtent> for Function {
    fn from(extent: FunctionExtent) -> Self {
        let start = extent.ptr.0 as usize;
        Self { start, end: start + extent.length }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.functions.is_empty() {
            return;
        }
        change(|modules| {
            let others = modules.iter().filter(|module| !Arc::ptr_eq(module, &self.functions));
            others.cloned().collect()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    fn module(start: usize) -> Functions {
        [0, 1, 2].map(|n| Function { start: start + 16 * n, end: start + 16 * n + 10 }).into()
    }

    #[test]
    fn readers_find_what_stays_while_others_come_and_go() {
        const STAYS: usize = 0x5000;
        let add = |start: usize| {
            change(|modules| {
                let at = modules.partition_point(|other| other[0].start < start);
                let mut modules = modules.to_vec();
                modules.insert(at, module(start));
                modules
            });
        };
        let remove = |start: usize| {
            change(|modules| modules.iter().filter(|m| m[0].start != start).cloned().collect());
        };
        add(STAYS);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        assert!(with(|map| map.contains(STAYS) && map.contains(STAYS + 41)));
                        assert!(!with(|map| map.contains(STAYS + 10) || map.contains(0x100)));
                    }
                });
            }
            for round in 0..2000 {
                let start = 0x1000 + round % 7 * 0x1000;
                if start != STAYS {
                    add(start);
                    assert!(with(|map| map.contains(start + 20)));
                    remove(start);
                    assert!(!with(|map| map.contains(start + 20)));
                }
            }
            over.store(true, Ordering::Relaxed);
        });
        remove(STAYS);
    }
}
