//! `lunatic`: the imports of programs of the first half year, before interfaces had names of their
//! own. The crate `lunatic` had three of them, told apart by the types of the imports:
//!
//! - `referenced.rs`: 0.2.0 and 0.2.1 of 2020, the README's `Channel::new(0)` as it was first;
//! - `numbered.rs`: 0.3.0, the README's `Channel::new(0)` and `Process::spawn((…), child)`;
//! - `sided.rs`: 0.3.4 to 0.3.10, with senders, receivers and contexts;
//! - `shared.rs`: what all have;
//! - `tcp/`: the sockets.
//!
//! These guests name a function by its place in their table, and their children begin with that
//! function. `ends.rs` counts who could still send and receive, `state.rs` is what a process has.

pub(crate) mod ends;
pub(crate) mod numbered;
pub(crate) mod referenced;
pub(crate) mod shared;
pub(crate) mod sided;
pub(crate) mod state;
pub(crate) mod tcp;

use std::fmt::Display;
use std::sync::Arc;
use std::task::Poll;

use lunatic_engine::{RawValue, Type};
use lunatic_scheduler::channel::Channel;
use smallvec::SmallVec;

use self::state::{Child, Seed};
use super::channel::{receive_message, send_message};
use super::process::admit;
use crate::bind::{Call, Fault};
use crate::memory::Ptr;
use crate::message::{Mail, Message, Resource};
use crate::process::{Entry, Start};

/// No limit of time.
const FOREVER: u64 = u64::MAX;

/// What a spawn costs the one who spawns, in reductions: as `lunatic::process::spawn`.
const SPAWN_REDUCTIONS: i64 = 2_000;

/// Spawns a process that begins with a function of the table; the number of its handle. `seed` says
/// what it is born with, when nothing is left to wait for. These interfaces know no failure of a
/// spawn, so it is a fault.
fn spawn_child(
    call: &mut Call<'_, '_>,
    index: u32,
    (types, arguments): (&'static [Type], &[RawValue]),
    seed: impl FnOnce(&mut Call<'_, '_>) -> Result<Seed, Fault>,
) -> Poll<Result<u32, Fault>> {
    let (module, config) = (call.state.module.clone(), call.state.config.clone());
    call.state.wait.yields = false;
    let form = call.state.node.form_to_spawn(&module, &config);
    let Poll::Ready(image) = call.image(&module, form) else { return Poll::Pending };
    let image = image.map_err(no_process)?;
    let place = admit(call).map_err(Fault::new)?;
    let unborn = call.state.seed.get_or_insert_default().unborn.take();
    let born = match unborn {
        Some(born) => born,
        None => Box::new(seed(call)?),
    };
    let fate = Arc::clone(&born.fate);
    let max = config.resources_max;
    // A process that could not be told of would be one too many.
    call.state.seed.get_or_insert_default().children.check_room(max)?;
    let types = types.iter().copied();
    let params = arguments.iter().copied().collect();
    let mut born = Some(born);
    let start = Start {
        node: call.state.node,
        entry: Entry::from_table(&image, index, types, params),
        module,
        image,
        config,
        first_message: None,
        tie: None,
        place,
        seed: Some(&mut born),
        branch: call.state.branch_of_children(),
        is_main: false,
    };
    let result = start.on_worker(call.worker);
    let own = call.state.seed.get_or_insert_default();
    match result {
        Ok(pid) => {
            let number = own.children.add(Child { pid, fate }, max)?;
            call.state.tell_held();
            call.state.charge(SPAWN_REDUCTIONS);
            Poll::Ready(Ok(number))
        }
        Err(error) if call.state.node.may_spawn_dense(&error) => {
            own.unborn = born;
            call.spawn_again()
        }
        Err(error) => Poll::Ready(Err(no_process(error))),
    }
}

/// A number, if it is one of those below.
fn number_below(number: u32, end: u32) -> Result<u32, Fault> {
    let used_up = || Fault::new("the process has used up all numbers of handles");
    (number < end).then_some(number).ok_or_else(used_up)
}

fn no_process(error: impl Display) -> Fault {
    Fault::new(format!("cannot spawn a process: {error}"))
}

/// Waits for the end of a child and gives its handle up; whether it ended as it should.
fn join_child(call: &mut Call<'_, '_>, number: u32) -> Poll<Result<bool, Fault>> {
    let me = call.state.pid();
    let seed = call.state.seed.get_or_insert_default();
    let child = match seed.children.get_mut(number) {
        Ok(child) => child,
        Err(fault) => return Poll::Ready(Err(fault)),
    };
    match child.fate.ended_or_wait(me) {
        Some(well) => {
            let removed = seed.children.remove(number);
            call.state.tell_held();
            Poll::Ready(removed.map(|_| well))
        }
        None => Poll::Pending,
    }
}

/// The bytes become a message, with what it carries.
fn write_message(
    call: &mut Call<'_, '_>,
    bytes: &[u8],
    resources: Vec<Resource>,
) -> Result<Mail, Fault> {
    let limit = call.state.config.message_bytes_max;
    if bytes.len() > limit {
        return Err(Fault::new(format!(
            "a message of {} bytes; at most {limit} can be sent (--max-message)",
            bytes.len()
        )));
    }
    let mut mail = Message::envelope(call.worker);
    mail.data.append(bytes)?;
    resources.into_iter().for_each(|resource| mail.attach(resource));
    Ok(mail)
}

/// Sends, waiting while the channel is full; whether it was sent, and not closed. `message` is asked
/// when the call begins, until there is one.
fn send(
    call: &mut Call<'_, '_>,
    channel: impl FnOnce(&Seed) -> Result<Channel<Mail>, Fault>,
    message: impl FnOnce(&mut Call<'_, '_>) -> Poll<Result<Mail, Fault>>,
) -> Poll<Result<bool, Fault>> {
    if call.state.wait.channel.is_none() {
        match message(call) {
            Poll::Ready(Ok(mail)) => replace_current(call, Some(mail)),
            Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
            Poll::Pending => return Poll::Pending,
        }
    }
    match send_message(call, |state| channel(seed_of(&state.seed)?), FOREVER) {
        Ok(Some(status)) => {
            if status != 0 {
                replace_current(call, None);
            }
            Poll::Ready(Ok(status == 0))
        }
        Ok(None) => Poll::Pending,
        Err(fault) => Poll::Ready(Err(fault)),
    }
}

/// Receives a message, which becomes the current one; its length, or `None` if the channel is
/// closed and empty.
fn receive(
    call: &mut Call<'_, '_>,
    channel: impl FnOnce(&Seed) -> Result<Channel<Mail>, Fault>,
) -> Poll<Result<Option<u32>, Fault>> {
    match receive_message(call, |state| channel(seed_of(&state.seed)?), FOREVER) {
        Ok(Some(0)) => Poll::Ready(Ok(Some(current_len(call)))),
        Ok(Some(_)) => Poll::Ready(Ok(None)),
        Ok(None) => Poll::Pending,
        Err(fault) => Poll::Ready(Err(fault)),
    }
}

/// The length of the current message; messages are shorter than 4 GiB.
fn current_len(call: &Call<'_, '_>) -> u32 {
    call.state.scratch.as_ref().map_or(0, |mail| mail.data.len() as u32)
}

fn replace_current(call: &mut Call<'_, '_>, mail: Option<Mail>) {
    let bytes = |mail: &Option<Mail>| mail.as_deref().map_or(0, Message::bytes);
    let after = bytes(&mail);
    let old = std::mem::replace(&mut call.state.scratch, mail);
    if bytes(&old) != after {
        call.state.tell_held();
    }
    if let Some(old) = old {
        Message::discard(old, call.worker);
    }
}

/// A process that has done nothing yet has nothing.
fn seed_of(seed: &Option<Box<Seed>>) -> Result<&Seed, Fault> {
    seed.as_deref().ok_or_else(|| Fault::new("the process has no channel"))
}

/// Records of two numbers each, an address and a length, as the guest's `IoSlice`s are.
fn slices(call: &Call<'_, '_>, at: Ptr, count: u32) -> Result<SmallVec<[(Ptr, u32); 4]>, Fault> {
    /// As many as other calls take.
    const SLICES_MAX: u32 = 1024;
    const RECORD_BYTES: u32 = 8;
    if count > SLICES_MAX {
        return Err(Fault::new(format!("{count} slices of memory, at most {SLICES_MAX} can be")));
    }
    let records = call.memory.slice(at, count * RECORD_BYTES)?.chunks_exact(RECORD_BYTES as usize);
    let slice = |record: &[u8]| {
        let word = |at: usize| {
            u32::from_le_bytes(record[at..at + 4].try_into().expect("four bytes of eight"))
        };
        (Ptr(word(0)), word(4))
    };
    // Copied: the slices may lie over the list.
    Ok(records.map(slice).collect())
}
