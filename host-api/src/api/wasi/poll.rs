//! `poll_oneoff`: waiting for the first of several things, sleeping above all.
//!
//! A process waits for its nearest clock with one timer, and for streams in their queues; it asks
//! for everything again whenever it is woken. Which clocks have come is decided by the clocks
//! themselves, so what the timer's thread thinks of time does not matter.

use smallvec::SmallVec;

use super::clocks::Clock;
use super::errno::Errno;
use super::state::{Stream, split};
use crate::bind::Call;
use crate::memory::Ptr;
use crate::stdio::Input;
use std::time::Duration;

/// Things that one call may wait for. By feel: a guest has three descriptors.
const SUBSCRIPTIONS_MAX: u32 = 1024;

/// Bytes of a subscription.
const SUBSCRIPTION_BYTES: usize = 48;

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
    fn parse(record: &[u8; SUBSCRIPTION_BYTES]) -> Result<Self, Errno> {
        let userdata = u64::from_le_bytes(field(record, 0));
        let fd = u32::from_le_bytes(field(record, 16));
        let kind = match record[8] {
            0 => Kind::Clock {
                id: fd,
                timeout: u64::from_le_bytes(field(record, 24)),
                // Flags that the specification does not know are ignored, like the precision.
                absolute: u16::from_le_bytes(field(record, 40)) & ABSOLUTE != 0,
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

fn field<const N: usize>(record: &[u8; SUBSCRIPTION_BYTES], at: usize) -> [u8; N] {
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
    output: Ptr,
    nevents: Ptr,
) -> Result<Option<()>, Errno> {
    if count == 0 || count > SUBSCRIPTIONS_MAX {
        return Err(Errno::Inval);
    }
    let records = call.memory.slice(input, count * SUBSCRIPTION_BYTES as u32)?;
    call.memory.slice_mut(output, count * EVENT_BYTES as u32)?;
    call.memory.slice_mut(nevents, 4)?;
    let subscriptions = parse(records)?;
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

fn parse(records: &[u8]) -> Result<SmallVec<[Subscription; 2]>, Errno> {
    let (records, rest) = records.as_chunks::<SUBSCRIPTION_BYTES>();
    debug_assert!(rest.is_empty(), "the caller gives whole records");
    records.iter().map(Subscription::parse).collect()
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
        Kind::Read { fd } => {
            if call.state.wasi.stream(fd)? != Stream::In {
                return Err(Errno::BadF);
            }
            let (wasi, stdio, waiter) = split(call);
            match stdio.stdin.ready(waiter, &mut wasi.tickets.input) {
                Input::Bytes(bytes) => Ok(Standing::Come(Come::bytes(bytes))),
                Input::EndOfFile => Ok(Standing::Come(Come { bytes: 0, flags: HANGUP })),
                Input::Wait => Ok(Standing::Queued),
                Input::Failed(errno) => Err(Errno::from_host(errno)),
            }
        }
        Kind::Write { fd } => {
            let Stream::Out(output) = call.state.wasi.stream(fd)? else { return Err(Errno::BadF) };
            let (wasi, stdio, waiter) = split(call);
            match output.sink(stdio).ready(waiter, wasi.tickets.output(output)) {
                Some(room) => Ok(Standing::Come(Come::bytes(room))),
                None => Ok(Standing::Queued),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_clock_is_read_as_the_specification_lays_it_out() {
        let mut record = [0; SUBSCRIPTION_BYTES];
        record[0..8].copy_from_slice(&7u64.to_le_bytes());
        record[16..20].copy_from_slice(&1u32.to_le_bytes());
        record[24..32].copy_from_slice(&1_000_000u64.to_le_bytes());
        record[40] = 1;
        let kind = Kind::Clock { id: 1, timeout: 1_000_000, absolute: true };
        assert_eq!(Subscription::parse(&record), Ok(Subscription { userdata: 7, kind }));
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
            let mut bytes = [0; SUBSCRIPTION_BYTES];
            bytes[..32].copy_from_slice(&record);
            bytes[32..].copy_from_slice(&more);
            bytes[8] = tag;
            let result = Subscription::parse(&bytes);
            prop_assert_eq!(result.is_ok(), tag <= 2);
            if let Ok(subscription) = result {
                let event = subscription.event(Ok(Come::default()));
                prop_assert_eq!(&event[..8], &bytes[..8]);
                prop_assert_eq!(event[10], tag);
            }
        }
    }
}
