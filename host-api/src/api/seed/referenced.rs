//! `lunatic` of crates 0.2.0 and 0.2.1, of 2020: channels, processes and sockets are references to
//! the host's things, of which the guest has numbers.
//!
//! A number means something in one process only. To travel, a channel is given another number
//! (`channel_serialize`), which stands in one message, or is the argument of one spawn, and is used
//! up by whoever receives it: as in `numbered.rs`, each message is searched for the sender's.
//!
//! There is one number for all kinds of things, as there is one call that drops any of them: each kind
//! has a range of its own. Streams are written and read as WASI's descriptors (`tcp/referenced.rs`).

use std::sync::Arc;
use std::task::Poll;

use lunatic_engine::{RawValue, Type};

use super::ends::End;
use super::numbered::{Known, known_of, learn, written};
use super::state::{Child, Named, Seed};
use super::tcp::{self, Ranged};
use super::{number_below, receive, replace_current, spawn_child};
use crate::bind::{Call, Fault, host_functions};
use crate::memory::Ptr;
use crate::net::{Listener, TcpStream};

/// The first number of a channel. Below are processes, above sockets (`tcp/mod.rs`).
const FIRST_CHANNEL: u32 = 1 << 30;

/// Both ends of a channel, as these guests have one.
pub(crate) struct Both {
    sender: End,
    receiver: End,
}

impl Both {
    fn another(&self) -> Self {
        Self { sender: self.sender.another(), receiver: self.receiver.another() }
    }
}

impl Named for Both {
    const NAME: &'static str = "channel";
}

host_functions! {
    /// Of programs built with the crate `lunatic` 0.2 of 2020 (`Channel::new(0)`, `Process::spawn`). What
    /// they have are numbers of one process, which `clone_externref` and `drop_externref` take, of
    /// whatever kind; an unknown one traps, 0 is none. Streams are read and written as descriptors, with
    /// WASI's `fd_read` and `fd_write`. `join`, `sleep_ms` and the other functions for TCP are those of 0.3.0.
    /// Nothing here can fail but by a trap.
    pub(crate) MODULE: "lunatic";

    /// Makes a process that runs function `index` of the caller's table, which takes an `i32` and an
    /// `i64`. If `argument2` is a number of `channel_serialize`, the channel goes to the new process.
    /// Answers a handle. A place of the table that is empty, or of another type, is found out by the new
    /// process, which then ends at once. Traps if the process may not spawn, or there is no room.
    fn spawn(call, index: u32, argument1: u32, argument2: u64) -> Poll<Result<u32, Fault>> {
        const TYPES: &[Type] = &[Type::I32, Type::I64];
        let arguments = [RawValue { u32: argument1 }, RawValue { u64: argument2 }];
        let channel: Option<u32> = argument2.try_into().ok();
        let child = spawn_child(call, index, (TYPES, &arguments), |call| {
            known_of(call, channel.as_slice())
        });
        child.map_ok(|number| number_below(number, FIRST_CHANNEL)).map(Result::flatten)
    }

    /// Makes a channel that holds at most `bound` messages (0: any number).
    fn channel(call, bound: u32) -> Result<u32, Fault> {
        let (sender, receiver) = End::pair(bound, call.state.node);
        add_channel(call, Both { sender, receiver })
    }

    /// Sends the bytes of a slice (an address and a length, 32 bits each), waiting while the channel is
    /// full.
    fn channel_send(call, channel: u32, slice_ptr: Ptr) -> Poll<Result<(), Fault>> {
        let message = |call: &mut Call<'_, '_>| written(call, slice_ptr, 1);
        let sender = |seed: &Seed| Ok(find(seed, channel)?.sender.channel());
        super::send(call, sender, message).map_ok(|_| ())
    }

    /// Waits for a message, has the guest make room for it by the function `allocate` of its table,
    /// which takes a number of bytes and answers an address, and writes that address to `address_ptr`.
    /// Answers how many bytes there are.
    fn channel_receive(
        call, channel: u32, allocate: u32, address_ptr: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        if !call.was_away() {
            let receiver = |seed: &Seed| Ok(find(seed, channel)?.receiver.channel());
            let learned = match receive(call, receiver) {
                Poll::Ready(received) => received.and_then(|_| learn(call)),
                Poll::Pending => return Poll::Pending,
            };
            if let Err(fault) = learned {
                return Poll::Ready(Err(fault));
            }
            // The guest may wait for something else while it makes room.
            call.end_wait();
        }
        call.give_by_table(allocate, address_ptr, |call| {
            let mail = call.state.scratch.as_deref();
            let bytes = mail.map_or_else(Vec::new, |mail| mail.data.rest().to_vec());
            replace_current(call, None);
            Ok(bytes)
        })
    }

    /// A number for a channel that may stand in one message, or be given to one spawn. Who receives it
    /// has the channel by it; the caller keeps its own handle.
    fn channel_serialize(call, channel: u32) -> Result<u64, Fault> {
        let max = call.state.config.resources_max;
        let node = call.state.node;
        let seed = call.state.seed.get_or_insert_default();
        let Both { sender, receiver } = find(seed, channel)?.another();
        let number = seed.numbered.new_number(node.get());
        seed.numbered.add(number, Known::Passing { sender, receiver }, max)?;
        call.state.tell_held();
        Ok(number.into())
    }

    /// The channel that has come with this number, which is used up. Traps if none has.
    fn channel_deserialize(call, number: u64) -> Result<u32, Fault> {
        let numbered = &mut call.state.seed.get_or_insert_default().numbered;
        let passed = u32::try_from(number).ok().and_then(|number| numbered.take_passing(number));
        let (sender, receiver) = passed.ok_or_else(|| {
            Fault::new(format!("the process was told of no channel with number {number}"))
        })?;
        add_channel(call, Both { sender, receiver })
    }

    /// Another handle of the same thing.
    fn clone_externref(call, handle: u32) -> Result<u32, Fault> {
        match Kind::of(handle) {
            Kind::Nothing => Ok(0),
            Kind::Child => {
                let max = call.state.config.resources_max;
                let children = &mut call.state.seed.get_or_insert_default().children;
                let Child { pid, fate } = children.get(handle)?;
                let another = Child { pid: *pid, fate: Arc::clone(fate) };
                let number = children.add(another, max)?;
                call.state.tell_held();
                number_below(number, FIRST_CHANNEL)
            }
            Kind::Channel => {
                let seed = call.state.seed.get_or_insert_default();
                let another = find(seed, handle)?.another();
                add_channel(call, another)
            }
            Kind::Listener => tcp::another::<Listener>(call, handle),
            Kind::Stream => tcp::another::<TcpStream>(call, handle),
        }
    }

    /// Gives a handle up. A process goes on; a channel, a socket is closed by the last who has it.
    fn drop_externref(call, handle: u32) -> Result<(), Fault> {
        let seed = call.state.seed.get_or_insert_default();
        match Kind::of(handle) {
            Kind::Nothing => {}
            Kind::Child => drop(seed.children.remove(handle)?),
            Kind::Channel => {
                find(seed, handle)?;
                drop(seed.channels.remove(handle - FIRST_CHANNEL)?);
            }
            Kind::Listener => tcp::give_up::<Listener>(call, handle)?,
            Kind::Stream => {
                tcp::give_up::<TcpStream>(call, handle)?;
                call.state.seed.get_or_insert_default().numbered.forget_stream(handle);
            }
        }
        call.state.tell_held();
        Ok(())
    }
}

/// What a handle is of.
enum Kind {
    Nothing,
    Child,
    Channel,
    Listener,
    Stream,
}

impl Kind {
    fn of(handle: u32) -> Self {
        match handle {
            0 => Self::Nothing,
            _ if TcpStream::RANGE.contains(&handle) => Self::Stream,
            _ if Listener::RANGE.contains(&handle) => Self::Listener,
            FIRST_CHANNEL.. => Self::Channel,
            _ => Self::Child,
        }
    }
}

fn add_channel(call: &mut Call<'_, '_>, channel: Both) -> Result<u32, Fault> {
    let max = call.state.config.resources_max;
    let number = call.state.seed.get_or_insert_default().channels.add(channel, max)?;
    call.state.tell_held();
    Ok(FIRST_CHANNEL + number_below(number, FIRST_CHANNEL)?)
}

fn find(seed: &Seed, handle: u32) -> Result<&Both, Fault> {
    let number = handle.checked_sub(FIRST_CHANNEL).filter(|number| *number < FIRST_CHANNEL);
    let none = || Fault::new(format!("the process has no channel with number {handle}"));
    seed.channels.get(number.ok_or_else(none)?).map_err(|_| none())
}
