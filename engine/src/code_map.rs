//! Which addresses are compiled wasm code, for signal handlers and backtraces.
//!
//! Parties: *readers*, which may be signal handlers on any thread, and so take no lock; *writers*,
//! which add a module when it is loaded and remove it when the last process image of its goes, one
//! at a time under a lock. The map never changes: a writer makes a new one, publishes it, and frees
//! the old one when nobody reads it any more.
//!
//! Protocol. A reader counts itself in one of two counters, that of the present phase, then takes
//! the published map, and in the end counts itself out. A writer publishes the new map, then turns
//! the phase, so that new readers come to the other counter, and waits until the old counter is
//! zero. A reader may have read the phase before the turn and count itself after the writer's look:
//! so it looks at the phase again when it has counted itself, and begins anew if that has turned.
//! If it has not, the count came before the turn, and the writer's look, which comes after, sees it.
//! Everything is `SeqCst`: loads and stores of three words must have one order.
//!
//! The code itself may be unmapped as soon as it is removed from the map. A handler that finds its
//! pc in an older map runs that code: its process is alive, so its image is.

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::thread;

use parking_lot::Mutex;
use wasmer_compiler::{Artifact, FunctionExtent};

use crate::profile::{self, Listed};

static NOTHING: CodeMap = CodeMap { modules: Vec::new() };

/// The code of all loaded modules.
static LOADED: AtomicPtr<CodeMap> = AtomicPtr::new(ptr::from_ref(&NOTHING).cast_mut());
/// Its lowest bit tells which of the counters is in use.
static PHASE: AtomicUsize = AtomicUsize::new(0);
static READERS: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];
static WRITER: Mutex<()> = Mutex::new(());

/// A reader that has counted itself.
struct Reader(&'static AtomicUsize);

impl Reader {
    fn enter() -> Self {
        loop {
            let phase = PHASE.load(Ordering::SeqCst);
            let reader = Self(&READERS[phase & 1]);
            reader.0.fetch_add(1, Ordering::SeqCst);
            if PHASE.load(Ordering::SeqCst) == phase {
                return reader;
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Runs `look` on the code that is loaded now. Async-signal-safe, if `look` is.
pub(crate) fn with<R>(look: impl FnOnce(&CodeMap) -> R) -> R {
    let _reader = Reader::enter();
    // SAFETY: published by `change`, or the first one; not freed while this reader is counted.
    look(unsafe { &*LOADED.load(Ordering::SeqCst) })
}

/// Puts a map in the place of the present one that `make` makes of it.
fn change(make: impl FnOnce(&[Functions]) -> Vec<Functions>) {
    let _writer = WRITER.lock();
    // SAFETY: only writers free maps, and this is the only one.
    let modules = make(unsafe { &(*LOADED.load(Ordering::SeqCst)).modules });
    let old = LOADED.swap(Box::into_raw(Box::new(CodeMap { modules })), Ordering::SeqCst);
    let phase = PHASE.fetch_add(1, Ordering::SeqCst);
    while READERS[phase & 1].load(Ordering::SeqCst) != 0 {
        // Some hundred instructions, unless the reader's thread has lost its processor.
        thread::yield_now();
    }
    if !ptr::eq(old, &NOTHING) {
        // SAFETY: made by `Box::into_raw` in an earlier call; unpublished, and its readers are gone.
        drop(unsafe { Box::from_raw(old) });
    }
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
    use std::sync::atomic::AtomicBool;

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
