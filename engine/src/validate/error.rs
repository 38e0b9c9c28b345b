//! Why a module could not be loaded.
//!
//! Opaque on purpose: callers ask (`is_…`, [`LoadError::offset`]) and show the message; the kinds
//! may grow without breaking them. A message says what was wrong, where, the limit if there
//! is one, and what to do. It does not name the file: only the caller knows it.

use thiserror::Error;

/// A module was refused, or compiling it failed.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct LoadError(Box<LoadErrorKind>);

/// The reasons. Boxed in [`LoadError`] so that results stay one word wide.
#[derive(Debug, Error)]
pub(crate) enum LoadErrorKind {
    #[error("the file is empty; a module begins with the four bytes \\0asm")]
    Empty,
    #[error(
        "the file is not a WebAssembly module: it begins with {begins}, a module begins with \\0asm"
    )]
    NotWasm { begins: String },
    #[error(
        "the file is a WebAssembly component, not a core module; \
         lunatic runs core modules (--target wasm32-wasip1)"
    )]
    Component,
    #[error("the file has WebAssembly binary version {version}, lunatic reads version 1")]
    Version { version: u32 },
    #[error(
        "the module is truncated: it ends at byte {length} in the middle of what \
         begins at offset {offset:#x}; copy or build it again"
    )]
    Truncated { length: usize, offset: u64 },
    #[error("the module is not valid at offset {offset:#x}: {message}")]
    Invalid { message: String, offset: u64 },
    #[error(
        "the module uses {name} at offset {offset:#x}, which lunatic does not support; {advice}"
    )]
    Feature { name: &'static str, advice: &'static str, offset: u64 },
    #[error(
        "the module imports the {kind} \"{module}\" \"{field}\" at offset {offset:#x}, and lunatic \
         provides functions only; {advice}"
    )]
    Import { kind: &'static str, module: String, field: String, offset: u64, advice: &'static str },
    #[error(
        "the module has {count} {what} at offset {offset:#x}, and the limit is {limit}; \
         make the module smaller or split it"
    )]
    Limit { what: &'static str, count: u64, limit: u64, offset: u64 },
    #[error("the text at line {line}, column {column} is not WebAssembly: {message}")]
    Text { message: String, line: usize, column: usize },
    #[error("the compiler cannot compile the module: {message}")]
    Compile { message: String },
    #[error("the compiler gave the module up: {message}")]
    Abandoned { message: String },
    #[error("the compiler ran out of a resource while compiling the module: {message}")]
    Resource { message: String },
    #[error(
        "the compiler failed on a valid module, which is a bug in lunatic or in wasmer \
         ({message}); please report it with the module"
    )]
    CompilerBug { message: String },
}

impl LoadError {
    /// Whether the bytes are no valid WebAssembly module of any kind (empty, truncated, text,
    /// malformed).
    pub fn is_invalid(&self) -> bool {
        use LoadErrorKind as Kind;
        matches!(
            *self.0,
            Kind::Empty
                | Kind::NotWasm { .. }
                | Kind::Version { .. }
                | Kind::Truncated { .. }
                | Kind::Invalid { .. }
                | Kind::Text { .. }
        )
    }

    /// Whether the module may be valid elsewhere but needs something lunatic leaves out.
    pub fn is_unsupported(&self) -> bool {
        use LoadErrorKind as Kind;
        matches!(
            *self.0,
            Kind::Component | Kind::Feature { .. } | Kind::Import { .. } | Kind::Compile { .. }
        )
    }

    /// Whether a named limit was exceeded.
    pub fn is_limit(&self) -> bool {
        matches!(*self.0, LoadErrorKind::Limit { .. })
    }

    /// Whether the fault is ours or the compiler's, not the module's.
    pub fn is_compiler_bug(&self) -> bool {
        matches!(*self.0, LoadErrorKind::CompilerBug { .. })
    }

    /// The byte of the module the message is about.
    pub fn offset(&self) -> Option<u64> {
        use LoadErrorKind as Kind;
        match *self.0 {
            Kind::Truncated { offset, .. }
            | Kind::Invalid { offset, .. }
            | Kind::Feature { offset, .. }
            | Kind::Import { offset, .. }
            | Kind::Limit { offset, .. } => Some(offset),
            _ => None,
        }
    }

    /// The kind, for tests and for the other rooms of this crate.
    #[cfg(test)]
    pub(crate) fn kind(&self) -> &LoadErrorKind {
        &self.0
    }
}

impl From<LoadErrorKind> for LoadError {
    fn from(kind: LoadErrorKind) -> Self {
        Self(Box::new(kind))
    }
}
