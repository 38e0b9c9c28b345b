//! The warden: when guests have the host hold too much, it finds out whose doing that is.
//!
//! A thread for the whole program, which sleeps until `held.rs` wakes it. When more is held than may
//! be, and again whenever that has become more still, it does one of these:
//! 1. It drops delayed messages whose senders have ended.
//! 2. It looks for whoever holds most: a process, with what waits in its mailbox and what the runtime
//!    keeps for it otherwise; or the channels that one branch has filled.
//!    - Channels are closed and emptied, the fullest first: whoever uses them is told that they are closed.
//!    - A process whose mailbox was filled by one other, more than by all others together, is not to
//!      blame: that other is ended. Unless it has ended before.
//!    - If it was filled so by several of one branch, and is of another itself, all of that branch who
//!      live are ended: by however many hands a child of the main process floods it, in turn or at once.
//!    - Any other process is ended itself.
//!
//!    If nobody holds a sixteenth of what may be held, it is a matter of many: then the branch is found that
//!    holds most, and of that those who hold most end, as many as it takes.
//!
//! **Who cannot become a victim**: who holds little, as only the largest is ended, and who is of another
//! branch than many who hold more together. A main process that holds less than twice as much as another, as
//! its end is everybody's. Who sends little to
//! many, or to a process that others flood. A server that one process floods: the other is ended, and
//! nobody else unless even more is held then. Several of different branches, or of its own, that flood
//! together can bring down a process that takes messages from all without a limit; that is what a limit
//! of its mailbox is for, which makes them wait.
//!
//! **What it cannot know** is whether mail was asked for: who asks for large answers and does not take them
//! brings down who answers, or its branch, if it answers by several. A server that gives large answers to
//! those whom it does not trust gives them by a channel with a bound.
//!
//! What is held may go beyond the limit by what can be sent until a victim has ended: a search takes some
//! microseconds, or with a million processes a tenth of a second, and a process ends at its next
//! scheduling point.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

use lunatic_scheduler::channel::Channel;
use lunatic_scheduler::{Holder, Pid};
use parking_lot::Mutex;

use crate::exit::{ExitReason, Shortage};
use crate::held;
use crate::holders::{FAIR_SHARE, holders};
use crate::large_channels::bytes_in;
use crate::message::Mail;
use crate::node::{Held, NodeInner, REPORTS_MAX};

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
/// What a message takes that has nothing on the heap.
pub(crate) const ENVELOPE_BYTES: usize = 96;

static THREAD: OnceLock<Thread> = OnceLock::new();
/// How often channels were closed; the first times are told.
static CLOSED: AtomicUsize = AtomicUsize::new(0);
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

/// By so much more has it become worse.
fn worse() -> u64 {
    (held::max() / WORSE).max(WORSE_BYTES_MIN)
}

/// Counted from when the victims have ended.
fn wait_until_it_gets_worse(victim_lives: impl Fn() -> bool) {
    let (mut least, mut looks, mut has_ended) = (held::total(), 0, false);
    while held::is_too_much() {
        thread::sleep(if looks < LOOKS { LOOK_EVERY } else { LOOK_LATER });
        held::free_waiting();
        looks += 1;
        let now = held::total();
        if !has_ended {
            has_ended = looks >= LOOKS || !victim_lives();
            least = now;
        } else if now > least + worse() {
            return;
        }
        least = least.min(now);
    }
}

/// Ends whoever is to blame, if anybody is; the processes that end.
fn act<'a>(nodes: &'a [Arc<Held>], ended: &mut HashSet<Pid>) -> Option<(&'a NodeInner, Vec<Pid>)> {
    let mut census = Census::default();
    for (number, node) in nodes.iter().enumerate() {
        holders(node)
            .filter(|holder| !ended.contains(&holder.pid))
            .for_each(|holder| census.count(number, node, holder));
    }
    let fair = held::max() / FAIR_SHARE;
    let alone = census.largest.take().filter(|(_, holder)| held_by(holder) >= fair);
    let groups = census.groups();
    let largest = groups.first().map_or(0, |(_, weight)| *weight);
    let most = if alone.is_some() { census.most } else { largest };
    let channels = nodes
        .iter()
        .filter_map(|node| Some((node, node.large_channels.fullest()?)))
        .max_by_key(|(_, (bytes, _))| *bytes);
    if let Some((node, (bytes, channels))) = channels
        && bytes > most
    {
        empty(node, &channels);
        return None;
    }
    let of_all = alone.is_some();
    let (node, blamed) = match alone {
        Some((number, holder)) => (&nodes[number], vec![holder]),
        None if largest < BLAMED_BYTES_MIN => return None,
        None => {
            let number = groups[0].0.0;
            (&nodes[number], members(&nodes[number], number, &groups, ended))
        }
    };
    let limit = held::max();
    let mut victims = Vec::new();
    for holder in &blamed {
        let (pids, of) = blame(node, (holder, of_all), ended);
        for pid in pids {
            node.ties.kill_from_outside(node.handle(), pid, ExitReason::OutOfMemory { of, limit });
            ended.insert(pid);
            victims.push(pid);
        }
    }
    Some((node, victims))
}

/// Who holds how much, of those who are no victims yet.
#[derive(Default)]
struct Census {
    /// The process that holds most, with its node's number, and how much that weighs.
    largest: Option<(usize, Holder)>,
    most: u64,
    /// What groups weigh, by node and group.
    groups: HashMap<(usize, u64), u64>,
}

impl Census {
    fn count(&mut self, number: usize, node: &NodeInner, holder: Holder) {
        let held = held_by(&holder);
        if held == 0 {
            return;
        }
        // Its end is everybody's.
        let weight = if node.is_main(holder.pid) { held / 2 } else { held };
        *self.groups.entry((number, holder.group)).or_default() += weight;
        if weight > self.most {
            (self.largest, self.most) = (Some((number, holder)), weight);
        }
    }

    /// The groups with what they weigh, those first that weigh most.
    fn groups(&self) -> Vec<((usize, u64), u64)> {
        let mut groups: Vec<_> =
            self.groups.iter().map(|(&group, &weight)| (group, weight)).collect();
        groups.sort_unstable_by_key(|group| std::cmp::Reverse(group.1));
        groups
    }
}

/// Those of the groups that weigh most, and of each those who hold most: so many that without them there
/// is not too much.
fn members(
    node: &NodeInner,
    number: usize,
    groups: &[((usize, u64), u64)],
    ended: &HashSet<Pid>,
) -> Vec<Holder> {
    let groups = groups.iter().filter(|((of, _), _)| *of == number);
    let weights = groups.clone().map(|(_, weight)| *weight);
    let ranks: HashMap<u64, usize> = groups
        .take(enough(weights))
        .enumerate()
        .map(|(rank, ((_, group), _))| (*group, rank))
        .collect();
    let mut members: Vec<(usize, Holder)> = holders(node)
        .filter(|member| held_by(member) > 0 && !ended.contains(&member.pid))
        .filter_map(|member| Some((*ranks.get(&member.group)?, member)))
        .collect();
    members.sort_by_key(|(rank, member)| (*rank, std::cmp::Reverse(held_by(member))));
    members.truncate(enough(members.iter().map(|(_, member)| held_by(member))));
    members.into_iter().map(|(_, member)| member).collect()
}

/// How many of these it takes, from the first on, until there is not too much.
fn enough(bytes: impl Iterator<Item = u64>) -> usize {
    let excess = held::total().saturating_sub(held::max()) + worse();
    let mut freed = 0;
    bytes
        .take_while(|bytes| {
            let before = freed;
            freed += bytes;
            before < excess
        })
        .count()
}

/// Whose doing it is that the host holds most for this process, of all or of a group.
fn blame(
    node: &NodeInner,
    (holder, of_all): (&Holder, bool),
    ended: &HashSet<Pid>,
) -> (Vec<Pid>, Shortage) {
    let (to, held) = (holder.pid, held_by(holder));
    let itself = (vec![to], Shortage::Host { of_all, held });
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

fn empty(node: &NodeInner, channels: &[Channel<Mail>]) {
    let channels = &channels[..enough(channels.iter().map(bytes_in))];
    let all = channels.iter().fold((0, 0), |(messages, bytes), channel| {
        (messages + channel.len(), bytes + bytes_in(channel))
    });
    report_closed(channels.len(), all);
    for channel in channels {
        channel.close(node.handle());
        while let Ok(mail) = channel.try_receive(node.handle()) {
            drop(mail);
        }
    }
}

fn report_closed(channels: usize, (messages, bytes): (usize, u64)) {
    let what = match channels {
        1 => "a channel is closed and emptied".to_string(),
        channels => format!("{channels} channels are closed and emptied"),
    };
    let text = format!(
        "{what}: {messages} messages of about {bytes} bytes wait there, and the host may hold {} bytes \
         for all processes (--max-host-memory); give channels a bound",
        held::max()
    );
    // Relaxed: a count.
    match CLOSED.fetch_add(1, Relaxed) {
        0..REPORTS_MAX => tracing::warn!("{text}"),
        _ => tracing::debug!("{text}"),
    }
}
