//! `poll_oneoff`: waiting for the first of several things, sleeping above all.
//!
//! A process waits for its nearest clock with one timer, for streams in their queues, for sockets and
//! pipes at their sources; files are always ready. It asks for everything again whenever it is woken. Which clocks have come is decided by the clocks
//! themselves, so what the timer's thread thinks of time does not matter.

use smallvec::SmallVec;

use super::clocks::Clock;
use super::errno::Errno;
use super::state::split;
use super::table::Descriptor;
use crate::bind::Call;
use crate::memory::Ptr;
use crate::ready::{self, Interest, Ready, Source};
use crate::stdio::Input;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

/// Things that one call may wait for. By feel: as many as a process may have descriptors.
const SUBSCRIPTIONS_MAX: u32 = 1024;

/// How a subscription is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    bytes: u32,
    /// Where the fields of a clock begin; the file's descriptor is always at 16.
    clock: usize,
}

impl Layout {
    /// That of preview 1.
    pub(super) const PREVIEW_1: Self = Self { bytes: 48, clock: 16 };
    /// That of snapshot 0, where clocks have another name in front.
    pub(super) const SNAPSHOT_0: Self = Self { bytes: 56, clock: 24 };
}

/// Bytes of an event.
const EVENT_BYTES: usize = 32;

/// Flag of a clock: its time is a point in time, not a span.
const ABSOLUTE: u16 = 1;

/// Flag of an event: there will be no more after this.
const HANGUP: u16 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Clock { id: u32, timeout: u64, absolute: bool },
    Read { fd: u32 },
    Write { fd: u32 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Subscription {
    userdata: u64,
    kind: Kind,
}

impl Subscription {
    fn parse(record: &[u8], layout: Layout) -> Result<Self, Errno> {
        let userdata = u64::from_le_bytes(field(record, 0));
        let fd = u32::from_le_bytes(field(record, 16));
        let clock = layout.clock;
        let kind = match record[8] {
            0 => Kind::Clock {
                id: u32::from_le_bytes(field(record, clock)),
                timeout: u64::from_le_bytes(field(record, clock + 8)),
                // Flags that the specification does not know are ignored, like the precision.
                absolute: u16::from_le_bytes(field(record, clock + 24)) & ABSOLUTE != 0,
            },
            1 => Kind::Read { fd },
            2 => Kind::Write { fd },
            _ => return Err(Errno::Inval),
        };
        Ok(Self { userdata, kind })
    }

    /// The event that it has come, or could not be waited for.
    fn event(&self, result: Result<Come, Errno>) -> [u8; EVENT_BYTES] {
        let (come, errno) = match result {
            Ok(come) => (come, 0),
            Err(errno) => (Come::default(), errno.code()),
        };
        let mut record = [0; EVENT_BYTES];
        record[0..8].copy_from_slice(&self.userdata.to_le_bytes());
        record[8..10].copy_from_slice(&errno.to_le_bytes());
        record[10] = match self.kind {
            Kind::Clock { .. } => 0,
            Kind::Read { .. } => 1,
            Kind::Write { .. } => 2,
        };
        record[16..24].copy_from_slice(&come.bytes.to_le_bytes());
        record[24..26].copy_from_slice(&come.flags.to_le_bytes());
        record
    }
}

fn field<const N: usize>(record: &[u8], at: usize) -> [u8; N] {
    record[at..at + N].try_into().expect("all fields lie inside the record")
}

/// What there is to say about something that has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Come {
    bytes: u64,
    flags: u16,
}

impl Come {
    fn bytes(bytes: usize) -> Self {
        Self { bytes: u64::try_from(bytes).unwrap_or(u64::MAX), flags: 0 }
    }
}

/// How it stands with a subscription.
enum Standing {
    Come(Come),
    /// A clock: so many nanoseconds are left.
    In(u64),
    /// A stream: the process is in its queue.
    Queued,
}

type Events = SmallVec<[[u8; EVENT_BYTES]; 2]>;

pub(super) fn oneoff(
    call: &mut Call<'_, '_>,
    (input, count): (Ptr, u32),
    (output, nevents): (Ptr, Ptr),
    layout: Layout,
) -> Result<Option<()>, Errno> {
    if count == 0 || count > SUBSCRIPTIONS_MAX {
        return Err(Errno::Inval);
    }
    let records = call.memory.slice(input, count * layout.bytes)?;
    call.memory.slice_mut(output, count * EVENT_BYTES as u32)?;
    call.memory.slice_mut(nevents, 4)?;
    let subscriptions = parse(records, layout)?;
    let events = events(call, &subscriptions)?;
    if events.is_empty() {
        call.wake_at_deadline();
        return Ok(None);
    }
    call.state.wasi.poll_began = 0;
    call.memory.write(output, events.as_flattened())?;
    let count = u32::try_from(events.len()).map_err(|_| Errno::Overflow)?;
    call.memory.write_u32(nevents, count)?;
    Ok(Some(()))
}

fn parse(records: &[u8], layout: Layout) -> Result<SmallVec<[Subscription; 2]>, Errno> {
    let records = records.chunks_exact(layout.bytes as usize);
    records.map(|record| Subscription::parse(record, layout)).collect()
}

/// The events of all that has come; if nothing has, the call's deadline is set.
fn events(call: &mut Call<'_, '_>, subscriptions: &[Subscription]) -> Result<Events, Errno> {
    let now = Clock::Monotonic.now()?;
    let began = match call.state.wasi.poll_began {
        0 => now,
        began => began,
    };
    let mut events = Events::new();
    let mut nearest = None;
    let mut waits: SmallVec<[(u64, &Subscription); 2]> = SmallVec::new();
    for subscription in subscriptions {
        match standing(call, subscription.kind, now.saturating_sub(began)) {
            Ok(Standing::Come(come)) => events.push(subscription.event(Ok(come))),
            Err(errno) => events.push(subscription.event(Err(errno))),
            Ok(Standing::In(left)) => {
                nearest = Some(nearest.map_or(left, |nearest: u64| nearest.min(left)));
                waits.push((left, subscription));
            }
            Ok(Standing::Queued) => {}
        }
    }
    if !events.is_empty() {
        return Ok(events);
    }
    call.state.wasi.poll_began = began;
    if let Some(nearest) = nearest
        && call.deadline_passed(Duration::from_nanos(nearest))
    {
        // The timer, set at first, has fired, and a clock says that it was too early: somebody has
        // set it back. There is only one timer; better early than never.
        let come = waits.iter().filter(|(left, _)| *left == nearest);
        events.extend(come.map(|(_, subscription)| subscription.event(Ok(Come::default()))));
    }
    Ok(events)
}

/// `elapsed`: nanoseconds since the call began.
fn standing(call: &mut Call<'_, '_>, kind: Kind, elapsed: u64) -> Result<Standing, Errno> {
    match kind {
        Kind::Clock { id, timeout, absolute } => {
            let clock = Clock::from_id(id)?;
            if clock == Clock::Processor {
                return Err(Errno::NotSup); // nobody can say when it will come
            }
            let left = timeout.saturating_sub(if absolute { clock.now()? } else { elapsed });
            Ok(if left == 0 { Standing::Come(Come::default()) } else { Standing::In(left) })
        }
        Kind::Read { fd } => match call.descriptor(fd)? {
            Descriptor::Stdin => {
                let (wasi, stdio, waiter) = split(call);
                match stdio.stdin.ready(waiter, &mut wasi.tickets.input) {
                    Input::Bytes(bytes) => Ok(Standing::Come(Come::bytes(bytes))),
                    Input::EndOfFile => Ok(Standing::Come(Come { bytes: 0, flags: HANGUP })),
                    Input::Wait => Ok(Standing::Queued),
                    Input::Failed(errno) => Err(Errno::from_host(errno)),
                }
            }
            Descriptor::File(file) if file.is_regular() => {
                let bytes = file.bytes_left()?;
                let flags = if bytes == 0 { HANGUP } else { 0 };
                Ok(Standing::Come(Come { bytes, flags }))
            }
            Descriptor::File(file) => at_source(call, &*file, &file.source, Interest::Read),
            Descriptor::Socket(socket, _) => {
                at_source(call, &*socket, &socket.source, Interest::Read)
            }
            Descriptor::Listener(listener, _) => {
                at_source(call, &*listener, &listener.source, Interest::Read)
            }
            Descriptor::Output(_) | Descriptor::Dir(_) => Err(Errno::BadF),
        },
        Kind::Write { fd } => match call.descriptor(fd)? {
            Descriptor::Output(output) => {
                let (wasi, stdio, waiter) = split(call);
                match output.sink(stdio).ready(waiter, wasi.tickets.output(output)) {
                    Some(room) => Ok(Standing::Come(Come::bytes(room))),
                    None => Ok(Standing::Queued),
                }
            }
            Descriptor::File(file) if file.is_regular() => Ok(Standing::Come(Come::bytes(1))),
            Descriptor::File(file) => at_source(call, &*file, &file.source, Interest::Write),
            Descriptor::Socket(socket, _) => {
                at_source(call, &*socket, &socket.source, Interest::Write)
            }
            Descriptor::Stdin | Descriptor::Dir(_) | Descriptor::Listener(..) => Err(Errno::BadF),
        },
    }
}

/// How it stands with what becomes ready by itself.
fn at_source(
    call: &mut Call<'_, '_>,
    object: impl AsFd,
    source: &Arc<Source>,
    interest: Interest,
) -> Result<Standing, Errno> {
    let ready = match ready::look(&object, interest)? {
        Some(ready) => ready,
        None if call.wait_for(&object, source, interest)? => return Ok(Standing::Queued),
        None => Ready { hangup: false },
    };
    let bytes = match interest {
        // Of what listens, nobody knows how much there is.
        Interest::Read => rustix::io::ioctl_fionread(&object).unwrap_or(1),
        Interest::Write | Interest::Both => 1,
    };
    Ok(Standing::Come(Come { bytes, flags: if ready.hangup { HANGUP } else { 0 } }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_clock_is_read_as_the_specification_lays_it_out() {
        let mut record = [0; 48];
        record[0..8].copy_from_slice(&7u64.to_le_bytes());
        record[16..20].copy_from_slice(&1u32.to_le_bytes());
        record[24..32].copy_from_slice(&1_000_000u64.to_le_bytes());
        record[40] = 1;
        let kind = Kind::Clock { id: 1, timeout: 1_000_000, absolute: true };
        let subscription = Ok(Subscription { userdata: 7, kind });
        assert_eq!(Subscription::parse(&record, Layout::PREVIEW_1), subscription);
        let mut older = [0; 56];
        older[..16].copy_from_slice(&record[..16]);
        older[24..].copy_from_slice(&record[16..]);
        assert_eq!(Subscription::parse(&older, Layout::SNAPSHOT_0), subscription);
    }

    #[test]
    fn an_event_is_written_as_the_specification_lays_it_out() {
        let subscription = Subscription { userdata: 7, kind: Kind::Read { fd: 0 } };
        let event = subscription.event(Ok(Come { bytes: 3, flags: HANGUP }));
        assert_eq!((event[0], event[8], event[10], event[16], event[24]), (7, 0, 1, 3, 1));
        assert_eq!(subscription.event(Err(Errno::BadF))[8], 8);
    }

    proptest! {
        #[test]
        fn any_record_is_read_or_refused(
            record in prop::array::uniform32(any::<u8>()),
            more in prop::array::uniform16(any::<u8>()),
            tag in 0..5u8,
        ) {
            let mut bytes = [0; 48];
            bytes[..32].copy_from_slice(&record);
            bytes[32..].copy_from_slice(&more);
            bytes[8] = tag;
            let result = Subscription::parse(&bytes, Layout::PREVIEW_1);
            prop_assert_eq!(result.is_ok(), tag <= 2);
            if let Ok(subscription) = result {
                let event = subscription.event(Ok(Come::default()));
                prop_assert_eq!(&event[..8], &bytes[..8]);
                prop_assert_eq!(event[10], tag);
            }
        }
    }
}
