//! Links and monitors: who is told when a process ends, and who dies with it.
//!
//! **Parties**: a process that ties itself to another or unties itself (from a host call of its own,
//! so it lives meanwhile); a process that ends (its worker, in `Program::ended` and `settle`).
//!
//! **Data**: a process that has anything to do with this has a [`Book`], in a shard found by its pid
//! and under that shard's lock. A book has an entry for each peer; the entry says what *the owner of
//! the book* is to be told when that peer ends. Entries come in pairs: whoever is in my book has me
//! in his, perhaps with nothing to be told. Processes without ties have no book and never come here:
//! the watch bit in their state word is not set (`State::watch`), and their end reads that word
//! anyway.
//!
//! **Protocol**
//! 1. To tie: lock both shards (in the order of their numbers, so that nobody waits in a circle);
//!    set the peer's watch bit. If that fails, the peer has ended: the caller is told at once, here.
//!    Otherwise write both entries, and unlock.
//! 2. To untie: lock both; remove or shorten both entries; unlock.
//! 3. To end: the state word says "dying" first, and that exchange tells whether the watch bit was
//!    set. If it was: lock the own shard, take the book out, unlock. For each peer in the book, one
//!    after the other: lock the peer's shard, take the entry about us out of the peer's book, do
//!    what it says, unlock. After some of them others get their turn (`Settled::More`), so the end of
//!    a process with very many links keeps no worker for long; nor is there any recursion, as a
//!    process that dies of a link ends like any other, from a queue.
//!
//! **Why each is told exactly once**: the watch bit is set and the entries are written under the
//! lock that the end needs to take the book, and the end takes that lock only after it has become
//! "dying". So either the bit was set in time, and then the end waits for the lock and finds the
//! entry; or setting it fails, and no entry is written. An entry about the dead is taken out by one
//! party only. If both ends die at once, each takes its own book out first, so neither finds itself in
//! the other's: nobody needs to be told. Between the end and its turn at a peer, that peer still has
//! an entry about the dead; it may untie itself, then it is told nothing, and if it ties itself
//! anew, it does not get a second notice for the same end.
//!
//! What is to be told is sent or done under the receiver's lock: after `unlink` has returned, the
//! link's death can no longer kill the caller.
//!
//! **What it takes** counts as held by the host, and for whoever made the tie: see `ties/peers.rs`.
//!
//! **Locks**: they are held for a few steps in a tree, and for a message or a wake-up, which take no
//! locks that lead back here. The registry's locks are taken before these, never after.

mod peers;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use lunatic_scheduler::{Handle, Pid, Worker};
use parking_lot::{Mutex, MutexGuard};

use crate::bind::Fault;
use crate::exit::{Cause, ExitReason};
use crate::message::{Message, Notice, Tie};
use crate::process::ProcessState;
use crate::registry::Name;

pub(crate) use peers::TIES_MAX;
use peers::{Peers, Wish};

/// So many locks. By feel: far more than workers.
const SHARDS: usize = 64;

/// Names of one process; its end takes them out in one go.
pub(crate) const NAMES_MAX: usize = 1000;

/// Peers that are told in one go. By feel: a tenth of a millisecond at most.
const TOLD_IN_ONE_GO: usize = 256;

type Of<'a, 'w> = &'a Worker<'w, ProcessState>;

/// All books of a run.
pub(crate) struct Ties {
    shards: Box<[Shard]>,
}

/// Apart from its neighbours' cache lines: most operations take two locks at random.
#[repr(align(64))]
#[derive(Default)]
struct Shard(Mutex<Books>);

type Books = HashMap<Pid, Box<Book>>;

/// What concerns others about one process.
#[derive(Default)]
pub(crate) struct Book {
    peers: Peers,
    /// The failure of a link is a message to it, not its death.
    survives: bool,
    /// Why it has been killed, if it has.
    killed: Option<Box<ExitReason>>,
    /// Its names in the registry.
    names: BTreeSet<Name>,
}

/// How a process is tied to the one that spawns it; 0 is not at all.
#[derive(Clone, Copy, Default)]
pub(crate) struct ChildTags {
    pub(crate) link: i64,
    pub(crate) monitor: i64,
}

impl ChildTags {
    pub(crate) fn any(self) -> bool {
        self.link != 0 || self.monitor != 0
    }
}

/// The books of two processes.
struct Pair<'a> {
    mine: Pid,
    peers: Pid,
    low: MutexGuard<'a, Books>,
    /// If it is another shard.
    high: Option<MutexGuard<'a, Books>>,
    /// Mine are the higher.
    crossed: bool,
}

impl Pair<'_> {
    fn mine(&mut self) -> &mut Books {
        match &mut self.high {
            Some(high) if self.crossed => high,
            _ => &mut self.low,
        }
    }

    fn peers(&mut self) -> &mut Books {
        match &mut self.high {
            Some(high) if !self.crossed => high,
            _ => &mut self.low,
        }
    }

    /// Changes what I want to be told about the peer, if we are tied.
    fn change_mine<R>(&mut self, change: impl FnOnce(&mut Wish) -> R) -> Option<R> {
        let (mine, peer) = (self.mine, self.peers);
        self.mine().get_mut(&mine)?.peers.change(peer, change)
    }

    /// Changes what the peer wants to be told about me.
    fn change_peers<R>(&mut self, change: impl FnOnce(&mut Wish) -> R) -> Option<R> {
        let (mine, peer) = (self.mine, self.peers);
        self.peers().get_mut(&peer)?.peers.change(mine, change)
    }

    /// Forgets the tie if neither of us wants to be told anything.
    fn shorten(&mut self) {
        let (mine, peer) = (self.mine, self.peers);
        let wants = |books: &Books, owner: Pid, about: Pid| {
            let wish = books.get(&owner).and_then(|book| book.peers.get(about));
            wish.is_some_and(|wish| !wish.is_empty())
        };
        if wants(self.mine(), mine, peer) || wants(self.peers(), peer, mine) {
            return;
        }
        if let Some(book) = self.mine().get_mut(&mine) {
            book.peers.remove(peer);
        }
        if let Some(book) = self.peers().get_mut(&peer) {
            book.peers.remove(mine);
        }
    }
}

impl Default for Ties {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::default()).collect() }
    }
}

impl Ties {
    fn number(pid: Pid) -> usize {
        pid.slot_index().unwrap_or_default() as usize % SHARDS
    }

    fn books(&self, pid: Pid) -> MutexGuard<'_, Books> {
        self.shards[Self::number(pid)].0.lock()
    }

    fn pair(&self, mine: Pid, peers: Pid) -> Pair<'_> {
        let (my_shard, peers_shard) = (Self::number(mine), Self::number(peers));
        let (low, high) = (my_shard.min(peers_shard), my_shard.max(peers_shard));
        let crossed = my_shard > peers_shard;
        let first = self.shards[low].0.lock();
        let second = (low != high).then(|| self.shards[high].0.lock());
        Pair { mine, peers, low: first, high: second, crossed }
    }

    /// Links two processes: if one fails, the other dies too, or is told. A peer that has ended is
    /// a link that fails at once. `one_way`: what becomes of `me` does nothing to the peer, unless that
    /// is linked already.
    pub(crate) fn link(
        &self,
        worker: Of<'_, '_>,
        me: Pid,
        peer: Pid,
        (tag, one_way): (i64, bool),
    ) -> Result<(), Fault> {
        let mine = |wish: &mut Wish| {
            wish.link = Some(tag);
            Ok(())
        };
        self.tie(worker, me, peer, mine, |wish| {
            if !one_way {
                // The tag that it has chosen itself stays.
                wish.link.get_or_insert(tag);
            }
        })
    }

    /// Has `me` told of the peer's end, however it ends; at once if it has ended.
    pub(crate) fn monitor(&self, worker: Of<'_, '_>, me: Pid, peer: Pid) -> Result<(), Fault> {
        let mine = |wish: &mut Wish| {
            wish.monitor = true;
            Ok(())
        };
        self.tie(worker, me, peer, mine, |_| {})
    }

    /// The same with a tag for the notice, besides other monitors.
    pub(crate) fn monitor_tagged(
        &self,
        worker: Of<'_, '_>,
        me: Pid,
        peer: Pid,
        tag: i64,
    ) -> Result<(), Fault> {
        self.tie(worker, me, peer, |wish| wish.add_tag(tag), |_| {})
    }

    fn tie(
        &self,
        worker: Of<'_, '_>,
        me: Pid,
        peer: Pid,
        mine: impl Fn(&mut Wish) -> Result<(), Fault>,
        peers: impl Fn(&mut Wish),
    ) -> Result<(), Fault> {
        if me == peer {
            return Ok(());
        }
        let mut pair = self.pair(me, peer);
        if let Some(changed) = pair.change_mine(&mine) {
            // Or its end is under way, and will do what our entry says.
            changed?;
            pair.change_peers(peers);
            return Ok(());
        }
        let book = pair.mine().entry(me).or_default();
        if !book.peers.has_room() {
            return Err(Fault::new(format!(
                "the process has made links or monitors with {TIES_MAX} others, the most there can be; \
                 unlink some"
            )));
        }
        worker.watch(me);
        let mut wish = Wish::default();
        mine(&mut wish)?;
        if !worker.watch(peer) {
            let death = Death::new(peer, &ExitReason::NoProcess);
            book.hear(worker, me, &wish, &death);
            return Ok(());
        }
        book.peers.make(peer, wish);
        let mut peers_wish = Wish::default();
        peers(&mut peers_wish);
        pair.peers().entry(peer).or_default().peers.accept(me, peers_wish);
        Ok(())
    }

    /// Ties a process to the one that spawns it, before it can run: its book, and the parent's.
    pub(crate) fn tie_child(&self, worker: Of<'_, '_>, parent: Pid, child: Pid, tags: ChildTags) {
        let mut pair = self.pair(parent, child);
        worker.watch(parent);
        let link = (tags.link != 0).then_some(tags.link);
        let mut parents = Wish::linked(link);
        if tags.monitor != 0 {
            // The first one: there is room.
            let _added = parents.add_tag(tags.monitor);
        }
        pair.mine().entry(parent).or_default().peers.make(child, parents);
        // It does not know the tag, so it gets none.
        let childs = Wish::linked(link.map(|_| 0));
        pair.peers().entry(child).or_default().peers.accept(parent, childs);
    }

    /// Whether the process may make one more tie.
    pub(crate) fn has_room(&self, me: Pid) -> bool {
        self.books(me).get(&me).is_none_or(|book| book.peers.has_room())
    }

    /// What ties take, with whoever has made them, if it is so much.
    pub(crate) fn makers(&self, bytes_min: usize) -> Vec<(Pid, usize)> {
        let mut makers = Vec::new();
        for shard in &self.shards {
            let books = shard.0.lock();
            let heavy = books.iter().map(|(&pid, book)| (pid, book.peers.bytes()));
            makers.extend(heavy.filter(|&(_, bytes)| bytes >= bytes_min));
        }
        makers
    }

    /// Undoes `link`, from either side.
    pub(crate) fn unlink(&self, me: Pid, peer: Pid) {
        let mut pair = self.pair(me, peer);
        pair.change_mine(|wish| wish.link = None);
        pair.change_peers(|wish| wish.link = None);
        pair.shorten();
    }

    /// Undoes `monitor`.
    pub(crate) fn stop_monitoring(&self, me: Pid, peer: Pid) {
        let mut pair = self.pair(me, peer);
        pair.change_mine(|wish| wish.monitor = false);
        pair.shorten();
    }

    /// Undoes one `monitor_tagged` with this tag.
    pub(crate) fn stop_monitoring_tagged(&self, me: Pid, peer: Pid, tag: i64) {
        let mut pair = self.pair(me, peer);
        pair.change_mine(|wish| wish.remove_tag(tag));
        pair.shorten();
    }

    /// Asks a process to end: as a failing link does, so it dies unless it survives its links. Whether
    /// there is such a process.
    pub(crate) fn ask_to_end(&self, worker: Of<'_, '_>, by: Pid, pid: Pid) -> bool {
        let mut books = self.books(pid);
        if !worker.watch(pid) {
            return false;
        }
        let book = books.entry(pid).or_default();
        if book.survives {
            let death = Death::new(by, &ExitReason::Shutdown);
            send(worker, pid, 0, death.notice(Tie::Link));
        } else {
            book.kill(worker, pid, ExitReason::Killed { by: Some(by) });
        }
        true
    }

    /// Whether the failure of a link is a message to the process instead of its death.
    pub(crate) fn set_survives(&self, worker: Of<'_, '_>, me: Pid, survives: bool) {
        worker.watch(me);
        self.books(me).entry(me).or_default().survives = survives;
    }

    /// Ends a process for this reason at its next scheduling point, unless it ends before by itself.
    /// The first reason counts. Whether there is such a process.
    pub(crate) fn kill(&self, worker: Of<'_, '_>, pid: Pid, reason: ExitReason) -> bool {
        let mut books = self.books(pid);
        if !worker.watch(pid) {
            return false;
        }
        books.entry(pid).or_default().kill(worker, pid, reason);
        true
    }

    /// The same, by a thread that is no worker.
    pub(crate) fn kill_from_outside(
        &self,
        handle: &Handle<ProcessState>,
        pid: Pid,
        reason: ExitReason,
    ) -> bool {
        let mut books = self.books(pid);
        if !handle.watch(pid) {
            return false;
        }
        books.entry(pid).or_default().killed.get_or_insert_with(|| Box::new(reason));
        handle.kill(pid)
    }

    /// Whether a process may have one more name.
    pub(crate) fn may_have_name(&self, pid: Pid) -> bool {
        self.books(pid).get(&pid).is_none_or(|book| book.names.len() < NAMES_MAX)
    }

    /// Notes a name of a living process; whether it lives.
    pub(crate) fn add_name(&self, worker: Of<'_, '_>, pid: Pid, name: &Name) -> bool {
        let mut books = self.books(pid);
        let lives = worker.watch(pid);
        if lives {
            books.entry(pid).or_default().names.insert(Arc::clone(name));
        }
        lives
    }

    /// The same for one that cannot run yet.
    pub(crate) fn add_name_of_new(&self, pid: Pid, name: &Name) {
        self.books(pid).entry(pid).or_default().names.insert(Arc::clone(name));
    }

    /// The first of its names, for a profile. Gives up soon: whoever holds the lock may be dropping a
    /// module, which waits for profiles.
    pub(crate) fn name_of(&self, pid: Pid) -> Option<Name> {
        let books = self.shards[Self::number(pid)].0.try_lock_for(Duration::from_millis(1))?;
        books.get(&pid)?.names.first().cloned()
    }

    /// The process is no longer called so.
    pub(crate) fn remove_name(&self, pid: Pid, name: &Name) {
        if let Some(book) = self.books(pid).get_mut(&pid) {
            book.names.remove(name);
        }
    }

    /// The book of a process that is ending.
    pub(crate) fn take(&self, pid: Pid) -> Book {
        self.books(pid).remove(&pid).map_or_else(Book::default, |book| *book)
    }

    /// The end of a process: tells a peer.
    fn tell(&self, worker: Of<'_, '_>, peer: Pid, death: &Death) {
        let mut books = self.books(peer);
        let Some(book) = books.get_mut(&peer) else { return };
        if let Some(wish) = book.peers.remove(death.process) {
            book.hear(worker, peer, &wish, death);
        }
    }
}

impl Book {
    /// Why it was killed.
    pub(crate) fn kill_reason(&mut self) -> ExitReason {
        self.killed.take().map_or(ExitReason::Killed { by: None }, |reason| *reason)
    }

    /// Its names.
    pub(crate) fn take_names(&mut self) -> BTreeSet<Name> {
        std::mem::take(&mut self.names)
    }

    /// What there is to tell others about the end of its owner.
    pub(crate) fn into_news(self, process: Pid, reason: &ExitReason) -> Option<Box<News>> {
        (!self.peers.is_empty()).then(|| {
            let death = Death::new(process, reason);
            Box::new(News { peers: self.peers, death })
        })
    }

    /// The owner learns that a peer has ended.
    fn hear(&mut self, worker: Of<'_, '_>, owner: Pid, wish: &Wish, death: &Death) {
        if let Some(tag) = wish.link
            && !death.is_normal()
        {
            if self.survives {
                send(worker, owner, tag, death.notice(Tie::Link));
            } else {
                self.kill(worker, owner, death.linked());
            }
        }
        if wish.monitor {
            send(worker, owner, 0, death.notice(Tie::Monitor));
        }
        for &tag in wish.tags() {
            send(worker, owner, tag, death.notice(Tie::Monitor));
        }
    }

    fn kill(&mut self, worker: Of<'_, '_>, owner: Pid, reason: ExitReason) {
        self.killed.get_or_insert_with(|| Box::new(reason));
        worker.kill(owner);
    }
}

/// Past all limits of the mailbox: a notice is owed, there is one for each tie, and its sender is not
/// there to wait.
fn send(worker: Of<'_, '_>, to: Pid, tag: i64, notice: Notice) {
    if let Err(lost) = worker.send(to, Message::with_notice(worker, tag, notice)) {
        Message::discard(lost, worker);
    }
}

/// An end, as it is told.
#[derive(Debug)]
pub(crate) struct Death {
    process: Pid,
    /// It died with this one.
    link: Option<Pid>,
    cause: Arc<Cause>,
}

impl Death {
    fn new(process: Pid, reason: &ExitReason) -> Self {
        match reason {
            ExitReason::Linked { with, cause } => {
                Self { process, link: Some(*with), cause: Arc::clone(cause) }
            }
            reason => {
                let cause = Arc::new(Cause { process, reason: reason.clone() });
                Self { process, link: None, cause }
            }
        }
    }

    fn is_normal(&self) -> bool {
        self.link.is_none() && self.cause.reason.is_normal()
    }

    /// Why somebody who was linked with it dies.
    fn linked(&self) -> ExitReason {
        ExitReason::Linked { with: self.process, cause: Arc::clone(&self.cause) }
    }

    fn notice(&self, tie: Tie) -> Notice {
        Notice { process: self.process, tie, link: self.link, cause: Arc::clone(&self.cause) }
    }
}

/// Those who are yet to be told of an end.
pub(crate) struct News {
    peers: Peers,
    death: Death,
}

impl News {
    /// Tells the next; whether there are more.
    pub(crate) fn tell(&mut self, worker: Of<'_, '_>, ties: &Ties) -> bool {
        for _ in 0..TOLD_IN_ONE_GO {
            let Some(peer) = self.peers.pop() else { return false };
            ties.tell(worker, peer, &self.death);
        }
        !self.peers.is_empty()
    }
}
