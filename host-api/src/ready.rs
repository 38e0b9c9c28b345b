//! Waiting for what becomes ready by itself: sockets, pipes, terminals. No thread of the pool is held
//! for them, however long they are idle.
//!
//! Parties: processes, and one thread in `epoll_wait`, started when first needed. Protocol:
//!
//! 1. A process that finds nothing to do (`EAGAIN`) notes itself in the object's [`Source`] and arms
//!    it: the kernel reports it once.
//! 2. The thread takes all who are noted and wakes them. Each asks again, and arms again if others
//!    were faster.
//!
//! What comes between the process's question and its arming is not missed: arming looks anew at
//! what is there already. A process that gives up waiting takes its note back ([`Waits`]), so a
//! source is never longer than the processes that wait for it.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::thread;

use lunatic_scheduler::Pid;
use parking_lot::Mutex;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll};
use smallvec::SmallVec;

use crate::api::wasi::Errno;
use crate::stdio::Host;

/// Events that the thread takes at once. By feel.
const EVENTS: usize = 256;

/// The key of the descriptor that ends the thread; objects count from 1.
const STOP: u64 = 0;

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    Read,
    Write,
}

impl Interest {
    fn for_epoll(self) -> epoll::EventFlags {
        match self {
            Self::Read => epoll::EventFlags::IN | epoll::EventFlags::RDHUP,
            Self::Write => epoll::EventFlags::OUT,
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
pub(crate) fn look(object: impl AsFd, interest: Interest) -> Result<Option<Ready>, Errno> {
    let wanted = match interest {
        Interest::Read => PollFlags::IN | PollFlags::RDHUP,
        Interest::Write => PollFlags::OUT,
    };
    let mut asked = [PollFd::new(&object, wanted)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if rustix::event::poll(&mut asked, Some(&now))? == 0 {
        return Ok(None);
    }
    let hangup = PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR;
    Ok(Some(Ready { hangup: asked[0].revents().intersects(hangup) }))
}

/// The processes that wait for one object; lies beside it.
#[derive(Debug, Default)]
pub(crate) struct Source(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Zero until it is known to the kernel.
    key: u64,
    armed: Option<epoll::EventFlags>,
    waiting: SmallVec<[Pid; 1]>,
}

impl Source {
    /// Takes a note back.
    fn forget(&self, pid: Pid) {
        self.0.lock().waiting.retain(|waiting| *waiting != pid);
    }

    /// The kernel has reported it: it is not armed any more, and all who wait may look.
    fn fire(&self) -> SmallVec<[Pid; 1]> {
        let mut state = self.0.lock();
        state.armed = None;
        std::mem::take(&mut state.waiting)
    }
}

/// What a process waits for; given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Waits {
    pid: Pid,
    sources: Vec<Arc<Source>>,
}

impl Waits {
    pub(crate) fn new(pid: Pid) -> Self {
        Self { pid, sources: Vec::new() }
    }

    /// Takes back all notes.
    pub(crate) fn clear(&mut self) {
        for source in self.sources.drain(..) {
            source.forget(self.pid);
        }
    }

    /// Notes the process and arms the object. `false`: the kernel cannot wait for such an object,
    /// it is always ready.
    pub(crate) fn wait<H: Host + 'static>(
        &mut self,
        (reactor, host): (&Reactor, &Arc<H>),
        (object, source): (impl AsFd, &Arc<Source>),
        interest: Interest,
    ) -> Result<bool, Errno> {
        let shared = reactor.shared(host)?;
        let mut state = source.0.lock();
        if !state.waiting.contains(&self.pid) {
            state.waiting.push(self.pid);
            self.sources.push(Arc::clone(source));
        }
        let armed = state.armed.unwrap_or(epoll::EventFlags::empty());
        let wanted = armed | interest.for_epoll();
        if state.armed == Some(wanted) {
            return Ok(true);
        }
        let result = shared.arm(object, source, &mut state, wanted);
        match result {
            Ok(()) => {
                state.armed = Some(wanted);
                Ok(true)
            }
            Err(rustix::io::Errno::PERM) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The thread, or the promise of one.
#[derive(Default)]
pub(crate) struct Reactor(Mutex<Option<Arc<Shared>>>);

struct Shared {
    epoll: OwnedFd,
    stop: OwnedFd,
    sources: Mutex<Sources>,
}

#[derive(Default)]
struct Sources {
    last_key: u64,
    /// Keys of objects that are gone stay until as many are added again: see `Sources::add`.
    known: HashMap<u64, Weak<Source>>,
    sweep_at: usize,
}

impl Sources {
    fn add(&mut self, source: &Arc<Source>) -> u64 {
        if self.known.len() >= self.sweep_at {
            self.known.retain(|_, source| source.strong_count() > 0);
            self.sweep_at = (self.known.len() * 2).max(EVENTS);
        }
        self.last_key += 1;
        self.known.insert(self.last_key, Arc::downgrade(source));
        self.last_key
    }
}

impl Reactor {
    fn shared<H: Host + 'static>(&self, host: &Arc<H>) -> Result<Arc<Shared>, Errno> {
        let mut shared = self.0.lock();
        if let Some(shared) = &*shared {
            return Ok(Arc::clone(shared));
        }
        let new = Arc::new(Shared::new()?);
        let host = Arc::downgrade(host);
        let thread = Arc::clone(&new);
        thread::Builder::new()
            .name("lunatic-ready".to_string())
            .spawn(move || thread.run(&host))
            .map_err(|_| Errno::Again)?;
        *shared = Some(Arc::clone(&new));
        Ok(new)
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        if let Some(shared) = &*self.0.lock() {
            // It cannot be full: nobody else writes to it.
            let _sent = rustix::io::write(&shared.stop, &1u64.to_ne_bytes());
        }
    }
}

impl Shared {
    fn new() -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let stop = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &stop, epoll::EventData::new_u64(STOP), epoll::EventFlags::IN)?;
        Ok(Self { epoll, stop, sources: Mutex::default() })
    }

    fn arm(
        &self,
        object: impl AsFd,
        source: &Arc<Source>,
        state: &mut State,
        wanted: epoll::EventFlags,
    ) -> rustix::io::Result<()> {
        let flags = wanted | epoll::EventFlags::ONESHOT;
        if state.key != 0 {
            let data = epoll::EventData::new_u64(state.key);
            return epoll::modify(&self.epoll, object, data, flags);
        }
        // Known first: it may be ready at once.
        let key = self.sources.lock().add(source);
        let result = epoll::add(&self.epoll, object, epoll::EventData::new_u64(key), flags);
        match result {
            Ok(()) => state.key = key,
            Err(_) => drop(self.sources.lock().known.remove(&key)),
        }
        result
    }

    fn run<H: Host>(&self, host: &Weak<H>) {
        let mut events = [const { MaybeUninit::uninit() }; EVENTS];
        loop {
            let ready = match epoll::wait(&self.epoll, &mut events[..], None) {
                Ok((ready, _)) => ready,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => {
                    let error = io::Error::from(error);
                    tracing::error!(%error, "cannot wait for sockets; those who do, wait in vain");
                    return;
                }
            };
            let Some(host) = host.upgrade() else { return };
            for event in ready {
                let data = event.data;
                if data.u64() == STOP {
                    return;
                }
                let source = self.sources.lock().known.get(&data.u64()).and_then(Weak::upgrade);
                // One that is gone has nobody who waits.
                let waiting = source.map(|source| source.fire()).unwrap_or_default();
                waiting.into_iter().for_each(|pid| host.wake(pid));
            }
        }
    }
}
