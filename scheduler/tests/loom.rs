//! Loom models of the lock-free parts: state word, mailbox, channel, sleeping and waking, shutdown,
//! and what the tick thread relies on.
//!
//! The modules are the crate's own source files, included by path, so what is explored is what
//! ships; only `sync.rs` and `channel/queue.rs` differ under `--cfg loom`. Each model is named for
//! the behaviour at risk; they are in `loom/`, by what they are about. Run: `RUSTFLAGS="--cfg loom"
//! LOOM_MAX_PREEMPTIONS=2 cargo test --release -p lunatic-scheduler --test loom`.
//!
//! With `--cfg real_threads` instead they run on threads of the system, over and over, with what ships in
//! place of the twins, for ThreadSanitizer: `cargo xtask sanitize`.
#![cfg(any(loom, real_threads))]
// Whole files, of which models use a part.
#![allow(dead_code, unreachable_pub, unused_imports, missing_docs)]

#[cfg(loom)]
use ::loom;
#[cfg(real_threads)]
#[path = "support/threads.rs"]
mod loom;

#[path = "../src/alarm.rs"]
mod alarm;
#[path = "../src/barrier.rs"]
mod barrier;
#[path = "../src/beat.rs"]
mod beat;
#[path = "../src/channel/mod.rs"]
mod channel;
#[path = "../src/closing.rs"]
mod closing;
#[path = "../src/mailbox.rs"]
mod mailbox;
#[path = "../src/park/mod.rs"]
mod park;
#[path = "../src/pid.rs"]
mod pid;
#[path = "../src/quota.rs"]
mod quota;
#[path = "../src/state.rs"]
mod state;
#[path = "../src/sync.rs"]
mod sync;

// The models, by what they are about.
#[path = "loom/channel.rs"]
mod channel_models;
#[path = "loom/mailbox.rs"]
mod mailbox_models;
#[path = "loom/park.rs"]
mod park_models;
#[path = "loom/quota.rs"]
mod quota_models;
#[path = "loom/state.rs"]
mod state_models;
#[path = "loom/tick.rs"]
mod tick_models;

use state::{Start, State};

/// How often a model runs on real threads. By feel: a minute for all of them.
#[cfg(real_threads)]
const REPETITIONS: u32 = 2_000;

#[cfg(real_threads)]
fn model(f: impl Fn() + Send + Sync + 'static) {
    (0..REPETITIONS).for_each(|_| f());
}

#[cfg(loom)]
fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(2);
    builder.check(f);
}

/// The state of a process that runs.
fn running() -> State {
    let state = State::new();
    state.publish(0, false);
    assert_eq!(state.start(), Start::Run);
    state
}
