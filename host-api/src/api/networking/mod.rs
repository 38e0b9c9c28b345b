//! `lunatic::networking`: sockets. One file for each kind; here is what they have in common.
//!
//! A function answers 0 for success, 1 with an error id, and [`TIMEOUT`] when its time has passed. One
//! that may wait tries first, on the worker; if there is nothing to do it notes the process where it
//! waits (`ready/`), and is asked again.

pub(crate) mod dns;
pub(crate) mod tcp;
pub(crate) mod tls;
pub(crate) mod udp;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::Poll;

use super::message::TIMEOUT;
use crate::bind::{Call, Fault};
use crate::memory::{GuestMemory, Ptr};
use crate::net::{Addresses, Failure, SCRATCH_BYTES, with_scratch};
use crate::ready::{Interest, Source, Standing, Tried};
use crate::resources::Kind;

/// Reductions of a system call that does not wait. About what it takes.
pub(super) const SYSTEM_CALL: i64 = 2_000;

/// Bytes of a record of a list of buffers: an address and a length.
const RECORD_BYTES: u32 = 8;

/// As many buffers as one call looks at, as on the systems that guests are used to: a list may be as
/// long as a memory, and say nothing.
pub(super) const BUFFERS_MAX: u32 = 1024;

/// How an operation has ended; `None` in its place: it goes on.
pub(in crate::api) enum Ended<T> {
    Done(T),
    Failed(io::Error),
    TimedOut,
}

/// What a host function that may wait answers.
pub(super) fn poll<T>(answer: Result<Option<T>, Fault>) -> Poll<Result<T, Fault>> {
    match answer {
        Ok(Some(value)) => Poll::Ready(Ok(value)),
        Ok(None) => Poll::Pending,
        Err(fault) => Poll::Ready(Err(fault)),
    }
}

impl Call<'_, '_> {
    /// Gives the process something, under a number.
    pub(in crate::api) fn add<T: Kind>(&mut self, resource: T) -> Result<u64, Fault> {
        let max = self.state.config.resources_max;
        let id = self.state.resources.add(resource, max)?;
        self.state.tell_held();
        Ok(id)
    }

    /// Takes it away again.
    pub(in crate::api) fn give_up<T: Kind>(&mut self, id: u64) -> Result<(), Fault> {
        let resource = self.state.resources.remove::<T>(id)?;
        self.state.tell_held();
        drop(resource);
        Ok(())
    }

    /// Something of the process's that is shared.
    pub(in crate::api) fn shared<T>(&self, id: u64) -> Result<Arc<T>, Fault>
    where
        Arc<T>: Kind,
    {
        self.state.resources.get::<Arc<T>>(id).cloned()
    }

    /// Writes a number, and answers 0.
    fn done(&mut self, at: Ptr, number: u64) -> Result<u32, Fault> {
        self.memory.write_u64(at, number)?;
        Ok(0)
    }

    /// Writes an error id, and answers 1.
    #[cold]
    fn failed(&mut self, at: Ptr, failure: Failure) -> Result<u32, Fault> {
        let id = self.state.keep_error_with_code(failure.text, failure.code)?;
        self.memory.write_u64(at, id)?;
        Ok(1)
    }

    /// Writes an error id, and answers that the time has passed: for functions whose callers take the
    /// number for an error id then.
    #[cold]
    fn timed_out_with(&mut self, at: Ptr, failure: Failure) -> Result<u32, Fault> {
        self.failed(at, failure)?;
        Ok(TIMEOUT)
    }

    /// Writes an iterator of one address, and answers 0; or why there is none.
    fn tell_address(
        &mut self,
        at: Ptr,
        tried: &str,
        address: rustix::io::Result<SocketAddr>,
    ) -> Result<u32, Fault> {
        match address {
            Ok(address) => {
                let id = self.add(Addresses::new([address]))?;
                self.done(at, id)
            }
            Err(error) => self.failed(at, Failure::os(tried, error)),
        }
    }

    /// Tries until it is done, fails, or the time has passed; `None`: the process waits.
    pub(in crate::api) fn until_done<T>(
        &mut self,
        timeout: u64,
        (object, source): (&impl AsFd, &Arc<Source>),
        interest: Interest,
        mut attempt: impl FnMut(&mut Self) -> Result<io::Result<Tried<T>>, Fault>,
    ) -> Result<Option<Ended<T>>, Fault> {
        loop {
            let seen = match attempt(self)? {
                Ok(Tried::Done(value)) => return Ok(Some(Ended::Done(value))),
                Ok(Tried::NotYet(seen)) => seen,
                Err(error) => return Ok(Some(Ended::Failed(error))),
            };
            if self.timed_out(timeout) {
                return Ok(Some(Ended::TimedOut));
            }
            match self.wait_at(object, source, interest, seen) {
                Ok(Standing::Noted) => {
                    self.wake_at_deadline();
                    return Ok(None);
                }
                Ok(Standing::Again) => {}
                Ok(Standing::Never) => {
                    return Ok(Some(Ended::Failed(rustix::io::Errno::PERM.into())));
                }
                Err(error) => return Ok(Some(Ended::Failed(error.into()))),
            }
        }
    }

    /// Fills a guest's buffer with what attempts give, as far as one call goes; how many bytes.
    fn fill(
        &mut self,
        (buffer, len): (Ptr, u32),
        timeout: u64,
        place: (&impl AsFd, &Arc<Source>),
        attempt: impl Fn(&mut [u8]) -> io::Result<Tried<usize>>,
    ) -> Result<Option<Ended<usize>>, Fault> {
        self.until_done(timeout, place, Interest::Read, |call| {
            with_scratch(|scratch| {
                let scratch = &mut scratch[..room(len)];
                let tried = attempt(scratch);
                if let Ok(Tried::Done(bytes)) = tried {
                    call.memory.write(buffer, &scratch[..bytes])?;
                }
                Ok(tried)
            })
        })
    }

    /// The answer of a read or write: how many bytes, an error id, or that the time has passed.
    fn answer(&mut self, at: Ptr, tried: &str, ended: Ended<usize>) -> Result<u32, Fault> {
        match ended {
            Ended::Done(bytes) => self.done(at, bytes as u64),
            Ended::Failed(error) => self.failed(at, Failure::io(tried, &error)),
            Ended::TimedOut => Ok(TIMEOUT),
        }
    }
}

/// Where an address lies in the guest's memory, and what is passed beside it.
#[derive(Debug, Clone, Copy)]
pub(super) struct AddressAt {
    pub(super) kind: u32,
    pub(super) bytes: Ptr,
    pub(super) port: u32,
    pub(super) flow_info: u32,
    pub(super) scope_id: u32,
}

impl AddressAt {
    fn read(self, memory: &GuestMemory<'_>) -> Result<SocketAddr, Fault> {
        let port = u16::try_from(self.port)
            .map_err(|_| Fault::new(format!("{} is no port: they end at 65535", self.port)))?;
        match self.kind {
            4 => {
                let bytes: [u8; 4] = array(memory, self.bytes)?;
                Ok(SocketAddrV4::new(Ipv4Addr::from(bytes), port).into())
            }
            6 => {
                let address = Ipv6Addr::from(array::<16>(memory, self.bytes)?);
                Ok(SocketAddrV6::new(address, port, self.flow_info, self.scope_id).into())
            }
            kind => Err(Fault::new(format!("an address of type {kind}: they are 4 and 6"))),
        }
    }
}

fn array<const N: usize>(memory: &GuestMemory<'_>, at: Ptr) -> Result<[u8; N], Fault> {
    let bytes = memory.slice(at, N as u32)?;
    Ok(bytes.try_into().expect("as many as were asked for"))
}

/// Copies a list of buffers together, as far as there is room; of its first [`BUFFERS_MAX`].
fn gather(
    memory: &GuestMemory<'_>,
    (list, count): (Ptr, u32),
    into: &mut [u8],
) -> Result<usize, Fault> {
    let len = count.checked_mul(RECORD_BYTES);
    let len = len.ok_or_else(|| Fault::new(format!("a list of {count} buffers")))?;
    let records = memory.slice(list, len)?.chunks_exact(RECORD_BYTES as usize);
    let mut done = 0;
    for record in records.take(BUFFERS_MAX as usize) {
        let word = |at: usize| {
            u32::from_le_bytes(record[at..at + 4].try_into().expect("four bytes of eight"))
        };
        let bytes = memory.slice(Ptr(word(0)), word(4))?;
        let bytes = &bytes[..bytes.len().min(into.len() - done)];
        into[done..done + bytes.len()].copy_from_slice(bytes);
        done += bytes.len();
        if done == into.len() {
            break;
        }
    }
    Ok(done)
}

/// How much of a guest's buffer one call fills.
fn room(len: u32) -> usize {
    usize::try_from(len).map_or(SCRATCH_BYTES, |len| len.min(SCRATCH_BYTES))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_list_of_buffers_is_gathered_or_refused(
            mut bytes in prop::collection::vec(prop_oneof![3 => Just(0u8), 1 => any::<u8>()], 256),
            at in prop_oneof![0..300u32, any::<u32>()],
            count in prop_oneof![0..40u32, any::<u32>()],
            room in 0..600usize,
        ) {
            let memory = GuestMemory::over(&mut bytes);
            let mut into = vec![0; room];
            if let Ok(gathered) = gather(&memory, (Ptr(at), count), &mut into) {
                prop_assert!(gathered <= room);
                prop_assert!(u64::from(at) + u64::from(count) * 8 <= 256);
            }
        }

        #[test]
        fn an_address_is_read_as_it_was_written(
            bytes in prop::array::uniform16(any::<u8>()),
            kind in prop_oneof![Just(4u32), Just(6u32), any::<u32>()],
            port in prop_oneof![0..70_000u32, any::<u32>()],
        ) {
            let mut bytes = bytes;
            let memory = GuestMemory::over(&mut bytes);
            let at = AddressAt { kind, bytes: Ptr(0), port, flow_info: 1, scope_id: 2 };
            let address = at.read(&memory);
            prop_assert_eq!(address.is_ok(), port < 65_536 && (kind == 4 || kind == 6));
            if let Ok(address) = address {
                prop_assert_eq!(u32::from(address.port()), port);
                prop_assert_eq!(address.is_ipv4(), kind == 4);
            }
        }
    }
}
