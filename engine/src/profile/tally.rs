//! Counts samples by process and stack, in words of the guest's source.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::listing::{Code, Listing, bounded};
use super::sample::{FRAMES_MAX, Sample};
use super::sampler::Naming;

/// Different stacks that are kept apart; further ones are counted as [`OTHER`]. A guest chooses its
/// stacks.
const STACKS_MAX: usize = 200_000;

/// The innermost frame of a process for which the host was at work: a host call, a builtin, its
/// start or its end.
const HOST: &str = "[host]";
/// Time of workers that had no process to run.
const RUNTIME: &str = "[runtime]";
/// What the runtime did then.
const SCHEDULER: &str = "[scheduler]";
/// Stacks beyond the limit.
const OTHER: &str = "[other stacks]";
/// The outermost frame of a stack that was too deep to be followed to its end.
const DEEPER: &str = "[deeper]";
/// A process without a usable entry.
const NO_ENTRY: &str = "[no entry]";

/// Where the processor time of a run went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// Names of functions, and of processes.
    pub names: Vec<Arc<str>>,
    /// Sorted by process, then by frames.
    pub stacks: Vec<Stack>,
    /// Nanoseconds that were seen and could not be kept.
    pub lost_nanos: u64,
}

/// One stack of one kind of process. Numbers are indices of [`Profile::names`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stack {
    /// The name of the processes: one that they are registered by, or what they were started to run.
    pub process: usize,
    /// Functions, outermost first.
    pub frames: Vec<usize>,
    /// Processor time.
    pub nanos: u64,
}

/// Samples, counted.
pub(super) struct Tally {
    naming: Box<dyn Naming>,
    /// By their first address.
    listings: BTreeMap<usize, Arc<Listing>>,
    names: Vec<Arc<str>>,
    by_name: HashMap<Arc<str>, usize>,
    /// By process and frames.
    stacks: HashMap<(usize, Vec<usize>), u64>,
    lost_nanos: u64,
}

impl Tally {
    pub(super) fn new(naming: Box<dyn Naming>) -> Self {
        Self {
            naming,
            listings: BTreeMap::new(),
            names: Vec::new(),
            by_name: HashMap::new(),
            stacks: HashMap::new(),
            lost_nanos: 0,
        }
    }

    pub(super) fn add(&mut self, listing: &Arc<Listing>) {
        if let Some(start) = listing.start() {
            self.listings.insert(start, Arc::clone(listing));
        }
    }

    pub(super) fn remove(&mut self, listing: &Arc<Listing>) {
        if let Some(start) = listing.start()
            && self.listings.get(&start).is_some_and(|known| Arc::ptr_eq(known, listing))
        {
            self.listings.remove(&start);
        }
    }

    pub(super) fn count_lost(&mut self, nanos: u64) {
        self.lost_nanos += nanos;
    }

    pub(super) fn count(&mut self, sample: Sample<'_>) {
        if !sample.in_process {
            let (process, frame) = (self.name(RUNTIME), self.name(SCHEDULER));
            return self.add_time(process, vec![frame], sample.nanos);
        }
        let process = self.process_name(&sample);
        let process = self.name(process.as_deref().unwrap_or(NO_ENTRY));
        let mut frames = Vec::with_capacity(sample.here.len() + 2);
        self.push_frames(&sample, &mut frames);
        if frames.is_empty() {
            frames.push(self.name(HOST)); // on its way into the guest, or out of it
        }
        frames.reverse();
        self.add_time(process, frames, sample.nanos);
    }

    /// The name that the process goes by, or else what it was started to run.
    fn process_name(&self, sample: &Sample<'_>) -> Option<Box<str>> {
        if let Some(name) = self.naming.registered(sample.process) {
            return Some(bounded(&name));
        }
        let (_, listing) = self.listings.range(..=sample.entry).next_back()?;
        let entry = listing.at(sample.entry)?;
        let by_argument = self.naming.calls_its_argument(&entry.name);
        let named = if by_argument { listing.element(sample.argument) } else { None };
        Some(named.unwrap_or(entry).name.clone())
    }

    /// The frames of a sample, innermost first.
    fn push_frames(&mut self, sample: &Sample<'_>, frames: &mut Vec<usize>) {
        if let Some(code) = find(&self.listings, sample.pc) {
            let caller = return_address(code, sample);
            let function = code.is_function.then(|| Arc::<str>::from(&*code.name));
            frames.extend(function.map(|name| self.name(&name)));
            self.push_callers(caller, sample.here, frames);
        } else {
            frames.push(self.name(HOST));
            self.push_callers(None, sample.left, frames);
        }
    }

    fn push_callers(&mut self, first: Option<usize>, rest: &[u64], frames: &mut Vec<usize>) {
        for address in first.into_iter().chain(rest.iter().map(|&word| word as usize)) {
            // A return address points behind its call.
            let Some(code) = find(&self.listings, address.wrapping_sub(1)) else { continue };
            if code.is_function {
                let name = Arc::<str>::from(&*code.name);
                frames.push(self.name(&name));
            }
        }
        if rest.len() + 1 >= FRAMES_MAX {
            frames.push(self.name(DEEPER));
        }
    }

    fn add_time(&mut self, process: usize, frames: Vec<usize>, nanos: u64) {
        let key = (process, frames);
        if self.stacks.len() >= STACKS_MAX && !self.stacks.contains_key(&key) {
            let other = (process, vec![self.name(OTHER)]);
            *self.stacks.entry(other).or_default() += nanos;
            return;
        }
        *self.stacks.entry(key).or_default() += nanos;
    }

    fn name(&mut self, name: &str) -> usize {
        if let Some(&known) = self.by_name.get(name) {
            return known;
        }
        let name: Arc<str> = name.into();
        self.names.push(Arc::clone(&name));
        self.by_name.insert(name, self.names.len() - 1);
        self.names.len() - 1
    }

    /// What was counted so far.
    pub(super) fn profile(&self) -> Profile {
        let stack = |((process, frames), &nanos): (&(usize, Vec<usize>), &u64)| Stack {
            process: *process,
            frames: frames.clone(),
            nanos,
        };
        let mut stacks: Vec<Stack> = self.stacks.iter().map(stack).collect();
        stacks.sort_unstable();
        Profile { names: self.names.clone(), stacks, lost_nanos: self.lost_nanos }
    }
}

fn find(listings: &BTreeMap<usize, Arc<Listing>>, pc: usize) -> Option<&Code> {
    listings.range(..=pc).next_back()?.1.at(pc)
}

/// The return address of a function that has not set up its frame yet, or has given it up: at its
/// first two instructions and at its last. Elsewhere it is in the chain of frames.
#[cfg(target_arch = "x86_64")]
fn return_address(code: &Code, sample: &Sample<'_>) -> Option<usize> {
    const RETURN: u8 = 0xc3;
    match sample.pc - code.start {
        0 => Some(sample.near[0]),
        1 => Some(sample.near[1]),
        _ => {
            // SAFETY: an address inside code that is loaded: whoever unloads it empties the rings
            // before and takes it off the list then, under the lock that our caller holds.
            let instruction = unsafe { *(sample.pc as *const u8) };
            (instruction == RETURN).then_some(sample.near[0])
        }
    }
}

/// aarch64 keeps the return address of a leaf in a register: its caller is left out.
#[cfg(not(target_arch = "x86_64"))]
fn return_address(_code: &Code, _sample: &Sample<'_>) -> Option<usize> {
    None
}
