//! Random work for a given time: `soak SECONDS SEED`. `cargo xtask soak` runs it and checks the runtime's counts.
//!
//! Main starts a few *supervisors*; each runs one *scenario* after the other until the time is over, each scenario in a
//! process of its own. Supervisors and scenarios are never killed; all that they start may be.
//!
//! **How main knows that all are dead**: every process holds the channel `life`, on which nobody sends, until the runtime
//! takes it away at its end. When main is the last holder its receive fails as closed. So a process that is forgotten, or
//! a handle that is not given back, is seen as a hang.
//!
//! Every wait here ends: it has a limit of time, or it is at a channel of which the other side ends. Endless loops are
//! started by scenarios only, which kill them. What must not be is a line on stdout that begins with FAILED.

use lunatic::{Channel, Error, Mailbox, Process};
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::time::{Duration, Instant};

const SUPERVISORS: u64 = 8;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

type Life = Channel<()>;
/// What every process is given: its own random numbers, and life.
type Birth = (Random, Life);

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let (Some(Ok(seconds)), Some(Ok(seed))) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: soak SECONDS SEED");
        std::process::exit(2);
    };
    let mut random = Random(seed);
    let life = Life::new(0);
    let reports = Channel::new(0);
    for _ in 0..SUPERVISORS {
        let birth = (random.fork(), life.clone());
        must(Process::spawn((birth, seconds, reports.clone()), supervise));
    }
    let scenarios: Vec<u64> = reports.iter().collect();
    if scenarios.len() as u64 != SUPERVISORS {
        fail(&format!("{} of {SUPERVISORS} supervisors have reported", scenarios.len()));
    }
    if life.checked_receive() != Err(Error::Closed) {
        fail("the channel on which nobody sends gave something");
    }
    println!("all are dead after {} scenarios", scenarios.iter().sum::<u64>());
}

fn supervise(((mut random, life), seconds, reports): (Birth, u64, Channel<u64>)) {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut scenarios = 0;
    while Instant::now() < end {
        let over: Channel<()> = Channel::new(0);
        must(Process::spawn((random.fork(), life.clone(), over.clone()), scenario));
        // Closed when the scenario has ended.
        if over.checked_receive() != Ok(()) {
            fail("a scenario ended before its end");
        }
        scenarios += 1;
    }
    reports.send(scenarios);
    std::mem::forget(life);
}

fn scenario((mut random, life, over): (Random, Life, Channel<()>)) {
    let mut all = Children { random: random.fork(), life, started: Vec::new() };
    match random.below(16) {
        0 | 1 => tree(&mut all),
        2 | 3 => burst(&mut all),
        4 | 5 => all.start_many(40, |random| Task::Trap(random.below(5) as u8)),
        6..=8 => letters(&mut all),
        9..=11 => pipes(&mut all),
        12 => all.start_many(200, |random| Task::Sleep(random.below(50))),
        13 => memories(&mut all),
        _ => loops(&mut all),
    }
    all.kill_some();
    over.send(());
    std::mem::forget(all);
}

/// What a scenario has started.
struct Children {
    random: Random,
    life: Life,
    started: Vec<Process<()>>,
}

impl Children {
    fn birth(&mut self) -> Birth {
        (self.random.fork(), self.life.clone())
    }

    fn start(&mut self, task: Task) -> Process<()> {
        let child = must(Process::spawn((self.birth(), task), work));
        self.started.push(child);
        child
    }

    fn start_many(&mut self, most: u64, task: fn(&mut Random) -> Task) {
        for _ in 0..self.random.below(most) + 1 {
            let task = task(&mut self.random);
            self.start(task);
        }
    }

    /// None, one in three, or all; the dead, and those that another has got the place of, among them.
    fn kill_some(&mut self) {
        let one_in = [0, 3, 1][self.random.below(3) as usize];
        if one_in == 0 {
            return;
        }
        for child in &self.started {
            if self.random.below(one_in) == 0 {
                child.kill();
            }
        }
    }
}

/// What a process of no further importance does.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum Task {
    Nothing,
    Exit(i32),
    Trap(u8),
    /// So many milliseconds.
    Sleep(u64),
    /// So many thousands of rounds.
    Compute(u64),
    /// So many bytes.
    Grow(u64),
    Loop,
}

impl Task {
    /// One that ends by itself, soon.
    fn any(random: &mut Random) -> Self {
        match random.below(12) {
            0..=3 => Self::Nothing,
            4 => Self::Exit(random.below(300) as i32),
            5 => Self::Trap(random.below(5) as u8),
            6..=8 => Self::Sleep(random.below(20)),
            9 | 10 => Self::Compute(random.below(100)),
            _ => Self::Grow(random.below(MIB)),
        }
    }
}

fn work(((random, life), task): (Birth, Task)) {
    std::mem::forget(life);
    match task {
        Task::Nothing => {}
        Task::Exit(code) => std::process::exit(code),
        Task::Trap(how) => traps::trap(how),
        Task::Sleep(milliseconds) => lunatic::sleep(Duration::from_millis(milliseconds)),
        Task::Compute(thousands) => compute(thousands),
        Task::Grow(bytes) => grow(random, bytes),
        Task::Loop => loop {
            black_box(());
        },
    }
}

fn compute(thousands: u64) {
    let mut random = Random(thousands);
    for _ in 0..thousands * 1_000 {
        black_box(random.next());
    }
}

/// Touches every page of some memory that must have been zero.
fn grow(mut random: Random, bytes: u64) {
    let mut memory = vec![0_u8; bytes as usize];
    if memory.iter().step_by(509).any(|byte| *byte != 0) {
        fail("fresh memory is not zero");
    }
    let mark = random.next() as u8 | 1;
    memory.iter_mut().step_by(4093).for_each(|byte| *byte = mark);
    lunatic::yield_now();
    if memory.iter().step_by(4093).any(|byte| *byte != mark) {
        fail("memory has changed under its owner");
    }
    if random.below(4) == 0 {
        traps::trap(random.below(5) as u8);
    }
}

/// A process that starts others that start others.
fn tree(all: &mut Children) {
    let depth = all.random.below(4) as u32 + 1;
    for _ in 0..all.random.below(4) + 1 {
        let birth = all.birth();
        all.started.push(must(Process::spawn((birth, depth), branch)));
    }
}

fn branch(((mut random, life), depth): (Birth, u32)) {
    for _ in 0..random.below(5) {
        let birth = (random.fork(), life.clone());
        if depth > 0 {
            must(Process::spawn((birth, depth - 1), branch));
        } else {
            let task = Task::any(&mut random);
            must(Process::spawn((birth, task), work));
        }
    }
    let task = Task::any(&mut random);
    work(((random, life), task));
}

fn burst(all: &mut Children) {
    all.start_many(1_500, Task::any);
}

fn memories(all: &mut Children) {
    for _ in 0..all.random.below(3) + 1 {
        let bytes = all.random.below(64 * MIB);
        all.start(Task::Grow(bytes));
    }
}

fn loops(all: &mut Children) {
    let loops: Vec<_> = (0..all.random.below(4) + 1).map(|_| all.start(Task::Loop)).collect();
    lunatic::sleep(Duration::from_millis(all.random.below(30)));
    loops.iter().for_each(Process::kill);
}

/// Messages of all sizes to those who read them and those who do not, dead ones too.
fn letters(all: &mut Children) {
    let mut readers: Vec<Process<String>> = Vec::new();
    for _ in 0..all.random.below(8) + 1 {
        let birth = all.birth();
        let reader = must(Process::spawn_with_mailbox((birth, readers.clone()), read_letters));
        all.started.push(Process::from_id(reader.id()));
        readers.push(reader);
    }
    let mailbox: Mailbox<String> = Mailbox::own();
    readers.push(mailbox.process());
    for _ in 0..all.random.below(200) + 1 {
        let reader = all.random.pick(&readers);
        reader.send(letter(&mut all.random));
        match all.random.below(64) {
            0 if reader != mailbox.process() => reader.kill(),
            1 => lunatic::yield_now(),
            _ => {}
        }
    }
    // What is left in this mailbox is dropped with it.
    for _ in 0..all.random.below(20) {
        match mailbox.try_receive() {
            Ok(text) => check_letter(&text),
            Err(_) => break,
        }
    }
}

fn read_letters(
    ((mut random, life), others): (Birth, Vec<Process<String>>),
    mailbox: Mailbox<String>,
) {
    std::mem::forget(life);
    for _ in 0..random.below(100) {
        match mailbox.receive_timeout(Duration::from_millis(random.below(20))) {
            Ok(text) => check_letter(&text),
            Err(_) => break,
        }
        if !others.is_empty() && random.below(4) == 0 {
            random.pick(&others).send(letter(&mut random));
        }
    }
    if random.below(4) == 0 {
        traps::trap(random.below(5) as u8);
    }
}

/// Mostly small, at most 1 MiB.
fn letter(random: &mut Random) -> String {
    let most = match random.below(100) {
        0 => MIB,
        1..=4 => 16 * KIB,
        5..=19 => KIB,
        _ => 64,
    };
    let length = random.below(most + 1) as usize;
    let byte = b'a' + (length % 26) as u8;
    char::from(byte).to_string().repeat(length)
}

fn check_letter(text: &str) {
    let expected = b'a' + (text.len() % 26) as u8;
    if text.bytes().any(|byte| byte != expected) {
        fail(&format!("a message of {} bytes arrived changed", text.len()));
    }
}

/// Channels with ends that are given up, killed and trapped. Everybody but the scenario waits without a limit, and must
/// learn when it is in vain.
fn pipes(all: &mut Children) {
    let pipe: Channel<(String, Option<Channel<u64>>)> = Channel::new(all.random.below(4) as usize);
    for _ in 0..all.random.below(5) + 1 {
        let birth = all.birth();
        let child = match all.random.below(2) {
            0 => must(Process::spawn((birth, pipe.clone()), fill)),
            _ => must(Process::spawn((birth, pipe.clone()), drain)),
        };
        all.started.push(child);
    }
    for _ in 0..all.random.below(20) {
        let _ = pipe.try_send((letter(&mut all.random), None));
        let _ = pipe.receive_timeout(Duration::from_millis(all.random.below(3)));
    }
}

type Pipe = Channel<(String, Option<Channel<u64>>)>;

fn fill(((mut random, life), pipe): (Birth, Pipe)) {
    std::mem::forget(life);
    for _ in 0..random.below(100) {
        let inner = (random.below(8) == 0).then(|| Channel::new(1));
        if let Some(inner) = &inner {
            inner.send(7);
        }
        if pipe.checked_send((letter(&mut random), inner)).is_err() {
            return;
        }
    }
    if random.below(4) == 0 {
        traps::trap(random.below(5) as u8);
    }
}

fn drain(((mut random, life), pipe): (Birth, Pipe)) {
    std::mem::forget(life);
    for _ in 0..random.below(400) {
        let Ok((text, inner)) = pipe.checked_receive() else { return };
        check_letter(&text);
        if inner.is_some_and(|inner| inner.try_receive() != Ok(7)) {
            fail("a channel that travelled has lost its message");
        }
    }
    if random.below(4) == 0 {
        traps::trap(random.below(5) as u8);
    }
}

fn must<T>(result: Result<T, Error>) -> T {
    result.unwrap_or_else(|error| fail(&error.to_string()))
}

/// Said to the driver, which fails.
fn fail(what: &str) -> ! {
    println!("FAILED: {what}");
    std::process::exit(99)
}

/// splitmix64: a generator whose whole state is a number, so that each process can have its own.
#[derive(Serialize, Deserialize)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    fn fork(&mut self) -> Random {
        Random(self.next())
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// Every kind of trap, without a word on stderr. The only unsafe code of the guests: safe Rust checks before it traps.
#[allow(unsafe_code, reason = "what traps is undefined in Rust; WebAssembly defines it")]
mod traps {
    use std::hint::{assert_unchecked, black_box};

    pub(super) fn trap(how: u8) -> ! {
        match how {
            0 => out_of_bounds(),
            1 => divide(black_box(1), black_box(0)),
            2 => drop(black_box(shadow_stack(1))),
            3 => drop(black_box(fiber_stack(u64::MAX))),
            _ => {}
        }
        stop()
    }

    #[cfg(target_family = "wasm")]
    fn stop() -> ! {
        core::arch::wasm32::unreachable()
    }

    /// For clippy, which sees this program on other machines.
    #[cfg(not(target_family = "wasm"))]
    fn stop() -> ! {
        std::process::abort()
    }

    fn out_of_bounds() {
        let nowhere = black_box(usize::MAX - 64) as *const u64;
        // SAFETY: none: no memory is that large. The load traps, which is what it is for.
        black_box(unsafe { nowhere.read_volatile() });
    }

    #[inline(never)]
    fn divide(a: i64, b: i64) {
        // SAFETY: a lie, so that Rust leaves the check to `i64.div_s`, which traps. The compiler cannot see the value.
        unsafe { assert_unchecked(b != 0) };
        black_box(a / b);
    }

    /// Uses up the stack in linear memory.
    #[inline(never)]
    fn shadow_stack(depth: u32) -> u32 {
        let frame = black_box([depth; 64]);
        if frame[0] == 0 {
            0
        } else {
            shadow_stack(depth + 1) + black_box(frame)[1]
        }
    }

    /// Uses up the fiber's own stack: nothing of this is in linear memory.
    #[inline(never)]
    fn fiber_stack(depth: u64) -> u64 {
        if depth == 0 {
            1
        } else {
            fiber_stack(depth - 1).rotate_left(7) ^ depth
        }
    }
}
