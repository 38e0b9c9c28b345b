//! `lunatic::channel`: channels between processes.

use std::collections::HashMap;
use std::collections::hash_map::IntoValues;
use std::sync::Arc;
use std::task::Poll;

use lunatic_scheduler::Worker;
use lunatic_scheduler::channel::{Channel, TryReceive, TrySend, Waiting};

use super::message::TIMEOUT;
use crate::bind::{Call, Fault, host_functions};
use crate::held::{self, RESOURCE_BYTES};
use crate::kept::Kept;
use crate::message::{Mail, Message};
use crate::node::NodeInner;
use crate::process::ProcessState;
use crate::reaper::{self, Lost};
use crate::stats::Own;

/// The channel is closed: nobody will ever take the other side.
const CLOSED: u32 = 1;

/// The channels that a process holds. A handle is a number of this process: it says nothing to
/// another.
#[derive(Default)]
pub(crate) struct ChannelTable {
    handles: Option<Box<Handles>>,
    /// What is left of them after the process has ended.
    closing: Option<Box<Closing>>,
}

struct Closing {
    handles: IntoValues<u64, Channel<Mail>>,
    counts: HashMap<usize, usize>,
}

#[derive(Default)]
struct Handles {
    by_handle: HashMap<u64, Channel<Mail>>,
    /// Handles of each channel, by its id: the process counts once, however many it has.
    counts: HashMap<usize, usize>,
    next: u64,
}

impl ChannelTable {
    pub(super) fn get(&self, handle: u64) -> Result<&Channel<Mail>, Fault> {
        self.handles
            .as_ref()
            .and_then(|handles| handles.by_handle.get(&handle))
            .ok_or_else(|| unknown(handle))
    }

    /// A handle of a channel that came from elsewhere.
    pub(super) fn add(&mut self, channel: &Channel<Mail>, max: usize) -> Result<u64, Fault> {
        self.insert(channel.clone(), max, Channel::add_holder)
    }

    /// A handle of a channel that this process just made, and which counts it already.
    fn add_new(&mut self, channel: Channel<Mail>, max: usize) -> Result<u64, Fault> {
        self.insert(channel, max, |_| {})
    }

    fn insert(
        &mut self,
        channel: Channel<Mail>,
        max: usize,
        count_holder: impl FnOnce(&Channel<Mail>),
    ) -> Result<u64, Fault> {
        let handles = self.handles.get_or_insert_default();
        if handles.by_handle.len() >= max {
            return Err(Fault::new(format!(
                "the process holds {max} channel handles, its limit of resources (--max-resources); \
                 close some"
            )));
        }
        let count = handles.counts.entry(channel.id()).or_default();
        *count += 1;
        if *count == 1 {
            count_holder(&channel);
        }
        let handle = handles.next;
        handles.next += 1;
        handles.by_handle.insert(handle, channel);
        held::add(RESOURCE_BYTES);
        Ok(handle)
    }

    fn remove(
        &mut self,
        handle: u64,
        worker: &Worker<'_, ProcessState>,
        node: Kept<Arc<NodeInner>>,
    ) -> Result<(), Fault> {
        let handles = self.handles.as_mut().ok_or_else(|| unknown(handle))?;
        let channel = handles.by_handle.remove(&handle).ok_or_else(|| unknown(handle))?;
        held::sub(RESOURCE_BYTES);
        let count = handles.counts.get_mut(&channel.id()).expect("each handle is counted");
        *count -= 1;
        if *count == 0 {
            handles.counts.remove(&channel.id());
            release(channel, worker, node);
        }
        Ok(())
    }

    /// How many handles there are.
    pub(crate) fn open(&self) -> usize {
        self.handles.as_ref().map_or(0, |handles| handles.by_handle.len())
    }

    /// The process has ended: closes so many handles. Whether there are more.
    pub(crate) fn close_some(
        &mut self,
        worker: &Worker<'_, ProcessState>,
        node: Kept<Arc<NodeInner>>,
        most: usize,
    ) -> bool {
        if let Some(handles) = self.handles.take() {
            let Handles { by_handle, counts, .. } = *handles;
            self.closing = Some(Box::new(Closing { handles: by_handle.into_values(), counts }));
        }
        let Some(closing) = &mut self.closing else { return false };
        for channel in closing.handles.by_ref().take(most) {
            held::sub(RESOURCE_BYTES);
            if closing.counts.remove(&channel.id()).is_some() {
                release(channel, worker, node);
            }
        }
        closing.handles.len() > 0
    }
}

/// A process has the channel no longer.
fn release(channel: Channel<Mail>, worker: &Worker<'_, ProcessState>, node: Kept<Arc<NodeInner>>) {
    if channel.remove_holder(worker) {
        reaper::give_up(Lost::Rest(channel), node);
    }
}

fn unknown(handle: u64) -> Fault {
    Fault::new(format!("the process holds no channel with handle {handle}"))
}

host_functions! {
    /// Channels: queues of messages with any number of senders and receivers. A handle belongs to
    /// one process; `lunatic::message::push_channel` sends a channel to others. A channel is closed
    /// when nobody can ever take the other side of it again; what it still holds can be received.
    pub(crate) MODULE: "lunatic::channel";

    /// Makes a channel that holds at most `bound` messages (0: any number). Answers a handle.
    fn open(call, bound: u64) -> Result<u64, Fault> {
        let bound = usize::try_from(bound).unwrap_or(usize::MAX);
        let max = call.state.config.resources_max;
        let handle = call.state.channels.add_new(Channel::new(bound), max);
        call.state.tell_held();
        handle
    }

    /// Another handle of the same channel. Traps if the handle is unknown.
    fn clone_handle(call, channel: u64) -> Result<u64, Fault> {
        let channel = call.state.channels.get(channel)?.clone();
        let max = call.state.config.resources_max;
        let handle = call.state.channels.add(&channel, max);
        call.state.tell_held();
        handle
    }

    /// Gives up a handle. Traps if it is unknown.
    fn close(call, channel: u64) -> Result<(), Fault> {
        call.state.channels.remove(channel, call.worker, call.state.node)?;
        call.state.tell_held();
        Ok(())
    }

    /// Sends the current message (see `lunatic::message`), waiting up to `timeout` milliseconds
    /// (`u64::MAX`: without limit, 0: not at all) while the channel is full. 0: sent. 1: closed, as
    /// nobody can ever receive. 9027: the time has passed. Unless it was sent, the message stays
    /// current.
    [short] fn send(call, channel: u64, timeout: u64) -> Poll<Result<u32, Fault>> {
        match send_message(call, |state| state.channels.get(channel).cloned(), timeout) {
            Ok(Some(status)) => Poll::Ready(Ok(status)),
            Ok(None) => Poll::Pending,
            Err(fault) => Poll::Ready(Err(fault)),
        }
    }

    /// Receives a message and makes it current, waiting up to `timeout` milliseconds (`u64::MAX`:
    /// without limit, 0: not at all). 0: there it is. 1: closed and empty, as nobody can ever send.
    /// 9027: the time has passed.
    [short] fn receive(call, channel: u64, timeout: u64) -> Poll<Result<u32, Fault>> {
        match receive_message(call, |state| state.channels.get(channel).cloned(), timeout) {
            Ok(Some(status)) => Poll::Ready(Ok(status)),
            Ok(None) => Poll::Pending,
            Err(fault) => Poll::Ready(Err(fault)),
        }
    }
}

/// The place in the channel's book that this call has, or a new one in the channel that `find` says.
/// While a call waits it is kept in the process's state, so that its death gives it up.
fn take_place(
    call: &mut Call<'_, '_>,
    find: impl FnOnce(&ProcessState) -> Result<Channel<Mail>, Fault>,
) -> Result<(Channel<Mail>, Waiting), Fault> {
    match call.state.wait.channel.take() {
        Some(place) => Ok(place),
        None => Ok((find(call.state)?, Waiting::default())),
    }
}

/// Sends the current message: a status, or `None` while it waits.
pub(super) fn send_message(
    call: &mut Call<'_, '_>,
    find: impl FnOnce(&ProcessState) -> Result<Channel<Mail>, Fault>,
    timeout: u64,
) -> Result<Option<u32>, Fault> {
    let waits = call.state.wait.channel.is_some();
    let (channel, mut waiting) = take_place(call, find)?;
    let message = call.state.take_scratch()?;
    let bytes = message.bytes() as u64;
    let sample = call.worker.sample(&message);
    // What is attached takes bytes, too.
    let mut inside = 0;
    if bytes > 0 {
        channel.add_bytes(bytes);
        inside = message.transits_of(&channel);
        if inside > 0 {
            channel.add_inside(inside);
        }
    }
    let timed_out = call.timed_out(timeout);
    let result = if timed_out || !waits {
        if waits {
            channel.unregister(call.worker, &mut waiting);
        }
        channel.try_send(call.worker, message)
    } else {
        Err(TrySend::Full(message))
    };
    let result = match result {
        Err(TrySend::Full(message)) if !timed_out => {
            let (pid, wait) = (call.state.pid(), call.channel_wait());
            channel.send_or_register(call.worker, pid, wait, &mut waiting, message)
        }
        other => other,
    };
    if bytes > 0 && result.is_err() {
        channel.remove_bytes(bytes);
        if inside > 0 {
            channel.remove_inside(inside);
        }
    }
    match result {
        Ok(()) => {
            call.worker.count(Own::ChannelSent as usize);
            if sample > 0 {
                call.state.node.large_channels.note(&channel, call.state.branch().as_u64());
            }
            Ok(Some(0))
        }
        Err(TrySend::Closed(message)) => {
            call.state.scratch = Some(message);
            Ok(Some(CLOSED))
        }
        Err(TrySend::Full(message)) => {
            call.state.scratch = Some(message);
            if timed_out {
                return Ok(Some(TIMEOUT));
            }
            call.state.wait.channel = Some((channel, waiting));
            call.wake_at_deadline();
            Ok(None)
        }
    }
}

/// Takes note that a message is no longer in a channel, of which it may carry the channel itself.
fn note_taken_out(channel: &Channel<Mail>, message: &Message) {
    let inside = message.transits_of(channel);
    if inside > 0 {
        channel.remove_inside(inside);
    }
}

/// Receives a message, which becomes the current one: a status, or `None` while it waits.
pub(super) fn receive_message(
    call: &mut Call<'_, '_>,
    find: impl FnOnce(&ProcessState) -> Result<Channel<Mail>, Fault>,
    timeout: u64,
) -> Result<Option<u32>, Fault> {
    let waits = call.state.wait.channel.is_some();
    let (channel, mut waiting) = take_place(call, find)?;
    let timed_out = call.timed_out(timeout);
    let result = if timed_out || !waits {
        if waits {
            channel.unregister(call.worker, &mut waiting);
        }
        channel.try_receive(call.worker)
    } else {
        Err(TryReceive::Empty)
    };
    let result = match result {
        Err(TryReceive::Empty) if !timed_out => {
            let (pid, wait) = (call.state.pid(), call.channel_wait());
            channel.receive_or_register(call.worker, pid, wait, &mut waiting)
        }
        other => other,
    };
    match result {
        Ok(message) => {
            call.worker.count(Own::ChannelReceived as usize);
            let bytes = message.bytes() as u64;
            if bytes > 0 {
                channel.remove_bytes(bytes);
                note_taken_out(&channel, &message);
            }
            if let Some(old) = call.state.set_scratch(message) {
                Message::discard(old, call.worker);
            }
            Ok(Some(0))
        }
        Err(TryReceive::Closed) => Ok(Some(CLOSED)),
        Err(TryReceive::Empty) if timed_out => Ok(Some(TIMEOUT)),
        Err(TryReceive::Empty) => {
            call.state.wait.channel = Some((channel, waiting));
            call.wake_at_deadline();
            Ok(None)
        }
    }
}
