//! What a process of the seed era has: numbers of ends, children and channels; and its fate, for the
//! one who waits for it.

use std::collections::HashMap;
use std::sync::Arc;

use lunatic_scheduler::{Pid, Worker};
use parking_lot::Mutex;

use super::ends::End;
use super::numbered::Numbered;
use super::referenced::Both;
use crate::bind::Fault;
use crate::held::{self, RESOURCE_BYTES};
use crate::kept::Kept;
use crate::message::{Mail, Message, Resource};
use crate::node::NodeInner;
use crate::process::ProcessState;
use crate::reaper::{self, FEW, Lost};

/// What a process has of these interfaces; most processes have none.
#[derive(Default)]
pub(crate) struct Seed {
    pub(super) senders: Table<End>,
    pub(super) receivers: Table<End>,
    pub(super) numbered: Numbered,
    pub(super) children: Table<Child>,
    /// Of crate 0.2.
    pub(super) channels: Table<Both>,
    /// What the next message will carry.
    pub(super) pending: Vec<Resource>,
    /// What the process was spawned with: the first message of receiver 0.
    pub(super) context: Option<Mail>,
    /// What a child will be born with whose spawn has to be tried again.
    pub(super) unborn: Option<Box<Seed>>,
    /// How the one who spawned it learns of its end.
    pub(super) fate: Arc<Fate>,
}

impl Seed {
    /// What the host holds for it.
    pub(crate) fn bytes(&self) -> usize {
        let context = self.context.as_deref().map_or(0, Message::bytes);
        self.open() * RESOURCE_BYTES + context
    }

    /// How many things it has.
    fn open(&self) -> usize {
        let ends = self.senders.entries.len() + self.receivers.entries.len();
        let things = self.children.entries.len() + self.channels.entries.len();
        ends + things + self.numbered.count() + self.pending.len()
    }

    /// The process has ended. What it had goes with this, if need be in a while.
    pub(crate) fn ended(
        self: Box<Self>,
        well: bool,
        worker: &Worker<'_, ProcessState>,
        node: Kept<Arc<NodeInner>>,
    ) {
        if let Some(waiter) = self.fate.end(well) {
            worker.wake(waiter);
        }
        if self.open() > FEW {
            reaper::give_up_elsewhere(Lost::Seed(self), node);
        }
    }
}

/// What a message calls it.
pub(super) trait Named {
    const NAME: &'static str;
}

impl Named for End {
    const NAME: &'static str = "end of a channel";
}

impl Named for Child {
    const NAME: &'static str = "child process";
}

/// Things by number. Numbers count up from 1 and are never used again; 0 is the receiver of the
/// context.
pub(super) struct Table<T> {
    entries: HashMap<u32, T>,
    last: u32,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { entries: HashMap::new(), last: 0 }
    }
}

impl<T: Named> Table<T> {
    pub(super) fn add(&mut self, entry: T, max: usize) -> Result<u32, Fault> {
        let number = self.check_room(max)?;
        self.last = number;
        self.entries.insert(number, entry);
        held::add(RESOURCE_BYTES);
        Ok(number)
    }

    /// The number that the next one will have, if there may be one more.
    pub(super) fn check_room(&self, max: usize) -> Result<u32, Fault> {
        let next = self.last.checked_add(1).filter(|_| self.entries.len() < max);
        next.ok_or_else(|| {
            Fault::new(format!(
                "the process has {} of the kind \"{}\", its limit; one more needs others closed",
                self.entries.len(),
                T::NAME
            ))
        })
    }

    pub(super) fn get(&self, number: u32) -> Result<&T, Fault> {
        self.entries.get(&number).ok_or_else(|| unknown::<T>(number))
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Result<&mut T, Fault> {
        self.entries.get_mut(&number).ok_or_else(|| unknown::<T>(number))
    }

    pub(super) fn remove(&mut self, number: u32) -> Result<T, Fault> {
        let entry = self.entries.remove(&number).ok_or_else(|| unknown::<T>(number))?;
        held::sub(RESOURCE_BYTES);
        Ok(entry)
    }
}

impl<T> Drop for Table<T> {
    fn drop(&mut self) {
        held::sub(self.entries.len() * RESOURCE_BYTES);
    }
}

#[cold]
fn unknown<T: Named>(number: u32) -> Fault {
    Fault::new(format!("the process has no {} with number {number}", T::NAME))
}

/// A process that this one has spawned.
pub(super) struct Child {
    pub(super) pid: Pid,
    pub(super) fate: Arc<Fate>,
}

/// The end of a process, for the one that spawned it.
#[derive(Debug, Default)]
pub(super) struct Fate(Mutex<Ending>);

#[derive(Debug, Default)]
enum Ending {
    #[default]
    Lives,
    /// Its parent waits.
    Awaited(Pid),
    Ended {
        well: bool,
    },
}

impl Fate {
    /// Whether the process has ended well; `None` if it lives, and then the caller will be woken.
    pub(super) fn ended_or_wait(&self, waiter: Pid) -> Option<bool> {
        let mut ending = self.0.lock();
        match *ending {
            Ending::Ended { well } => Some(well),
            Ending::Lives | Ending::Awaited(_) => {
                *ending = Ending::Awaited(waiter);
                None
            }
        }
    }

    /// It has ended; who waits for that.
    fn end(&self, well: bool) -> Option<Pid> {
        match std::mem::replace(&mut *self.0.lock(), Ending::Ended { well }) {
            Ending::Awaited(waiter) => Some(waiter),
            Ending::Lives | Ending::Ended { .. } => None,
        }
    }
}
