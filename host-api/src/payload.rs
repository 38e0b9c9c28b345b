//! The bytes of a message: in place while they are few, else on the heap.

use crate::bind::Fault;

/// Bytes that need no allocation of their own. With the rest of a message this makes a mailbox
/// entry of two cache lines.
const INLINE_BYTES: usize = 32;

/// Bytes that are only ever added to.
#[derive(Debug, Default)]
pub(crate) struct Payload {
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

    /// Adds bytes at the end.
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
        self.len_inline = 0;
        if self.heap.capacity() > 0 {
            self.heap = Vec::new();
        }
    }

    /// Moves to the heap, if need be, with room for so many bytes more.
    #[cold]
    fn reserve(&mut self, more: usize) -> Result<(), Fault> {
        let no_memory = |_| Fault::new(format!("no memory for {more} more bytes of a message"));
        if self.heap.capacity() == 0 {
            let inline = usize::from(self.len_inline);
            self.heap.try_reserve(inline + more).map_err(no_memory)?;
            self.heap.extend_from_slice(&self.inline[..inline]);
            Ok(())
        } else {
            self.heap.try_reserve(more).map_err(no_memory)
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
                prop_assert_eq!(payload.len(), pieces.concat().len());
                payload.clear();
                prop_assert_eq!(payload.len(), 0);
            }
        }
    }
}
