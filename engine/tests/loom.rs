//! Loom models of what signal handlers share with other threads: the map of loaded code, and the
//! rings of samples.
//!
//! The modules are the crate's own source files, included by path, so what is explored is what
//! ships; only `sync.rs` differs under `--cfg loom`, and the ring is shorter. Each model is named for
//! the behaviour at risk. Run: `RUSTFLAGS="--cfg loom" cargo test --release -p lunatic-engine --test
//! loom`.
#![cfg(loom)]
// Whole files, of which models use a part.
#![allow(dead_code, unreachable_pub, missing_docs)]

#[path = "../src/published.rs"]
mod published;
#[path = "../src/profile/ring.rs"]
mod ring;
#[path = "../src/sync.rs"]
mod sync;

/// In place of `profile/sample.rs`: the ring needs no more of a sample than its words.
mod sample {
    pub(super) const SAMPLE_WORDS_MAX: usize = 2;

    #[derive(Debug, PartialEq, Eq)]
    pub(super) struct Sample<'a>(pub(super) &'a [u64]);

    impl<'a> Sample<'a> {
        pub(super) fn read(words: &'a [u64]) -> Self {
            Self(words)
        }
    }
}

use loom::{cell::UnsafeCell, sync::Arc, thread};
use published::Published;
use ring::Ring;
use sample::{SAMPLE_WORDS_MAX, Sample};

fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(f);
}

/// A value that nobody may look at while or after it is dropped. The cell outlives it, so that loom
/// sees a look that comes too late.
struct Canary(Arc<UnsafeCell<u32>>);

const DROPPED: u32 = u32::MAX;

impl Canary {
    fn new(number: u32) -> Self {
        Self(Arc::new(UnsafeCell::new(number)))
    }

    fn number(&self) -> u32 {
        // SAFETY: loom checks that nobody writes meanwhile.
        let number = self.0.with(|cell| unsafe { *cell });
        assert_ne!(number, DROPPED);
        number
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        // SAFETY: loom checks that nobody reads meanwhile.
        self.0.with_mut(|cell| unsafe { *cell = DROPPED });
    }
}

// SAFETY: loom checks the accesses to the cell.
unsafe impl Send for Canary {}
// SAFETY: as above.
unsafe impl Sync for Canary {}

fn number(published: &Published<Canary>) -> u32 {
    published.with(|value| value.map_or(0, Canary::number))
}

fn count_up(published: &Published<Canary>) {
    published.change(|value| Canary::new(value.map_or(0, Canary::number) + 1));
}

#[test]
fn a_reader_never_sees_a_value_that_is_dropped_nor_an_older_one_after_a_newer() {
    model(|| {
        let published = Arc::new(Published::new());
        count_up(&published);
        let reader = {
            let published = Arc::clone(&published);
            thread::spawn(move || {
                let first = number(&published);
                let second = number(&published);
                assert!(1 <= first && first <= second && second <= 3);
            })
        };
        count_up(&published);
        count_up(&published);
        reader.join().expect("no panic");
        assert_eq!(number(&published), 3);
    });
}

#[test]
fn two_readers_and_a_writer_get_on() {
    model(|| {
        let published = Arc::new(Published::new());
        let readers = [(); 2].map(|()| {
            let published = Arc::clone(&published);
            thread::spawn(move || assert!(number(&published) <= 1))
        });
        count_up(&published);
        assert_eq!(number(&published), 1, "its own value is there for the writer");
        readers.into_iter().for_each(|reader| reader.join().expect("no panic"));
    });
}

#[test]
fn of_two_writers_none_is_lost_and_no_reader_missed() {
    model(|| {
        let published = Arc::new(Published::new());
        count_up(&published);
        let writer = {
            let published = Arc::clone(&published);
            thread::spawn(move || count_up(&published))
        };
        let reader = {
            let published = Arc::clone(&published);
            thread::spawn(move || assert!((1..=3).contains(&number(&published))))
        };
        count_up(&published);
        writer.join().expect("no panic");
        reader.join().expect("no panic");
        assert_eq!(number(&published), 3);
    });
}

/// A sample of two words or three, by its number.
fn words_of(number: u64) -> [u64; 2] {
    [number, 10 * number]
}

fn take(ring: &Ring, seen: &mut Vec<u64>) {
    let mut words = [0; SAMPLE_WORDS_MAX];
    if let Some(Sample(words)) = ring.pop(&mut words) {
        assert_eq!(*words, words_of(words[0])[..words.len()], "it came whole");
        seen.push(words[0]);
    }
}

/// (That the reader is done with words before they are overwritten is not explored: loom lets loads be
/// late, never early stores.)
#[test]
fn samples_arrive_whole_and_in_order_and_none_is_overwritten() {
    model(|| {
        let ring = Arc::new(Ring::new());
        // The reader is the thread that is spawned: loom explores little of what a parent does first.
        let reader = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || {
                let mut seen = Vec::new();
                take(&ring, &mut seen);
                take(&ring, &mut seen);
                seen
            })
        };
        // The ring has room for one of three words, or two of two.
        let pushed: Vec<u64> =
            (1..=3).filter(|&n| ring.push(&words_of(n)[..1 + n as usize % 2])).collect();
        assert_eq!(pushed[0], 1, "an empty ring has room");
        let mut seen = reader.join().expect("no panic");
        take(&ring, &mut seen);
        take(&ring, &mut seen);
        assert_eq!(seen, pushed);
    });
}
