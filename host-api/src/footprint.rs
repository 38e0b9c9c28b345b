//! What the whole program takes of the machine's memory, and the watch over it.
//!
//! The engine's [`Room`] counts what guests ask for. What they take is another matter: declared memory
//! costs nothing before it is touched, stacks and page tables are not asked for, and there are a million
//! of them. So a thread asks the system now and then what this program takes, and tells the room. The
//! more is free, the later it asks again: never so late that all of it could be gone.
//!
//! If that is more than processes may take together:
//! 1. Nobody is given more: spawns answer an error, `memory.grow` answers -1.
//! 2. What ended processes have left is given back to the system.
//! 3. If it goes on growing nevertheless, as guests touch what they have, those who take most end, so many
//!    as it takes: what they have touched, and what the host holds for them. With very many processes they
//!    are found among some thousands chosen at random: where many are large, some of them are among these.
//!    If none of them takes a sixteenth of what there is, it is a matter of many: then the branch is found
//!    that takes most, by what those who were chosen say for all, and its processes end first.
//!    What the victims had is given back before more are looked for, unless it goes on growing.
//!
//! **Who cannot become a victim**: who takes less than others, and who is of another branch than many who
//! take more together; and, as its end is everybody's, a main process that takes less than twice as much.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, OnceLock};
use std::thread;
use std::time::Duration;

use lunatic_engine::{Room, resident_bytes};
use lunatic_scheduler::{Holder, Pid};

use crate::exit::{ExitReason, Shortage};
use crate::holders::{FAIR_SHARE, holders};
use crate::node::{Held, NodeInner, give_back_heap};
use crate::os;
use crate::warden;

/// What a core can fill in a second: more than was ever measured.
const FILLED_PER_SECOND: u64 = 4 << 30;
/// Between two looks.
const LOOK_EARLIEST: Duration = Duration::from_millis(5);
const LOOK_LATEST: Duration = Duration::from_secs(1);

/// So much more than there may be ends somebody: this part of it, and at least what the runtime itself
/// may need on the way.
const SLACK_SHARE: u64 = 32;
const SLACK_MIN: u64 = 32 << 20;

/// Who is measured: those who may take most, as they have the longest memories, and some of all.
const LARGEST: usize = 64;
const SAMPLES: usize = 4096;
/// How long victims have for their end, and what they had for being given back, in looks.
const LOOKS_MAX: u32 = 100;

/// Without a limit that somebody chose: what is not for guests, for the system and the runtime.
const KEPT_BYTES: u64 = 128 << 20;

static ROOM: LazyLock<Arc<Room>> = LazyLock::new(Arc::default);
/// What the program took before the first guest ran.
static BEFORE: OnceLock<u64> = OnceLock::new();
/// The most that was seen since then.
static PEAK: AtomicU64 = AtomicU64::new(0);
static WATCHED: AtomicBool = AtomicBool::new(false);

/// What counts the memories of the whole program.
pub(crate) fn room() -> &'static Arc<Room> {
    &ROOM
}

/// The most that guests were seen to take.
pub(crate) fn peak() -> u64 {
    PEAK.load(Relaxed)
}

/// What processes may take together if nobody says: seven eighths of the memory that this program may
/// have.
pub(crate) fn default_max() -> u64 {
    os::memory_bytes()
        .map_or(u64::MAX, |bytes| (bytes.saturating_sub(KEPT_BYTES) / 8 * 7).max(bytes / 2))
}

/// Processes of all nodes may take so much together from now on.
///
/// # Errors
/// When there is no thread to be had for the watch.
pub(crate) fn limit(bytes: u64) -> io::Result<()> {
    room().set_limit(bytes);
    let Some(now) = whole() else { return Ok(()) };
    BEFORE.get_or_init(|| now);
    if !WATCHED.swap(true, Relaxed) {
        let watch = thread::Builder::new().name("lunatic-memory".to_string()).spawn(watch);
        watch.inspect_err(|_| WATCHED.store(false, Relaxed))?;
    }
    Ok(())
}

/// Bytes of memory, swap and page tables of this program, if the system tells.
fn whole() -> Option<u64> {
    /// Opened once: later guests may have all descriptors that there are.
    static STATUS: LazyLock<Option<fs::File>> =
        LazyLock::new(|| fs::File::open("/proc/self/status").ok());
    let mut text = [0; 8192];
    let length = STATUS.as_ref()?.read_at(&mut text, 0).ok()?;
    of_status(&String::from_utf8_lossy(&text[..length]))
}

/// The same from the text of `/proc/PID/status`. Pages of files are not its own.
fn of_status(status: &str) -> Option<u64> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes = line.trim_start_matches(':').trim().strip_suffix("kB")?;
        kibibytes.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(field("RssAnon")? + field("VmSwap").unwrap_or(0) + field("VmPTE").unwrap_or(0))
}

/// What guests take. Tells the room.
fn look() -> u64 {
    let before = BEFORE.get().copied().unwrap_or(0);
    // Who cannot find out keeps to what was known.
    let Some(now) = whole() else { return room().taken() };
    let taken = now.saturating_sub(before);
    room().note_taken(taken);
    PEAK.fetch_max(taken, Relaxed);
    taken
}

fn watch() {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let mut is_full = false;
    loop {
        let (taken, limit) = (look(), room().limit());
        if taken > limit {
            give_back(!is_full);
            if is_full && taken > limit.saturating_add(slack(limit)) {
                relieve(limit);
            }
        }
        is_full = taken > limit;
        let free = limit.saturating_sub(taken) / 1024;
        let micros = free.saturating_mul(1_000_000) / (FILLED_PER_SECOND / 1024) / cores;
        thread::sleep(Duration::from_micros(micros).clamp(LOOK_EARLIEST, LOOK_LATEST));
    }
}

fn slack(limit: u64) -> u64 {
    (limit / SLACK_SHARE).max(SLACK_MIN)
}

/// What ended processes have left, for the system.
fn give_back(with_heap: bool) {
    for node in warden::nodes() {
        node.memory.trim();
    }
    if with_heap {
        give_back_heap();
    }
}

/// Ends those who take most, and waits until that has helped.
fn relieve(limit: u64) {
    let nodes = warden::nodes();
    // What the heap keeps of things that are gone is nobody's doing.
    give_back_heap();
    let excess = look().saturating_sub(limit);
    let mut ended = Vec::new();
    let mut freed = 0;
    let mut candidates = largest(&nodes);
    let of_all = candidates.first().is_some_and(|first| first.takes >= limit / FAIR_SHARE);
    if !of_all {
        sort_by_groups(&mut candidates);
    }
    for Candidate { node, pid, takes, .. } in candidates {
        if freed >= excess {
            break;
        }
        // Only if it is the first: with it all others end.
        if node.is_main(pid) && !ended.is_empty() {
            continue;
        }
        let of = Shortage::Memory { of_all, taken: takes };
        node.ties.kill_from_outside(node.handle(), pid, ExitReason::OutOfMemory { of, limit });
        freed += takes;
        ended.push((node, pid));
    }
    wait_until_given_back(limit, || ended.iter().any(|(node, pid)| node.handle().exists(*pid)));
}

/// A process that is gone gives a large memory back in parts, between which others run. Ends early when
/// others take more meanwhile.
fn wait_until_given_back(limit: u64, victims_live: impl Fn() -> bool) {
    let (mut least, mut looks, mut have_ended) = (u64::MAX, 0, false);
    while looks < LOOKS_MAX {
        thread::sleep(LOOK_EARLIEST);
        // Of a slot that was just left, only the second call knows that nobody needs it.
        give_back(false);
        let taken = look();
        if taken <= limit || have_ended && taken > least.saturating_add(slack(limit)) {
            return;
        }
        have_ended = have_ended || !victims_live();
        // From their end on, for as long as it becomes less.
        looks = if have_ended && taken < least { 0 } else { looks + 1 };
        least = if have_ended { least.min(taken) } else { taken };
    }
}

/// A process that may have to end.
struct Candidate<'a> {
    node: &'a NodeInner,
    pid: Pid,
    /// Bytes that it has touched, and that the host holds for it.
    takes: u64,
    group: u64,
    /// For how many it stands.
    stands_for: f64,
}

impl<'a> Candidate<'a> {
    fn new(node: &'a NodeInner, holder: Holder, stands_for: f64) -> Self {
        let touched = resident_bytes(holder.memory) as u64;
        let held = holder.mail_bytes.saturating_add(holder.own_bytes);
        let takes = touched.saturating_add(held);
        Self { node, pid: holder.pid, takes, group: holder.group, stands_for }
    }

    /// The end of a main process is everybody's: it has to take twice as much as another.
    fn weight(&self) -> u64 {
        if self.node.is_main(self.pid) { self.takes / 2 } else { self.takes }
    }
}

/// Who takes most, the first of them first.
fn largest(nodes: &[Arc<Held>]) -> Vec<Candidate<'_>> {
    let mut chosen = Chosen::default();
    for (number, node) in nodes.iter().enumerate() {
        holders(node).for_each(|holder| chosen.offer(number, holder));
    }
    let mut candidates: Vec<Candidate<'_>> = chosen
        .all()
        .map(|(number, holder, stands_for)| Candidate::new(&nodes[number], holder, stands_for))
        // The end of who takes nothing helps nobody.
        .filter(|candidate| candidate.takes > 0)
        .collect();
    candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.weight()));
    candidates
}

/// Those of the branch that takes most first, all in all, and of each branch who takes most.
fn sort_by_groups(candidates: &mut [Candidate<'_>]) {
    let name =
        |candidate: &Candidate<'_>| (std::ptr::from_ref(candidate.node).addr(), candidate.group);
    let mut groups: HashMap<(usize, u64), f64> = HashMap::new();
    for candidate in candidates.iter() {
        let weight = candidate.weight() as f64 * candidate.stands_for;
        *groups.entry(name(candidate)).or_default() += weight;
    }
    // Stable: within a branch they are in order.
    candidates.sort_by(|one, other| groups[&name(other)].total_cmp(&groups[&name(one)]));
}

/// What a process may take at most.
fn upper_bound(holder: &Holder) -> u64 {
    let held = holder.mail_bytes.saturating_add(holder.own_bytes);
    held.saturating_add(holder.memory.len() as u64)
}

/// Some of all who were offered: those who may take most, and others at random, each as likely.
#[derive(Default)]
struct Chosen {
    largest: BTreeMap<(u64, u64, usize), Holder>,
    samples: Vec<(usize, Holder)>,
    offered: u64,
    random: u64,
}

impl Chosen {
    fn offer(&mut self, node: usize, holder: Holder) {
        let bound = upper_bound(&holder);
        if bound == 0 {
            return;
        }
        self.largest.insert((bound, holder.pid.as_u64(), node), holder);
        if self.largest.len() <= LARGEST {
            return;
        }
        let Some(((.., node), holder)) = self.largest.pop_first() else { return };
        self.offered += 1;
        if self.samples.len() < SAMPLES {
            return self.samples.push((node, holder));
        }
        // Algorithm R, with the upper bits of a linear congruential generator.
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let place = (self.random >> 16) % self.offered;
        if let Some(sample) = self.samples.get_mut(place as usize) {
            *sample = (node, holder);
        }
    }

    /// With how many each stands for.
    fn all(self) -> impl Iterator<Item = (usize, Holder, f64)> {
        let each = self.offered as f64 / self.samples.len().max(1) as f64;
        let largest = self.largest.into_iter().map(|((.., node), holder)| (node, holder, 1.0));
        largest.chain(self.samples.into_iter().map(move |(node, holder)| (node, holder, each)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_swap_and_page_tables_count_and_files_do_not() {
        let status = "Name:\tx\nVmRSS:\t 900 kB\nRssAnon:\t     100 kB\nRssFile:\t 800 kB\n\
                      VmPTE:\t      20 kB\nVmSwap:\t       3 kB\n";
        assert_eq!(of_status(status), Some(123 << 10));
        assert_eq!(of_status("RssAnon:\t 7 kB\n"), Some(7 << 10));
        assert_eq!(of_status("Name:\tx\n"), None);
    }

    #[test]
    fn the_largest_are_chosen_and_the_others_as_likely_as_each_other() {
        let mut chosen = Chosen::default();
        for index in 0..100_000_u32 {
            let memory = 0..if index % 1000 == 0 { 1 << 30 } else { 1 << 20 };
            let pid = Pid::from_u64(u64::from(index) + 1);
            let holder = Holder {
                pid,
                mail_bytes: 0,
                own_bytes: 0,
                memory,
                flooder: None,
                group: 0,
                flooding_group: None,
            };
            chosen.offer(0, holder);
        }
        let all: Vec<(usize, Holder, f64)> = chosen.all().collect();
        assert_eq!(all.len(), LARGEST + SAMPLES);
        let stand_for: f64 = all.iter().map(|(_, _, each)| each).sum();
        assert!((99_999.0..100_001.0).contains(&stand_for), "{stand_for}");
        let all: Vec<Holder> = all.into_iter().map(|(_, holder, _)| holder).collect();
        assert!(all[..LARGEST].iter().all(|holder| holder.memory.len() == 1 << 30));
        let early = all.iter().filter(|holder| holder.pid.as_u64() <= 50_000).count();
        assert!((1_800..2_400).contains(&early), "{early}");
        let mut pids: Vec<u64> = all.iter().map(|holder| holder.pid.as_u64()).collect();
        pids.sort_unstable();
        pids.dedup();
        assert_eq!(pids.len(), LARGEST + SAMPLES);
    }
}
