//! Names for what we leave out.
//!
//! wasmparser says *that* a module needs a proposal that is switched off, but not always which one,
//! and never in the words of the person who has to change a compiler flag. So a refused module is
//! validated again with one proposal at a time added to our set: the first one that moves the error
//! is the culprit. That costs time only for a module that is refused anyway, and holds for every
//! message wasmparser may invent.

use wasmer::sys::wasmparser::{self, Validator, WasmFeatures};

/// What a module may use: WebAssembly 2.0 and extended constant expressions.
pub(super) const SUPPORTED: WasmFeatures = WasmFeatures::WASM2.union(WasmFeatures::EXTENDED_CONST);

/// One proposal that we refuse by name.
pub(super) struct Proposal {
    pub(super) name: &'static str,
    pub(super) advice: &'static str,
    /// What to switch on to validate it: the proposal and what it builds on.
    features: WasmFeatures,
}

const fn proposal(name: &'static str, advice: &'static str, features: WasmFeatures) -> Proposal {
    Proposal { name, advice, features }
}

/// Shared between GC and typed references: their compilers are the same.
const NO_GC: &str = "compile to linear memory instead (Rust, C, Zig and Go via TinyGo do)";
const NO_EXCEPTIONS: &str = "compile without it (Rust: -C panic=abort, C++: -fno-exceptions)";
const NO_MEMORY_PROPOSAL: &str =
    "compile without it (one ordinary 32-bit memory is what lunatic gives each process)";
const NO_FLAG: &str = "compile without it";

/// In the order they are tried: what a module of today is likely to use first; a proposal before
/// those built on it.
pub(super) static PROPOSALS: &[Proposal] = &[
    proposal(
        "threads (shared memory and atomics)",
        "compile without it (-C target-feature=-atomics) and use processes instead",
        WasmFeatures::THREADS,
    ),
    proposal("exceptions", NO_EXCEPTIONS, WasmFeatures::EXCEPTIONS),
    proposal(
        "legacy exceptions",
        NO_EXCEPTIONS,
        WasmFeatures::LEGACY_EXCEPTIONS.union(WasmFeatures::EXCEPTIONS),
    ),
    proposal(
        "tail calls",
        "compile without it (-C target-feature=-tail-call)",
        WasmFeatures::TAIL_CALL,
    ),
    proposal(
        "relaxed SIMD",
        "compile without it (-C target-feature=-relaxed-simd)",
        WasmFeatures::RELAXED_SIMD,
    ),
    proposal("64-bit memory", "compile for wasm32", WasmFeatures::MEMORY64),
    proposal("more than one memory", NO_MEMORY_PROPOSAL, WasmFeatures::MULTI_MEMORY),
    proposal(
        "wide arithmetic",
        "compile without it (-C target-feature=-wide-arithmetic)",
        WasmFeatures::WIDE_ARITHMETIC,
    ),
    proposal("typed function references", NO_GC, WasmFeatures::FUNCTION_REFERENCES),
    proposal(
        "garbage collection",
        NO_GC,
        WasmFeatures::GC.union(WasmFeatures::FUNCTION_REFERENCES),
    ),
    proposal("custom page sizes", NO_MEMORY_PROPOSAL, WasmFeatures::CUSTOM_PAGE_SIZES),
    proposal("memory control", NO_MEMORY_PROPOSAL, WasmFeatures::MEMORY_CONTROL),
    proposal("compact imports", NO_FLAG, WasmFeatures::COMPACT_IMPORTS),
    proposal(
        "stack switching",
        "use processes instead",
        WasmFeatures::STACK_SWITCHING
            .union(WasmFeatures::EXCEPTIONS)
            .union(WasmFeatures::FUNCTION_REFERENCES)
            .union(WasmFeatures::GC),
    ),
    proposal(
        "shared-everything threads",
        "use processes instead",
        WasmFeatures::SHARED_EVERYTHING_THREADS
            .union(WasmFeatures::THREADS)
            .union(WasmFeatures::FUNCTION_REFERENCES)
            .union(WasmFeatures::GC),
    ),
    proposal(
        "custom descriptors",
        NO_GC,
        WasmFeatures::CUSTOM_DESCRIPTORS
            .union(WasmFeatures::FUNCTION_REFERENCES)
            .union(WasmFeatures::GC),
    ),
    // Last: for a mixture that no single entry explains, e.g. a shared 64-bit memory.
    proposal("several proposals beyond WebAssembly 2.0", NO_FLAG, WasmFeatures::all()),
];

/// The proposal without which `bytes` fails with `error`, or `None` when the module is invalid
/// under every proposal.
pub(super) fn culprit(bytes: &[u8], error: &wasmparser::Error) -> Option<&'static Proposal> {
    PROPOSALS.iter().find(|proposal| {
        let wider = SUPPORTED.union(proposal.features);
        match Validator::new_with_features(wider).validate_all(bytes) {
            Ok(_) => true,
            // Progress means that the construct at hand is this proposal's; what comes after may be
            // another's.
            Err(next) => next.offset() > error.offset(),
        }
    })
}
