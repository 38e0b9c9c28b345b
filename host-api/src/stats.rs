//! What a run has counted: the scheduler's counters and our own, in the words of the glossary.
//!
//! The scheduler knows four ways in which a body ends; who reads statistics wants to know how
//! *processes* end (a trap that a builtin raises is an exit to the scheduler). So the ends are
//! counted here once more, by their [`ExitReason`], in the counters that the scheduler keeps for
//! its program: plain loads and stores in the worker's own block.

use std::sync::Arc;

use lunatic_scheduler::{Counters, OWN_COUNTERS};

use crate::exit::ExitReason;
use crate::footprint;
use crate::metrics::Metric;
use crate::node::NodeInner;

/// The counters of ours, by their place in the scheduler's.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Own {
    Returned,
    Exited,
    Trapped,
    Killed,
    Linked,
    OutOfMemory,
    OutOfFuel,
    StackOverflow,
    MessageLimit,
    ShutDown,
    NotStarted,
    HostBug,
    ChannelSent,
    ChannelReceived,
    Yielded,
}

const _: () = assert!((Own::Yielded as usize) < OWN_COUNTERS);

impl Own {
    /// What an end counts as.
    pub(crate) fn end(reason: &ExitReason) -> Self {
        match reason {
            ExitReason::Returned => Self::Returned,
            ExitReason::Code(_) => Self::Exited,
            ExitReason::Trap { .. } | ExitReason::Fault { .. } => Self::Trapped,
            ExitReason::Killed { .. } => Self::Killed,
            ExitReason::Linked { .. } | ExitReason::NoProcess => Self::Linked,
            ExitReason::OutOfMemory { .. } => Self::OutOfMemory,
            ExitReason::OutOfFuel { .. } => Self::OutOfFuel,
            ExitReason::StackOverflow { .. } => Self::StackOverflow,
            ExitReason::MessageLimit { .. } => Self::MessageLimit,
            ExitReason::Shutdown => Self::ShutDown,
            ExitReason::Entry { .. } => Self::NotStarted,
            ExitReason::HostBug { .. } => Self::HostBug,
        }
    }
}

/// What one worker, or everybody, has counted.
///
/// When a run is over, each process that was spawned has ended in one of the ways, and each message
/// that a mailbox accepted was received or dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// Processes made.
    pub spawned: u64,
    /// Processes whose function returned.
    pub returned: u64,
    /// Processes that called `proc_exit`, as programs compiled from Rust do in the end.
    pub exited: u64,
    /// Processes that trapped, by themselves or by a fault in a host call.
    pub trapped: u64,
    /// Processes that were killed.
    pub killed: u64,
    /// Processes that died with a link.
    pub linked: u64,
    /// Processes that needed more memory than they may have, where no error could be answered.
    pub out_of_memory: u64,
    /// Processes that used up their fuel.
    pub out_of_fuel: u64,
    /// Processes whose calls went deeper than their stack.
    pub stack_overflows: u64,
    /// Processes that let more messages wait than they may.
    pub message_limits: u64,
    /// Processes that the end of the run ended.
    pub shut_down: u64,
    /// Processes whose entry was missing or of another type.
    pub not_started: u64,
    /// Processes that a bug in the runtime ended.
    pub host_bugs: u64,
    /// Messages accepted by a mailbox. (One that comes with a spawn is not sent: it is part of the
    /// process.)
    pub sent: u64,
    /// Messages that their mailbox's owner has taken.
    pub received: u64,
    /// Messages that were left in a mailbox when its process ended.
    pub dropped: u64,
    /// Messages to processes that did not exist.
    pub refused: u64,
    /// Messages accepted by a channel.
    pub channel_sent: u64,
    /// Messages taken out of a channel. The rest was in it when the channel ended.
    pub channel_received: u64,
    /// Times a process was put on a worker.
    pub switches: u64,
    /// Slices that were used up: the process had to make room for others.
    pub preempted: u64,
    /// Times a process made room for others by itself (`sched_yield`, `sleep_ms(0)`).
    pub yielded: u64,
    /// Batches of processes taken from another worker's queue.
    pub steals: u64,
    /// Times a worker went to sleep.
    pub parks: u64,
    /// Timers that fired.
    pub timers_fired: u64,
}

impl From<&Counters> for Tally {
    fn from(counters: &Counters) -> Self {
        let own = |which: Own| counters.own[which as usize];
        Self {
            spawned: counters.spawned,
            returned: own(Own::Returned),
            exited: own(Own::Exited),
            trapped: own(Own::Trapped),
            killed: own(Own::Killed),
            linked: own(Own::Linked),
            out_of_memory: own(Own::OutOfMemory),
            out_of_fuel: own(Own::OutOfFuel),
            stack_overflows: own(Own::StackOverflow),
            message_limits: own(Own::MessageLimit),
            shut_down: own(Own::ShutDown),
            not_started: own(Own::NotStarted),
            host_bugs: own(Own::HostBug),
            sent: counters.sent,
            received: counters.received,
            dropped: counters.dropped,
            refused: counters.refused,
            channel_sent: own(Own::ChannelSent),
            channel_received: own(Own::ChannelReceived),
            switches: counters.switches,
            preempted: counters.preempted,
            yielded: own(Own::Yielded),
            steals: counters.steals,
            parks: counters.parks,
            timers_fired: counters.timers_fired,
        }
    }
}

/// Memory of all processes of the program together, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TotalMemory {
    /// What there may be.
    pub limit: u64,
    /// The most that they had asked for at once: what memories and tables had grown by, and declared
    /// memories but for a part that is free.
    pub asked_peak: u64,
    /// The most that they were seen to take, stacks and page tables and what the host held included.
    pub taken_peak: u64,
    /// How often somebody was given no memory because all together had what they may have.
    pub refused: u64,
}

/// Everything that a run has counted.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Over all.
    pub total: Tally,
    /// Of each worker, in order.
    pub workers: Vec<Tally>,
    /// What no worker did: the main process is spawned by the thread that starts the run.
    pub others: Tally,
    /// The most processes that were alive at once, as far as it was seen: never too high, exact
    /// with one worker, else short of a few hundred at the very most.
    pub alive_peak: u64,
    /// What all processes of this program together take and may take.
    pub total_memory: TotalMemory,
    /// What the program measures about itself (`lunatic::metrics`): counters, gauges, histograms,
    /// each by name.
    pub metrics: Vec<(String, Metric)>,
}

/// Reads the counters of a run, during it and after its end. Keeps the run's memory mapped.
#[derive(Debug, Clone)]
pub struct Observer(pub(crate) Arc<NodeInner>);

impl Observer {
    /// The present numbers. While processes run they are of slightly different moments.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let handle = self.0.handle();
        let parties = handle.counters_by_party();
        let mut workers: Vec<Tally> = parties.iter().map(Tally::from).collect();
        let others = workers.pop().unwrap_or_default();
        Stats {
            total: Tally::from(&handle.counters()),
            workers,
            others,
            alive_peak: handle.alive_peak(),
            total_memory: TotalMemory {
                limit: footprint::room().limit(),
                asked_peak: footprint::room().peak(),
                taken_peak: footprint::peak(),
                refused: footprint::room().refused(),
            },
            metrics: self.0.metrics.all(),
        }
    }
}
