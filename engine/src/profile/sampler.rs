//! Looks what each worker runs, some thousand times a second of its time on a processor.
//!
//! **Parties.** *Workers*, which [`enroll_thread`] when they start and otherwise do not know that they
//! are looked at. The *sampler's thread*, which reads the clocks of their processor time. The
//! *signal handler*, which runs on a worker. All others who load or unload code.
//!
//! **Protocol.** The sampler's thread wakes up about once a [`PERIOD`], at random, so that nothing
//! regular (a slice, a timer of the guest's) keeps step with it. A worker that has used time since it
//! was last looked at is credited with that time ([`Ring::owed`]) and gets SIGPROF. The handler takes
//! the credit, notes the interrupted pc and the return addresses above it, as bare numbers, in the
//! worker's ring, and is done: it takes no lock, allocates nothing and calls nobody but the hook.
//! The sampler's thread empties the rings now and then, names the addresses and counts
//! ([`Tally`]). Whoever unloads code empties the rings before, so that no address in them is of code
//! that is gone.

#![allow(clippy::multiple_unsafe_ops_per_block)] // Signal contexts and system calls: each line is one.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{io, ptr};

use parking_lot::Mutex;

use super::listing::Listing;
use super::ring::Ring;
use super::sample::{Running, SAMPLE_WORDS_MAX, SampleWriter};
use super::tally::{Profile, Tally};
use crate::preempt;
use crate::signals::machine_point;

/// The mean time between two looks.
const PERIOD: Duration = Duration::from_millis(1);

/// What interrupts a thread.
pub(crate) const SIGNAL: libc::c_int = libc::SIGPROF;

/// Periods between two emptyings of the rings.
const PERIODS_PER_DRAIN: u32 = 16;

/// Tells which process has its turn on the calling thread. Must be async-signal-safe.
pub type RunningHook = fn() -> Option<Running>;

/// What else there is to know about names of processes.
pub trait Naming: Send {
    /// Whether the entry of this name only calls what its last argument means, as index of the first
    /// table. Then the process is called after that function.
    fn calls_its_argument(&self, entry: &str) -> bool;

    /// The name that the process of this id goes by, if it still lives and has one. Must not wait for
    /// anybody who loads or unloads code.
    fn registered(&self, process: u64) -> Option<Arc<str>>;
}

/// The one that is at work in this program.
static ACTIVE: Mutex<Option<Arc<Shared>>> = Mutex::new(None);

static HOOK: OnceLock<RunningHook> = OnceLock::new();

thread_local! {
    /// What the handler writes to. Constant and without a destructor: it may come at any time.
    static HERE: Cell<*const Ring> = const { Cell::new(ptr::null()) };
    static ENROLLED: Cell<Option<Enrolled>> = const { Cell::new(None) };
}

struct Shared {
    workers: Mutex<Vec<Worker>>,
    tally: Mutex<Tally>,
    stop: AtomicBool,
}

/// A worker, as the sampler's thread knows it.
struct Worker {
    ring: Arc<Ring>,
    thread: libc::pid_t,
    clock: libc::clockid_t,
    /// Processor time when it was last looked at.
    seen: u64,
    /// Its thread has ended.
    gone: bool,
}

/// Takes a thread off the list before it ends.
struct Enrolled {
    ring: Arc<Ring>,
    shared: Arc<Shared>,
}

/// A profile in the making.
pub struct Sampler {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    /// Looks from now on at each thread that enrolls.
    ///
    /// # Errors
    /// When one is at work already, or a thread cannot be had.
    pub fn start(hook: RunningHook, naming: Box<dyn Naming>) -> io::Result<Self> {
        let mut active = ACTIVE.lock();
        if active.is_some() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a profile is being made"));
        }
        HOOK.get_or_init(|| hook);
        install_handler()?;
        let shared = Arc::new(Shared {
            workers: Mutex::default(),
            tally: Mutex::new(Tally::new(naming)),
            stop: AtomicBool::new(false),
        });
        let looking = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("lunatic-sampler".to_string())
            .spawn(move || looking.look())?;
        *active = Some(Arc::clone(&shared));
        super::want_listings();
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What was seen.
    #[must_use]
    pub fn finish(mut self) -> Profile {
        self.stop();
        self.shared.drain();
        self.shared.tally.lock().profile()
    }

    fn stop(&mut self) {
        *ACTIVE.lock() = None;
        // Relaxed: the join below orders what follows.
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The calling thread runs processes: if a profile is being made it is looked at until it ends.
pub fn enroll_thread() {
    let Some(shared) = ACTIVE.lock().clone() else { return };
    let mut clock = 0;
    // SAFETY: the calling thread's own id; the result is written to the local.
    let (thread, result) = unsafe {
        (libc::gettid(), libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock))
    };
    assert_eq!(result, 0, "a thread that runs has a clock");
    let ring = Arc::new(Ring::new());
    HERE.set(Arc::as_ptr(&ring));
    let seen = processor_time(clock);
    let worker = Worker { ring: Arc::clone(&ring), thread, clock, seen, gone: false };
    shared.workers.lock().push(worker);
    ENROLLED.set(Some(Enrolled { ring, shared }));
}

impl Drop for Enrolled {
    fn drop(&mut self) {
        // First the handler has nothing to do any more, then nobody sends signals; then the ring may
        // go.
        HERE.set(ptr::null());
        let mut workers = self.shared.workers.lock();
        for worker in workers.iter_mut().filter(|worker| Arc::ptr_eq(&worker.ring, &self.ring)) {
            worker.gone = true;
        }
    }
}

/// A module's code can be run from now on.
pub(super) fn code_loaded(listing: &Arc<Listing>) {
    if let Some(shared) = &*ACTIVE.lock() {
        shared.tally.lock().add(listing);
    }
}

/// A module's code goes. No process runs it any more, but samples may tell of it.
pub(super) fn code_unloaded(listing: &Arc<Listing>) {
    if let Some(shared) = ACTIVE.lock().clone() {
        shared.drain();
        shared.tally.lock().remove(listing);
    }
}

impl Shared {
    /// The sampler's thread.
    fn look(&self) {
        let mut round = 0_u32;
        let mut random = 0x9E37_79B9_u32;
        while !self.stop.load(Ordering::Relaxed) {
            thread::sleep(pause(&mut random));
            for worker in self.workers.lock().iter_mut().filter(|worker| !worker.gone) {
                worker.look();
            }
            round = round.wrapping_add(1);
            if round.is_multiple_of(PERIODS_PER_DRAIN) {
                self.drain();
            }
        }
    }

    /// Counts what the rings hold.
    fn drain(&self) {
        // Whoever holds the tally empties the rings: they have one reader at a time.
        let mut tally = self.tally.lock();
        let mut workers = self.workers.lock();
        for worker in workers.iter() {
            let mut words = [0; SAMPLE_WORDS_MAX];
            while let Some(sample) = worker.ring.pop(&mut words) {
                tally.count(sample);
            }
            tally.count_lost(worker.ring.lost.swap(0, Ordering::Relaxed));
        }
        workers.retain(|worker| !worker.gone);
    }
}

impl Worker {
    /// Sends the signal if the worker has done anything since the last one.
    fn look(&mut self) {
        let now = processor_time(self.clock);
        let used = now.saturating_sub(self.seen);
        // Less is a worker that sleeps, and was seen falling asleep.
        if used < PERIOD.as_nanos() as u64 / 4 {
            return;
        }
        self.seen = now;
        // Relaxed: sending the signal is a system call, which the handler's run comes after.
        self.ring.owed.fetch_add(used, Ordering::Relaxed);
        // SAFETY: takes three numbers. The thread has not ended: it would be `gone`, and the list is
        // locked.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), self.thread, SIGNAL) };
    }
}

/// From a half to one and a half periods.
fn pause(random: &mut u32) -> Duration {
    // xorshift: good enough to keep step with nothing.
    *random ^= *random << 13;
    *random ^= *random >> 17;
    *random ^= *random << 5;
    PERIOD / 2 + PERIOD * (*random % 1024) / 1024
}

/// Nanoseconds; 0 if the thread is gone.
fn processor_time(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the structure that it is given.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

fn install_handler() -> io::Result<()> {
    let mut previous = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: both structures are valid for the call; the handler has the signature that SA_SIGINFO
    // asks for and runs on the alternate stack, as a fiber's may be too small for it.
    let (result, previous) = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        action.sa_sigaction = on_signal as *const () as usize;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaddset(&raw mut action.sa_mask, preempt::SIGNAL);
        let result = libc::sigaction(SIGNAL, &raw const action, previous.as_mut_ptr());
        (result, previous.assume_init())
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let ours = on_signal as *const () as usize;
    if ![libc::SIG_DFL, libc::SIG_IGN, ours].contains(&previous.sa_sigaction) {
        tracing::warn!("somebody else in this program had SIGPROF, and has it no more");
    }
    Ok(())
}

extern "C" fn on_signal(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the third argument is the interrupted context, nobody else's.
    look_here(unsafe { &*context.cast::<libc::ucontext_t>() });
}

/// Notes what this thread was doing when it was interrupted, if a look at it is owed. For signal
/// handlers.
pub(crate) fn look_here(context: &libc::ucontext_t) {
    // SAFETY: null, or the ring of this thread, which outlives the pointer.
    let Some(ring) = (unsafe { HERE.get().as_ref() }) else { return };
    // A signal that somebody else sent is worth nothing.
    let nanos = ring.owed.swap(0, Ordering::Relaxed);
    if nanos == 0 {
        return;
    }
    let at = machine_point(context);
    let mut sample = SampleWriter::new(nanos);
    if let Some(running) = HOOK.get().and_then(|hook| hook()) {
        sample.describe(&running, at);
    }
    if !ring.push(sample.words()) {
        ring.lost.fetch_add(nanos, Ordering::Relaxed);
    }
}
