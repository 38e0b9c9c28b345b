//! `lunatic` of the crate 0.3.4 to 0.3.10: channels with senders and receivers, which travel as what
//! a message carries beside its bytes.

use std::task::Poll;

use super::ends::End;
use super::state::Seed;
use super::{current_len, join_child, receive, replace_current, spawn_child, write_message};
use crate::bind::{Call, Fault, host_functions};
use crate::memory::Ptr;
use crate::message::{Mail, Message, Resource};

/// The channel is closed, or there is no message.
const CLOSED: u32 = 1;

/// The receiver of what a process was spawned with.
const CONTEXT: u32 = 0;

/// Things that one message may carry.
const RESOURCES_MAX: usize = 10_000;

host_functions! {
    /// Of programs built with the crate `lunatic` 0.3.4 to 0.3.10 (`channel::unbounded`,
    /// `Process::spawn_with`). Handles are numbers of one process, from 1; an unknown one traps.
    /// Senders and receivers travel in messages: `sender_serialize` attaches one to the *next*
    /// message, `sender_deserialize` takes it from the *last* one received. A channel is closed when
    /// all its senders are gone, or all its receivers.
    pub(crate) MODULE: "lunatic";

    /// Makes a process that runs function `index` of the caller's table, which takes nothing. The
    /// context, with what was attached to the next message, is the first message of receiver 0 of
    /// the new process. Answers a handle. A place of the table that is empty, or of another type, is
    /// found out by the new process, which then ends at once. Traps if the process may not spawn, or
    /// there is no room.
    fn spawn_with_context(
        call, index: u32, context_ptr: Ptr, context_len: u32,
    ) -> Poll<Result<u32, Fault>> {
        spawn_child(call, index, (&[], &[]), |call| {
            let context = message(call, context_ptr, context_len)?;
            Ok(Seed { context: Some(context), ..Seed::default() })
        })
    }

    /// Waits for the end of a process and gives its handle up. 0: it returned, or exited with code
    /// 0. 1: it failed, or was cancelled.
    fn join(call, process: u32) -> Poll<Result<u32, Fault>> {
        join_child(call, process).map_ok(|well| u32::from(!well))
    }

    /// Gives up the handle of a process, which goes on.
    fn detach_process(call, process: u32) -> Result<(), Fault> {
        call.state.seed.get_or_insert_default().children.remove(process)?;
        call.state.tell_held();
        Ok(())
    }

    /// Ends a process, if it has not ended, and gives up its handle.
    fn cancel_process(call, process: u32) -> Result<(), Fault> {
        let child = call.state.seed.get_or_insert_default().children.remove(process)?;
        call.state.tell_held();
        call.worker.kill(child.pid);
        Ok(())
    }

    /// Makes a channel that holds at most `bound` messages (0: any number). Answers a sender; a
    /// receiver (u32) is at `receiver_ptr`.
    fn channel(call, bound: u32, receiver_ptr: Ptr) -> Result<u32, Fault> {
        call.memory.slice_mut(receiver_ptr, 4)?;
        let max = call.state.config.resources_max;
        let (sender, receiver) = End::pair(bound, call.state.node);
        let seed = call.state.seed.get_or_insert_default();
        let sender = seed.senders.add(sender, max)?;
        let receiver = seed.receivers.add(receiver, max)?;
        call.state.tell_held();
        call.memory.write_u32(receiver_ptr, receiver)?;
        Ok(sender)
    }

    /// Gives up a sender of this process. Traps if it is unknown.
    fn close_sender(call, sender: u32) -> Result<(), Fault> {
        call.state.seed.get_or_insert_default().senders.remove(sender)?;
        call.state.tell_held();
        Ok(())
    }

    /// Gives up a receiver of this process. 0 is that of the context. Traps if it is unknown.
    fn close_receiver(call, receiver: u32) -> Result<(), Fault> {
        let seed = call.state.seed.get_or_insert_default();
        if receiver == CONTEXT {
            if let Some(context) = seed.context.take() {
                Message::discard(context, call.worker);
            }
        } else {
            seed.receivers.remove(receiver)?;
        }
        call.state.tell_held();
        Ok(())
    }

    /// Sends bytes, with what was attached to the next message, waiting while the channel is full.
    /// 0: sent. 1: closed, as no receiver is left.
    fn channel_send(call, sender: u32, data_ptr: Ptr, data_len: u32) -> Poll<Result<u32, Fault>> {
        let message = |call: &mut Call<'_, '_>| Poll::Ready(message(call, data_ptr, data_len));
        let sender = |seed: &Seed| Ok(seed.senders.get(sender)?.channel());
        super::send(call, sender, message).map_ok(|sent| if sent { 0 } else { CLOSED })
    }

    /// Waits for a message and keeps it as the last one. 0: its length (u32) is at `len_ptr`. 1:
    /// closed and empty, as no sender is left.
    fn channel_receive_prepare(call, receiver: u32, len_ptr: Ptr) -> Poll<Result<u32, Fault>> {
        if let Err(fault) = call.memory.slice_mut(len_ptr, 4) {
            return Poll::Ready(Err(fault));
        }
        let received = if receiver == CONTEXT {
            Poll::Ready(Ok(receive_context(call)))
        } else {
            receive(call, |seed| Ok(seed.receivers.get(receiver)?.channel()))
        };
        received.map(|received| match received? {
            Some(len) => call.memory.write_u32(len_ptr, len).map(|()| 0),
            None => Ok(CLOSED),
        })
    }

    /// Copies the last message to `data_ptr`, as much of it as `data_len`. 0: done. 1: there is
    /// none.
    fn channel_receive(call, data_ptr: Ptr, data_len: u32) -> Result<u32, Fault> {
        let place = call.memory.slice_mut(data_ptr, data_len)?;
        let Some(mail) = call.state.scratch.as_deref() else { return Ok(CLOSED) };
        let bytes = mail.data.as_slice();
        let count = bytes.len().min(place.len());
        place[..count].copy_from_slice(&bytes[..count]);
        Ok(0)
    }

    /// Drops the last message, and what was not taken from it.
    fn drop_last_message(call) -> Result<(), Fault> {
        replace_current(call, None);
        Ok(())
    }

    /// Attaches a sender to the next message; the process keeps its own. Answers the place of the
    /// attachment.
    fn sender_serialize(call, sender: u32) -> Result<u32, Fault> {
        let seed = call.state.seed.get_or_insert_default();
        let sender = seed.senders.get(sender)?.another();
        attach(call, Resource::Sender(sender))
    }

    /// Takes a sender from the last message. Traps if there is none at this place.
    fn sender_deserialize(call, place: u32) -> Result<u32, Fault> {
        let max = call.state.config.resources_max;
        match take(call, place) {
            Some(Resource::Sender(end)) => {
                let added = call.state.seed.get_or_insert_default().senders.add(end, max);
                call.state.tell_held();
                added
            }
            _ => Err(Fault::new(format!("the last message has no sender at {place}"))),
        }
    }

    /// Attaches a receiver to the next message; the process keeps its own.
    fn receiver_serialize(call, receiver: u32) -> Result<u32, Fault> {
        let seed = call.state.seed.get_or_insert_default();
        let receiver = seed.receivers.get(receiver)?.another();
        attach(call, Resource::Receiver(receiver))
    }

    /// Takes a receiver from the last message. Traps if there is none at this place.
    fn receiver_deserialize(call, place: u32) -> Result<u32, Fault> {
        let max = call.state.config.resources_max;
        match take(call, place) {
            Some(Resource::Receiver(end)) => {
                let added = call.state.seed.get_or_insert_default().receivers.add(end, max);
                call.state.tell_held();
                added
            }
            _ => Err(Fault::new(format!("the last message has no receiver at {place}"))),
        }
    }
}

/// A message of these bytes and what was attached.
fn message(call: &mut Call<'_, '_>, at: Ptr, len: u32) -> Result<Mail, Fault> {
    let bytes = call.memory.slice(at, len)?;
    let seed = call.state.seed.get_or_insert_default();
    let resources = std::mem::take(&mut seed.pending);
    write_message(call, bytes, resources)
}

/// The first message of the receiver that every process is born with, and its only one.
fn receive_context(call: &mut Call<'_, '_>) -> Option<u32> {
    let context = call.state.seed.as_mut().and_then(|seed| seed.context.take())?;
    replace_current(call, Some(context));
    Some(current_len(call))
}

/// Attaches something to the next message; its place there.
pub(super) fn attach(call: &mut Call<'_, '_>, resource: Resource) -> Result<u32, Fault> {
    // Each is a resource of the process's own, be the handle closed, until the message is sent.
    let max = RESOURCES_MAX.min(call.state.config.resources_max);
    let seed = call.state.seed.get_or_insert_default();
    if seed.pending.len() >= max {
        return Err(Fault::new(format!(
            "a message of this process carries at most {max} resources"
        )));
    }
    seed.pending.push(resource);
    let place = seed.pending.len() as u32 - 1;
    call.state.tell_held();
    Ok(place)
}

/// Takes what was attached at this place out of the last message.
pub(super) fn take(call: &mut Call<'_, '_>, place: u32) -> Option<Resource> {
    let mail = call.state.scratch.as_deref_mut()?;
    mail.resource_at(u64::from(place))?.take()
}
