//! `lunatic` of crate 0.3.0: channels are numbers, which travel inside of messages as plain data.
//!
//! The old runtime kept one table for all processes, so any number that was guessed found a channel.
//! Here each process has a table of the channels it knows. It learns numbers as its author means it
//! to: when it opens a channel, is spawned with the number, or receives a message in which the
//! number stands and whose sender knew it. For that each message is searched for the sender's
//! numbers. They are spread over all 32 bits, so that other data hardly ever looks like one; if it
//! does, the receiver knows a channel more that the sender could have told it of anyway.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::task::Poll;

use super::ends::End;
use super::state::Seed;
use super::{join_child, receive, replace_current, slices, spawn_child, write_message};
use crate::bind::{Call, Fault, host_functions};
use crate::memory::Ptr;
use crate::message::{Mail, Resource};

/// Bits of the mask of a process's numbers.
const MASK_BITS: u32 = 1024;

/// Bytes of a message that cost a reduction to search.
const SEARCHED_BYTES: usize = 4;

/// The channels that a process knows.
#[derive(Default)]
pub(crate) struct Numbered {
    known: HashMap<u32, Both>,
    /// Which numbers may be known, by their upper bits: most of a message is passed over by this.
    mask: [u64; MASK_BITS as usize / 64],
}

/// Both ends of a channel.
#[derive(Debug)]
pub(crate) struct Both {
    sender: End,
    receiver: End,
}

impl Both {
    fn another(&self) -> Self {
        Self { sender: self.sender.another(), receiver: self.receiver.another() }
    }
}

impl Numbered {
    fn get(&self, number: u32) -> Result<&Both, Fault> {
        self.known
            .get(&number)
            .ok_or_else(|| Fault::new(format!("the process knows no channel with number {number}")))
    }

    /// Notes a channel, unless it is known.
    fn add(&mut self, number: u32, both: Both, max: usize) -> Result<(), Fault> {
        if self.known.len() >= max && !self.known.contains_key(&number) {
            return Err(Fault::new(format!(
                "the process knows {max} channels, its limit; one more needs others closed"
            )));
        }
        self.known.entry(number).or_insert(both);
        let bit = number / (u32::MAX / MASK_BITS + 1);
        self.mask[bit as usize / 64] |= 1 << (bit % 64);
        Ok(())
    }

    fn may_know(&self, number: u32) -> bool {
        let bit = number / (u32::MAX / MASK_BITS + 1);
        self.mask[bit as usize / 64] & 1 << (bit % 64) != 0
    }

    /// The channels whose numbers stand in these bytes, wherever.
    fn mentioned(&self, bytes: &[u8]) -> Vec<Option<Resource>> {
        let mut found = HashMap::new();
        if !self.known.is_empty() {
            for window in bytes.windows(4) {
                let number = u32::from_le_bytes(window.try_into().expect("four bytes"));
                if self.may_know(number)
                    && let Some(both) = self.known.get(&number)
                {
                    found.entry(number).or_insert_with(|| both.another());
                }
            }
        }
        found.into_iter().map(|(number, both)| Some(Resource::Numbered(number, both))).collect()
    }
}

host_functions! {
    /// Of programs built with the crate `lunatic` 0.3.0 (`Channel::new(0)`, `Process::spawn`). A
    /// channel is a number that stands in messages as data. A process knows the channels that it
    /// opened, was spawned with, or received in a message from one who knew them; another number
    /// traps. Nothing here can fail but by a trap.
    pub(crate) MODULE: "lunatic";

    /// Makes a process that runs function `index` of the caller's table, which takes two `i32`.
    /// Arguments that are numbers of channels make these known to it. Answers a handle for `join`. A
    /// place of the table that is empty, or of another type, is found out by the new process, which
    /// then ends at once. Traps if the process may not spawn, or there is no room.
    fn spawn(call, index: u32, argument1: u32, argument2: u32) -> Poll<Result<u32, Fault>> {
        let arguments = [argument1, argument2];
        spawn_child(call, (index, &arguments), |call| known_of(call, &arguments))
    }

    /// Waits for the end of a process, whatever it is, and gives its handle up. Traps if the handle
    /// is unknown.
    fn join(call, process: u32) -> Poll<Result<(), Fault>> {
        join_child(call, process).map_ok(|_| ())
    }

    /// Makes a channel that holds at most `bound` messages (0: any number). Answers its number.
    fn channel_open(call, bound: u32) -> Result<u32, Fault> {
        let max = call.state.config.resources_max;
        let node = call.state.node;
        let numbered = &mut call.state.seed.get_or_insert_default().numbered;
        // A permutation of all numbers, so that none comes twice within four billion.
        let spread = || node.channel_numbers.fetch_add(1, Ordering::Relaxed).wrapping_mul(SPREAD);
        let mut number = spread();
        while numbered.known.contains_key(&number) || number == 0 {
            number = spread();
        }
        let (sender, receiver) = End::pair(bound, node);
        numbered.add(number, Both { sender, receiver }, max)?;
        Ok(number)
    }

    /// Forgets a channel; others may know it still. Traps if it is unknown.
    fn channel_close(call, channel: u32) -> Result<(), Fault> {
        let numbered = &mut call.state.seed.get_or_insert_default().numbered;
        numbered.get(channel)?;
        numbered.known.remove(&channel);
        Ok(())
    }

    /// Sends the bytes of `slices_len` slices (address and length, 32 bits each), waiting while the
    /// channel is full.
    fn channel_send(
        call, channel: u32, slices_ptr: Ptr, slices_len: u32,
    ) -> Poll<Result<(), Fault>> {
        let message = |call: &mut Call<'_, '_>| written(call, slices_ptr, slices_len);
        let sender = |seed: &Seed| Ok(seed.numbered.get(channel)?.sender.channel());
        super::send(call, sender, message).map_ok(|_| ())
    }

    /// Waits for a message and keeps it for `channel_receive`. Answers its length. Channels whose
    /// numbers stand in it, and which its sender knew, are known now.
    fn channel_receive_prepare(call, channel: u32) -> Poll<Result<u32, Fault>> {
        let receiver = |seed: &Seed| Ok(seed.numbered.get(channel)?.receiver.channel());
        receive(call, receiver).map(|received| {
            let len = received?.unwrap_or(0);
            learn(call)?;
            Ok(len)
        })
    }

    /// Copies the message that was prepared into `slices_len` slices, as far as it goes, and drops
    /// it. Traps if there is none.
    fn channel_receive(call, slices_ptr: Ptr, slices_len: u32) -> Result<(), Fault> {
        let slices = slices(call, slices_ptr, slices_len)?;
        let mail = call.state.scratch.as_deref_mut();
        let mail = mail.ok_or_else(|| Fault::new("no message was prepared"))?;
        for (at, len) in slices {
            let place = call.memory.slice_mut(at, len)?;
            let rest = mail.data.rest();
            let count = rest.len().min(place.len());
            place[..count].copy_from_slice(&rest[..count]);
            mail.data.advance(count);
        }
        replace_current(call, None);
        Ok(())
    }
}

/// Odd, so that multiplying by it is a permutation; the golden ratio of 2^32, so that neighbours lie
/// far from each other.
const SPREAD: u32 = 0x9e37_79b1;

/// What a process is born with that is given these numbers.
fn known_of(call: &Call<'_, '_>, numbers: &[u32]) -> Result<Seed, Fault> {
    let mut seed = Seed::default();
    let Some(own) = call.state.seed.as_deref() else { return Ok(seed) };
    for &number in numbers {
        if let Some(both) = own.numbered.known.get(&number) {
            seed.numbered.add(number, both.another(), call.state.config.resources_max)?;
        }
    }
    Ok(seed)
}

/// A message of these slices.
fn written(call: &mut Call<'_, '_>, at: Ptr, count: u32) -> Result<Mail, Fault> {
    let limit = call.state.config.message_bytes_max;
    let mut bytes = Vec::new();
    for (at, len) in slices(call, at, count)? {
        let slice = call.memory.slice(at, len)?;
        if bytes.len() + slice.len() > limit {
            return Err(Fault::new(format!(
                "a message of more than {limit} bytes cannot be sent (--max-message)"
            )));
        }
        bytes.extend_from_slice(slice);
    }
    call.state.charge((bytes.len() / SEARCHED_BYTES) as i64);
    let seed = call.state.seed.get_or_insert_default();
    let resources = seed.numbered.mentioned(&bytes);
    write_message(call, &bytes, resources)
}

/// Takes the channels out of the current message.
fn learn(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    let mail = call.state.scratch.as_deref_mut();
    let resources = mail.map(|mail| std::mem::take(mail.resources())).unwrap_or_default();
    let max = call.state.config.resources_max;
    let numbered = &mut call.state.seed.get_or_insert_default().numbered;
    for resource in resources.into_iter().flatten() {
        if let Resource::Numbered(number, both) = resource {
            numbered.add(number, both, max)?;
        }
    }
    Ok(())
}
