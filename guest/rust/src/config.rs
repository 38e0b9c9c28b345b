//! What a child may do and have.
//!
//! A configuration is a list of wishes, so that it can travel: a supervisor in another process spawns with it. The
//! runtime is told when the first process is spawned with it, by the process that spawns, and checks every wish against
//! what that one has itself. What it refuses is remembered, and the spawn answers it: so a chain of calls has one place
//! to look for errors.

use crate::abi;
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::cell::{Cell, OnceCell};

/// What a process that is spawned with it may do and have: see [`Process::spawn_with`](crate::Process::spawn_with) and
/// [`Child::config`](crate::Child::config).
///
/// A new one grants the standard streams and nothing else, within the limits of the process that spawns with it. A process
/// can give its children at most what it has itself. One configuration may serve any number of processes; what is changed
/// later holds for those that are spawned later. A process can have spawned with some 4,000 of them that it has not dropped.
///
/// A clone, or one that has travelled in a message, grants the same (of what its new owner has), and counts what its
/// own processes use.
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
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct ProcessConfig {
    /// Begins with what the spawning process has, not with nothing.
    like_mine: bool,
    wishes: Vec<Wish>,
    /// What the runtime knows of it.
    #[serde(skip)]
    made: OnceCell<Made>,
}

/// One thing that is to be granted, limited or taken away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Wish {
    Limit(u32, u64),
    Overflow(Overflow),
    Right(Right, bool),
    Dir { path: String, name: String, access: DirAccess },
    Network(String),
    NoNetwork,
    Arg(String),
    Env(String, String),
}

/// A configuration of the runtime's.
#[derive(Debug)]
pub(crate) struct Made {
    /// Negative: there is none, as this process may not make any.
    id: i64,
    /// The first thing that was refused.
    refused: Option<String>,
}

/// Most configurations that the runtime keeps for a process.
const CONFIGS_MAX: u64 = 4096;

thread_local! {
    /// How many this process has made and not dropped, and how many it may have.
    static MADE: Cell<u64> = const { Cell::new(0) };
    static MOST: Cell<u64> = const { Cell::new(CONFIGS_MAX) };
}

/// What a process may do in a directory that it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirAccess {
    /// Look and read.
    ReadOnly,
    /// Everything that the giver may.
    ReadWrite,
}

/// What becomes of a message that finds a mailbox full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overflow {
    /// Its sender waits until there is room.
    Block = 0,
    /// It is dropped.
    Drop = 1,
    /// It is dropped, and the receiver ends.
    Kill = 2,
}

/// Something that a process may do, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    pub(crate) fn number(self) -> u32 {
        match self {
            Right::Spawn => 0,
            Right::Compile => 1,
            Right::Configs => 2,
            Right::Kill => 3,
            Right::Names => 4,
        }
    }
}

impl ProcessConfig {
    /// Grants the standard streams only.
    pub fn new() -> ProcessConfig {
        ProcessConfig::default()
    }

    /// Grants what the process has that spawns with it, to take something away from.
    ///
    /// ```no_run
    /// use lunatic::{ProcessConfig, Right};
    ///
    /// let config = ProcessConfig::like_mine().deny(Right::Spawn);
    /// ```
    pub fn like_mine() -> ProcessConfig {
        ProcessConfig { like_mine: true, ..ProcessConfig::default() }
    }

    /// Most bytes of memory. Beyond it, allocations fail.
    ///
    /// ```
    /// let config = lunatic::ProcessConfig::new().memory(16 << 20);
    /// ```
    pub fn memory(self, bytes: u64) -> ProcessConfig {
        self.limit(limit::MEMORY, bytes)
    }

    /// Fuel for all its life, in units of 100,000 instructions. A process that has used it up ends.
    ///
    /// ```
    /// let config = lunatic::ProcessConfig::new().fuel(1_000);
    /// ```
    pub fn fuel(self, units: u64) -> ProcessConfig {
        self.limit(limit::FUEL, units)
    }

    /// Most living children. A spawn beyond it is an error.
    ///
    /// ```
    /// use lunatic::{ProcessConfig, Right};
    ///
    /// let config = ProcessConfig::new().allow(Right::Spawn).children(8);
    /// ```
    pub fn children(self, count: u64) -> ProcessConfig {
        self.limit(limit::CHILDREN, count)
    }

    /// Most open resources: channels, sockets, configurations, … A process that opens one more ends.
    ///
    /// ```
    /// let config = lunatic::ProcessConfig::new().resources(100);
    /// ```
    pub fn resources(self, count: u64) -> ProcessConfig {
        self.limit(limit::RESOURCES, count)
    }

    /// Most bytes of a message that it writes.
    ///
    /// ```
    /// let config = lunatic::ProcessConfig::new().message(64 << 10);
    /// ```
    pub fn message(self, bytes: u64) -> ProcessConfig {
        self.limit(limit::MESSAGE, bytes)
    }

    /// Most open descriptors: files, directories, standard streams.
    ///
    /// ```
    /// let config = lunatic::ProcessConfig::new().descriptors(16);
    /// ```
    pub fn descriptors(self, count: u64) -> ProcessConfig {
        self.limit(limit::DESCRIPTORS, count)
    }

    /// Most bytes of the runtime's stack, between 16 KiB and 8 MiB. (The stack for Rust values is part of the memory.)
    ///
    /// ```
    /// let config = lunatic::ProcessConfig::new().stack(1 << 20);
    /// ```
    pub fn stack(self, bytes: u64) -> ProcessConfig {
        self.limit(limit::STACK, bytes)
    }

    /// Most messages that may wait for it, and what becomes of one more.
    ///
    /// ```
    /// use lunatic::{Overflow, ProcessConfig};
    ///
    /// let config = ProcessConfig::new().mailbox(1_000, Overflow::Drop);
    /// ```
    pub fn mailbox(self, messages: u64, overflow: Overflow) -> ProcessConfig {
        self.limit(limit::MAILBOX, messages).with(Wish::Overflow(overflow))
    }

    /// No more messages come while those that wait for it take so many bytes, each with an envelope of 96; what becomes
    /// of one more says [`mailbox`](ProcessConfig::mailbox), and if that was not called, its sender waits.
    pub fn mailbox_bytes(self, bytes: u64) -> ProcessConfig {
        self.limit(limit::MAILBOX_BYTES, bytes)
    }

    /// Allows something.
    ///
    /// ```
    /// use lunatic::{ProcessConfig, Right};
    ///
    /// let config = ProcessConfig::new().allow(Right::Spawn).allow(Right::Kill);
    /// ```
    pub fn allow(self, right: Right) -> ProcessConfig {
        self.with(Wish::Right(right, true))
    }

    /// Takes a right away.
    ///
    /// ```
    /// use lunatic::{ProcessConfig, Right};
    ///
    /// let config = ProcessConfig::like_mine().deny(Right::Compile);
    /// ```
    pub fn deny(self, right: Right) -> ProcessConfig {
        self.with(Wish::Right(right, false))
    }

    /// A directory: `path` as the process that spawns knows it, and the child will.
    ///
    /// ```
    /// use lunatic::{DirAccess, ProcessConfig};
    ///
    /// let config = ProcessConfig::new().dir("/data", DirAccess::ReadOnly);
    /// ```
    pub fn dir(self, path: &str, access: DirAccess) -> ProcessConfig {
        self.dir_as(path, path, access)
    }

    /// A directory: `path` as the process that spawns knows it, `name` as the child will.
    ///
    /// ```
    /// use lunatic::{DirAccess, ProcessConfig};
    ///
    /// let config = ProcessConfig::new().dir_as("/data/user-7", "/home", DirAccess::ReadWrite);
    /// ```
    pub fn dir_as(self, path: &str, name: &str, access: DirAccess) -> ProcessConfig {
        self.with(Wish::Dir { path: path.to_string(), name: name.to_string(), access })
    }

    /// Allows to connect to `HOST:PORT`: an address, a net (`10.0.0.0/8`), a name or `*`; a port, a range (`80-90`) or `*`.
    ///
    /// ```
    /// let config = lunatic::ProcessConfig::new().connect("db.local:5432");
    /// ```
    pub fn connect(self, to: &str) -> ProcessConfig {
        self.with(Wish::Network(format!("connect:{to}")))
    }

    /// Allows to listen at `HOST:PORT`, as for [`connect`](ProcessConfig::connect).
    ///
    /// ```
    /// let config = lunatic::ProcessConfig::new().listen("127.0.0.1:8080");
    /// ```
    pub fn listen(self, at: &str) -> ProcessConfig {
        self.with(Wish::Network(format!("listen:{at}")))
    }

    /// Allows what a rule says, as `lunatic run --allow-net` takes it.
    ///
    /// ```
    /// let config = lunatic::ProcessConfig::new().network("connect:10.0.0.0/8:*");
    /// ```
    pub fn network(self, rule: &str) -> ProcessConfig {
        self.with(Wish::Network(rule.to_string()))
    }

    /// Takes all that was allowed of the network away.
    ///
    /// ```
    /// let config = lunatic::ProcessConfig::like_mine().no_network();
    /// ```
    pub fn no_network(self) -> ProcessConfig {
        self.with(Wish::NoNetwork)
    }

    /// One more argument; the first is the program's name.
    ///
    /// ```
    /// let config = lunatic::ProcessConfig::new().arg("worker").arg("--verbose");
    /// ```
    pub fn arg(self, argument: &str) -> ProcessConfig {
        self.with(Wish::Arg(argument.to_string()))
    }

    /// An environment variable.
    ///
    /// ```
    /// let config = lunatic::ProcessConfig::new().env("HOME", "/home");
    /// ```
    pub fn env(self, key: &str, value: &str) -> ProcessConfig {
        self.with(Wish::Env(key.to_string(), value.to_string()))
    }

    /// What the processes that were spawned with it have used so far.
    ///
    /// ```no_run
    /// use lunatic::{Process, ProcessConfig};
    ///
    /// let config = ProcessConfig::new().fuel(1_000);
    /// Process::spawn_with(&config, (), |()| println!("some work")).unwrap();
    /// println!("{} of 1000 units", config.usage().fuel);
    /// ```
    pub fn usage(&self) -> Usage {
        let Some(id) = self.made.get().map(|made| made.id).filter(|&id| id >= 0) else {
            return Usage::default();
        };
        let used = |what| abi::config_usage(id, what);
        Usage {
            fuel: used(0),
            memory: used(1),
            memory_peak: used(2),
            spawned: used(3),
            alive: used(4),
        }
    }

    fn limit(self, limit: u32, value: u64) -> ProcessConfig {
        self.with(Wish::Limit(limit, value))
    }

    /// One wish more; the runtime is told at once if it knows of this configuration already.
    fn with(mut self, wish: Wish) -> ProcessConfig {
        if let Some(made) = self.made.get_mut() {
            made.grant(&wish);
        }
        self.wishes.push(wish);
        self
    }

    /// Its number in this process, if nothing of it was refused.
    pub(crate) fn id(&self) -> Result<i64, Error> {
        if self.made.get().is_none() {
            check_room()?;
        }
        self.made.get_or_init(|| Made::new(self.like_mine, &self.wishes)).granted().map(Made::id)
    }

    /// The same for one spawn: it is dropped with what this answers, and what its process uses is not counted.
    pub(crate) fn for_one_spawn(&self) -> Result<Made, Error> {
        check_room()?;
        let made = Made::new(self.like_mine, &self.wishes);
        made.granted()?;
        Ok(made)
    }

    /// Whether the runtime can keep one more for this process, and then has room for one that is not kept.
    pub(crate) fn one_more_can_be_kept() -> bool {
        MADE.get() + 1 < MOST.get()
    }
}

/// The runtime would end a process that makes too many.
fn check_room() -> Result<(), Error> {
    let (made, most) = (MADE.get(), MOST.get());
    if made < most {
        return Ok(());
    }
    let reason = format!(
        "this process has {made} configurations that it has spawned with, the most there can be; drop some of them, or \
         spawn with the same one again"
    );
    Err(Error::Config { reason })
}

impl Made {
    fn new(like_mine: bool, wishes: &[Wish]) -> Made {
        let id = if like_mine { abi::config_copy_own() } else { abi::config_create() };
        let refused =
            "this process may not make configurations; its parent, or `lunatic run`, decides that";
        let mut made = Made { id, refused: (id < 0).then(|| refused.to_string()) };
        if id >= 0 && MADE.replace(MADE.get() + 1) == 0 {
            // Nobody has lowered this yet: it is the process's own limit.
            MOST.set(abi::config_limit(id, limit::RESOURCES).min(CONFIGS_MAX));
        }
        wishes.iter().for_each(|wish| made.grant(wish));
        made
    }

    pub(crate) fn id(&self) -> i64 {
        self.id
    }

    fn granted(&self) -> Result<&Made, Error> {
        match &self.refused {
            Some(reason) => Err(Error::Config { reason: reason.clone() }),
            None => Ok(self),
        }
    }

    /// Tells the runtime a wish, unless it has refused one before.
    fn grant(&mut self, wish: &Wish) {
        if self.refused.is_none() {
            self.refused = grant(self.id, wish).err();
        }
    }
}

fn grant(id: i64, wish: &Wish) -> Result<(), String> {
    match wish {
        Wish::Limit(limit, value) => abi::config_set_limit(id, *limit, *value)?,
        Wish::Overflow(overflow) => abi::config_set_overflow(id, *overflow as u32),
        Wish::Right(right, has) => abi::config_set_right(id, right.number(), *has)?,
        Wish::Dir { path, name, access } => {
            abi::config_add_dir(id, path, name, *access == DirAccess::ReadWrite)?;
        }
        Wish::Network(rule) => abi::config_add_network_rule(id, rule)?,
        Wish::NoNetwork => abi::config_clear_network_rules(id),
        Wish::Arg(argument) => abi::config_add_arg(id, argument),
        Wish::Env(key, value) => abi::config_add_env(id, key, value),
    }
    Ok(())
}

impl Clone for ProcessConfig {
    fn clone(&self) -> ProcessConfig {
        let (like_mine, wishes) = (self.like_mine, self.wishes.clone());
        ProcessConfig { like_mine, wishes, made: OnceCell::new() }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.id >= 0 {
            abi::config_drop(self.id);
            MADE.set(MADE.get() - 1);
        }
    }
}
