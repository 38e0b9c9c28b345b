//! Whose work is next. Everybody has a part of the places; who waits comes in turn.
//!
//! A process is in a group with those of its configuration, and that in a branch: what descends from
//! one child of the main process, however it was spawned and whoever of it has ended. Of all places a
//! branch has three quarters at most, those of one configuration in it three quarters of that, and a
//! process its share: whatever one of them does, the others find places. Branches take turns, as do
//! configurations in a branch and processes of a configuration: who puts in much waits for itself.
//!
//! A search for the next passes over those who have their part, who are fewer than the places, and nobody
//! else.

use std::collections::{HashMap, VecDeque};

use lunatic_scheduler::Pid;

/// How many levels of groups there are.
const LEVELS: usize = 3;

/// A place for each level: branch, configuration, process.
pub(super) type Path = [u64; LEVELS];

/// Most places that one group of a level may have.
pub(super) type Parts = [usize; LEVELS];

/// Whose work something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The child of the main process that it descends from, or itself.
    pub(crate) branch: Pid,
    /// A number for its configuration, while that is there.
    pub(crate) config: usize,
    pub(crate) process: Pid,
}

impl Owner {
    /// Where the work of an owner is. What is nobody's is nobody's own.
    pub(super) fn path(owner: Option<Self>) -> Path {
        owner.map_or([0; LEVELS], |owner| {
            [owner.branch.as_u64(), owner.config as u64, owner.process.as_u64()]
        })
    }
}

/// The parts of so many places, of which a process may have `share`.
pub(super) fn parts(places: usize, share: usize) -> Parts {
    let most_of = |places: usize| (places * 3 / 4).max(1);
    let branch = most_of(places);
    let config = most_of(branch);
    [branch, config, share.min(config)]
}

/// Work of a group, whose groups are at the next level. At the last level there is work.
pub(super) struct Group<T> {
    /// Of its work, so much is being done.
    busy: usize,
    /// And so much waits.
    waiting: usize,
    work: VecDeque<T>,
    groups: HashMap<u64, Group<T>>,
    /// Groups in which something waits, in their order.
    turns: VecDeque<u64>,
}

impl<T> Default for Group<T> {
    fn default() -> Self {
        Self {
            busy: 0,
            waiting: 0,
            work: VecDeque::new(),
            groups: HashMap::new(),
            turns: VecDeque::new(),
        }
    }
}

impl<T> Group<T> {
    /// How much waits.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Puts work behind the other work of its owner.
    pub(super) fn put(&mut self, path: &[u64], work: T) {
        self.waiting += 1;
        let Some((&first, rest)) = path.split_first() else { return self.work.push_back(work) };
        let group = self.groups.entry(first).or_default();
        if group.waiting == 0 {
            self.turns.push_back(first);
        }
        group.put(rest, work);
    }

    /// Takes the next out that may be done; it counts as being done until [`Self::done`].
    pub(super) fn take(&mut self, parts: &[usize]) -> Option<T> {
        let taken = match parts.split_first() {
            None => self.work.pop_front(),
            Some((&part, rest)) => self.take_in_turn(part, rest),
        }?;
        self.waiting -= 1;
        self.busy += 1;
        Some(taken)
    }

    fn take_in_turn(&mut self, part: usize, rest: &[usize]) -> Option<T> {
        for _ in 0..self.turns.len() {
            let key = self.turns.pop_front()?;
            let group = self.groups.get_mut(&key).expect("a group stays while something waits");
            let taken = if group.busy < part { group.take(rest) } else { None };
            if group.waiting > 0 {
                self.turns.push_back(key);
            }
            if taken.is_some() {
                return taken;
            }
        }
        None
    }

    /// Work that was taken has been done.
    pub(super) fn done(&mut self, path: &[u64]) {
        self.busy -= 1;
        let Some((first, rest)) = path.split_first() else { return };
        let Some(group) = self.groups.get_mut(first) else { return };
        group.done(rest);
        if group.busy == 0 && group.waiting == 0 {
            self.groups.remove(first);
        }
    }

    /// Takes out what is not wanted, to be dropped.
    pub(super) fn sweep(&mut self, is_wanted: &impl Fn(&T) -> bool, unwanted: &mut Vec<T>) {
        let before = unwanted.len();
        for work in std::mem::take(&mut self.work) {
            if is_wanted(&work) {
                self.work.push_back(work);
            } else {
                unwanted.push(work);
            }
        }
        self.groups.retain(|_, group| {
            group.sweep(is_wanted, unwanted);
            group.busy > 0 || group.waiting > 0
        });
        let groups = &self.groups;
        self.turns.retain(|key| groups.get(key).is_some_and(|group| group.waiting > 0));
        self.waiting -= unwanted.len() - before;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARTS: Parts = [12, 9, 4];

    /// Takes so much as there is, at most so often.
    fn take(all: &mut Group<Path>, most: usize) -> Vec<Path> {
        std::iter::from_fn(|| all.take(&PARTS)).take(most).collect()
    }

    #[test]
    fn a_part_of_the_places_is_left_to_others() {
        assert_eq!(parts(16, 4), PARTS);
        assert_eq!((parts(32, 32), parts(1, 1)), ([24, 18, 18], [1, 1, 1]));
        let mut all = Group::default();
        // A process, those of its configuration, those of its branch: each has its part.
        for (paths, part) in [
            ([[1, 1, 1]; 100], 4),
            (std::array::from_fn(|process| [1, 1, process as u64]), 9),
            (std::array::from_fn(|n| [1, n as u64 / 10, n as u64]), 12),
        ] {
            paths.iter().for_each(|path| all.put(path, *path));
            let taken = take(&mut all, 16);
            assert_eq!(taken.len(), part);
            // Whoever else comes finds a place, be there ever so much before it.
            all.put(&[2, 1, 1], [2, 1, 1]);
            assert_eq!(all.take(&PARTS), Some([2, 1, 1]));
            all.done(&[2, 1, 1]);
            taken.iter().for_each(|path| all.done(path));
            all.sweep(&|_| false, &mut Vec::new());
            assert!(all.groups.is_empty() && all.turns.is_empty());
        }
    }

    #[test]
    fn who_puts_in_much_waits_for_itself() {
        let mut all = Group::default();
        (0..1000).for_each(|process| all.put(&[1, 1, process], [1, 1, process]));
        all.put(&[2, 1, 1], [2, 1, 1]);
        all.put(&[1, 2, 1], [1, 2, 1]);
        let taken = take(&mut all, 4);
        assert_eq!(taken, [[1, 1, 0], [2, 1, 1], [1, 2, 1], [1, 1, 1]]);
    }

    proptest! {
        #[test]
        fn everything_is_taken_once_and_nobody_has_too_much(
            steps in prop::collection::vec((0..4_u64, 0..3_u64, 0..3_u64, 0..5_u8), 0..200),
        ) {
            let (mut all, mut put, mut busy) = (Group::default(), 0, Vec::<(Path, u32)>::new());
            let mut seen = 0;
            for (a, b, c, what) in steps {
                match what {
                    0 | 1 => {
                        all.put(&[a, b, c], ([a, b, c], put));
                        put += 1;
                    }
                    2 | 3 => {
                        let taken = if busy.len() < 16 { all.take(&PARTS) } else { None };
                        seen += u32::from(taken.is_some());
                        // Of one owner in the order in which it came.
                        if let Some((path, number)) = taken {
                            prop_assert!(busy.iter().all(|(p, n)| *p != path || *n < number));
                            busy.push((path, number));
                        }
                        for level in 0..LEVELS {
                            for (path, _) in &busy {
                                let same = |other: &(Path, u32)| other.0[..=level] == path[..=level];
                                let count = busy.iter().filter(|other| same(other)).count();
                                prop_assert!(count <= PARTS[level]);
                            }
                        }
                    }
                    _ => {
                        if !busy.is_empty() {
                            let (path, _) = busy.swap_remove(a as usize % busy.len());
                            all.done(&path);
                        }
                    }
                }
                prop_assert_eq!(all.waiting() as u32, put - seen);
            }
            busy.iter().for_each(|(path, _)| all.done(path));
            while let Some((path, _)) = all.take(&PARTS) {
                all.done(&path);
                seen += 1;
            }
            prop_assert_eq!(seen, put);
            prop_assert!(all.groups.is_empty() && all.turns.is_empty());
        }
    }
}
