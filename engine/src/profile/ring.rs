//! Samples on their way from a worker's signal handler to the tally: words in a ring.
//!
//! One writer, the handler on that worker; one reader, whoever holds the tally.

use super::sample::{SAMPLE_WORDS_MAX, Sample};
use crate::sync::{AtomicU64, AtomicUsize, Ordering};

/// Words of a worker's ring: some hundred of the deepest stacks, ten times what comes in between two
/// emptyings. In models so few that it is full soon and begins again at its start.
const RING_WORDS: usize = if cfg!(loom) { 4 } else { 1 << 16 };

/// Samples of one worker, and the time that they stand for.
pub(super) struct Ring {
    words: Box<[AtomicU64]>,
    /// How many words were ever written; the reader's, how many were read.
    written: AtomicUsize,
    read: AtomicUsize,
    /// Processor time that no sample stands for yet.
    pub(super) owed: AtomicU64,
    /// Processor time of samples that found no room.
    pub(super) lost: AtomicU64,
}

impl Ring {
    pub(super) fn new() -> Self {
        Self {
            words: (0..RING_WORDS).map(|_| AtomicU64::new(0)).collect(),
            written: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
            owed: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        &self.words[at % RING_WORDS]
    }

    /// Handler: whether there was room.
    pub(super) fn push(&self, sample: &[u64]) -> bool {
        let written = self.written.load(Ordering::Relaxed); // our own
        // Acquire: the reader has done with the words that we overwrite.
        let used = written - self.read.load(Ordering::Acquire);
        if used + 1 + sample.len() > RING_WORDS {
            return false;
        }
        self.word(written).store(sample.len() as u64, Ordering::Relaxed);
        for (at, &word) in (written + 1..).zip(sample) {
            self.word(at).store(word, Ordering::Relaxed);
        }
        // Release: publishes the words to `pop`.
        self.written.store(written + 1 + sample.len(), Ordering::Release);
        true
    }

    /// Reader: the oldest sample.
    pub(super) fn pop<'a>(&self, words: &'a mut [u64; SAMPLE_WORDS_MAX]) -> Option<Sample<'a>> {
        let read = self.read.load(Ordering::Relaxed); // our own
        // Acquire: see `push`.
        if read == self.written.load(Ordering::Acquire) {
            return None;
        }
        let len = self.word(read).load(Ordering::Relaxed) as usize;
        let words = &mut words[..len];
        for (at, word) in (read + 1..).zip(words.iter_mut()) {
            *word = self.word(at).load(Ordering::Relaxed);
        }
        // Release: see `push`.
        self.read.store(read + 1 + len, Ordering::Release);
        Some(Sample::read(words))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::sample::{FRAMES_MAX, SampleWriter};
    use super::*;

    #[test]
    fn a_ring_gives_back_what_was_put_in_until_it_is_full() {
        let ring = Ring::new();
        let mut words = [0; SAMPLE_WORDS_MAX];
        for round in 0..1_000 {
            let mut put = 0;
            loop {
                let mut sample = SampleWriter::new(round + 1);
                (0..put % FRAMES_MAX).for_each(|address| sample.push(address));
                if !ring.push(sample.words()) {
                    break;
                }
                put += 1;
            }
            assert!(put > RING_WORDS / SAMPLE_WORDS_MAX);
            for taken in 0..put {
                let sample = ring.pop(&mut words).expect("it was put in");
                assert_eq!(sample.nanos, round + 1);
                assert_eq!(sample.left.len(), taken % FRAMES_MAX);
                assert!(sample.left.iter().copied().eq(0..sample.left.len() as u64));
            }
            assert!(ring.pop(&mut words).is_none());
        }
    }
}
