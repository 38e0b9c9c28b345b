//! What the pieces of a module's machine code are called.
//!
//! Names come from guests, and go into files that are read line by line: control characters are
//! replaced and lengths are bounded here, once for all who write them.

use std::collections::{HashMap, HashSet};

use wasmer_types::{
    ExportIndex, FunctionIndex, InitExprOp, LocalFunctionIndex, ModuleInfo, SignatureIndex, Type,
    entity::EntityRef,
};

use wasmer_compiler::{Artifact, ArtifactCreate};

use crate::os::OS_PAGE_BYTES;
use crate::traps::readable;

/// Longest name, in characters. By feel: templates and closures are long, and the beginning tells.
const NAME_CHARACTERS_MAX: usize = 512;

/// Most machine code of a trampoline whose end is not known.
const TRAMPOLINE_BYTES_MAX: usize = 512;

/// One function, or a trampoline into some.
#[derive(Debug)]
pub(crate) struct Code {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) name: Box<str>,
    /// Whether the guest's author wrote it.
    pub(crate) is_function: bool,
}

/// All code of one module. While it is loaded, its bytes may be read.
#[derive(Debug)]
pub(crate) struct Listing {
    /// Sorted, disjoint.
    code: Vec<Code>,
    /// Addresses of the functions in the first table at start.
    elements: HashMap<u32, usize>,
}

impl Listing {
    /// Names the code of a module.
    pub(crate) fn of(artifact: &Artifact) -> Self {
        let module = artifact.module_info();
        let mut code = functions(artifact, module);
        trampolines(artifact, module, &mut code);
        code.sort_unstable_by_key(|code| code.start);
        Self { code, elements: elements(artifact, module) }
    }

    /// The code at an address.
    pub(crate) fn at(&self, pc: usize) -> Option<&Code> {
        let after = self.code.partition_point(|code| code.start <= pc);
        let code = &self.code[after.checked_sub(1)?];
        (pc < code.end).then_some(code)
    }

    /// The function that an index of the first table means at start.
    pub(crate) fn element(&self, index: u32) -> Option<&Code> {
        self.at(*self.elements.get(&index)?)
    }

    /// In the order of addresses.
    pub(crate) fn code(&self) -> &[Code] {
        &self.code
    }

    /// The first address.
    pub(crate) fn start(&self) -> Option<usize> {
        self.code.first().map(|code| code.start)
    }
}

fn functions(artifact: &Artifact, module: &ModuleInfo) -> Vec<Code> {
    let exports: HashMap<FunctionIndex, &str> = module
        .exports
        .iter()
        .filter_map(|(name, export)| match export {
            ExportIndex::Function(index) => Some((*index, name.as_str())),
            _ => None,
        })
        .collect();
    let name = |local: LocalFunctionIndex| {
        let index = module.func_index(local);
        match (module.function_names.get(&index), exports.get(&index)) {
            (Some(name), _) => bounded(&readable(name)),
            (None, Some(export)) => bounded(export),
            (None, None) => format!("<function {}>", index.as_u32()).into(),
        }
    };
    let extents = artifact.finished_function_extents().unwrap_or_default();
    let code = |(local, extent): (LocalFunctionIndex, wasmer_compiler::FunctionExtent)| {
        let start = extent.ptr.0 as usize;
        Code { start, end: start + extent.length, name: name(local), is_function: true }
    };
    extents.into_iter().map(code).collect()
}

/// Adds the trampolines by which the host calls functions. wasmer does not tell how long they are:
/// each reaches to the next code, and the last one at most to the end of its page.
fn trampolines(artifact: &Artifact, module: &ModuleInfo, code: &mut Vec<Code>) {
    let mut starts: Vec<usize> = code.iter().map(|code| code.start).collect();
    let trampolines = artifact.finished_function_call_trampolines();
    let called = || trampolines.iter().map(|(index, code)| (index, *code as *const () as usize));
    let dynamic = artifact.finished_dynamic_function_trampolines();
    starts.extend(called().map(|(_, start)| start));
    starts.extend(dynamic.iter().map(|(_, code)| code.0 as usize));
    starts.sort_unstable();
    let mut listed: HashSet<usize> = code.iter().map(|code| code.start).collect();
    for (index, start) in called() {
        let next = starts[starts.partition_point(|&known| known <= start)..].first();
        let end_of_page = (start + 1).next_multiple_of(OS_PAGE_BYTES);
        let limit = end_of_page.min(start + TRAMPOLINE_BYTES_MAX);
        let end = next.map_or(limit, |&next| next.min(start + TRAMPOLINE_BYTES_MAX));
        // Equal types of a module may share their trampoline.
        if listed.insert(start) {
            code.push(Code { start, end, name: call_of(module, index), is_function: false });
        }
    }
}

fn call_of(module: &ModuleInfo, index: SignatureIndex) -> Box<str> {
    let list = |types: &[Type]| types.iter().map(Type::to_string).collect::<Vec<_>>().join(", ");
    let ty = &module.signatures[index];
    bounded(&format!("<call of ({}) -> ({})>", list(ty.params()), list(ty.results())))
}

/// Where the first table points at start, as far as segments with plain offsets say.
fn elements(artifact: &Artifact, module: &ModuleInfo) -> HashMap<u32, usize> {
    let mut elements = HashMap::new();
    for segment in module.table_initializers.iter().filter(|s| s.table_index.index() == 0) {
        let [InitExprOp::I32Const(offset)] = *segment.offset_expr.ops() else { continue };
        for (index, &function) in (offset.cast_unsigned()..).zip(&segment.elements) {
            if let Some(local) = module.local_func_index(function)
                && local.index() < artifact.finished_functions().len()
            {
                elements.insert(index, artifact.finished_functions()[local].0 as usize);
            }
        }
    }
    elements
}

/// A name as it may stand in a file.
pub(super) fn bounded(name: &str) -> Box<str> {
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut text: String = name.chars().take(NAME_CHARACTERS_MAX).map(clean).collect();
    if text.len() < name.len() && name.chars().nth(NAME_CHARACTERS_MAX).is_some() {
        text.push('…');
    }
    if text.is_empty() { "<no name>".into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_their_line_and_length() {
        assert_eq!(&*bounded("a b"), "a b");
        assert_eq!(&*bounded("a\nb\0c"), "a\u{fffd}b\u{fffd}c");
        assert_eq!(&*bounded(""), "<no name>");
        assert_eq!(bounded(&"é".repeat(9_999)).chars().count(), NAME_CHARACTERS_MAX + 1);
        assert_eq!(bounded(&"x".repeat(NAME_CHARACTERS_MAX)).len(), NAME_CHARACTERS_MAX);
    }
}
