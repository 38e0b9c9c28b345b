//! The warden: when guests have the host hold too much, it finds out whose doing that is.
//!
//! A thread for the whole program, which sleeps until `held.rs` wakes it. When more is held than may
//! be, and again whenever that has become more still, it does one of these:
//! 1. It drops delayed messages whose senders have ended.
//! 2. It looks for whoever holds most: a process, with what waits in its mailbox and what the runtime
//!    keeps for it otherwise; or a channel.
//!    - A channel is closed and emptied: whoever uses it is told that it is closed.
//!    - A process whose mailbox was filled by one other, more than by all others together, is not to
//!      blame: that other is ended. Unless it has ended before.
//!    - If it was filled so by several of one branch, and is of another itself, all of that branch who
//!      live are ended: by however many hands a child of the main process floods it, in turn or at once.
//!    - Any other process is ended itself.
//!
//! **Who cannot become a victim**: who holds little, as only the largest is ended. Who sends little to
//! many, or to a process that others flood. A server that one process floods: the other is ended, and
//! nobody else unless even more is held then. Several of different branches, or of its own, that flood
//! together can bring down a process that takes messages from all without a limit; that is what a limit
//! of its mailbox is for, which makes them wait.
//!
//! What is held may go beyond the limit by what can be sent until a victim has ended: a search takes some
//! microseconds, or with a million processes a tenth of a second, and a process ends at its next
//! scheduling point.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

use lunatic_scheduler::channel::{Channel, TryReceive};
use lunatic_scheduler::{Holder, Pid};
use parking_lot::Mutex;

use crate::exit::{ExitReason, Shortage};
use crate::held;
use crate::holders::holders;
use crate::message::Mail;
use crate::node::{Held, NodeInner};

/// Between two looks at what is held, at first and later on.
const LOOK_EVERY: Duration = Duration::from_millis(1);
const LOOK_LATER: Duration = Duration::from_millis(10);
const LOOKS: u32 = 100;
/// It has become worse: this part of what may be held is held in addition, and at least so much more
/// than threads may add late.
const WORSE: u64 = 256;
const WORSE_BYTES_MIN: u64 = 4 << 20;
/// Who holds less is never to blame.
const BLAMED_BYTES_MIN: u64 = 64 * 1024;
/// A channel that holds more is noted.
const CHANNEL_NOTED_BYTES: u64 = 1 << 20;
/// What a message takes that has nothing on the heap.
pub(crate) const ENVELOPE_BYTES: usize = 96;

static THREAD: OnceLock<Thread> = OnceLock::new();
static NODES: Mutex<Vec<Weak<Held>>> = Mutex::new(Vec::new());

/// Has it look.
pub(crate) fn wake() {
    if let Some(thread) = THREAD.get() {
        thread.unpark();
    }
}

/// It minds this node from now on.
///
/// # Errors
/// When there is no thread to be had.
pub(crate) fn mind(node: &Arc<Held>) -> std::io::Result<()> {
    let mut nodes = NODES.lock();
    nodes.retain(|node| node.strong_count() > 0);
    nodes.push(Arc::downgrade(node));
    if THREAD.get().is_none() {
        let thread = thread::Builder::new().name("lunatic-warden".to_string()).spawn(serve)?;
        // Under the lock: nobody else sets it.
        let _first = THREAD.set(thread.thread().clone());
    }
    Ok(())
}

/// The nodes that there are, with what their messages refer to.
pub(crate) fn nodes() -> Vec<Arc<Held>> {
    NODES.lock().iter().filter_map(Weak::upgrade).collect()
}

fn serve() {
    loop {
        held::free_waiting();
        if held::is_too_much() {
            relieve();
        }
        thread::park();
    }
}

/// Ends one after the other until there is no longer too much.
fn relieve() {
    let mut ended: HashSet<Pid> = HashSet::new();
    while held::is_too_much() {
        let nodes = nodes();
        let orphans: usize = nodes.iter().map(|node| node.handle().drop_orphans()).sum();
        let mut victims = None;
        if orphans > 0 {
            tracing::debug!(
                "memory is short: {orphans} delayed messages of ended processes dropped"
            );
        } else {
            victims = act(&nodes, &mut ended);
        }
        wait_until_it_gets_worse(|| {
            victims.as_ref().is_some_and(|(node, pids): &(&NodeInner, Vec<Pid>)| {
                pids.iter().any(|pid| node.handle().exists(*pid))
            })
        });
    }
}

/// Counted from when the victim has ended.
fn wait_until_it_gets_worse(victim_lives: impl Fn() -> bool) {
    let worse = (held::max() / WORSE).max(WORSE_BYTES_MIN);
    let (mut least, mut looks, mut has_ended) = (held::total(), 0, false);
    while held::is_too_much() {
        thread::sleep(if looks < LOOKS { LOOK_EVERY } else { LOOK_LATER });
        held::free_waiting();
        looks += 1;
        let now = held::total();
        if !has_ended {
            has_ended = looks >= LOOKS || !victim_lives();
            least = now;
        } else if now > least + worse {
            return;
        }
        least = least.min(now);
    }
}

/// Ends whoever is to blame, if anybody is; the processes that end.
fn act<'a>(nodes: &'a [Arc<Held>], ended: &mut HashSet<Pid>) -> Option<(&'a NodeInner, Vec<Pid>)> {
    let process = nodes
        .iter()
        .flat_map(|node| holders(node).map(move |holder| (node, holder)))
        .filter(|(_, holder)| !ended.contains(&holder.pid))
        .max_by_key(|(_, holder)| held_by(holder));
    let channel = nodes
        .iter()
        .filter_map(|node| Some((node, node.large_channels.largest()?)))
        .max_by_key(|(_, channel)| bytes_in(channel));
    let held = process.as_ref().map_or(0, |(_, holder)| held_by(holder));
    if let Some((node, channel)) = channel
        && bytes_in(&channel) > held
    {
        empty(node, &channel);
        return None;
    }
    let (node, holder) = process.filter(|_| held >= BLAMED_BYTES_MIN)?;
    let limit = held::max();
    let (pids, of) = blame(node, &holder, ended);
    for &pid in &pids {
        node.ties.kill_from_outside(node.handle(), pid, ExitReason::OutOfMemory { of, limit });
    }
    ended.extend(&pids);
    Some((node, pids))
}

/// Whose doing it is that the host holds most for this process.
fn blame(node: &NodeInner, holder: &Holder, ended: &HashSet<Pid>) -> (Vec<Pid>, Shortage) {
    let (to, held) = (holder.pid, held_by(holder));
    let itself = (vec![to], Shortage::Host { held });
    if holder.mail_bytes <= held / 2 {
        return itself;
    }
    let flooder = holder
        .flooder
        .filter(|pid| *pid != to && !ended.contains(pid) && node.handle().exists(*pid));
    if let Some(flooder) = flooder {
        return (vec![flooder], Shortage::Flood { alone: true, to, held });
    }
    let Some(group) = holder.flooding_group.filter(|group| *group != holder.group) else {
        return itself;
    };
    let members: Vec<Pid> = node
        .handle()
        .holders()
        .filter(|member| member.group == group && !ended.contains(&member.pid))
        .map(|member| member.pid)
        .collect();
    if members.is_empty() {
        return itself;
    }
    (members, Shortage::Flood { alone: false, to, held })
}

fn held_by(holder: &Holder) -> u64 {
    holder.mail_bytes + holder.own_bytes
}

fn empty(node: &NodeInner, channel: &Channel<Mail>) {
    tracing::warn!(
        "a channel is closed and emptied: {} messages of about {} bytes wait in it, and the host may \
         hold {} bytes for all processes (--max-host-memory); give it a bound",
        channel.len(),
        bytes_in(channel),
        held::max()
    );
    channel.close(node.handle());
    loop {
        match channel.try_receive(node.handle()) {
            Ok(mail) => drop(mail),
            Err(TryReceive::Empty | TryReceive::Closed) => return,
        }
    }
}

/// What a channel's messages take.
pub(crate) fn bytes_in(channel: &Channel<Mail>) -> u64 {
    channel.bytes() + (channel.len() * ENVELOPE_BYTES) as u64
}

/// The channels of a node that hold much, or have.
#[derive(Debug, Default)]
pub(crate) struct LargeChannels(Mutex<Vec<Channel<Mail>>>);

impl LargeChannels {
    /// Notes the channel if it holds much.
    #[cold]
    pub(crate) fn note(&self, channel: &Channel<Mail>) {
        if bytes_in(channel) > CHANNEL_NOTED_BYTES && channel.mark(true) {
            self.0.lock().push(channel.clone());
        }
    }

    fn largest(&self) -> Option<Channel<Mail>> {
        let mut channels = self.0.lock();
        channels.retain(|channel| {
            let large = bytes_in(channel) > CHANNEL_NOTED_BYTES / 2 && !channel.is_closed();
            large || !channel.mark(false)
        });
        channels.iter().max_by_key(|channel| bytes_in(channel)).cloned()
    }
}
