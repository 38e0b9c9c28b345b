//! Databases: SQLite, on behalf of processes that must not hurt anybody by it.
//!
//! Parties: a process, which has connections and statements by number; the blocking pool, on which all
//! SQL runs; SQLite, one library for the whole program. Rules:
//!
//! - Every call into SQLite is made *within* a `Scene` (`scene.rs`), which says for whom: the one
//!   directory whose files it may touch, and the meter of its memory. SQLite asks us for both, for each
//!   file (`files.rs`) and each allocation (`memory.rs`): it knows no other way to either.
//! - A connection ([`Database`]) and its statements are behind one lock. As a process makes one call at a
//!   time, nobody waits for it. They are closed on the pool.
//! - What SQL may do beside reading and writing that one database is said in `rules.rs`.
//! - Whoever is killed takes its query along: it is interrupted, and SQLite asks every now and then whether
//!   somebody still waits for it, in case it had not begun by then.
//! - Queries, and the closing of databases, take some of the pool's threads only ([`AT_ONCE`]).
//! - Who finds a database locked by another connection gives the pool's thread back and tries again
//!   later: else those that wait could take all threads, and none be left for the one to finish.
//! - A database that is open for writing belongs to this program: another program finds it locked, whatever
//!   guests do with the file beside (`files.rs`).
//!   Within it, processes share databases as they like. So the index of a write-ahead log can be on the
//!   heap: in a file mapped into memory, as SQLite has it otherwise, a guest that shortens or changes
//!   that file would bring us down.
//!
//! Unsafe code is in `files.rs`, `functions.rs`, `memory.rs`, `start.rs` and `statement.rs`.

mod database;
mod files;
mod functions;
mod json;
mod memory;
mod rules;
mod scene;
mod start;
mod statement;
mod text;
pub(crate) mod wire;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use database::{Database, StatementKey};
pub(crate) use memory::Meter;

use rusqlite::InterruptHandle;

use crate::node::NodeInner;
use crate::queue::{Queue, Task};

/// Queries that run at the same time. Half of the pool's threads.
pub(crate) const AT_ONCE: usize = 32;

/// Most bytes of a text, a blob or a stored row. A function is not interrupted while it works: this bounds
/// how long that is.
pub(crate) const VALUE_BYTES_MAX: usize = 1 << 20;

/// Most bytes of an answer. By feel: as much as a message may have.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Most bytes of a pattern of `LIKE` or `GLOB`, which take the product of its length and the text's: a
/// quarter of a second, with the longest of both.
pub(crate) const PATTERN_BYTES_MAX: usize = 100;

/// Most bytes of the SQL of one call. By feel: larger than any dump that one would execute at once.
pub(crate) const SQL_BYTES_MAX: u32 = 16 << 20;

/// Most bytes that SQLite may take for one process: the cache, what is sorted, databases in memory. By
/// feel; less if the process may have less memory.
pub(crate) const MEMORY_BYTES_MAX: usize = 256 << 20;

/// How long a call waits for another connection's lock. By feel: as long as SQLite's bindings do by
/// custom.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Between two tries to get a lock, from the first on.
pub(crate) const LOCK_TRIES: Range<Duration> = Duration::from_millis(1)..Duration::from_millis(50);

/// SQLite's "there are no more rows".
const DONE: u32 = 101;

/// What went wrong, in SQLite's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// SQLite's primary result code.
    pub(crate) code: u32,
    pub(crate) message: String,
    /// The same may succeed when another connection has given up a lock.
    pub(crate) is_transient: bool,
}

impl Failure {
    pub(crate) fn new(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), is_transient: false }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLite's error {})", self.message, self.code)
    }
}

/// A connection as a process has it: closed on the pool when it is dropped, as closing may
/// write: for long, if a journal is to be rolled back.
pub(crate) struct Connection {
    database: Option<Arc<Database>>,
    interrupt: InterruptHandle,
    node: Arc<NodeInner>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.database).finish()
    }
}

impl Connection {
    pub(crate) fn new(database: Arc<Database>, node: &Arc<NodeInner>) -> Self {
        let interrupt = database.interrupt_handle();
        Self { database: Some(database), interrupt, node: Arc::clone(node) }
    }

    pub(crate) fn database(&self) -> &Arc<Database> {
        self.database.as_ref().expect("taken when it is dropped")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.interrupt.interrupt();
        let database = self.database.take();
        // If the pool takes nothing more, it is closed right here.
        let work = Box::new(move || drop(database));
        let _at_the_end =
            Queue::put(&self.node, |node| &node.sql, Task { owner: None, asker: None, work });
    }
}

/// A statement as a process has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statement {
    /// The number of its connection.
    pub(crate) connection: u64,
    pub(crate) key: StatementKey,
}
