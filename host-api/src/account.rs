//! What is kept about a process whose fuel or children are limited, or whose use is measured: that is,
//! about few of them. All others carry an empty word.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::{ProcessConfig, Told, Usage};

/// The account of one process.
#[derive(Debug, Default)]
pub(crate) struct Account(Option<Box<Entries>>);

#[derive(Debug)]
struct Entries {
    /// All that it may ever use.
    reductions_max: u64,
    usage: Option<Arc<Usage>>,
    told: Told,
    /// How many children of its own live.
    children: Option<Arc<AtomicUsize>>,
    /// Its place among its parent's children; given back when it is dropped.
    _place: Option<Place>,
}

/// A place among the living children of a process that may have so many.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        // Relaxed: a count for a limit; nothing else hangs on it.
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Account {
    /// For a process with this configuration, and this place if its parent counts its children.
    pub(crate) fn new(config: &ProcessConfig, place: Option<Place>) -> Self {
        if config.fuel_max.is_none() && config.usage.is_none() && place.is_none() {
            return Self(None);
        }
        let usage = config.usage.clone();
        if let Some(usage) = &usage {
            usage.begin();
        }
        let reductions_max = reductions(config.fuel_max);
        let entries =
            Entries { reductions_max, usage, told: Told::default(), children: None, _place: place };
        Self(Some(Box::new(entries)))
    }

    /// Whether there is anything to keep.
    #[inline]
    pub(crate) fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// A place for one more child of the at most `max`; `None`: there are so many.
    pub(crate) fn claim_place(&mut self, max: usize) -> Option<Place> {
        let entries = self.0.get_or_insert_with(|| {
            Box::new(Entries {
                reductions_max: u64::MAX,
                usage: None,
                told: Told::default(),
                children: None,
                _place: None,
            })
        });
        let children = entries.children.get_or_insert_default();
        // Relaxed: only this process adds, and a child that ends meanwhile only makes room.
        if children.load(Ordering::Relaxed) >= max {
            return None;
        }
        children.fetch_add(1, Ordering::Relaxed);
        Some(Place(Arc::clone(children)))
    }

    /// The process has used so much now. How much it may still use; `None`: no more.
    pub(crate) fn settle(&mut self, reductions: u64, memory_bytes: usize) -> Option<u64> {
        let Some(entries) = &mut self.0 else { return Some(u64::MAX) };
        if let Some(usage) = &entries.usage {
            usage.tell(&mut entries.told, reductions, memory_bytes as u64);
        }
        let left = entries.reductions_max.saturating_sub(reductions);
        (left > 0).then_some(left)
    }

    /// How much it may still use when it has used so much.
    pub(crate) fn left(&self, reductions: u64) -> u64 {
        let max = self.0.as_ref().map_or(u64::MAX, |entries| entries.reductions_max);
        max.saturating_sub(reductions)
    }

    /// The process has ended.
    pub(crate) fn close(&mut self, reductions: u64) {
        if let Some(entries) = self.0.take()
            && let Entries { usage: Some(usage), mut told, .. } = *entries
        {
            usage.end(&mut told, reductions);
        }
    }
}

/// Units of fuel as reductions; without limit if they are more than a counter holds.
pub(crate) fn reductions(fuel: Option<u64>) -> u64 {
    fuel.map_or(u64::MAX, |units| units.saturating_mul(ProcessConfig::FUEL_REDUCTIONS))
}
