//! What a process is given: arguments, environment, standard streams, rights, limits.
//!
//! A configuration is made by the command line, for the main process, or by a process for its
//! children (`api/config.rs`): then it is at most what that process has itself, which is checked
//! whenever something is set. A process keeps the one that it was spawned with, whatever becomes of the
//! number by which its parent knew it.

mod limits;
mod network;
mod right;
mod usage;
mod weight;

use std::ops::Deref;
use std::sync::Arc;

use lunatic_engine::MEMORY_BYTES_MAX;
use lunatic_scheduler::{Bounds, MailboxLimit};

use crate::fs::DirGrant;
use crate::kept::Kept;
use crate::net::ListenGrant;
use crate::stdio::Stdio;

pub(crate) use limits::STACK_BYTES_MAX;
pub use limits::{Limit, Overflow};
pub(crate) use network::Resolved;
pub use network::{NetworkRule, NetworkRules, RuleError};
pub use right::Right;
pub(crate) use usage::{Told, Usage, Used};
use weight::Weight;

/// What a process of an operating system usually has.
const DESCRIPTORS_MAX: usize = 1024;

/// By feel.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// What a text of a configuration takes besides itself.
pub(crate) const TEXT_BYTES: usize = 32;
/// The same of a directory, which is open.
const DIR_BYTES: usize = 256;

/// By feel: more is a leak, and would be some hundred megabytes.
const RESOURCES_MAX: usize = 1_000_000;

/// Rights and limits of a process; its children share them unless told otherwise.
///
/// A new configuration grants nothing but the standard streams it is made with.
#[derive(Debug, Clone)]
pub struct ProcessConfig {
    /// Command-line arguments, the program's name first: any bytes but zero. Default: none.
    pub args: Vec<Vec<u8>>,
    /// Environment variables, also any bytes but zero. Default: none.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// Directories, which get the descriptors from 3 on. Default: none.
    pub dirs: Vec<DirGrant>,
    /// Listening sockets, which get the descriptors behind the directories. Default: none.
    pub listeners: Vec<ListenGrant>,
    /// Where standard input, output and error lead.
    pub stdio: Stdio,
    /// Where it may listen and connect. Default: nowhere.
    pub network: NetworkRules,
    /// Whether it may spawn processes. Default: no.
    pub can_spawn_processes: bool,
    /// Whether it may compile modules. Default: no.
    pub can_compile_modules: bool,
    /// Whether it may make configurations for its children. Default: no.
    pub can_create_configs: bool,
    /// Whether it may kill other processes than itself. Default: no.
    pub can_kill_processes: bool,
    /// Whether it may give names to processes, and take them away. Default: no.
    pub can_name_processes: bool,
    /// Most bytes of linear memory. Default: 4 GiB.
    pub memory_bytes_max: usize,
    /// Most fuel that it may use, in units of [`FUEL_REDUCTIONS`](Self::FUEL_REDUCTIONS). Default:
    /// any amount.
    pub fuel_max: Option<u64>,
    /// Most living processes that it has spawned. Default: any number.
    pub children_max: Option<usize>,
    /// Most bytes of its stack, 8 MiB at most. Default: 8 MiB for the main process, about 120 KiB for
    /// others.
    pub stack_bytes_max: Option<usize>,
    /// Most messages that may wait for it. Default: any number.
    pub mailbox_max: Option<u32>,
    /// No more messages come while those that wait for it take so many bytes. Default: any number.
    pub mailbox_bytes_max: Option<u64>,
    /// What becomes of one more. Default: its sender waits.
    pub mailbox_overflow: Overflow,
    /// Most bytes of a message, 4 GiB at most; the guest is told that a longer one is too large.
    /// Default: 64 MiB.
    pub message_bytes_max: usize,
    /// Most descriptors that are open at once, those above among them; one more is answered with
    /// error 33 (`mfile`). Default: 1024.
    pub descriptors_max: usize,
    /// Most resources (channels, sockets, timers, modules, configurations, …) that are open at once.
    /// Default: 1,000,000.
    pub resources_max: usize,
    /// Where its processes tell what they use, if a process has made it.
    pub(crate) usage: Option<Arc<Usage>>,
    weight: Weight,
}

impl ProcessConfig {
    /// What a unit of fuel is: about so many WebAssembly instructions, as in Lunatic 0.13.
    pub const FUEL_REDUCTIONS: u64 = 100_000;

    /// Grants the standard streams only.
    #[must_use]
    pub fn new(stdio: Stdio) -> Self {
        Self {
            args: Vec::new(),
            env: Vec::new(),
            dirs: Vec::new(),
            listeners: Vec::new(),
            stdio,
            network: NetworkRules::default(),
            can_spawn_processes: false,
            can_compile_modules: false,
            can_create_configs: false,
            can_kill_processes: false,
            can_name_processes: false,
            memory_bytes_max: MEMORY_BYTES_MAX,
            fuel_max: None,
            children_max: None,
            stack_bytes_max: None,
            mailbox_max: None,
            mailbox_bytes_max: None,
            mailbox_overflow: Overflow::Block,
            message_bytes_max: MESSAGE_BYTES_MAX,
            descriptors_max: DESCRIPTORS_MAX,
            resources_max: RESOURCES_MAX,
            usage: None,
            weight: Weight::default(),
        }
    }

    /// What the scheduler sees to.
    pub(crate) fn bounds(&self) -> Bounds {
        let mark = self.mailbox_overflow as u8;
        let mailbox = (self.mailbox_max.is_some() || self.mailbox_bytes_max.is_some()).then(|| {
            let messages = self.mailbox_max.unwrap_or(MailboxLimit::MOST);
            MailboxLimit { messages, bytes: self.mailbox_bytes_max, mark }
        });
        Bounds { mailbox, stack_bytes: self.stack_bytes_max, watched: false }
    }

    /// For a child of a process with this configuration: nothing but the standard streams, within
    /// the same limits.
    pub(crate) fn nothing_for_child(&self) -> Self {
        Self {
            memory_bytes_max: self.memory_bytes_max,
            fuel_max: self.fuel_max,
            children_max: self.children_max,
            stack_bytes_max: self.stack_bytes_max,
            mailbox_max: self.mailbox_max,
            mailbox_bytes_max: self.mailbox_bytes_max,
            mailbox_overflow: self.mailbox_overflow,
            message_bytes_max: self.message_bytes_max,
            descriptors_max: self.descriptors_max,
            resources_max: self.resources_max,
            usage: Some(Arc::default()),
            ..Self::new(self.stdio.clone())
        }
    }

    /// Has it count as held by the host, with what it takes now.
    pub(crate) fn weigh(&mut self) {
        let args = self.args.iter().map(|arg| arg.len() + TEXT_BYTES);
        let env = self.env.iter().map(|(key, value)| key.len() + value.len() + 2 * TEXT_BYTES);
        let dirs = self.dirs.iter().map(|dir| dir.name.len() + DIR_BYTES);
        let texts: usize = args.chain(env).chain(dirs).sum();
        self.weight.set(size_of::<Self>() + texts + self.network.bytes());
    }

    /// What it counts as.
    pub(crate) fn bytes(&self) -> usize {
        self.weight.bytes()
    }

    /// For a child of a process with this configuration: the same.
    pub(crate) fn same_for_child(&self) -> Self {
        Self { usage: Some(Arc::default()), ..self.clone() }
    }
}

/// A process's configuration.
#[derive(Clone)]
pub(crate) enum ConfigRef {
    /// The main process's, which all inherit that were not given another.
    Main(Kept<ProcessConfig>),
    /// One that was made for it.
    Own(Arc<ProcessConfig>),
}

impl ConfigRef {
    /// What the process holds by it: its parent may have dropped it.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Main(_) => 0,
            Self::Own(config) => config.bytes(),
        }
    }
}

impl Deref for ConfigRef {
    type Target = ProcessConfig;
    fn deref(&self) -> &ProcessConfig {
        match self {
            Self::Main(config) => config,
            Self::Own(config) => config,
        }
    }
}
