//! Waiting for what becomes ready by itself: sockets, pipes, terminals. No thread of the pool is held
//! for them, however long they are idle.
//!
//! Parties: processes that try and find nothing to do (`EAGAIN`), on their workers; somebody in
//! `epoll_wait` (`reactor.rs`). Between them an object's [`Source`]: who waits for it, and how often it
//! was reported. Protocol:
//!
//! 1. A process notes the number of reports ([`Source::seen`]), *then* tries. If there is nothing, it
//!    notes itself in the source, under the lock, unless the number has changed; if it has, it tries
//!    again. The first who waits makes the object known to the kernel, for good.
//! 2. Edge-triggered, the kernel reports each change to "ready" once. The report is counted and takes
//!    out all who are noted, under the lock, and wakes them. Each tries again.
//!
//! No wake-up is lost: whoever is noted has found nothing *after* the last report that was counted, so
//! what came later is yet to be reported, and will find him. What was there before the object was made
//! known is reported then. None is stolen: a report wakes all who wait in its direction, so one that
//! dies, or takes only a part, takes nothing from the others.
//!
//! A read that was not filled has taken everything; unless there was a report since, the next one
//! need not ask the kernel ([`Source::is_drained`]). A process that gives up waiting takes its note back
//! ([`Waits`]), so a source is never longer than the processes that wait for it.

mod reactor;

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lunatic_scheduler::Pid;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, epoll};
use smallvec::SmallVec;

pub(crate) use self::reactor::Reactor;
use self::reactor::{Home, Shared};
use crate::stdio::Host;

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    Read,
    Write,
    Both,
}

impl Interest {
    fn for_epoll(self) -> epoll::EventFlags {
        match self {
            Self::Read => epoll::EventFlags::IN | epoll::EventFlags::RDHUP,
            Self::Write => epoll::EventFlags::OUT,
            Self::Both => Self::Read.for_epoll() | Self::Write.for_epoll(),
        }
    }
}

/// What is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ready {
    /// The other side has gone.
    pub(crate) hangup: bool,
}

/// Looks once, without waiting. What cannot be waited for is always ready.
pub(crate) fn look(object: impl AsFd, interest: Interest) -> rustix::io::Result<Option<Ready>> {
    let wanted = match interest {
        Interest::Read => PollFlags::IN | PollFlags::RDHUP,
        Interest::Write => PollFlags::OUT,
        Interest::Both => PollFlags::IN | PollFlags::RDHUP | PollFlags::OUT,
    };
    let mut asked = [PollFd::new(&object, wanted)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // The system does not begin a `poll` anew that a signal has met, even if it would not wait.
    if rustix::io::retry_on_intr(|| rustix::event::poll(&mut asked, Some(&now)))? == 0 {
        return Ok(None);
    }
    let hangup = PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR;
    Ok(Some(Ready { hangup: asked[0].revents().intersects(hangup) }))
}

/// The number of reports, as it was before an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen(u64);

/// What came of an attempt that does not wait.
#[derive(Debug)]
pub(crate) enum Tried<T> {
    Done(T),
    /// There is nothing to do; with this the process may be noted.
    NotYet(Seen),
}

/// Where a process stands that would wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is noted, and will be woken.
    Noted,
    /// Something was reported since it has tried: try again.
    Again,
    /// The kernel cannot wait for such an object, it is always ready.
    Never,
}

/// The processes that wait for one object; lies beside it.
#[derive(Debug)]
pub(crate) struct Source {
    /// Counted up under the lock. Release and acquire: who sees a report sees `ended`, too.
    reports: AtomicU64,
    /// The number of reports that a read had seen which took everything. Relaxed: an old number only
    /// costs an attempt.
    drained: AtomicU64,
    /// The other side has ended: reads find that out, however empty the object is.
    ended: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    home: Option<Home>,
    /// What the kernel reports.
    known: epoll::EventFlags,
    readers: SmallVec<[Pid; 1]>,
    writers: SmallVec<[Pid; 1]>,
}

impl Default for Source {
    fn default() -> Self {
        Self {
            reports: AtomicU64::new(0),
            drained: AtomicU64::new(u64::MAX),
            ended: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }
}

impl Source {
    /// Before an attempt.
    #[inline]
    pub(crate) fn seen(&self) -> Seen {
        Seen(self.reports.load(Ordering::Acquire))
    }

    /// An attempt that does not wait.
    pub(crate) fn attempt<T>(
        &self,
        mut attempt: impl FnMut() -> rustix::io::Result<T>,
    ) -> rustix::io::Result<Tried<T>> {
        let seen = self.seen();
        loop {
            match attempt() {
                Err(rustix::io::Errno::AGAIN) => return Ok(Tried::NotYet(seen)),
                Err(rustix::io::Errno::INTR) => {}
                other => return other.map(Tried::Done),
            }
        }
    }

    /// A read that began then has found less than it asked for: there is no more.
    #[inline]
    pub(crate) fn drained(&self, seen: Seen) {
        self.drained.store(seen.0, Ordering::Relaxed);
    }

    /// Whether there can be nothing to read.
    #[inline]
    pub(crate) fn is_drained(&self, seen: Seen) -> bool {
        self.drained.load(Ordering::Relaxed) == seen.0 && !self.ended.load(Ordering::Relaxed)
    }

    /// Takes a note back.
    fn forget(&self, pid: Pid) {
        let mut state = self.state.lock();
        state.readers.retain(|waiting| *waiting != pid);
        state.writers.retain(|waiting| *waiting != pid);
    }

    /// The kernel has reported it: all who wait for that may look.
    fn report(&self, events: epoll::EventFlags) -> SmallVec<[Pid; 2]> {
        use epoll::EventFlags as Flags;
        let ended = events.intersects(Flags::RDHUP | Flags::HUP | Flags::ERR);
        let mut state = self.state.lock();
        if ended {
            self.ended.store(true, Ordering::Relaxed); // published by the next line
        }
        self.reports.fetch_add(1, Ordering::Release);
        let mut waiting = SmallVec::new();
        if ended || events.contains(Flags::IN) {
            waiting.extend(state.readers.drain(..));
        }
        if ended || events.contains(Flags::OUT) {
            waiting.extend(state.writers.drain(..));
        }
        waiting
    }
}

/// What a process waits for; given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Waits {
    pid: Pid,
    sources: SmallVec<[Arc<Source>; 1]>,
}

impl Waits {
    pub(crate) fn new(pid: Pid) -> Self {
        Self { pid, sources: SmallVec::new() }
    }

    /// Takes back all notes.
    #[inline]
    pub(crate) fn clear(&mut self) {
        for source in self.sources.drain(..) {
            source.forget(self.pid);
        }
    }

    /// Notes the process, if nothing was reported since it has tried.
    pub(crate) fn wait(
        &mut self,
        (reactor, host): (&Reactor, &Arc<impl Host + 'static>),
        (object, source): (impl AsFd, &Arc<Source>),
        interest: Interest,
        seen: Seen,
    ) -> rustix::io::Result<Standing> {
        let shared = reactor.shared(host)?;
        let mut state = source.state.lock();
        if source.reports.load(Ordering::Relaxed) != seen.0 {
            return Ok(Standing::Again); // relaxed: it changes under the lock
        }
        let wanted = interest.for_epoll();
        if !state.is_known_to(shared, wanted) {
            match shared.make_known(object, source, &mut state, wanted) {
                Ok(()) => {}
                Err(rustix::io::Errno::PERM) => return Ok(Standing::Never),
                Err(error) => return Err(error),
            }
        }
        if interest != Interest::Write && !state.readers.contains(&self.pid) {
            state.readers.push(self.pid);
        }
        if interest != Interest::Read && !state.writers.contains(&self.pid) {
            state.writers.push(self.pid);
        }
        if !self.sources.iter().any(|known| Arc::ptr_eq(known, source)) {
            self.sources.push(Arc::clone(source));
        }
        Ok(Standing::Noted)
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.clear();
    }
}

impl State {
    fn is_known_to(&self, shared: &Arc<Shared>, wanted: epoll::EventFlags) -> bool {
        self.known.contains(wanted) && self.home.as_ref().is_some_and(|home| home.is(shared))
    }
}
