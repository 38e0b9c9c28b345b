//! The one look at a module before the compiler sees it.
//!
//! wasmer's `Artifact::new` does not validate: it parses, and panics or miscompiles what is not
//! valid. So nothing reaches it that has not passed here: full validation with exactly the features
//! we support, our limits, and what wasmer would accept but our instances do not provide (imported
//! memories, tables, globals). On the way we count what every function costs ([`Costs`]), because
//! this is the only pass that reads every operator before compilation.
//!
//! What the compiler adds later (yield points) is not validated again, which is what lets
//! [`crate::meter`] use an index that a guest cannot.

mod costs;
mod effort;
mod error;
mod features;
#[cfg(test)]
mod tests;

use wasmer::sys::wasmparser::{
    self, Encoding, FuncToValidate, FuncValidatorAllocations, FunctionBody, ImportSectionReader,
    Imports, Parser, Payload, TableSectionReader, TypeRef, ValidPayload, Validator,
    ValidatorResources,
};

pub(crate) use costs::Costs;
pub use effort::Weight;
pub use error::LoadError;
pub(crate) use error::LoadErrorKind;
use features::SUPPORTED;

use crate::text::shown;

/// The largest module we read. wasmer copies a module several times while it compiles.
pub(crate) const MAX_MODULE_BYTES: usize = 256 << 20;
/// The most imports. Each takes 32 bytes in the `VMContext` of every process.
pub(crate) const MAX_IMPORTS: u64 = 10_000;
/// The most functions that a module defines.
pub(crate) const MAX_FUNCTIONS: u64 = 1_000_000;
/// The most globals. Each takes 16 bytes in the `VMContext` of every process.
pub(crate) const MAX_GLOBALS: u64 = 100_000;
/// The most types. Code is made for each, whether it is used or not.
pub(crate) const MAX_TYPES: u64 = 100_000;
/// The most tables.
pub(crate) const MAX_TABLES: u64 = 100;
/// The most entries that all tables together begin with.
pub(crate) const MAX_TABLE_ENTRIES: u64 = 10_000_000;
/// The most data segments.
pub(crate) const MAX_DATA_SEGMENTS: u64 = 100_000;
/// The most element segments.
pub(crate) const MAX_ELEMENT_SEGMENTS: u64 = 100_000;

/// What compiled code may reach from its `VMContext` pointer: wasmer's displacements are `i32`, and
/// its `VMOffsets::new` panics beyond `u32`. It lays a table of fixed size out inline, 32 bytes an
/// entry.
const _: () = {
    let fixed = 1 << 20; // Builtins, memory, alignment, table headers: a few KiB in truth.
    let worst =
        fixed + MAX_IMPORTS * 32 + MAX_GLOBALS * 16 + MAX_TABLES * 16 + MAX_TABLE_ENTRIES * 32;
    assert!(worst < i32::MAX as u64);
};

const MAGIC: &[u8] = b"\0asm";
/// Magic, then version and layer.
const HEADER_BYTES: usize = 8;
/// How much of a file that is no module the message quotes.
const QUOTED_BYTES: usize = 16;

/// What the pre-pass learned.
#[derive(Debug)]
pub(crate) struct Validated {
    /// What each function and loop costs.
    pub(crate) costs: Costs,
    /// What compiling it takes.
    pub(crate) weight: Weight,
}

/// Validates `bytes` as a module that our compiler and our instances support in full.
pub(crate) fn validate(bytes: &[u8]) -> Result<Validated, LoadError> {
    check_header(bytes)?;
    let mut pass = Pass::default();
    let mut parser = Parser::new(0);
    parser.set_features(SUPPORTED);
    let mut validator = Validator::new_with_features(SUPPORTED);
    for payload in parser.parse_all(bytes) {
        let payload = payload.map_err(|error| explain(bytes, &error))?;
        pass.check_limits(&payload)?;
        let valid = validator.payload(&payload).map_err(|error| explain(bytes, &error))?;
        match valid {
            ValidPayload::Func(function, body) => {
                pass.function(function, &body).map_err(|error| explain(bytes, &error))?;
                pass.effort.check(body.range().start)?;
            }
            ValidPayload::Ok | ValidPayload::Parser(_) | ValidPayload::End(_) => {}
        }
        // After validation: an import of a type that does not exist is invalid before it is
        // unsupported.
        pass.check_provided(bytes, &payload)?;
    }
    let weight = pass.effort.weight(bytes.len());
    Ok(Validated { costs: pass.counter.finish(pass.imported_functions), weight })
}

/// The first eight bytes, with a message for each way of not being a module.
fn check_header(bytes: &[u8]) -> Result<(), LoadError> {
    if bytes.is_empty() {
        return Err(LoadErrorKind::Empty.into());
    }
    if bytes.len() > MAX_MODULE_BYTES {
        let (count, limit) = (bytes.len() as u64, MAX_MODULE_BYTES as u64);
        return Err(LoadErrorKind::Limit { what: "bytes", count, limit, offset: 0 }.into());
    }
    let magic = &bytes[..bytes.len().min(MAGIC.len())];
    if !MAGIC.starts_with(magic) {
        let begins = &bytes[..bytes.len().min(QUOTED_BYTES)];
        return Err(
            LoadErrorKind::NotWasm { begins: format!("\"{}\"", begins.escape_ascii()) }.into()
        );
    }
    let Some(&[v0, v1, layer0, layer1]) = bytes.get(MAGIC.len()..HEADER_BYTES) else {
        return Err(LoadErrorKind::Truncated { length: bytes.len(), offset: 0 }.into());
    };
    let version = u32::from(u16::from_le_bytes([v0, v1]));
    match (version, u16::from_le_bytes([layer0, layer1])) {
        (1, 0) => Ok(()),
        (_, 1) => Err(LoadErrorKind::Component.into()),
        (_, layer) => {
            Err(LoadErrorKind::Version { version: version | u32::from(layer) << 16 }.into())
        }
    }
}

/// Turns wasmparser's error into ours: a proposal by its name, a truncation, or its own words.
fn explain(bytes: &[u8], error: &wasmparser::Error) -> LoadError {
    let offset = error.offset();
    // First, because a cut-off module may seem to want a proposal at the cut.
    if error.message().starts_with("unexpected end")
        && bytes.len() as u64 <= offset.saturating_add(1)
    {
        return LoadErrorKind::Truncated { length: bytes.len(), offset }.into();
    }
    if let Some(proposal) = features::culprit(bytes, error) {
        return LoadErrorKind::Feature { name: proposal.name, advice: proposal.advice, offset }
            .into();
    }
    if error.message().starts_with("unexpected end") {
        return LoadErrorKind::Truncated { length: bytes.len(), offset }.into();
    }
    LoadErrorKind::Invalid { message: shown(error.message()), offset }.into()
}

/// State of one pre-pass.
#[derive(Default)]
struct Pass {
    counter: costs::Counter,
    effort: effort::Effort,
    imported_functions: u32,
    allocations: FuncValidatorAllocations,
}

impl Pass {
    /// Counts that wasmparser bounds more widely than we do, before anything is allocated for them.
    fn check_limits(&self, payload: &Payload<'_>) -> Result<(), LoadError> {
        let (what, count, limit, range) = match payload {
            Payload::TypeSection(section) => ("types", section.count(), MAX_TYPES, section.range()),
            Payload::ImportSection(section) => {
                ("imports", section.count(), MAX_IMPORTS, section.range())
            }
            Payload::FunctionSection(section) => {
                ("functions", section.count(), MAX_FUNCTIONS, section.range())
            }
            Payload::GlobalSection(section) => {
                ("globals", section.count(), MAX_GLOBALS, section.range())
            }
            Payload::TableSection(section) => {
                ("tables", section.count(), MAX_TABLES, section.range())
            }
            Payload::DataSection(section) => {
                ("data segments", section.count(), MAX_DATA_SEGMENTS, section.range())
            }
            Payload::ElementSection(section) => {
                ("element segments", section.count(), MAX_ELEMENT_SEGMENTS, section.range())
            }
            _ => return Ok(()),
        };
        let (count, offset) = (u64::from(count), range.start);
        if count > limit {
            return Err(LoadErrorKind::Limit { what, count, limit, offset }.into());
        }
        if let Payload::TableSection(section) = payload {
            check_table_entries(section.clone())?;
        }
        Ok(())
    }

    /// Refuses what is valid WebAssembly 2.0 but has no place in a process.
    fn check_provided(&mut self, bytes: &[u8], payload: &Payload<'_>) -> Result<(), LoadError> {
        match payload {
            Payload::ImportSection(section) => {
                self.imported_functions = imported_functions(bytes, section.clone())?;
                Ok(())
            }
            // Unreachable after the header check; wasmer would misread it.
            Payload::Version { encoding: Encoding::Component, .. } => {
                Err(LoadErrorKind::Component.into())
            }
            _ => Ok(()),
        }
    }

    /// Validates one body and counts its operators on the way.
    fn function(
        &mut self,
        function: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'_>,
    ) -> wasmparser::Result<()> {
        let mut validator = function.into_validator(std::mem::take(&mut self.allocations));
        let mut reader = body.get_binary_reader();
        validator.read_locals(&mut reader)?;
        reader.set_features(SUPPORTED);
        let mut operators = wasmparser::OperatorsReader::new(reader);
        self.counter.begin_function();
        self.effort.begin_function(validator.len_locals());
        while !operators.eof() {
            let (operator, offset) = operators.read_with_offset()?;
            self.effort.operator(&operator, &validator);
            validator.op(offset, &operator)?;
            self.counter.operator(&operator);
        }
        operators.finish()?;
        self.counter.end_function();
        self.effort.end_function();
        self.allocations = validator.into_allocations();
        Ok(())
    }
}

/// The entries that all tables begin with.
fn check_table_entries(tables: TableSectionReader<'_>) -> Result<(), LoadError> {
    let mut entries: u64 = 0;
    for table in tables.into_iter_with_offsets() {
        // What does not parse is reported by the validator, which comes next.
        let Ok((offset, table)) = table else { return Ok(()) };
        entries = entries.saturating_add(table.ty.initial);
        if entries > MAX_TABLE_ENTRIES {
            let kind = LoadErrorKind::Limit {
                what: "table entries",
                count: entries,
                limit: MAX_TABLE_ENTRIES,
                offset,
            };
            return Err(kind.into());
        }
    }
    Ok(())
}

/// The number of imported functions; everything else that is imported is refused by name.
fn imported_functions(bytes: &[u8], imports: ImportSectionReader<'_>) -> Result<u32, LoadError> {
    const MEMORY_ADVICE: &str = "let the module define it (no --import-memory)";
    const TABLE_ADVICE: &str = "let the module define it (no --import-table)";
    const GLOBAL_ADVICE: &str =
        "let the module define it (link statically, without -pie or -shared)";
    let mut functions = 0;
    for import in imports.into_iter_with_offsets() {
        let (offset, imports) = import.map_err(|error| explain(bytes, &error))?;
        // Compact imports are a proposal that the validator has refused already.
        let Imports::Single(_, import) = imports else { continue };
        let (kind, advice) = match import.ty {
            TypeRef::Func(_) | TypeRef::FuncExact(_) => {
                functions += 1;
                continue;
            }
            TypeRef::Memory(_) => ("memory", MEMORY_ADVICE),
            TypeRef::Table(_) => ("table", TABLE_ADVICE),
            TypeRef::Global(_) => ("global", GLOBAL_ADVICE),
            TypeRef::Tag(_) => ("exception tag", "compile without exceptions"),
        };
        let (module, field) = (shown(import.module), shown(import.name));
        return Err(LoadErrorKind::Import { kind, module, field, offset, advice }.into());
    }
    Ok(functions)
}
