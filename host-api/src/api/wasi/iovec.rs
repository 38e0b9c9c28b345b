//! Lists of buffers, as guests give them to reads and writes.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::errno::Errno;
use crate::bind::Fault;
use crate::memory::{GuestMemory, Ptr};

/// Buffers of one call; POSIX calls this `IOV_MAX`.
const BUFFERS_MAX: u32 = 1024;

/// Bytes of one record: an address and a length.
const RECORD_BYTES: u32 = 8;

/// Buffers inside the guest's memory.
pub(super) type Buffers = SmallVec<[(Ptr, u32); 4]>;

/// The list at `at`. Each buffer was seen to lie inside the memory.
pub(super) fn list(memory: &GuestMemory<'_>, (at, count): (Ptr, u32)) -> Result<Buffers, Errno> {
    if count > BUFFERS_MAX {
        return Err(Errno::Inval);
    }
    let records = memory.slice(at, count * RECORD_BYTES)?;
    records
        .chunks_exact(RECORD_BYTES as usize)
        .map(|record| {
            let word = |at: usize| {
                let bytes = record[at..at + 4].try_into().expect("four bytes of eight");
                u32::from_le_bytes(bytes)
            };
            let (buffer, len) = (Ptr(word(0)), word(4));
            memory.slice(buffer, len)?;
            Ok((buffer, len))
        })
        .collect()
}

/// Bytes of all of them, up to a limit.
pub(super) fn total(buffers: &Buffers, bytes_max: usize) -> usize {
    let lens = buffers.iter().map(|&(_, len)| len as usize);
    lens.fold(0, |total: usize, len| total.saturating_add(len)).min(bytes_max)
}

/// What is in the buffers, up to so many bytes. Copies only if there are several.
pub(super) fn gather<'a>(
    memory: &GuestMemory<'a>,
    buffers: &Buffers,
    bytes_max: usize,
) -> Result<Cow<'a, [u8]>, Errno> {
    let mut gathered = Cow::Borrowed(&[][..]);
    for &(at, len) in buffers {
        let bytes = memory.slice(at, len)?;
        let bytes = &bytes[..bytes.len().min(bytes_max - gathered.len())];
        if gathered.is_empty() {
            gathered = Cow::Borrowed(bytes);
        } else if !bytes.is_empty() {
            gathered.to_mut().extend_from_slice(bytes);
        }
    }
    Ok(gathered)
}

/// The same into a buffer of the host's: how many bytes.
pub(crate) fn gather_into(
    memory: &GuestMemory<'_>,
    buffers: &Buffers,
    into: &mut [u8],
) -> Result<usize, Fault> {
    let mut done = 0;
    for &(at, len) in buffers {
        let bytes = memory.slice(at, len)?;
        let bytes = &bytes[..bytes.len().min(into.len() - done)];
        into[done..done + bytes.len()].copy_from_slice(bytes);
        done += bytes.len();
    }
    Ok(done)
}

/// Fills the buffers in order; how many bytes found room.
pub(super) fn scatter(
    memory: &mut GuestMemory<'_>,
    buffers: &Buffers,
    bytes: &[u8],
) -> Result<usize, Errno> {
    scatter_behind(memory, buffers, 0, bytes)
}

/// The same, leaving the first `skip` bytes of the buffers as they are.
pub(super) fn scatter_behind(
    memory: &mut GuestMemory<'_>,
    buffers: &Buffers,
    mut skip: usize,
    bytes: &[u8],
) -> Result<usize, Errno> {
    let mut rest = bytes;
    for &(at, len) in buffers {
        let buffer = memory.slice_mut(at, len)?;
        let skipped = skip.min(buffer.len());
        skip -= skipped;
        let buffer = &mut buffer[skipped..];
        let (now, later) = rest.split_at(rest.len().min(buffer.len()));
        buffer[..now.len()].copy_from_slice(now);
        rest = later;
    }
    Ok(bytes.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MEMORY: usize = 512;

    proptest! {
        #[test]
        fn any_list_is_walked_or_refused(
            mut bytes in prop::collection::vec(prop_oneof![3 => Just(0u8), 1 => any::<u8>()], MEMORY),
            at in prop_oneof![0..600u32, any::<u32>()],
            count in prop_oneof![0..70u32, any::<u32>()],
            limit in 0..2000usize,
        ) {
            let mut memory = GuestMemory::over(&mut bytes);
            let Ok(buffers) = list(&memory, (Ptr(at), count)) else { return Ok(()) };
            prop_assert!(count <= BUFFERS_MAX);
            prop_assert_eq!(buffers.len(), count as usize);
            for &(at, len) in &buffers {
                prop_assert!(at.0 as usize + len as usize <= MEMORY);
            }
            let total: usize = buffers.iter().map(|&(_, len)| len as usize).sum();
            let gathered = gather(&memory, &buffers, limit).expect("the list was checked");
            prop_assert_eq!(gathered.len(), total.min(limit));
            let mut copy = vec![0; limit];
            let copied = gather_into(&memory, &buffers, &mut copy).expect("the list was checked");
            prop_assert_eq!(&copy[..copied], &gathered[..]);
            let input = vec![1; limit];
            let taken = scatter(&mut memory, &buffers, &input).expect("the list was checked");
            prop_assert_eq!(taken, total.min(limit));
        }

        #[test]
        fn what_is_scattered_is_gathered(
            lens in prop::collection::vec(0..20u32, 0..10),
            data in prop::collection::vec(any::<u8>(), 0..250),
        ) {
            let mut bytes = vec![0; MEMORY];
            let mut memory = GuestMemory::over(&mut bytes);
            let mut at = 0;
            let buffers: Buffers = lens.iter().map(|&len| { at += len; (Ptr(at - len), len) }).collect();
            let taken = scatter(&mut memory, &buffers, &data).expect("inside");
            let gathered = gather(&memory, &buffers, usize::MAX).expect("inside");
            prop_assert_eq!(&gathered[..taken], &data[..taken]);
        }

        #[test]
        fn what_comes_in_two_pieces_is_one(
            lens in prop::collection::vec(0..20u32, 0..10),
            data in prop::collection::vec(any::<u8>(), 0..250),
            cut in 0..250usize,
        ) {
            let mut bytes = vec![0; MEMORY];
            let mut memory = GuestMemory::over(&mut bytes);
            let mut at = 0;
            let buffers: Buffers = lens.iter().map(|&len| { at += len; (Ptr(at - len), len) }).collect();
            let (first, second) = data.split_at(cut.min(data.len()));
            let taken = scatter(&mut memory, &buffers, first).expect("inside");
            let more = scatter_behind(&mut memory, &buffers, taken, second).expect("inside");
            let gathered = gather(&memory, &buffers, usize::MAX).expect("inside");
            let count = data.len().min(total(&buffers, usize::MAX));
            prop_assert_eq!(if taken < first.len() { taken } else { taken + more }, count);
            prop_assert_eq!(&gathered[..count], &data[..count]);
        }
    }
}
