//! The children of a supervisor, in the order of their start.
//!
//! There may be very many of them, and each event concerns one: so they are found by their place in the order, their id, the
//! tag of their process's end and the time at which they are due, and never by looking at all.

use super::Child;
use crate::ExitReason;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

/// A child and its present process.
pub(super) struct Member {
    pub(super) child: Child,
    /// Whether its configuration is kept while it is a child, so that what its processes use is counted.
    pub(super) counted: bool,
    /// With the tag of its end.
    running: Option<(u64, i64)>,
    /// When it was started, and when it is to be started again.
    pub(super) since: Option<Instant>,
    due: Option<Instant>,
    /// Failures in a row.
    pub(super) failures: u32,
    pub(super) restarts: u64,
    pub(super) last_end: Option<ExitReason>,
}

impl Member {
    pub(super) fn new(child: Child, counted: bool) -> Member {
        Member {
            child,
            counted,
            running: None,
            since: None,
            due: None,
            failures: 0,
            restarts: 0,
            last_end: None,
        }
    }

    pub(super) fn process(&self) -> Option<u64> {
        self.running.map(|(process, _)| process)
    }
}

/// Where a child is in the order of starts: a number that it keeps.
pub(super) type Place = u64;

#[derive(Default)]
pub(super) struct Members {
    by_place: BTreeMap<Place, Member>,
    by_id: HashMap<String, Place>,
    /// Those whose processes run.
    by_tag: HashMap<i64, Place>,
    /// Those that wait to be started again, in order and by time.
    waiting: BTreeSet<Place>,
    by_time: BTreeSet<(Instant, Place)>,
    next: Place,
}

impl Members {
    /// One more, behind all others; there must be none with its id.
    pub(super) fn add(&mut self, member: Member) -> Place {
        let place = self.next;
        self.next += 1;
        let other = self.by_id.insert(member.child.id.clone(), place);
        debug_assert_eq!(other, None, "two children with one id");
        self.by_place.insert(place, member);
        place
    }

    /// Forgets one whose process does not run.
    pub(super) fn remove(&mut self, at: Place) {
        self.set_due(at, None);
        self.ended(at);
        if let Some(member) = self.by_place.remove(&at) {
            self.by_id.remove(&member.child.id);
        }
    }

    /// The place must be one of a child.
    pub(super) fn get(&mut self, at: Place) -> &mut Member {
        self.by_place.get_mut(&at).expect("a place is that of a child until it is removed")
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.by_place.values()
    }

    pub(super) fn with_id(&self, id: &str) -> Option<Place> {
        self.by_id.get(id).copied()
    }

    /// Whose process's end has this tag.
    pub(super) fn with_tag(&self, tag: i64) -> Option<Place> {
        self.by_tag.get(&tag).copied()
    }

    /// The places from this one on, in order.
    pub(super) fn from(&self, first: Place) -> Vec<Place> {
        self.by_place.range(first..).map(|(&place, _)| place).collect()
    }

    pub(super) fn last(&self) -> Option<Place> {
        self.by_place.last_key_value().map(|(&place, _)| place)
    }

    /// A child has this process now, whose end will have the tag.
    pub(super) fn started(&mut self, at: Place, process: u64, tag: i64) {
        let member = self.get(at);
        member.running = Some((process, tag));
        member.since = Some(Instant::now());
        self.by_tag.insert(tag, at);
    }

    /// A child's process has ended, or is nobody's any more; it, and the tag of its end.
    pub(super) fn ended(&mut self, at: Place) -> Option<(u64, i64)> {
        let (process, tag) = self.get(at).running.take()?;
        self.by_tag.remove(&tag);
        Some((process, tag))
    }

    /// Says when a child is to be started again, if at all.
    pub(super) fn set_due(&mut self, at: Place, due: Option<Instant>) {
        let before = std::mem::replace(&mut self.get(at).due, due);
        if let Some(before) = before {
            self.by_time.remove(&(before, at));
            self.waiting.remove(&at);
        }
        if let Some(due) = due {
            self.by_time.insert((due, at));
            self.waiting.insert(at);
        }
    }

    /// When the first of those that wait is due, of all.
    pub(super) fn soonest(&self) -> Option<Instant> {
        self.by_time.first().map(|&(due, _)| due)
    }

    /// The first in order that waits to be started again, from this place on, and when.
    pub(super) fn first_waiting(&self, from: Place) -> Option<(Place, Instant)> {
        let &place = self.waiting.range(from..).next()?;
        self.by_place[&place].due.map(|due| (place, due))
    }

    /// Those that are due by now, in order.
    pub(super) fn due(&self, now: Instant) -> Vec<Place> {
        let mut places: Vec<Place> =
            self.by_time.range(..=(now, Place::MAX)).map(|&(_, place)| place).collect();
        places.sort_unstable();
        places
    }
}
