//! Modules that a program brings along and compiles while it runs.
//!
//! Parties: the process that asks, a few jobs of the blocking pool that compile, and every process
//! that runs the module later. Rules:
//!
//! - Compiling never holds a worker: the process parks. It never holds the pool either: at most
//!   [`COMPILERS_MAX`] jobs compile at once, each on one thread, the others wait in a queue of their
//!   own.
//! - What the compiler holds, as estimated, counts as what the host holds while it works, and as the asking
//!   process's own: the job wakes the process, so that it says so ([`Asked`]).
//! - A module whose process has been killed is given up, in the queue or between two functions. So is
//!   one that takes longer than [`COMPILE_TIME_MAX`]; `validate` has refused before what would make
//!   a single function take that long.
//! - A compiled module lives while a process has it by number, runs it, or a message carries it.
//!   The machine code goes with the last of these. Then no process runs in it, and whoever wanted
//!   names for its addresses has asked: a process gives up its module last of all.
//! - The modules of all processes together have a limit ([`MODULES_BYTES_MAX`]).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use lunatic_engine::{Compiler, Form, HostFunctions, Module, Weighed, Weight};
use lunatic_scheduler::{BlockingError, Pid};
use parking_lot::Mutex;

use crate::api::functions;
use crate::bind::Call;
use crate::held;
use crate::jobs::Turn;
use crate::node::NodeInner;
use crate::stdio::Host;

/// The largest module that a guest may compile, in bytes. By feel: some times the largest programs.
pub(crate) const MODULE_BYTES_MAX: u32 = 64 << 20;

/// Bytes of all modules that guests have compiled or want to. Machine code and tables take about
/// ten times as much; a module of which they take more counts for more, in each form.
const MODULES_BYTES_MAX: usize = 256 << 20;
const TIMES_SIZE: u64 = 10;

/// Modules that are compiled at the same time. By feel: the workers want the cores, too.
const COMPILERS_MAX: usize = 2;

/// How long one module may take. By feel: the largest programs take some seconds.
const COMPILE_TIME_MAX: Duration = Duration::from_secs(60);

/// A module that was compiled at run time, with its share of the limit.
#[derive(Debug)]
pub(crate) struct Loaded {
    module: Module,
    room: Arc<Room>,
    /// What the form that was made first takes, in bytes, counted as the host's.
    kept: usize,
}

impl Drop for Loaded {
    fn drop(&mut self) {
        held::sub(self.kept);
    }
}

impl Loaded {
    fn new(module: Module, room: Arc<Room>) -> Self {
        let kept = room.kept.load(Relaxed);
        held::add(kept);
        Self { module, room, kept }
    }

    /// What it takes: of each process that has it.
    pub(crate) fn bytes(&self) -> usize {
        self.kept
    }

    pub(crate) fn module(&self) -> &Module {
        &self.module
    }
}

/// A share of [`MODULES_BYTES_MAX`], given back when dropped.
#[derive(Debug)]
pub(crate) struct Room {
    node: Arc<NodeInner>,
    /// `Relaxed`: changed under the queue's lock, and read when nobody else has it.
    bytes: AtomicUsize,
    /// What the form takes that was weighed last, in bytes. `Relaxed`: a number only.
    kept: AtomicUsize,
}

impl Room {
    /// Room for a module of so many bytes; if there is none, why.
    pub(crate) fn take(node: &Arc<NodeInner>, bytes: usize) -> Result<Self, String> {
        let (node, none) = (Arc::clone(node), AtomicUsize::default);
        let room = Self { node, bytes: none(), kept: none() };
        room.take_more(bytes, || format!("cannot compile a module of {bytes} bytes"))?;
        Ok(room)
    }

    /// A form of the module is about to be made: it counts for what it weighs, if that is more.
    fn weigh(&self, size: usize, weight: Weight) -> Result<(), String> {
        let counts = usize::try_from(weight.kept / TIMES_SIZE).unwrap_or(usize::MAX);
        self.kept.store(usize::try_from(weight.kept).unwrap_or(usize::MAX), Relaxed);
        self.take_more(counts.saturating_sub(size), || {
            format!("a module of {size} bytes, which by its functions counts as {counts}")
        })
    }

    fn take_more(&self, bytes: usize, what: impl FnOnce() -> String) -> Result<(), String> {
        let mut queue = self.node.modules.queue.lock();
        if queue.bytes.saturating_add(bytes) > MODULES_BYTES_MAX {
            return Err(format!(
                "{}: those of all processes have {} bytes, and together they may have \
                 {MODULES_BYTES_MAX}; drop some",
                what(),
                queue.bytes
            ));
        }
        queue.bytes += bytes;
        self.bytes.fetch_add(bytes, Relaxed);
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.node.modules.queue.lock().bytes -= *self.bytes.get_mut();
    }
}

/// The node's part.
#[derive(Debug)]
pub(crate) struct Modules {
    compiler: Compiler,
    host: Arc<HostFunctions>,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Order>,
    /// Jobs that work on the queue.
    running: usize,
    bytes: usize,
}

/// What a compile job leaves: the module, or the compiler's words.
pub(crate) type CompileResult = Result<Arc<Loaded>, String>;

/// What is to be compiled.
#[derive(Debug)]
pub(crate) enum Order {
    /// A module that is new.
    Module {
        /// The form that the process runs which asks: most of its children will, too.
        form: Form,
        bytes: Vec<u8>,
        room: Room,
        turn: Turn<CompileResult>,
        asked: Asked,
    },
    /// Another form of one that was compiled before.
    Form { form: Form, module: Arc<Loaded>, asked: Option<Asked> },
}

/// The process that a compilation is for, and what that holds.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pid: Pid,
    compiling: Arc<Compiling>,
}

/// What a compilation holds. The process that asked says that it is its own, and counts it then, in this
/// order: whoever looks for the one to blame, because too much is held, finds it.
#[derive(Debug, Default)]
pub(crate) struct Compiling(Mutex<Sizes>);

#[derive(Debug, Default)]
struct Sizes {
    bytes: usize,
    counted: usize,
}

impl Compiling {
    /// Bytes that are held now.
    pub(crate) fn bytes(&self) -> usize {
        self.0.lock().bytes
    }

    /// Counts what is held as the host's.
    pub(crate) fn count(&self) {
        let mut sizes = self.0.lock();
        held::add(sizes.bytes - sizes.counted);
        sizes.counted = sizes.bytes;
    }
}

impl Call<'_, '_> {
    /// Something is compiled for this call.
    pub(crate) fn compiles(&mut self) -> Asked {
        let compiling = Arc::clone(self.state.wait.compiling.get_or_insert_default());
        Asked { pid: self.state.pid(), compiling }
    }

    /// The call goes on waiting: says what is held for it by now.
    pub(crate) fn tell_what_is_compiled(&mut self) {
        if let Some(compiling) = self.state.wait.compiling.clone() {
            self.state.tell_held();
            compiling.count();
        }
    }
}

/// The duty to give back what a compilation holds.
struct Burden {
    node: Arc<NodeInner>,
    pid: Option<Pid>,
    compiling: Arc<Compiling>,
}

impl Burden {
    fn new(node: &Arc<NodeInner>, asked: Option<Asked>) -> Arc<Self> {
        let (pid, compiling) = match asked {
            Some(Asked { pid, compiling }) => (Some(pid), compiling),
            None => (None, Arc::default()),
        };
        Arc::new(Self { node: Arc::clone(node), pid, compiling })
    }

    fn add(&self, bytes: usize) {
        self.compiling.0.lock().bytes += bytes;
        match self.pid {
            // It looks whether the module is there, and tells and counts.
            Some(pid) => self.node.wake(pid),
            None => self.compiling.count(),
        }
    }
}

impl Drop for Burden {
    fn drop(&mut self) {
        let sizes = std::mem::take(&mut *self.compiling.0.lock());
        held::sub(sizes.counted);
    }
}

/// Counts what a module of so many bytes weighs, and refuses one too many.
fn weighed(burden: &Arc<Burden>, room: &Arc<Room>, size: usize) -> Weighed {
    let (burden, room) = (Arc::clone(burden), Arc::clone(room));
    Arc::new(move |weight| {
        room.weigh(size, weight)?;
        burden.add(usize::try_from(weight.compiling).unwrap_or(usize::MAX));
        Ok(())
    })
}

impl Modules {
    /// Compiles like `compiler`.
    pub(crate) fn new(compiler: &Compiler) -> Self {
        Self {
            compiler: compiler.for_guests(COMPILE_TIME_MAX),
            host: Arc::new(functions()),
            queue: Mutex::default(),
        }
    }

    /// Queues a module, and sees to it that somebody works on the queue.
    pub(crate) fn order(node: &Arc<NodeInner>, order: Order) -> Result<(), BlockingError> {
        let mut queue = node.modules.queue.lock();
        queue.waiting.push_back(order);
        if queue.running >= COMPILERS_MAX {
            return Ok(());
        }
        queue.running += 1;
        drop(queue);
        let host = Arc::clone(node);
        let submitted = node.handle().spawn_blocking(Box::new(move || work(&host)));
        submitted.inspect_err(|_| {
            let mut queue = node.modules.queue.lock();
            queue.running -= 1;
            let orders = std::mem::take(&mut queue.waiting);
            drop(queue);
            drop(orders); // without the lock: they give their room back
        })
    }
}

/// Compiles until nothing waits.
fn work(node: &Arc<NodeInner>) {
    loop {
        let mut queue = node.modules.queue.lock();
        let Some(order) = queue.waiting.pop_front() else {
            queue.running -= 1;
            return;
        };
        drop(queue);
        match order {
            Order::Module { form, bytes, room, turn, asked } => {
                compile(node, (form, bytes, room), turn, asked);
            }
            Order::Form { form, module, asked } => {
                let burden = Burden::new(node, asked);
                let weighed = weighed(&burden, &module.room, 0);
                // An error is kept with the module, where those who wait find it.
                let _ = module.module.make_unless(form, Arc::new(|| false), weighed);
                drop(burden);
                node.wake_who_waited(&module.module, form);
            }
        }
        // What was counted on this thread counts for all.
        held::settle();
    }
}

fn compile(
    node: &Arc<NodeInner>,
    (form, bytes, room): (Form, Vec<u8>, Room),
    turn: Turn<CompileResult>,
    asked: Asked,
) {
    if !turn.is_awaited() {
        return;
    }
    let (asker, room, size) = (turn.asker(), Arc::new(room), bytes.len());
    let module = Module::new(bytes, node.modules.compiler.clone(), Arc::clone(&node.modules.host));
    let burden = Burden::new(node, Some(asked));
    let weighed = weighed(&burden, &room, size);
    let made = module.make_unless(form, Arc::new(move || !asker.is_waiting()), weighed);
    let result = made.map(|_| ()).map_err(|error| error.to_string());
    drop(burden);
    turn.finish(result.map(|()| Arc::new(Loaded::new(module, room))));
}
