//! Processes, mailboxes and channels for programs that run on `lunatic`.
//!
//! Compile a program that uses this crate for `wasm32-wasip1` and run it with `lunatic app.wasm`. A process is an instance of
//! the program with its own memory: it shares nothing, and when it panics or traps it dies alone.
//!
//! ```no_run
//! use lunatic::{Channel, Process};
//!
//! fn main() {
//!     let channel = Channel::new(0);
//!     for number in 0..10u64 {
//!         Process::spawn((number, channel.clone()), square).unwrap();
//!     }
//!     for _ in 0..10 {
//!         println!("{}", channel.receive());
//!     }
//! }
//!
//! fn square((number, channel): (u64, Channel<u64>)) {
//!     channel.send(number * number);
//! }
//! ```
//!
//! # What travels
//! Messages and contexts are encoded with serde, by default through postcard; the feature `bincode` takes bincode 2
//! instead. The runtime sees bytes. [`Channel`] and [`Process`] may be part of them.
//!
//! # When others end
//! A [monitor](Process::monitor) tells a process of another's end, and why. [Links](Process::link) make processes fail
//! together, unless one [survives](survive_links). A [`Supervisor`] starts processes, and starts them again when they fail.
//! A request waits for its answer with [`Process::call`], and learns if the server ends first. Names ([`Process::register`],
//! [`Process::lookup`]) find a process that was started again.
//!
//! # Tests
//! [`#[lunatic::test]`](macro@test) makes a function a test that is a run of its own: it may spawn and wait.
//!
//! # When main ends
//! the program ends, with all its processes: wait for those you need, by a channel for example.
//!
//! # Small processes
//! Every process has its own stack for Rust values, inside its own memory. The compiler's default of 1 MiB makes each
//! memory 17 pages of 64 KiB. Put this into `.cargo/config.toml` beside your `Cargo.toml`:
//!
//! ```toml
//! [build]
//! target = "wasm32-wasip1"
//!
//! [target.wasm32-wasip1]
//! rustflags = ["-C", "link-arg=-zstack-size=65536"]
//! runner = "lunatic"
//! ```
//!
//! 64 KiB are exactly one page, enough for formatting, collections and recursion some hundred calls deep, and the rest of
//! the memory is then your data. The stack lies at the bottom of the memory, so a program that needs more traps cleanly at
//! address 0 and corrupts nothing: give it a larger number then. Untouched stack costs address space, not memory.

#![deny(unsafe_code)]

// Reading order.
mod channel;
mod config;
mod error;
mod mailbox;
pub mod net;
mod process;
mod spawn;
mod time;

mod exit;
mod link;

mod call;
mod event;
mod supervisor;

mod test;
// How it is done.
#[allow(unsafe_code, reason = "the border to the runtime: the only unsafe code of this crate")]
mod abi;
mod codec;

pub use call::Reply;
pub use channel::{Channel, Iter};
pub use config::{DirAccess, Overflow, ProcessConfig, Right, Usage};
pub use error::Error;
pub use event::Event;
pub use exit::{ExitReason, Notice};
pub use link::{survive_links, unregister};
pub use mailbox::Mailbox;
pub use process::Process;
pub use spawn::Spawn;
pub use supervisor::{Child, ChildInfo, Restart, Shutdown, Strategy, Supervisor, SupervisorRef};
pub use test::test;
pub use time::{sleep, yield_now};

#[doc(hidden)]
pub use test::run as __run_test;

/// The version of the runtime this program runs on: major, minor, patch.
///
/// ```no_run
/// let (major, minor, patch) = lunatic::runtime_version();
/// println!("on lunatic {major}.{minor}.{patch}");
/// ```
pub fn runtime_version() -> (u32, u32, u32) {
    abi::version()
}
