//! The host's functions by name, and the errors of binding a module's imports to them.

use std::collections::HashMap;

use wasmer::sys::vm::TrapCode;
use wasmer_types::{FunctionType, ImportIndex, ModuleInfo, Type};

use crate::text::shown;

/// A function that guests may import.
///
/// `code` has the machine signature that compiled code expects: the context ([`crate::VmCtx`]),
/// then the parameters, by the platform's C convention.
#[derive(Debug, Clone, Copy)]
pub struct HostFunction {
    /// First name of the import.
    pub module: &'static str,
    /// Second name of the import.
    pub name: &'static str,
    /// Types of the parameters, without the context.
    pub params: &'static [Type],
    /// Types of the results; at most one.
    pub results: &'static [Type],
    /// Address of the machine code.
    pub code: *const (),
}

// SAFETY: the only pointer is the address of code.
unsafe impl Send for HostFunction {}
// SAFETY: as above.
unsafe impl Sync for HostFunction {}

impl HostFunction {
    fn has_type(&self, params: &[Type], results: &[Type]) -> bool {
        self.params == params && self.results == results
    }
}

/// All functions that guests may import.
#[derive(Debug, Default)]
pub struct HostFunctions {
    by_name: HashMap<(&'static str, &'static str), Vec<HostFunction>>,
}

/// A module could not be bound to the host.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody provides an import.
    #[error(
        "the module imports the function \"{module}\" \"{name}\", which lunatic does not provide{nearest}"
    )]
    UnknownImport {
        /// First name.
        module: String,
        /// Second name.
        name: String,
        /// A suggestion, with a leading separator, or nothing.
        nearest: String,
    },
    /// An import has another type than the host's function.
    #[error(
        "the module imports \"{module}\" \"{name}\" as {wanted}, but it is {provided}; the module was built for another version of this interface"
    )]
    ImportType {
        /// First name.
        module: String,
        /// Second name.
        name: String,
        /// Type in the module.
        wanted: String,
        /// Type of the host's function.
        provided: String,
    },
    /// Globals cannot be imported.
    #[error("the module imports a global, which lunatic does not provide")]
    ImportedGlobal,
    /// Tables cannot be imported.
    #[error("the module imports a table, which lunatic does not provide")]
    ImportedTable,
    /// An active segment lies outside of its memory or table: the module traps before it runs.
    #[error(
        "{what} segment of {len} at {start} lies outside of the initial size {limit}: {}",
        crate::traps::describe(*code)
    )]
    Segment {
        /// As a trap.
        code: TrapCode,
        /// "data" or "element".
        what: &'static str,
        /// First position.
        start: usize,
        /// Number of bytes or elements.
        len: usize,
        /// Size of the memory or table.
        limit: usize,
    },
}

impl HostFunctions {
    /// Adds a function.
    ///
    /// # Panics
    /// When both the name and the type are taken: interfaces of different ages may share names.
    pub fn add(&mut self, function: HostFunction) {
        let known = self.by_name.entry((function.module, function.name)).or_default();
        let taken = known.iter().any(|other| other.has_type(function.params, function.results));
        assert!(!taken, "{} {} is defined twice", function.module, function.name);
        known.push(function);
    }

    /// All functions, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &HostFunction> {
        self.by_name.values().flatten()
    }

    /// The code of each imported function, in the order of the module's function indices.
    pub(crate) fn resolve(&self, module: &ModuleInfo) -> Result<Vec<usize>, LinkError> {
        let mut code = vec![0; module.num_imported_functions];
        for (key, import) in &module.imports {
            let function = match import {
                ImportIndex::Function(function) => function,
                ImportIndex::Table(_) => return Err(LinkError::ImportedTable),
                _ => return Err(LinkError::ImportedGlobal),
            };
            let wanted = &module.signatures[module.functions[*function]];
            let found = self.find(&key.module, &key.field, wanted)?;
            code[function.as_u32() as usize] = found.code as usize;
        }
        Ok(code)
    }

    fn find(
        &self,
        module: &str,
        name: &str,
        wanted: &FunctionType,
    ) -> Result<&HostFunction, LinkError> {
        let provided = self.by_name.iter().find(|((m, n), _)| *m == module && *n == name);
        let Some((_, functions)) = provided else {
            return Err(LinkError::UnknownImport {
                module: shown(module),
                name: shown(name),
                nearest: self.nearest(module, name),
            });
        };
        let fitting = functions.iter().find(|f| f.has_type(wanted.params(), wanted.results()));
        fitting.ok_or_else(|| {
            let provided: Vec<String> =
                functions.iter().map(|f| signature(f.params, f.results)).collect();
            LinkError::ImportType {
                module: shown(module),
                name: shown(name),
                wanted: signature(wanted.params(), wanted.results()),
                provided: provided.join(" or "),
            }
        })
    }

    /// "; the nearest is …", if something is near enough to be a typing error or another version.
    fn nearest(&self, module: &str, name: &str) -> String {
        /// Below this two names have nothing to do with each other.
        const SIMILAR: f64 = 0.75;
        /// Longer names are none of ours with an error in them; comparing them takes its time.
        const NAME_BYTES_MAX: usize = 256;
        let elsewhere = self.by_name.keys().filter(|(_, known)| *known == name).min();
        if let Some((module, name)) = elsewhere {
            return format!("; it knows \"{module}\" \"{name}\"");
        }
        if module.len() + name.len() > NAME_BYTES_MAX {
            return String::new();
        }
        let wanted = format!("{module} {name}");
        self.by_name
            .keys()
            .map(|(module, name)| {
                let similarity = strsim::jaro_winkler(&wanted, &format!("{module} {name}"));
                (similarity, module, name)
            })
            .filter(|(similarity, ..)| *similarity >= SIMILAR)
            .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.2.cmp(a.2)))
            .map_or_else(String::new, |(_, module, name)| {
                format!("; the nearest it knows is \"{module}\" \"{name}\"")
            })
    }
}

fn signature(params: &[Type], results: &[Type]) -> String {
    let list = |types: &[Type]| types.iter().map(Type::to_string).collect::<Vec<_>>().join(", ");
    format!("({}) -> ({})", list(params), list(results))
}
