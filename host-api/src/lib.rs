//! What a guest may import, and the process that joins a fiber with an instance.
//!
//! Read in this order: `node` (what all processes of a run share), `process` (one process: the
//! scheduler's program, the engine's owner of an instance), `bind` (how a Rust function becomes an
//! import), `memory` (checked access to a guest's memory), then one file for each interface under
//! `api/`. `message` and `exit` are what processes exchange and how they end, `ties` and `registry` whom
//! that concerns; `stdio`, `fs`, `net` and `sql` are the world outside, `ready` waits for it.
//!
//! A host function borrows its process for one call on the worker's own stack. One that must wait
//! is a poll: it answers `Poll::Pending` after it has registered for what it waits for, and is
//! called again with the same arguments when the process is woken. Nothing is held in between but
//! what the process's state says.

mod account;
mod api;
mod bind;
mod config;
mod exit;
mod footprint;
mod forms;
mod fs;
mod guest_type;
mod held;
mod holders;
mod jobs;
mod kept;
mod large_channels;
mod memories;
mod memory;
mod message;
mod metrics;
mod modules;
mod net;
mod node;
mod os;
mod payload;
mod process;
mod profile;
mod queue;
mod ready;
mod reaper;
mod reentry;
mod registry;
mod resources;
mod rights;
mod sql;
mod stats;
mod stdio;
mod ties;
mod warden;

#[cfg(test)]
mod host_bug_tests;

pub use api::{HostModule, functions, modules};
pub use bind::{FunctionDoc, Parameter};
pub use config::{Limit, NetworkRule, NetworkRules, Overflow, ProcessConfig, Right, RuleError};
pub use exit::{Cause, ExitReason, Shortage};
pub use fs::{DirAccess, DirGrant, raise_open_files_limit};
pub use guest_type::{Meaning, Pointee};
pub use memories::Memories;
pub use metrics::{Metric, Summary};
pub use net::ListenGrant;
pub use node::{Node, NodeBuilder, Preempt, RunError, Stopper};
pub use profile::Profiler;
pub use stats::{Observer, Stats, Tally, TotalMemory};
pub use stdio::{Captured, Stdin, Stdio, StdioSink};
