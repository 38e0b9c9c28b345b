//! What a process's body calls: found by name or in a table, and told apart from what cannot be called.

use lunatic_engine::text::shown;
use lunatic_engine::{Callable, ExportedFunction, Image, RawValue, Type};
use smallvec::SmallVec;

/// Bytes of a function's name that are looked at to show it.
const NAME_SHOWN_BYTES: usize = 2048;

/// What the body calls: an exported function, with its arguments.
pub(crate) struct Entry {
    /// `None`: there is no such function, or it has another type; the process ends at once.
    pub(super) function: Option<Callable>,
    /// Room for arguments and results.
    pub(super) values: usize,
    pub(super) params: Params,
    pub(super) error: Option<Box<str>>,
}

/// Arguments; few need no allocation.
pub(crate) type Params = SmallVec<[RawValue; 3]>;

impl Entry {
    /// `types` are those of the parameters.
    pub(crate) fn new(
        image: &Image,
        name: &[u8],
        types: impl ExactSizeIterator<Item = Type> + Clone,
        params: Params,
    ) -> Self {
        match image.exported(name) {
            Some(exported) if exported.params.iter().copied().eq(types.clone()) => Self {
                function: Some(exported.callable),
                values: exported.values,
                params,
                error: None,
            },
            other => Self::unusable(name, other, types.collect()),
        }
    }

    /// The same for a function that the image's first table holds at this place.
    pub(crate) fn from_table(
        image: &Image,
        place: u32,
        types: impl ExactSizeIterator<Item = Type> + Clone,
        params: Params,
    ) -> Self {
        let function = image.table_function(place);
        match function {
            Some(found) if found.ty.params().iter().copied().eq(types.clone()) => Self {
                function: Some(found.callable),
                values: found.ty.params().len().max(found.ty.results().len()),
                params,
                error: None,
            },
            other => {
                let given: Vec<Type> = types.collect();
                let error = match other {
                    None => format!("the module's table holds no function at {place}"),
                    Some(found) => format!(
                        "the function at {place} of the table takes {:?}, it was given {given:?}",
                        found.ty.params()
                    ),
                };
                Self { function: None, values: 0, params: Params::new(), error: Some(error.into()) }
            }
        }
    }

    #[cold]
    fn unusable(name: &[u8], exported: Option<&ExportedFunction>, given: Vec<Type>) -> Self {
        // More is not shown; nor need it be copied.
        let name = shown(&String::from_utf8_lossy(&name[..name.len().min(NAME_SHOWN_BYTES)]));
        let error = match exported {
            None => format!("the module exports no function \"{name}\""),
            Some(exported) => format!(
                "the exported function \"{name}\" takes {:?}, it was given {given:?}",
                exported.params
            ),
        };
        Self { function: None, values: 0, params: Params::new(), error: Some(error.into()) }
    }
}
