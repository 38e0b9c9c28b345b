//! The bytes of a message, and where reading goes on: in place while they are few, else on the heap.

use crate::bind::Fault;
use crate::held;

/// Bytes that need no allocation of their own. With them an envelope is a block of 96 bytes for the
/// heap, and a million that wait in a mailbox are 96 MB.
const INLINE_BYTES: usize = 24;

/// The most bytes: positions have 32 bits.
pub(crate) const BYTES_MAX: usize = u32::MAX as usize;

/// Bytes that are only ever added to.
#[derive(Debug, Default)]
pub(crate) struct Payload {
    /// How many have been read.
    cursor: u32,
    len_inline: u8,
    inline: [u8; INLINE_BYTES],
    /// Has a capacity if the bytes are here.
    heap: Vec<u8>,
}

impl Payload {
    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        if self.heap.capacity() > 0 {
            &self.heap
        } else {
            self.inline.get(..usize::from(self.len_inline)).unwrap_or_default()
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Makes room for a message of `total` bytes.
    #[inline]
    pub(crate) fn expect_total(&mut self, total: usize) -> Result<(), Fault> {
        if total > INLINE_BYTES { self.reserve(total.saturating_sub(self.len())) } else { Ok(()) }
    }

    /// Makes room for so many bytes more.
    pub(crate) fn expect_more(&mut self, more: usize) -> Result<(), Fault> {
        self.reserve(more)
    }

    /// What has not been read.
    #[inline]
    pub(crate) fn rest(&self) -> &[u8] {
        self.as_slice().get(self.cursor as usize..).unwrap_or_default()
    }

    /// So many bytes of the rest have been read.
    #[inline]
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.cursor += bytes as u32;
    }

    /// Reading goes on here; `None` beyond the end.
    pub(crate) fn seek(&mut self, position: u64) -> Option<()> {
        let inside = position <= self.len() as u64;
        inside.then(|| self.cursor = position as u32)
    }

    /// Adds bytes at the end; with them there are at most [`BYTES_MAX`].
    #[inline]
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let start = usize::from(self.len_inline);
        let end = start + bytes.len();
        match self.inline.get_mut(start..end) {
            Some(place) if self.heap.capacity() == 0 => {
                place.copy_from_slice(bytes);
                self.len_inline = end as u8;
                Ok(())
            }
            _ => {
                self.reserve(bytes.len())?;
                self.heap.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Empties it. A buffer on the heap is given back: an empty payload is small.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.cursor = 0;
        self.len_inline = 0;
        if self.heap.capacity() > 0 {
            held::free(std::mem::take(&mut self.heap));
        }
    }

    /// Bytes on the heap.
    #[inline]
    pub(crate) fn heap_bytes(&self) -> usize {
        self.heap.capacity()
    }

    /// Moves to the heap, if need be, with room for so many bytes more.
    #[cold]
    fn reserve(&mut self, more: usize) -> Result<(), Fault> {
        let no_memory = |_| Fault::new(format!("no memory for {more} more bytes of a message"));
        let before = self.heap.capacity();
        let reserved = if before == 0 {
            let inline = usize::from(self.len_inline);
            self.heap.try_reserve(inline + more).map(|()| {
                self.heap.extend_from_slice(&self.inline[..inline]);
            })
        } else {
            self.heap.try_reserve(more)
        };
        held::add(self.heap.capacity() - before);
        reserved.map_err(no_memory)
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        if self.heap.capacity() > 0 {
            held::free(std::mem::take(&mut self.heap));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Payload;

    proptest! {
        #[test]
        fn it_holds_what_was_added(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            expected in 0..100_usize,
        ) {
            let mut payload = Payload::default();
            for _ in 0..2 {
                payload.expect_total(expected).expect("memory");
                for piece in &pieces {
                    payload.append(piece).expect("memory");
                }
                prop_assert_eq!(payload.as_slice(), pieces.concat());
                let len = pieces.concat().len();
                prop_assert_eq!(payload.len(), len);
                prop_assert!(payload.seek(len as u64 + 1).is_none());
                prop_assert!(payload.seek(len as u64 / 2).is_some());
                payload.advance(len - len / 2);
                prop_assert!(payload.rest().is_empty());
                payload.clear();
                prop_assert_eq!(payload.len(), 0);
            }
        }
    }
}
