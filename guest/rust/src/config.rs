//! What a child may do and have.
//!
//! The runtime keeps the configuration and this crate its number. Every method tells the runtime at once; what it refuses
//! is remembered, and `spawn_with` answers it: so a chain of calls has one place to look for errors.

use crate::abi;
use crate::error::Error;

/// What a process that is spawned with it may do and have: see [`Process::spawn_with`](crate::Process::spawn_with).
///
/// A new one grants the standard streams and nothing else, within the limits of the process that makes it. A process can
/// give its children at most what it has itself. One configuration may serve any number of processes; what is changed
/// later holds for those that are spawned later.
///
/// ```no_run
/// use lunatic::{DirAccess, Process, ProcessConfig};
///
/// let config = ProcessConfig::new()
///     .memory(64 << 20)
///     .fuel(1_000)
///     .dir("/data", DirAccess::ReadOnly)
///     .connect("db.local:5432");
/// Process::spawn_with(&config, 7, |number: u32| println!("{number}")).unwrap();
/// println!("used: {:?}", config.usage());
/// ```
#[derive(Debug)]
pub struct ProcessConfig {
    id: i64,
    /// The first thing that was refused.
    error: Option<String>,
}

/// What a process may do in a directory that it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirAccess {
    /// Look and read.
    ReadOnly,
    /// Everything that the giver may.
    ReadWrite,
}

/// What becomes of a message that finds a mailbox full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Its sender waits until there is room.
    Block = 0,
    /// It is dropped.
    Drop = 1,
    /// It is dropped, and the receiver ends.
    Kill = 2,
}

/// Something that a process may do, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Right {
    /// Spawn processes.
    Spawn,
    /// Compile modules.
    Compile,
    /// Make configurations.
    Configs,
    /// Kill other processes than itself.
    Kill,
    /// Give names to processes, and take them away.
    Names,
}

/// What the processes of a configuration have used, all together and up to their last wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Fuel, in units of 100,000 instructions, rounded up.
    pub fuel: u64,
    /// Bytes of memory at present.
    pub memory: u64,
    /// The most that this was.
    pub memory_peak: u64,
    /// Processes spawned.
    pub spawned: u64,
    /// Processes that live.
    pub alive: u64,
}

/// The runtime's numbers.
mod limit {
    pub(super) const MEMORY: u32 = 0;
    pub(super) const FUEL: u32 = 1;
    pub(super) const CHILDREN: u32 = 2;
    pub(super) const RESOURCES: u32 = 3;
    pub(super) const MESSAGE: u32 = 4;
    pub(super) const DESCRIPTORS: u32 = 5;
    pub(super) const STACK: u32 = 6;
    pub(super) const MAILBOX: u32 = 7;
    pub(super) const MAILBOX_BYTES: u32 = 8;
}

impl Right {
    fn number(self) -> u32 {
        match self {
            Right::Spawn => 0,
            Right::Compile => 1,
            Right::Configs => 2,
            Right::Kill => 3,
            Right::Names => 4,
        }
    }
}

impl Default for ProcessConfig {
    fn default() -> ProcessConfig {
        ProcessConfig::new()
    }
}

impl ProcessConfig {
    /// Grants the standard streams only.
    pub fn new() -> ProcessConfig {
        ProcessConfig::from_id(abi::config_create())
    }

    /// Grants what this process has, to take something away from.
    ///
    /// ```no_run
    /// use lunatic::{ProcessConfig, Right};
    ///
    /// let config = ProcessConfig::like_mine().deny(Right::Spawn);
    /// ```
    pub fn like_mine() -> ProcessConfig {
        ProcessConfig::from_id(abi::config_copy_own())
    }

    fn from_id(id: i64) -> ProcessConfig {
        let refused =
            "this process may not make configurations; its parent, or `lunatic run`, decides that";
        ProcessConfig { id, error: (id < 0).then(|| refused.to_string()) }
    }

    /// Most bytes of memory. Beyond it, allocations fail.
    pub fn memory(self, bytes: u64) -> ProcessConfig {
        self.limit(limit::MEMORY, bytes)
    }

    /// Fuel for all its life, in units of 100,000 instructions. A process that has used it up ends.
    pub fn fuel(self, units: u64) -> ProcessConfig {
        self.limit(limit::FUEL, units)
    }

    /// Most living children. A spawn beyond it is an error.
    pub fn children(self, count: u64) -> ProcessConfig {
        self.limit(limit::CHILDREN, count)
    }

    /// Most open resources: channels, sockets, configurations, … A process that opens one more ends.
    pub fn resources(self, count: u64) -> ProcessConfig {
        self.limit(limit::RESOURCES, count)
    }

    /// Most bytes of a message that it writes.
    pub fn message(self, bytes: u64) -> ProcessConfig {
        self.limit(limit::MESSAGE, bytes)
    }

    /// Most open files and directories.
    pub fn descriptors(self, count: u64) -> ProcessConfig {
        self.limit(limit::DESCRIPTORS, count)
    }

    /// Most bytes of the runtime's stack, between 16 KiB and 8 MiB. (The stack for Rust values is part of the memory.)
    pub fn stack(self, bytes: u64) -> ProcessConfig {
        self.limit(limit::STACK, bytes)
    }

    /// Most messages that may wait for it, and what becomes of one more.
    pub fn mailbox(self, messages: u64, overflow: Overflow) -> ProcessConfig {
        self.limit(limit::MAILBOX, messages).with(|id| {
            abi::config_set_overflow(id, overflow as u32);
            Ok(())
        })
    }

    /// No more messages come while those that wait for it take so many bytes, each with an envelope of 96; what becomes
    /// of one more says [`mailbox`](ProcessConfig::mailbox), and if that was not called, its sender waits.
    pub fn mailbox_bytes(self, bytes: u64) -> ProcessConfig {
        self.limit(limit::MAILBOX_BYTES, bytes)
    }

    /// Allows something.
    pub fn allow(self, right: Right) -> ProcessConfig {
        self.with(|id| abi::config_set_right(id, right.number(), true))
    }

    /// Takes a right away.
    pub fn deny(self, right: Right) -> ProcessConfig {
        self.with(|id| abi::config_set_right(id, right.number(), false))
    }

    /// A directory: `path` as this process knows it, and the child will.
    pub fn dir(self, path: &str, access: DirAccess) -> ProcessConfig {
        self.dir_as(path, path, access)
    }

    /// A directory: `path` as this process knows it, `name` as the child will.
    pub fn dir_as(self, path: &str, name: &str, access: DirAccess) -> ProcessConfig {
        self.with(|id| abi::config_add_dir(id, path, name, access == DirAccess::ReadWrite))
    }

    /// Allows to connect to `HOST:PORT`: an address, a net (`10.0.0.0/8`), a name or `*`; a port, a range (`80-90`) or `*`.
    pub fn connect(self, to: &str) -> ProcessConfig {
        self.network(&format!("connect:{to}"))
    }

    /// Allows to listen at `HOST:PORT`, as for [`connect`](ProcessConfig::connect).
    pub fn listen(self, at: &str) -> ProcessConfig {
        self.network(&format!("listen:{at}"))
    }

    /// Allows what a rule says, as `lunatic run --allow-net` takes it.
    pub fn network(self, rule: &str) -> ProcessConfig {
        self.with(|id| abi::config_add_network_rule(id, rule))
    }

    /// Takes all that was allowed of the network away.
    pub fn no_network(self) -> ProcessConfig {
        self.with(|id| {
            abi::config_clear_network_rules(id);
            Ok(())
        })
    }

    /// One more argument; the first is the program's name.
    pub fn arg(self, argument: &str) -> ProcessConfig {
        self.with(|id| {
            abi::config_add_arg(id, argument);
            Ok(())
        })
    }

    /// An environment variable.
    pub fn env(self, key: &str, value: &str) -> ProcessConfig {
        self.with(|id| {
            abi::config_add_env(id, key, value);
            Ok(())
        })
    }

    /// What its processes have used so far.
    pub fn usage(&self) -> Usage {
        if self.id < 0 {
            return Usage::default();
        }
        let used = |what| abi::config_usage(self.id, what);
        Usage {
            fuel: used(0),
            memory: used(1),
            memory_peak: used(2),
            spawned: used(3),
            alive: used(4),
        }
    }

    fn limit(self, limit: u32, value: u64) -> ProcessConfig {
        self.with(|id| abi::config_set_limit(id, limit, value))
    }

    /// Changes something, unless something went wrong before.
    fn with(mut self, change: impl FnOnce(i64) -> Result<(), String>) -> ProcessConfig {
        if self.error.is_none() {
            self.error = change(self.id).err();
        }
        self
    }

    /// Its number, if nothing of it was refused.
    pub(crate) fn id(&self) -> Result<i64, Error> {
        match &self.error {
            Some(reason) => Err(Error::Config { reason: reason.clone() }),
            None => Ok(self.id),
        }
    }
}

impl Drop for ProcessConfig {
    fn drop(&mut self) {
        if self.id >= 0 {
            abi::config_drop(self.id);
        }
    }
}
