//! `lunatic` of crate 0.3.0: channels, and TCP streams (`tcp/numbered.rs`), are numbers, which travel
//! inside of messages as plain data.
//!
//! The old runtime kept one table for all processes, so any number that was guessed found a channel.
//! Here each process has a table of those it knows. It learns numbers as its author means it to: when
//! it opens a channel, is spawned with the number, or receives a message in which the number stands
//! and whose sender knew it. For that each message is searched for the sender's numbers. They are
//! spread over all 32 bits, so that other data hardly ever looks like one; if it does, the receiver
//! knows a channel more that the sender could have told it of anyway.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use lunatic_engine::{RawValue, Type};

use super::ends::End;
use super::state::Seed;
use super::{join_child, receive, replace_current, slices, spawn_child, write_message};
use crate::bind::{Call, Fault, host_functions};
use crate::held::{self, RESOURCE_BYTES};
use crate::kept::Kept;
use crate::memory::Ptr;
use crate::message::{Mail, Resource};
use crate::net::TcpStream;
use crate::node::NodeInner;

/// Bits of the mask of a process's numbers.
const MASK_BITS: u32 = 1024;

/// Bytes of a message that cost a reduction to search.
const SEARCHED_BYTES: usize = 4;

/// Bytes that are searched before others get a turn. By feel: a tenth of a millisecond.
const SEARCHED_IN_ONE_GO: usize = 128 * 1024;

/// The channels and streams that a process knows.
#[derive(Default)]
pub(crate) struct Numbered {
    known: HashMap<u32, Known>,
    /// The numbers of the process's own streams that have one, by their handles.
    of_streams: HashMap<u32, u32>,
    /// For numbers in the current message, which is about to be sent.
    search: Option<Search>,
    /// Which numbers may be known, by their upper bits: most of a message is passed over by this.
    mask: [u64; MASK_BITS as usize / 64],
}

/// What a number means.
#[derive(Debug)]
pub(crate) enum Known {
    /// Both ends of a channel.
    Channel { sender: End, receiver: End },
    /// A channel of crate 0.2 on its way: the number is good for one message, and one who receives it.
    Passing { sender: End, receiver: End },
    /// A stream, and the handle that this process has of it, if it has asked for one.
    Stream { stream: Arc<TcpStream>, handle: Option<u32> },
}

impl Known {
    /// The same for another process.
    fn another(&self) -> Self {
        match self {
            Self::Channel { sender, receiver } => {
                Self::Channel { sender: sender.another(), receiver: receiver.another() }
            }
            Self::Passing { sender, receiver } => {
                Self::Passing { sender: sender.another(), receiver: receiver.another() }
            }
            Self::Stream { stream, .. } => {
                Self::Stream { stream: Arc::clone(stream), handle: None }
            }
        }
    }
}

impl Known {
    /// The node that it is in, if messages may go with it.
    pub(crate) fn node(&self) -> Option<Kept<Arc<NodeInner>>> {
        match self {
            Self::Channel { sender, .. } | Self::Passing { sender, .. } => Some(sender.node()),
            Self::Stream { .. } => None,
        }
    }
}

impl Drop for Numbered {
    fn drop(&mut self) {
        held::sub(self.known.len() * RESOURCE_BYTES);
    }
}

impl Numbered {
    /// How many the process knows.
    pub(super) fn count(&self) -> usize {
        self.known.len()
    }

    /// Both ends of the channel with this number.
    fn channel(&self, number: u32) -> Result<(&End, &End), Fault> {
        match self.known.get(&number) {
            Some(Known::Channel { sender, receiver }) => Ok((sender, receiver)),
            _ => Err(Fault::new(format!("the process knows no channel with number {number}"))),
        }
    }

    /// What this number means; `None`: the process was not told of it.
    pub(super) fn known(&self, number: u32) -> Option<&Known> {
        self.known.get(&number)
    }

    /// A number that means nothing yet, to this process.
    pub(super) fn new_number(&self, node: &NodeInner) -> u32 {
        // A permutation of all numbers, so that none comes twice within four billion.
        let spread = || node.channel_numbers.fetch_add(1, Ordering::Relaxed).wrapping_mul(SPREAD);
        let mut number = spread();
        while self.known.contains_key(&number) || number == 0 {
            number = spread();
        }
        number
    }

    /// The number of one of the process's streams: always the same.
    pub(super) fn number_of_stream(
        &mut self,
        handle: u32,
        stream: Arc<TcpStream>,
        node: &NodeInner,
        max: usize,
    ) -> Result<u32, Fault> {
        if let Some(&number) = self.of_streams.get(&handle) {
            return Ok(number);
        }
        let number = self.new_number(node);
        self.add(number, Known::Stream { stream, handle: None }, max)?;
        self.note_handle(number, handle);
        Ok(number)
    }

    /// The process has got this handle of a stream that it knows.
    pub(super) fn note_handle(&mut self, number: u32, handle: u32) {
        if let Some(Known::Stream { handle: noted, .. }) = self.known.get_mut(&number) {
            if let Some(closed) = noted.replace(handle) {
                self.of_streams.remove(&closed);
            }
            self.of_streams.insert(handle, number);
        }
    }

    /// The process has given this handle up, and with it the number by which it could tell of the stream.
    pub(super) fn forget_stream(&mut self, handle: u32) {
        if let Some(number) = self.of_streams.remove(&handle) {
            self.remove(number);
        }
    }

    /// Both ends of the channel that has come with this number, which means nothing any more.
    pub(super) fn take_passing(&mut self, number: u32) -> Option<(End, End)> {
        match self.known.get(&number) {
            Some(Known::Passing { .. }) => match self.remove(number) {
                Some(Known::Passing { sender, receiver }) => Some((sender, receiver)),
                _ => None,
            },
            _ => None,
        }
    }

    fn remove(&mut self, number: u32) -> Option<Known> {
        let known = self.known.remove(&number)?;
        held::sub(RESOURCE_BYTES);
        Some(known)
    }

    /// What is to be told of it: another one of the same, or all that there is.
    fn tell(&mut self, number: u32) -> Option<Known> {
        match self.known.get(&number)? {
            Known::Passing { .. } => self.remove(number),
            known => Some(known.another()),
        }
    }

    /// Notes what a number means, unless it is known.
    pub(super) fn add(&mut self, number: u32, known: Known, max: usize) -> Result<(), Fault> {
        if self.known.len() >= max && !self.known.contains_key(&number) {
            return Err(Fault::new(format!(
                "the process knows {max} channels and streams, its limit; one more needs others \
                 closed"
            )));
        }
        let before = self.known.len();
        self.known.entry(number).or_insert(known);
        held::add((self.known.len() - before) * RESOURCE_BYTES);
        let bit = number / (u32::MAX / MASK_BITS + 1);
        self.mask[bit as usize / 64] |= 1 << (bit % 64);
        Ok(())
    }

    fn may_know(&self, number: u32) -> bool {
        let bit = number / (u32::MAX / MASK_BITS + 1);
        self.mask[bit as usize / 64] & 1 << (bit % 64) != 0
    }

    /// Goes on with a search for the numbers that stand in these bytes, wherever. Whether it is done.
    fn search(&mut self, search: &mut Search, bytes: &[u8]) -> bool {
        let rest = bytes.get(search.at..).unwrap_or_default();
        let windows = if self.known.is_empty() { 0 } else { rest.len().saturating_sub(3) };
        for window in rest.windows(4).take(windows.min(SEARCHED_IN_ONE_GO)) {
            let number = u32::from_le_bytes(window.try_into().expect("four bytes"));
            if self.may_know(number)
                && !search.found.contains_key(&number)
                && let Some(known) = self.tell(number)
            {
                search.found.insert(number, known);
            }
        }
        search.at += SEARCHED_IN_ONE_GO;
        windows <= SEARCHED_IN_ONE_GO
    }
}

/// Where the search of a message is, and what it has found.
#[derive(Default)]
struct Search {
    at: usize,
    found: HashMap<u32, Known>,
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
        const TYPES: &[Type] = &[Type::I32, Type::I32];
        let numbers = [argument1, argument2];
        let arguments = numbers.map(|number| RawValue { u32: number });
        spawn_child(call, index, (TYPES, &arguments), |call| known_of(call, &numbers))
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
        let number = numbered.new_number(node.get());
        let (sender, receiver) = End::pair(bound, node);
        numbered.add(number, Known::Channel { sender, receiver }, max)?;
        call.state.tell_held();
        Ok(number)
    }

    /// Forgets a channel; others may know it still. Traps if it is unknown.
    fn channel_close(call, channel: u32) -> Result<(), Fault> {
        let numbered = &mut call.state.seed.get_or_insert_default().numbered;
        numbered.channel(channel)?;
        numbered.remove(channel);
        call.state.tell_held();
        Ok(())
    }

    /// Sends the bytes of `slices_len` slices (address and length, 32 bits each), waiting while the
    /// channel is full.
    fn channel_send(
        call, channel: u32, slices_ptr: Ptr, slices_len: u32,
    ) -> Poll<Result<(), Fault>> {
        let message = |call: &mut Call<'_, '_>| written(call, slices_ptr, slices_len);
        let sender = |seed: &Seed| Ok(seed.numbered.channel(channel)?.0.channel());
        super::send(call, sender, message).map_ok(|_| ())
    }

    /// Waits for a message and keeps it for `channel_receive`. Answers its length. Channels whose
    /// numbers stand in it, and which its sender knew, are known now.
    fn channel_receive_prepare(call, channel: u32) -> Poll<Result<u32, Fault>> {
        let receiver = |seed: &Seed| Ok(seed.numbered.channel(channel)?.1.channel());
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
pub(super) fn known_of(call: &mut Call<'_, '_>, numbers: &[u32]) -> Result<Seed, Fault> {
    let mut seed = Seed::default();
    let Some(own) = call.state.seed.as_deref_mut() else { return Ok(seed) };
    for &number in numbers {
        if let Some(known) = own.numbered.tell(number) {
            seed.numbered.add(number, known, call.state.config.resources_max)?;
        }
    }
    Ok(seed)
}

/// A message of these slices, with what its numbers mean. A long one is searched in parts.
pub(super) fn written(call: &mut Call<'_, '_>, at: Ptr, count: u32) -> Poll<Result<Mail, Fault>> {
    let begun = call.state.seed.get_or_insert_default().numbered.search.take();
    let mut search = match begun {
        Some(search) => search,
        None => match copied(call, at, count) {
            Ok(mail) => {
                // Kept as the current message, so that it counts as the process's while others run.
                replace_current(call, Some(mail));
                Search::default()
            }
            Err(fault) => return Poll::Ready(Err(fault)),
        },
    };
    let mut mail = call.state.scratch.take().expect("nothing else has run in between");
    let searched = mail.data.len().saturating_sub(search.at).min(SEARCHED_IN_ONE_GO);
    call.state.charge((searched / SEARCHED_BYTES) as i64);
    let numbered = &mut call.state.seed.get_or_insert_default().numbered;
    if !numbered.search(&mut search, mail.data.as_slice()) {
        numbered.search = Some(search);
        call.state.scratch = Some(mail);
        call.state.wait.yields = true;
        return Poll::Pending;
    }
    call.state.wait.yields = false;
    for (number, known) in search.found {
        mail.attach(Resource::Numbered(number, known));
    }
    Poll::Ready(Ok(mail))
}

/// A message of these slices.
fn copied(call: &mut Call<'_, '_>, at: Ptr, count: u32) -> Result<Mail, Fault> {
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
    write_message(call, &bytes, Vec::new())
}

/// Takes what its numbers mean out of the current message.
pub(super) fn learn(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    let Some(mail) = call.state.scratch.as_deref_mut() else { return Ok(()) };
    let max = call.state.config.resources_max;
    let numbered = &mut call.state.seed.get_or_insert_default().numbered;
    for at in 0..mail.resource_count() as u64 {
        if let Some(Resource::Numbered(number, known)) = mail.resource_at(at).and_then(Option::take)
        {
            numbered.add(number, known, max)?;
        }
    }
    call.state.tell_held();
    Ok(())
}
