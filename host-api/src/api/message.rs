//! `lunatic::message`: writing, sending, receiving and reading messages.

use std::task::Poll;

use lunatic_scheduler::Pid;

use crate::bind::{Call, Fault, host_functions};
use crate::memory::Ptr;
use crate::message::{Mail, Message, Resource, Transit};
use crate::process::ProcessState;

/// A wait ended because its time was over.
pub(super) const TIMEOUT: u32 = 9027;

/// Tags that one `receive` may wait for.
const TAGS_MAX: u32 = 1024;

/// Resources that one message may carry.
const RESOURCES_MAX: usize = 10_000;

impl ProcessState {
    /// The scratch message, which most functions here are about.
    pub(super) fn scratch(&mut self) -> Result<&mut Message, Fault> {
        self.scratch.as_deref_mut().ok_or_else(|| {
            Fault::new("the process has no current message; create or receive one first")
        })
    }
}

host_functions! {
    /// Messages are bytes with a tag, and resources. Each process has *one* current message (the
    /// scratch area): `create_data` replaces it, sending consumes it, receiving fills it. All other
    /// functions act on it and trap if there is none.
    pub(crate) MODULE: "lunatic::message";

    /// Makes an empty message current. `tag` 0 means none. `capacity` is a hint and allocates
    /// nothing beyond the largest message.
    [short] fn create_data(call, tag: i64, capacity: u64) -> Result<(), Fault> {
        let limit = call.state.node.message_bytes_max;
        let mut message = match call.state.scratch.take() {
            Some(mut used) => {
                used.clear();
                used
            }
            None => Message::envelope(call.worker),
        };
        message.tag = tag;
        // A hint of the guest's: honoured up to a size that costs nothing to be wrong about.
        let hint = usize::try_from(capacity).unwrap_or(usize::MAX).min(limit).min(64 * 1024);
        message.data.expect_total(hint)?;
        call.state.scratch = Some(message);
        Ok(())
    }

    /// Appends bytes to the message. Answers how many: all of them, or fewer when the message has
    /// reached the largest size (`--max-message`).
    [short] fn write_data(call, data_ptr: Ptr, data_len: u32) -> Result<u32, Fault> {
        let limit = call.state.node.message_bytes_max;
        let bytes = call.memory.slice(data_ptr, data_len)?;
        let message = call.state.scratch()?;
        let room = limit.saturating_sub(message.data.len());
        let bytes = &bytes[..bytes.len().min(room)];
        message.data.append(bytes)?;
        Ok(bytes.len() as u32)
    }

    /// Copies bytes from the read position to `data_ptr` and moves the position. Answers how many:
    /// fewer than asked for at the end of the message.
    [short] fn read_data(call, data_ptr: Ptr, data_len: u32) -> Result<u32, Fault> {
        let message = call.state.scratch.as_deref_mut();
        let message = message.ok_or_else(|| Fault::new("the process has no current message"))?;
        let rest = message.data.rest();
        let bytes = &rest[..rest.len().min(data_len as usize)];
        // The whole range is the guest's promise, whatever of it is needed.
        call.memory.slice_mut(data_ptr, data_len)?[..bytes.len()].copy_from_slice(bytes);
        let len = bytes.len();
        message.data.advance(len);
        Ok(len as u32)
    }

    /// Sets the read position, in bytes from the beginning. Traps beyond the end.
    [short] fn seek_data(call, index: u64) -> Result<(), Fault> {
        let message = call.state.scratch()?;
        let len = message.data.len();
        message.data.seek(index).ok_or_else(|| {
            Fault::new(format!("cannot seek to {index} in a message of {len} bytes"))
        })
    }

    /// The message's tag, 0 if it has none.
    [short] fn get_tag(call) -> Result<i64, Fault> {
        Ok(call.state.scratch()?.tag)
    }

    /// The message's length in bytes.
    [short] fn data_size(call) -> Result<u64, Fault> {
        Ok(call.state.scratch()?.data.len() as u64)
    }

    /// Attaches a channel to the message; the process keeps its handle. Answers the attachment's
    /// index, for `take_channel`. Traps if the handle is unknown.
    fn push_channel(call, channel: u64) -> Result<u64, Fault> {
        let channel = call.state.channels.get(channel)?.clone();
        let transit = Transit::new(&channel, call.state.node);
        let message = call.state.scratch()?;
        let resources = message.resources.get_or_insert_default();
        if resources.len() >= RESOURCES_MAX {
            return Err(Fault::new(format!("a message carries at most {RESOURCES_MAX} resources")));
        }
        resources.push(Some(Resource::Channel(transit)));
        Ok(resources.len() as u64 - 1)
    }

    /// Takes a channel out of the message. Answers a handle of this process. Traps if there is no
    /// channel at this index, or it was taken before.
    fn take_channel(call, index: u64) -> Result<u64, Fault> {
        let message = call.state.scratch()?;
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        let taken = message.resources.as_mut().and_then(|all| all.get_mut(at)?.take());
        let Some(Resource::Channel(transit)) = taken else {
            return Err(Fault::new(format!("the message has no channel at index {index}")));
        };
        call.state.channels.add(transit.channel())
    }

    /// Sends the message to a process's mailbox. Always 0: a message to a process that does not
    /// exist is dropped.
    [short] fn send(call, process_id: u64) -> Result<u32, Fault> {
        let message = call.state.scratch.take();
        let message = message.ok_or_else(|| Fault::new("the process has no current message"))?;
        if let Err(lost) = call.worker.send(Pid::from_u64(process_id), message) {
            Message::discard(lost, call.worker);
        }
        Ok(0)
    }

    /// Waits for a message with one of the tags (64-bit little-endian at `tag_ptr`, `tag_len` of
    /// them; none: any message) and makes it current. 0: there it is. 9027: `timeout` milliseconds
    /// have passed (`u64::MAX`: no limit). Others stay in the mailbox, in order.
    [short] fn receive(call, tag_ptr: Ptr, tag_len: u32, timeout: u64) -> Poll<Result<u32, Fault>> {
        let tags = match tags(call, tag_ptr, tag_len) {
            Ok(tags) => tags,
            Err(fault) => return Poll::Ready(Err(fault)),
        };
        let wanted = |message: &Message| {
            tags.is_empty() || tags.chunks_exact(8).any(|tag| tag == message.tag.to_le_bytes())
        };
        if let Some(message) = next_message(call, wanted) {
            if let Some(old) = call.state.scratch.replace(message) {
                Message::discard(old, call.worker);
            }
            return Poll::Ready(Ok(0));
        }
        if call.timed_out(timeout) {
            return Poll::Ready(Ok(TIMEOUT));
        }
        call.wake_at_deadline();
        Poll::Pending
    }
}

fn tags<'a>(call: &Call<'a, '_>, tag_ptr: Ptr, tag_len: u32) -> Result<&'a [u8], Fault> {
    if tag_len > TAGS_MAX {
        return Err(Fault::new(format!("{tag_len} tags to wait for, at most {TAGS_MAX} can be")));
    }
    call.memory.slice(tag_ptr, tag_len * 8)
}

/// The first message that is wanted: the one that came with the spawn, or one of the mailbox.
fn next_message(call: &mut Call<'_, '_>, wanted: impl Fn(&Message) -> bool) -> Option<Mail> {
    let state = &mut *call.state;
    if state.first_message.as_ref().is_some_and(|first| wanted(first)) {
        return state.first_message.take();
    }
    // Polled again, only what has come since can be new.
    if std::mem::replace(&mut state.wait.searched, true) {
        call.worker.receive_new(state.me(), wanted)
    } else {
        call.worker.receive(state.me(), wanted)
    }
}
