//! What a trap is: its code, where it happened and who called whom.
//!
//! Traps come from two places. Hardware faults of compiled code (division, `ud2`, the guard of a
//! stack) arrive as signals (`signals.rs`); builtins and host functions raise theirs by a call
//! (`InstanceHeader::raise`). Both end as a [`Trap`], whose addresses are turned into wasm
//! function names only when somebody prints it.

use std::fmt;
use std::ops::Range;

use wasmer_compiler::FRAME_INFO;

use crate::abi::POINTER_BYTES;
use crate::code_map::CodeMap;
use crate::text::shown;

pub use wasmer::sys::vm::TrapCode;

/// Most frames that a backtrace keeps: deep recursions repeat themselves.
pub const BACKTRACE_FRAMES_MAX: usize = 64;

/// Return addresses into compiled code, innermost first.
#[derive(Clone, Copy)]
pub struct RawBacktrace {
    pcs: [usize; BACKTRACE_FRAMES_MAX],
    len: usize,
    truncated: bool,
}

impl RawBacktrace {
    /// No frames.
    pub const EMPTY: Self = Self { pcs: [0; BACKTRACE_FRAMES_MAX], len: 0, truncated: false };

    pub(crate) fn push(&mut self, pc: usize) -> bool {
        if self.len == BACKTRACE_FRAMES_MAX {
            self.truncated = true;
            return false;
        }
        self.pcs[self.len] = pc;
        self.len += 1;
        true
    }

    /// Names the frames; takes the lock of wasmer's frame tables.
    #[must_use]
    pub fn resolve(&self) -> Vec<Frame> {
        let Ok(table) = FRAME_INFO.read() else { return Vec::new() };
        let mut frames: Vec<Frame> = Vec::with_capacity(self.len);
        for (depth, &pc) in self.pcs[..self.len].iter().enumerate() {
            // A return address points behind its call; the faulting instruction is exact.
            let at = if depth == 0 { pc } else { pc - 1 };
            let Some(info) = table.lookup_frame_info(at) else { continue };
            frames.push(Frame {
                function_index: info.func_index(),
                function_name: info.function_name().map(readable),
                module_offset: info.module_offset(),
            });
        }
        frames
    }

    /// Whether frames were left out.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.truncated
    }
}

/// A function's name as its author wrote it, as far as it can be shown.
pub(crate) fn readable(name: &str) -> String {
    shown(&format!("{:#}", rustc_demangle::demangle(name)))
}

impl fmt::Debug for RawBacktrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.pcs[..self.len]).finish()
    }
}

/// One wasm function of a backtrace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Index in the module's function index space.
    pub function_index: u32,
    /// From the name section, demangled; `None` if the module was stripped.
    pub function_name: Option<String>,
    /// Byte offset of the instruction in the wasm binary.
    pub module_offset: usize,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.function_name {
            Some(name) => write!(f, "{name}")?,
            None => write!(f, "<function {}>", self.function_index)?,
        }
        write!(f, " (wasm offset {:#x})", self.module_offset)
    }
}

/// Why compiled code could not go on, and where.
#[derive(Debug, Clone, Copy)]
pub struct Trap {
    /// What went wrong, in the words of the specification's test suite.
    pub code: TrapCode,
    /// The wasm frames at that point.
    pub backtrace: RawBacktrace,
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(describe(self.code))
    }
}

/// The reason in words a user reads.
#[must_use]
pub fn describe(code: TrapCode) -> &'static str {
    match code {
        TrapCode::StackOverflow => "stack overflow (call stack exhausted)",
        TrapCode::HeapAccessOutOfBounds => "out of bounds memory access",
        TrapCode::HeapMisaligned | TrapCode::UnalignedAtomic => "unaligned memory access",
        TrapCode::TableAccessOutOfBounds => "out of bounds table access (undefined element)",
        TrapCode::IndirectCallToNull => "indirect call of an empty table element",
        TrapCode::BadSignature => "indirect call type mismatch",
        TrapCode::IntegerOverflow => "integer overflow",
        TrapCode::IntegerDivisionByZero => "integer divide by zero",
        TrapCode::BadConversionToInteger => "invalid conversion to integer",
        TrapCode::UnreachableCodeReached => "unreachable code reached",
        TrapCode::UncaughtException => "uncaught exception",
        TrapCode::UninitializedExnRef => "null exception reference",
        TrapCode::YieldOutsideAsyncContext => "yield outside of an async context",
        TrapCode::HostInterrupt => "interrupted by the host",
        TrapCode::ReadonlyTableModified => "read-only table modified",
    }
}

/// Walks frame pointers from a point in compiled code up to the first caller that is host code.
///
/// Every function of compiled code that calls anything keeps its frame pointer; small leaf
/// functions may not (`CodeMap::return_address_on_top`). Nothing outside `stack` is read.
pub(crate) fn walk(
    code: &CodeMap,
    at: MachinePoint,
    stack: &Range<usize>,
    into: &mut RawBacktrace,
) {
    into.push(at.pc);
    if let Some(depth) = code.return_address_depth(at.pc)
        && let Some(return_address) = read_word(at.sp.wrapping_add(depth), stack)
    {
        into.push(return_address);
    }
    let mut frame = at.frame_pointer;
    loop {
        let (Some(previous), Some(return_address)) =
            (read_word(frame, stack), read_word(frame.wrapping_add(POINTER_BYTES), stack))
        else {
            return;
        };
        if !code.contains(return_address.wrapping_sub(1)) || !into.push(return_address) {
            return;
        }
        // Frames only ever get older upwards: anything else is not a frame chain any more.
        if previous <= frame {
            return;
        }
        frame = previous;
    }
}

/// Where a thread stands in compiled code.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MachinePoint {
    pub(crate) pc: usize,
    pub(crate) sp: usize,
    pub(crate) frame_pointer: usize,
}

/// A word of the fiber's stack, or `None` if the address does not lie in it.
pub(crate) fn read_word(address: usize, stack: &Range<usize>) -> Option<usize> {
    let aligned = address.is_multiple_of(POINTER_BYTES);
    let inside = address >= stack.start && address.checked_add(POINTER_BYTES)? <= stack.end;
    if !aligned || !inside {
        return None;
    }
    // SAFETY: the word lies inside the suspended fiber's stack, which is mapped readable, and the
    // address is aligned.
    Some(unsafe { std::ptr::read(address as *const usize) })
}
