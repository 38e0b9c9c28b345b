//! Names of processes, for who has not been told their ids.
//!
//! A name leads to one process and vanishes with it: the process's book ([`crate::ties`]) lists its
//! names, and its end takes them out. Processes without names pay nothing. A name that is given to
//! another process is taken away from the first.
//!
//! **Locks**: names are in shards, each under a lock, which is held for a few steps; while a named
//! process is spawned also for that, but for nothing that can fail slowly: its memory is there
//! before. The locks of books are taken inside of these, never the other way round.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lunatic_engine::text::shown;
use lunatic_scheduler::{Pid, Worker};
use parking_lot::{Mutex, MutexGuard};

use crate::held;
use crate::process::ProcessState;
use crate::ties::Ties;

/// A name, shared by the registry and the book of the process.
pub(crate) type Name = Arc<str>;

/// So many locks. By feel: far more than workers.
const SHARDS: usize = 64;

/// The longest name. By feel: names are words, or the paths of Rust types.
pub(crate) const NAME_BYTES_MAX: usize = 4096;

/// All names of a run, with what it costs to keep them: that counts as held by the host (`held.rs`).
const NAMES_BYTES_MAX: usize = 256 << 20;

/// What a name costs besides its bytes: entries in two tables.
const NAME_OVERHEAD_BYTES: usize = 128;

/// There is no room for a name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NameError {
    /// In the registry.
    #[error(
        "cannot register \"{name}\": all names of the run may take {NAMES_BYTES_MAX} bytes, with \
         {NAME_OVERHEAD_BYTES} for each; remove some"
    )]
    Full { name: String },
    /// For this process.
    #[error(
        "cannot register \"{name}\": process {process} has {} names, the most one can have; remove \
         some",
        crate::ties::NAMES_MAX
    )]
    TooManyOfOne { name: String, process: Pid },
}

/// All names of a run.
pub(crate) struct Registry {
    shards: Box<[Mutex<Names>]>,
    hasher: RandomState,
    /// What all names cost: a count for a limit, nothing hangs on its order (`Relaxed`).
    bytes: AtomicUsize,
}

type Names = HashMap<Name, Lead>;

/// Where a name leads.
#[derive(Clone, Copy)]
struct Lead {
    to: Pid,
    /// Who has made it so.
    by: Pid,
}

/// A name that leads nowhere at present, and stays so while this is there.
pub(crate) struct Vacancy<'a> {
    registry: &'a Registry,
    names: MutexGuard<'a, Names>,
    name: Name,
    by: Pid,
    filled: bool,
}

/// Whom a name leads to.
pub(crate) enum Claim<'a> {
    Taken(Pid),
    Vacant(Vacancy<'a>),
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            bytes: AtomicUsize::new(0),
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        held::sub(*self.bytes.get_mut());
    }
}

impl Registry {
    fn names(&self, name: &str) -> MutexGuard<'_, Names> {
        self.shards[self.hasher.hash_one(name) as usize % SHARDS].lock()
    }

    /// The living process of this name.
    pub(crate) fn get(&self, worker: &Worker<'_, ProcessState>, name: &str) -> Option<Pid> {
        let pid = self.names(name).get(name).map(|lead| lead.to);
        pid.filter(|&pid| worker.exists(pid))
    }

    /// Makes a name lead to a process; if that has ended, to nobody.
    pub(crate) fn put(
        &self,
        worker: &Worker<'_, ProcessState>,
        ties: &Ties,
        name: &str,
        (to, by): (Pid, Pid),
    ) -> Result<(), NameError> {
        self.put_into(&mut self.names(name), (worker, ties), name, Lead { to, by })
    }

    /// The same, unless the name leads to another process that lives; whether it does not.
    pub(crate) fn put_if_free(
        &self,
        worker: &Worker<'_, ProcessState>,
        ties: &Ties,
        name: &str,
        (to, by): (Pid, Pid),
    ) -> Result<bool, NameError> {
        let mut names = self.names(name);
        if names.get(name).is_some_and(|other| other.to != to && worker.exists(other.to)) {
            return Ok(false);
        }
        self.put_into(&mut names, (worker, ties), name, Lead { to, by }).map(|()| true)
    }

    fn put_into(
        &self,
        names: &mut Names,
        (worker, ties): (&Worker<'_, ProcessState>, &Ties),
        name: &str,
        lead: Lead,
    ) -> Result<(), NameError> {
        let pid = lead.to;
        if names.get(name).is_some_and(|known| known.to == pid) {
            return Ok(());
        }
        if !worker.exists(pid) {
            self.forget(names, ties, name);
            return Ok(());
        }
        if !ties.may_have_name(pid) {
            return Err(NameError::TooManyOfOne { name: shown(name), process: pid });
        }
        // Its bytes are given back first, so that taking a name over needs no room.
        self.forget(names, ties, name);
        let name = self.book(name)?;
        if ties.add_name(worker, pid, &name) {
            names.insert(name, lead);
        } else {
            self.unbook(&name);
        }
        Ok(())
    }

    /// Makes a name lead to nobody.
    pub(crate) fn remove(&self, ties: &Ties, name: &str) {
        self.forget(&mut self.names(name), ties, name);
    }

    fn forget(&self, names: &mut Names, ties: &Ties, name: &str) {
        if let Some((name, lead)) = names.remove_entry(name) {
            ties.remove_name(lead.to, &name);
            self.unbook(&name);
        }
    }

    /// Whom the name leads to; if nobody, it is held for the caller, who is `by`.
    pub(crate) fn claim(
        &self,
        worker: &Worker<'_, ProcessState>,
        ties: &Ties,
        name: &str,
        by: Pid,
    ) -> Result<Claim<'_>, NameError> {
        let mut names = self.names(name);
        if let Some(lead) = names.get(name) {
            if worker.exists(lead.to) {
                return Ok(Claim::Taken(lead.to));
            }
            // It has ended, and is about to take the name out itself.
            self.forget(&mut names, ties, name);
        }
        let name = self.book(name)?;
        Ok(Claim::Vacant(Vacancy { registry: self, names, name, by, filled: false }))
    }

    /// A process has ended: so have its names, unless they lead elsewhere by now.
    pub(crate) fn process_ended(&self, pid: Pid, ended: impl IntoIterator<Item = Name>) {
        for name in ended {
            let mut names = self.names(&name);
            if names.get(&name).is_some_and(|lead| lead.to == pid) {
                names.remove(&name);
                self.unbook(&name);
            }
        }
    }

    /// What names take, with whoever has given them; of one that has ended, with whom they lead to.
    pub(crate) fn givers(&self, exists: impl Fn(Pid) -> bool) -> HashMap<Pid, usize> {
        let mut givers = HashMap::new();
        for shard in &self.shards {
            for (name, &Lead { to, by }) in shard.lock().iter() {
                *givers.entry(if exists(by) { by } else { to }).or_default() += cost(name);
            }
        }
        givers
    }

    fn book(&self, name: &str) -> Result<Name, NameError> {
        let cost = cost(name);
        if self.bytes.fetch_add(cost, Ordering::Relaxed) + cost > NAMES_BYTES_MAX {
            self.bytes.fetch_sub(cost, Ordering::Relaxed);
            return Err(NameError::Full { name: shown(name) });
        }
        held::add(cost);
        Ok(name.into())
    }

    fn unbook(&self, name: &str) {
        self.bytes.fetch_sub(cost(name), Ordering::Relaxed);
        held::sub(cost(name));
    }
}

fn cost(name: &str) -> usize {
    name.len() + NAME_OVERHEAD_BYTES
}

impl Vacancy<'_> {
    /// The name, for the book of who is to have it.
    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    /// The name leads to this process, whose book has it already.
    pub(crate) fn fill(mut self, pid: Pid) {
        self.names.insert(Arc::clone(&self.name), Lead { to: pid, by: self.by });
        self.filled = true;
    }
}

impl Drop for Vacancy<'_> {
    fn drop(&mut self) {
        if !self.filled {
            self.registry.unbook(&self.name);
        }
    }
}
