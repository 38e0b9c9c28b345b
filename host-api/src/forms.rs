//! Which compiled form of a module a process runs, and waiting for one that is not there yet.
//!
//! A form is compiled on the blocking pool, once, while those who want it are parked: the first
//! process that asks submits the job, the others add their names to its list, and the job wakes them
//! all. Whoever is woken looks again: the form is there, or why it cannot be had.

use std::ops::Deref;
use std::sync::Arc;
use std::task::Poll;

use lunatic_engine::{Form, Image, Module};
use lunatic_scheduler::{BlockingError, Pid};
use parking_lot::Mutex;

use crate::bind::Call;
use crate::kept::Kept;
use crate::modules::{Asked, Loaded, Modules, Order};
use crate::node::NodeInner;
use crate::stdio::Host;

/// A process's module.
#[derive(Clone)]
pub(crate) enum ModuleRef {
    /// The main process's, which all inherit that were not given another.
    Main(Kept<Module>),
    /// One that was loaded at run time.
    Own(Arc<Loaded>),
}

impl Deref for ModuleRef {
    type Target = Module;
    fn deref(&self) -> &Module {
        match self {
            Self::Main(module) => module,
            Self::Own(loaded) => loaded.module(),
        }
    }
}

impl ModuleRef {
    /// The module in this form, if it has been made.
    #[inline]
    pub(crate) fn image(&self, form: Form) -> Option<Kept<Image>> {
        // SAFETY: a form that was made stays where it is as long as its module; whoever uses the
        // result holds the module, or a process that does.
        self.ready(form).map(|image| unsafe { Kept::new(image) })
    }
}

/// Forms that are being made, with the processes that wait for them. Few at any time.
#[derive(Default)]
pub(crate) struct FormsInMaking(Mutex<Vec<Making>>);

struct Making {
    module: Module,
    form: Form,
    waiting: Vec<Pid>,
}

impl FormsInMaking {
    /// Adds a process to those that wait; whether it is the first, which has to see to the rest.
    /// `None`: there is nothing to wait for any more.
    fn wait(&self, module: &Module, form: Form, pid: Option<Pid>) -> Option<bool> {
        let mut all = self.0.lock();
        if module.ready(form).is_some() || module.failure(form).is_some() {
            return None;
        }
        match all.iter_mut().find(|making| making.form == form && making.module.is(module)) {
            Some(making) => making.waiting.extend(pid),
            None => {
                let waiting = pid.into_iter().collect();
                all.push(Making { module: module.clone(), form, waiting });
                return Some(true);
            }
        }
        Some(false)
    }

    /// The form is there, or will never be: who has waited for it?
    fn take(&self, module: &Module, form: Form) -> Vec<Pid> {
        let mut all = self.0.lock();
        let at = all.iter().position(|making| making.form == form && making.module.is(module));
        at.map(|at| all.swap_remove(at).waiting).unwrap_or_default()
    }
}

impl Call<'_, '_> {
    /// The module in the form that a process with such needs runs, or why it cannot be had; pending
    /// while it is made.
    #[inline]
    pub(crate) fn image(
        &mut self,
        module: &ModuleRef,
        form: Form,
    ) -> Poll<Result<Kept<Image>, String>> {
        match module.image(form) {
            Some(image) => Poll::Ready(Ok(image)),
            None => self.image_in_making(module, form),
        }
    }

    #[cold]
    fn image_in_making(
        &mut self,
        module: &ModuleRef,
        form: Form,
    ) -> Poll<Result<Kept<Image>, String>> {
        let pid = self.state.pid();
        let node: Arc<NodeInner> = Arc::clone(&self.state.node);
        if let Some(failure) = module.failure(form) {
            return Poll::Ready(Err(format!(
                "cannot compile the module for the process: {failure}"
            )));
        }
        // Once for each call and form: a process may be woken for other reasons meanwhile.
        if self.state.wait.form_asked.replace(form) == Some(form) {
            self.tell_what_is_compiled();
            return Poll::Pending;
        }
        match node.forms.wait(module, form, Some(pid)) {
            None => return self.image(module, form),
            Some(false) => return Poll::Pending,
            Some(true) => {}
        }
        let asked = self.compiles();
        if let Err(error) = node.make_on_pool(module, form, Some(asked)) {
            return Poll::Ready(Err(format!("cannot compile the module for the process: {error}")));
        }
        Poll::Pending
    }
}

impl NodeInner {
    /// Sees to it that the form will be there, without waiting for it.
    #[inline]
    pub(crate) fn make_in_background(self: &Arc<Self>, module: &ModuleRef, form: Form) {
        if module.ready(form).is_none() && module.failure(form).is_none() {
            self.begin_to_make(module, form);
        }
    }

    #[cold]
    fn begin_to_make(self: &Arc<Self>, module: &ModuleRef, form: Form) {
        if self.forms.wait(module, form, None) == Some(true) {
            // Whoever needs it asks again.
            let _ = self.make_on_pool(module, form, None);
        }
    }

    /// The first one who asked submits the job. An error is kept with the module, where those who wait find
    /// it.
    fn make_on_pool(
        self: &Arc<Self>,
        module: &ModuleRef,
        form: Form,
        asked: Option<Asked>,
    ) -> Result<(), BlockingError> {
        let submitted = match module {
            ModuleRef::Main(main) => {
                let (node, main) = (Arc::clone(self), main.get().clone());
                self.run_blocking(Box::new(move || {
                    let _ = main.make(form);
                    node.wake_who_waited(&main, form);
                }))
            }
            // In the queue of those that guests bring along.
            ModuleRef::Own(loaded) => {
                let module = Arc::clone(loaded);
                Modules::order(self, Order::Form { form, module, asked })
            }
        };
        submitted.inspect_err(|_| self.wake_who_waited(module, form))
    }

    pub(crate) fn wake_who_waited(&self, module: &Module, form: Form) {
        for pid in self.forms.take(module, form) {
            self.wake(pid);
        }
    }
}
