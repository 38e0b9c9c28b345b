//! Modules that a program brings along and compiles while it runs.
//!
//! Parties: the process that asks, a few jobs of the blocking pool that compile, and every process
//! that runs the module later. Rules:
//!
//! - Compiling never holds a worker: the process parks. It never holds the pool either: at most
//!   [`COMPILERS_MAX`] jobs compile at once, each on one thread, the others wait in a queue of their
//!   own.
//! - A module whose process has been killed is given up, in the queue or between two functions. So is
//!   one that takes longer than [`COMPILE_TIME_MAX`]; `validate` has refused before what would make
//!   a single function take that long.
//! - A compiled module lives while a process has it by number, runs it, or a message carries it.
//!   The machine code goes with the last of these. Then no process runs in it, and whoever wanted
//!   names for its addresses has asked: a process gives up its module last of all.
//! - The modules of all processes together have a limit ([`MODULES_BYTES_MAX`]).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use lunatic_engine::{Compiler, Form, HostFunctions, Module};
use lunatic_scheduler::BlockingError;
use parking_lot::Mutex;

use crate::api::functions;
use crate::jobs::Turn;
use crate::node::NodeInner;

/// The largest module that a guest may compile, in bytes. By feel: some times the largest programs.
pub(crate) const MODULE_BYTES_MAX: u32 = 64 << 20;

/// Bytes of all modules that guests have compiled or want to. Machine code and tables take about
/// ten times as much.
const MODULES_BYTES_MAX: usize = 256 << 20;

/// Modules that are compiled at the same time. By feel: the workers want the cores, too.
const COMPILERS_MAX: usize = 2;

/// How long one module may take. By feel: the largest programs take some seconds.
const COMPILE_TIME_MAX: Duration = Duration::from_secs(60);

/// A module that was compiled at run time, with its share of the limit.
#[derive(Debug)]
pub(crate) struct Loaded {
    module: Module,
    _room: Room,
}

impl Loaded {
    pub(crate) fn module(&self) -> &Module {
        &self.module
    }
}

/// A share of [`MODULES_BYTES_MAX`], given back when dropped.
#[derive(Debug)]
pub(crate) struct Room {
    node: Arc<NodeInner>,
    bytes: usize,
}

impl Room {
    /// Room for a module of so many bytes; if there is none, why.
    pub(crate) fn take(node: &Arc<NodeInner>, bytes: usize) -> Result<Self, String> {
        let mut queue = node.modules.queue.lock();
        if queue.bytes + bytes > MODULES_BYTES_MAX {
            return Err(format!(
                "cannot compile a module of {bytes} bytes: those of all processes have {} bytes, \
                 and together they may have {MODULES_BYTES_MAX}; drop some",
                queue.bytes
            ));
        }
        queue.bytes += bytes;
        Ok(Self { node: Arc::clone(node), bytes })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.node.modules.queue.lock().bytes -= self.bytes;
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

/// A module that is to be compiled.
#[derive(Debug)]
pub(crate) struct Order {
    /// The form that the process runs which asks: most of its children will, too.
    pub(crate) form: Form,
    pub(crate) bytes: Vec<u8>,
    pub(crate) room: Room,
    pub(crate) turn: Turn<CompileResult>,
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
        let Order { form, bytes, room, turn } = order;
        if turn.is_awaited() {
            let asker = turn.asker();
            let module =
                Module::new(bytes, node.modules.compiler.clone(), Arc::clone(&node.modules.host));
            let result = match module.make_unless(form, Arc::new(move || !asker.is_waiting())) {
                Ok(_) => Ok(Arc::new(Loaded { module, _room: room })),
                Err(error) => Err(error.to_string()),
            };
            turn.finish(result);
        }
    }
}
