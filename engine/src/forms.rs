//! A module and its compiled forms, made when somebody needs one.
//!
//! Which machine code is best depends on the process that runs it. One with a limit of fuel needs
//! yield points that count, another is faster without them; a memory that lies behind guards needs
//! no bounds checks. So a [`Module`] keeps its bytes and its compiler, and becomes an [`Image`] once
//! for each [`Form`] that is asked for.
//!
//! Parties: workers, which only look ([`Module::ready`], [`Module::failure`]: no lock), and threads
//! that may block ([`Module::make`]: one compiles, others that want the same form wait for it). A
//! form is there for good; one that could not be made is not tried again, as the same bytes would
//! fail in the same way.

use std::fmt;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::compile::{Abandoned, Compiled, Compiler, CompilerOptions, Progress, Weighed};
use crate::image::Image;
use crate::link::{HostFunctions, LinkError};
use crate::validate::{self, LoadError};

/// What one compilation of a module is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Form {
    /// Has yield points, which count reductions. Code without them is left only by a
    /// signal, a host call or its end.
    pub yields: bool,
    /// How the code reaches its memory.
    pub memory: MemoryForm,
}

/// How compiled code keeps to its memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum MemoryForm {
    /// It compares each address with the length: memories lie side by side.
    #[default]
    Dense,
    /// It compares nothing: all addresses that a guest can form are reserved, and the rest of them
    /// faults.
    Guarded,
}

impl Form {
    /// How many there are.
    const COUNT: usize = 4;

    fn index(self) -> usize {
        usize::from(self.yields) * 2 + usize::from(self.memory == MemoryForm::Guarded)
    }
}

impl Default for Form {
    /// The form that runs everywhere.
    fn default() -> Self {
        Self { yields: true, memory: MemoryForm::Dense }
    }
}

/// A form of a module could not be made.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    /// The bytes are no module that can be run.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The module asks for what the host does not provide.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It has been tried before.
    #[error("{message}")]
    Before {
        /// What went wrong then.
        message: Arc<str>,
    },
}

/// A module, as its bytes and the forms that were made of them so far. Cheap to clone.
#[derive(Clone)]
pub struct Module(Arc<Inner>);

struct Inner {
    bytes: Box<[u8]>,
    compiler: Compiler,
    host: Arc<HostFunctions>,
    forms: [Place; Form::COUNT],
}

/// Where one form is, or will be.
#[derive(Default)]
struct Place {
    image: OnceLock<Image>,
    failure: OnceLock<Arc<str>>,
    /// Held while the form is made.
    making: Mutex<()>,
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("bytes", &self.0.bytes.len()).finish_non_exhaustive()
    }
}

impl Module {
    /// Most bytes of a module. Longer ones are refused.
    pub const BYTES_MAX: usize = validate::MAX_MODULE_BYTES;

    /// A module of which no form has been made: its bytes have not been looked at.
    #[must_use]
    pub fn new(bytes: impl Into<Box<[u8]>>, compiler: Compiler, host: Arc<HostFunctions>) -> Self {
        let forms = std::array::from_fn(|_| Place::default());
        Self(Arc::new(Inner { bytes: bytes.into(), compiler, host, forms }))
    }

    /// The module in this form, if it has been made. Takes no lock.
    #[inline]
    #[must_use]
    pub fn ready(&self, form: Form) -> Option<&Image> {
        self.0.forms[form.index()].image.get()
    }

    /// Why this form cannot be made, if that has been tried. Takes no lock.
    #[must_use]
    pub fn failure(&self, form: Form) -> Option<&Arc<str>> {
        self.0.forms[form.index()].failure.get()
    }

    /// The module in this form, made now if need be. May compile, or wait for somebody who does:
    /// not for workers.
    ///
    /// # Errors
    /// When the module cannot be loaded or linked.
    pub fn make(&self, form: Form) -> Result<&Image, FormError> {
        self.make_by(form, |compiler| compiler)
    }

    /// The same, unless `abandoned` says that nobody wants it any more; `weighed` is told before what that
    /// takes, and may refuse it.
    ///
    /// # Errors
    /// As [`Self::make`].
    pub fn make_unless(
        &self,
        form: Form,
        abandoned: Abandoned,
        weighed: Weighed,
    ) -> Result<&Image, FormError> {
        self.make_by(form, |compiler| compiler.abandoned_when(abandoned).weighed_by(weighed))
    }

    /// The same, and tells how far it is.
    ///
    /// # Errors
    /// As [`Self::make`].
    pub fn make_with(&self, form: Form, progress: Option<Progress>) -> Result<&Image, FormError> {
        self.make_by(form, |compiler| match progress {
            Some(progress) => compiler.with_progress(progress),
            None => compiler,
        })
    }

    fn make_by(
        &self,
        form: Form,
        prepare: impl FnOnce(Compiler) -> Compiler,
    ) -> Result<&Image, FormError> {
        let place = &self.0.forms[form.index()];
        let _making = place.making.lock();
        if let Some(message) = place.failure.get() {
            return Err(FormError::Before { message: Arc::clone(message) });
        }
        if place.image.get().is_none() {
            let image = self.build(form, prepare).inspect_err(|error| {
                place.failure.get_or_init(|| error.to_string().into());
            })?;
            place.image.get_or_init(|| image);
        }
        Ok(place.image.get().expect("set above, or before"))
    }

    /// Whether two values are the same module, not only equal ones.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn build(
        &self,
        form: Form,
        prepare: impl FnOnce(Compiler) -> Compiler,
    ) -> Result<Image, FormError> {
        let options = CompilerOptions { form, ..self.0.compiler.options().clone() };
        let compiler = prepare(self.0.compiler.with_options(options));
        let compiled: Compiled = compiler.compile(&self.0.bytes)?;
        Ok(Image::new(compiled, &self.0.host)?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    const PLAIN: Form = Form { yields: false, memory: MemoryForm::Dense };

    fn module(text: &str) -> Module {
        Module::new(text.as_bytes(), Compiler::default(), Arc::default())
    }

    #[test]
    fn a_form_is_made_when_it_is_asked_for_and_once() {
        let module = module("(module (func (export \"f\") (loop (br 0))))");
        assert!(module.ready(PLAIN).is_none());
        let steps = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&steps);
        let progress: Progress = Arc::new(move |_, _| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let first = module.make_with(PLAIN, Some(Arc::clone(&progress))).expect("valid");
        let begun = steps.load(Ordering::Relaxed);
        assert!(begun > 0, "it was compiled");
        let again = module.make_with(PLAIN, Some(progress)).expect("valid");
        assert!(std::ptr::eq(first, again));
        assert_eq!(steps.load(Ordering::Relaxed), begun, "it was not compiled again");
        assert!(module.ready(Form::default()).is_none(), "the other form was not asked for");
        let metered = module.make(Form::default()).expect("valid");
        assert_ne!(metered.function("f").map(|f| f.code), first.function("f").map(|f| f.code));
    }

    #[test]
    fn many_threads_that_want_one_form_get_the_same() {
        let module = module("(module (func (export \"f\")))");
        let code: Vec<_> = thread::scope(|scope| {
            let make = || module.make(PLAIN).expect("valid").function("f").map(|f| f.code);
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert!(code.iter().all(|&other| other.is_some() && other == code[0]));
    }

    #[test]
    fn what_failed_once_is_not_tried_again_and_says_the_same() {
        let module = module("(module (import \"no\" \"where\" (func)))");
        let first = module.make(PLAIN).expect_err("nobody provides the import");
        assert!(matches!(first, FormError::Link(_)));
        let again = module.make(PLAIN).expect_err("as before");
        assert!(matches!(again, FormError::Before { .. }));
        assert_eq!(first.to_string(), again.to_string());
        assert_eq!(module.failure(PLAIN).map(|message| &**message), Some(&*first.to_string()));
        assert!(module.failure(Form::default()).is_none());
    }
}
