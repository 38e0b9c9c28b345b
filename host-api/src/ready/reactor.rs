//! The kernel's reports, and who waits for them.
//!
//! A worker without work waits for them itself: whoever is woken then runs where the report came in, with
//! no other thread in between. Busy workers take a glance now and then. Only one at a time has the
//! *place* in `epoll_wait`.
//!
//! If nobody has had the place for a moment (all workers are in long turns, or asleep in their beds), the
//! *deputy* takes it, a thread that exists for that; it waits until there is a report, wakes from outside,
//! and gives the place back. It is *eager* for the place after a turn of its own, and when it is told that
//! all workers are in long turns: then a moment is shorter, until somebody else takes glances again. While the place is taken for long it sleeps until somebody leaves it: the
//! one who leaves looks whether the deputy sleeps *after* he has left, the deputy looks whether the place
//! is free *after* it has said that it sleeps, so one of them sees the other.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::Duration;

use lunatic_scheduler::{Driver, Pid};
use parking_lot::{Condvar, Mutex};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll};
use smallvec::SmallVec;

use super::{Source, State};
use crate::stdio::Host;

/// Events that are taken at once. By feel.
const EVENTS: usize = 256;

/// The key of the descriptor that ends a wait; objects count from 1.
const BELL: u64 = 0;

/// A limit of no time.
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// How long the place may be free before the deputy takes it. By feel: longer than a slice, and short
/// beside what one notices.
const MOMENT: Duration = Duration::from_millis(2);

/// The same for an eager deputy. By feel: as short as a report may be late.
const EAGER_MOMENT: Duration = Duration::from_micros(30);

/// Eager moments in a row in which somebody else had the place before the deputy is eager no more.
const EAGER_MOMENTS: u32 = 4;

/// Moments for which the place is taken before the deputy sleeps. By feel: a pause in the traffic should
/// not cost a wake-up of this thread.
const MOMENTS_AWAKE: u32 = 50;

/// The kernel's side; made when first needed.
#[derive(Default)]
pub(crate) struct Reactor {
    shared: OnceLock<Arc<Shared>>,
    starting: Mutex<()>,
}

pub(super) struct Shared {
    epoll: OwnedFd,
    bell: OwnedFd,
    sources: Mutex<Sources>,
    /// The place. Default ordering `SeqCst`: half of the handshake with `deputy_sleeps`.
    taken: AtomicBool,
    /// How often it was taken. Relaxed: a number on its own.
    turns: AtomicU64,
    /// Default ordering `SeqCst`.
    deputy_sleeps: AtomicBool,
    /// The deputy shall be eager. Relaxed: a hint.
    nudged: AtomicBool,
    over: AtomicBool,
    deputy: Mutex<()>,
    rouse: Condvar,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reactor")
    }
}

#[derive(Default)]
struct Sources {
    last_key: u64,
    /// Sources take themselves out.
    known: HashMap<u64, Weak<Source>>,
}

/// Where a source is known, and under which key.
#[derive(Debug)]
pub(super) struct Home {
    shared: Arc<Shared>,
    key: u64,
}

impl Home {
    pub(super) fn is(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.shared.sources.lock().known.remove(&self.key);
    }
}

impl Reactor {
    pub(super) fn shared<H: Host + 'static>(
        &self,
        host: &Arc<H>,
    ) -> rustix::io::Result<&Arc<Shared>> {
        if let Some(shared) = self.shared.get() {
            return Ok(shared);
        }
        let _starting = self.starting.lock();
        if let Some(shared) = self.shared.get() {
            return Ok(shared);
        }
        let new = Arc::new(Shared::new()?);
        let (deputy, host) = (Arc::clone(&new), Arc::downgrade(host));
        thread::Builder::new()
            .name("lunatic-ready".to_string())
            .spawn(move || {
                lunatic_scheduler::be_prompt();
                deputy.stand_in(&host);
            })
            .map_err(|_| rustix::io::Errno::AGAIN)?;
        Ok(self.shared.get_or_init(|| new))
    }
}

impl Driver for Reactor {
    fn enter(&self) -> bool {
        self.shared.get().is_some_and(|shared| shared.enter())
    }

    fn wait(&self, limit: Option<Duration>, wake: &mut dyn FnMut(Pid)) {
        if let Some(shared) = self.shared.get() {
            shared.wait(limit, wake);
        }
    }

    fn leave(&self) {
        if let Some(shared) = self.shared.get() {
            shared.leave();
        }
    }

    fn interrupt(&self) {
        if let Some(shared) = self.shared.get() {
            shared.ring();
        }
    }

    fn all_busy(&self) {
        if let Some(shared) = self.shared.get()
            && !shared.taken.load(Ordering::Relaxed)
        {
            shared.nudged.store(true, Ordering::Relaxed);
            shared.rouse.notify_one();
        }
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.get() {
            shared.over.store(true, Ordering::SeqCst);
            shared.rouse_deputy();
            shared.ring();
        }
    }
}

impl Shared {
    fn new() -> rustix::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let bell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &bell, epoll::EventData::new_u64(BELL), epoll::EventFlags::IN)?;
        Ok(Self {
            epoll,
            bell,
            sources: Mutex::default(),
            taken: AtomicBool::new(false),
            turns: AtomicU64::new(0),
            deputy_sleeps: AtomicBool::new(false),
            nudged: AtomicBool::new(false),
            over: AtomicBool::new(false),
            deputy: Mutex::new(()),
            rouse: Condvar::new(),
        })
    }

    /// Tells the kernel to report this, too.
    pub(super) fn make_known(
        self: &Arc<Self>,
        object: impl AsFd,
        source: &Arc<Source>,
        state: &mut State,
        wanted: epoll::EventFlags,
    ) -> rustix::io::Result<()> {
        if let Some(home) = state.home.as_ref().filter(|home| home.is(self)) {
            let flags = state.known | wanted;
            let data = epoll::EventData::new_u64(home.key);
            epoll::modify(&self.epoll, object, data, flags | epoll::EventFlags::ET)?;
            state.known = flags;
            return Ok(());
        }
        // In the table first: it may be reported at once.
        let home = Home { key: self.add(source), shared: Arc::clone(self) };
        let data = epoll::EventData::new_u64(home.key);
        epoll::add(&self.epoll, object, data, wanted | epoll::EventFlags::ET)?;
        (state.home, state.known) = (Some(home), wanted);
        Ok(())
    }

    fn add(&self, source: &Arc<Source>) -> u64 {
        let mut sources = self.sources.lock();
        sources.last_key += 1;
        let key = sources.last_key;
        sources.known.insert(key, Arc::downgrade(source));
        key
    }

    fn enter(&self) -> bool {
        // A look first: workers in search of work ask again and again.
        if self.taken.load(Ordering::Relaxed) || self.taken.swap(true, Ordering::SeqCst) {
            return false;
        }
        self.turns.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn leave(&self) {
        self.taken.store(false, Ordering::SeqCst);
        if self.deputy_sleeps.load(Ordering::SeqCst) {
            self.rouse_deputy();
        }
    }

    #[cold]
    fn rouse_deputy(&self) {
        self.deputy_sleeps.store(false, Ordering::SeqCst);
        drop(self.deputy.lock());
        self.rouse.notify_one();
    }

    fn ring(&self) {
        // It is full if nobody has heard 2^64 rings; then it rings all the same.
        let _rung = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Waits for reports, and names who waits for them.
    fn wait(&self, limit: Option<Duration>, wake: &mut dyn FnMut(Pid)) {
        let mut limit = limit.map(|limit| Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        if let Some(limit) = &mut limit
            && *limit != NOW
        {
            // `epoll_wait` rounds up to milliseconds, which would make timers late; this does not.
            let _either =
                rustix::event::poll(&mut [PollFd::new(&self.epoll, PollFlags::IN)], Some(limit));
            *limit = NOW;
        }
        let mut events = [const { MaybeUninit::uninit() }; EVENTS];
        let events = match epoll::wait(&self.epoll, &mut events[..], limit.as_ref()) {
            Ok((events, _)) => events,
            Err(rustix::io::Errno::INTR) => return,
            Err(error) => {
                let error = io::Error::from(error);
                tracing::error!(%error, "cannot wait for sockets; those who do, wait in vain");
                return;
            }
        };
        if events.is_empty() {
            return;
        }
        let mut reported: SmallVec<[_; 16]> = SmallVec::new();
        let sources = self.sources.lock();
        for event in events {
            let (data, flags) = (event.data, event.flags);
            if data.u64() == BELL {
                let _heard = rustix::io::read(&self.bell, &mut [0; 8]);
                continue;
            }
            // One that is gone has nobody who waits.
            let source = sources.known.get(&data.u64()).and_then(Weak::upgrade);
            reported.extend(source.map(|source| (source, flags)));
        }
        drop(sources);
        for (source, flags) in reported {
            source.report(flags).into_iter().for_each(&mut *wake);
        }
    }

    /// The deputy's life.
    fn stand_in<H: Host>(&self, host: &Weak<H>) {
        let (mut last, mut taken_for, mut eager) = (0, 0, 0_u32);
        while !self.over.load(Ordering::SeqCst) {
            let mut guard = self.deputy.lock();
            if taken_for < MOMENTS_AWAKE {
                let moment = if eager > 0 { EAGER_MOMENT } else { MOMENT };
                self.rouse.wait_for(&mut guard, moment);
            } else {
                taken_for = 0;
                self.deputy_sleeps.store(true, Ordering::SeqCst);
                let may_sleep =
                    self.taken.load(Ordering::SeqCst) && !self.over.load(Ordering::SeqCst);
                while may_sleep && self.deputy_sleeps.load(Ordering::SeqCst) {
                    self.rouse.wait(&mut guard);
                }
                self.deputy_sleeps.store(false, Ordering::SeqCst);
            }
            drop(guard);
            if self.nudged.swap(false, Ordering::Relaxed) {
                eager = EAGER_MOMENTS;
            }
            let turns = self.turns.load(Ordering::Relaxed);
            if self.taken.load(Ordering::SeqCst) {
                (taken_for, eager) = (taken_for + 1, 0);
            } else if std::mem::replace(&mut last, turns) == turns && self.enter() {
                last = turns + 1;
                self.listen(host);
                self.leave();
                eager = EAGER_MOMENTS;
            } else {
                (taken_for, eager) = (0, eager.saturating_sub(1));
            }
        }
    }

    /// A turn of the deputy's: until there is something to report.
    fn listen<H: Host>(&self, host: &Weak<H>) {
        let mut reported = Vec::new();
        while reported.is_empty() && !self.over.load(Ordering::SeqCst) {
            self.wait(None, &mut |pid| reported.push(pid));
        }
        let Some(host) = host.upgrade() else { return };
        reported.into_iter().for_each(|pid| host.wake(pid));
    }
}
