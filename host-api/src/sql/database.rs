//! An open database with its statements.

use std::collections::HashMap;
use std::ffi::CString;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::hooks::AuthContext;
use rusqlite::limits::Limit;
use rusqlite::{Connection, InterruptHandle, OpenFlags};

use super::memory::Meter;
use super::scene::Scene;
use super::statement::{self, Raw};
use super::wire::{BindList, Encoder, Key};
use super::{Failure, PATTERN_BYTES_MAX, SQL_BYTES_MAX, VALUE_BYTES_MAX, functions, rules, start};
use crate::fs::{DirAccess, OpenDir};
use crate::jobs::Asker;

/// SQLite asks after so many of its instructions whether somebody still waits. By feel: some hundredths
/// of a millisecond, for what is a few loads.
const ASK_EVERY: i32 = 1_000;

/// What `execute` and others have for a failure that SQLite has no code for.
const ERROR: u32 = 1;
/// SQLite's code for what the rules refuse.
const AUTH: u32 = 23;

/// A database's name for one in memory.
const IN_MEMORY: &str = ":memory:";

/// The statement of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct StatementKey(u64);

/// An open database. Everything here may block but what says otherwise.
#[derive(Debug)]
pub(crate) struct Database {
    scene: Arc<Scene>,
    /// Taken when it is dropped.
    open: Mutex<Option<Open>>,
}

struct Open {
    // Dropped first: before their connection.
    statements: HashMap<StatementKey, Raw>,
    connection: Connection,
    next: u64,
    last: Option<Failure>,
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").field("statements", &self.statements.len()).finish_non_exhaustive()
    }
}

impl Database {
    /// Opens one without a file.
    pub(crate) fn in_memory(meter: Arc<Meter>) -> Result<Self, String> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        Self::open(Scene::new(None, meter), IN_MEMORY, flags)
    }

    /// Opens the database at `path` beneath a directory, or makes it if it is not there.
    pub(crate) fn at(dir: &OpenDir, path: &str, meter: Arc<Meter>) -> Result<Self, String> {
        let (parent, name) = dir
            .parent_of(path)
            .map_err(|errno| format!("its directory: error {} ({errno:?})", errno as u16))?;
        let flags = match parent.access() {
            DirAccess::ReadOnly => OpenFlags::SQLITE_OPEN_READ_ONLY,
            DirAccess::ReadWrite => {
                OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
            }
        };
        Self::open(Scene::new(Some(parent), meter), &format!("/{name}"), flags)
    }

    fn open(scene: Scene, name: &str, flags: OpenFlags) -> Result<Self, String> {
        start::start()?;
        let scene = Arc::new(scene);
        let connection = scene
            .within(|| connect(&scene, name, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX))
            .map_err(|error| error.to_string())?;
        let open = Open { statements: HashMap::new(), connection, next: 0, last: None };
        Ok(Self { scene, open: Mutex::new(Some(open)) })
    }

    /// Lets so many of SQLite's instructions run from now on; what would run more is interrupted.
    pub(crate) fn allow(&self, instructions: u64) {
        self.scene.allow(instructions);
    }

    /// About how many have been run since this was called last.
    pub(crate) fn take_run(&self) -> u64 {
        self.scene.take_run()
    }

    /// For who wants to end what runs now, from another thread.
    pub(crate) fn interrupt_handle(&self) -> InterruptHandle {
        let open = self.open.lock();
        open.as_ref().expect("it is open until it is dropped").connection.get_interrupt_handle()
    }

    /// Does something with the database, for somebody who waits for it perhaps.
    fn with<T>(
        &self,
        asker: Option<Asker>,
        work: impl FnOnce(&mut Open) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut open = self.open.lock();
        let open = open.as_mut().expect("it is open until it is dropped");
        self.scene.set_asker(asker);
        self.scene.begin_statement();
        let mut result = self.scene.within(|| work(open));
        self.scene.set_asker(None);
        let refusal = self.scene.take_refusal();
        if let (Err(failure), Some(why)) = (&mut result, refusal)
            && failure.code == AUTH
        {
            failure.message = format!("not authorized: {why}");
        }
        open.last = result.as_ref().err().cloned();
        result
    }

    /// Runs all statements of a text that begin at `from` and later, and leaves out their rows. `from`
    /// is moved behind those that have been run.
    pub(crate) fn execute(&self, asker: Asker, sql: &str, from: &mut usize) -> Result<(), Failure> {
        self.with(Some(asker), |open| {
            let sql = zero_ended(sql)?;
            while *from < sql.as_bytes().len() {
                self.scene.begin_statement();
                let prepared = Raw::prepare(&open.connection, &sql, *from)?;
                let Some(mut statement) = prepared.statement else { break };
                while statement.step()? != super::DONE {}
                *from = prepared.rest;
            }
            Ok(())
        })
    }

    /// Compiles the first statement of a text.
    pub(crate) fn prepare(&self, asker: Asker, sql: &str) -> Result<StatementKey, Failure> {
        self.with(Some(asker), |open| {
            let statement = Raw::prepare(&open.connection, &zero_ended(sql)?, 0)?.statement;
            let nothing = || Failure::new(ERROR, "there is no statement in it");
            let key = StatementKey(open.next);
            open.next += 1;
            open.statements.insert(key, statement.ok_or_else(nothing)?);
            Ok(key)
        })
    }

    /// Goes on to a statement's next row: whether there is one, in SQLite's codes.
    pub(crate) fn step(&self, asker: Asker, key: StatementKey) -> Result<u32, Failure> {
        self.with(Some(asker), |open| open.statement(key).step())
    }

    /// Puts a statement back to its beginning.
    pub(crate) fn reset(&self, key: StatementKey) {
        let _last = self.with(None, |open| {
            open.statement(key).reset();
            Ok(())
        });
    }

    /// Closes a statement.
    pub(crate) fn finalize(&self, key: StatementKey) {
        let _last = self.with(None, |open| {
            drop(open.statements.remove(&key));
            Ok(())
        });
    }

    /// Gives parameters their values. Never blocks.
    pub(crate) fn bind(&self, key: StatementKey, bytes: &[u8]) -> Result<(), Failure> {
        self.with(None, |open| bind(open.statement(key), bytes))
    }

    /// How many rows the last statement has changed. Never blocks.
    pub(crate) fn changes(&self) -> u32 {
        let open = self.open.lock();
        let open = open.as_ref().expect("it is open until it is dropped");
        statement::changes(&open.connection)
    }

    /// How many columns a statement's rows have. Never blocks.
    pub(crate) fn columns(&self, key: StatementKey) -> usize {
        let mut open = self.open.lock();
        open.as_mut().expect("it is open until it is dropped").statement(key).columns()
    }

    /// Writes the value of a column. Never blocks.
    pub(crate) fn read_column(
        &self,
        key: StatementKey,
        column: usize,
        to: &mut Encoder,
    ) -> Result<(), Failure> {
        self.with(None, |open| open.statement(key).value(column, |value| to.value(value)))
    }

    /// Writes the values of all columns. Never blocks.
    pub(crate) fn read_row(&self, key: StatementKey, to: &mut Encoder) -> Result<(), Failure> {
        self.with(None, |open| {
            let statement = open.statement(key);
            let columns = statement.columns();
            to.count(columns);
            (0..columns).try_for_each(|column| statement.value(column, |value| to.value(value)))
        })
    }

    /// The names of a statement's columns. Never blocks.
    pub(crate) fn column_names(&self, key: StatementKey) -> Result<Vec<String>, Failure> {
        self.with(None, |open| {
            let statement = open.statement(key);
            (0..statement.columns()).map(|column| name_of(statement, column)).collect()
        })
    }

    /// The name of a column that there is. Never blocks.
    pub(crate) fn column_name(&self, key: StatementKey, column: usize) -> Result<String, Failure> {
        self.with(None, |open| name_of(open.statement(key), column))
    }

    /// Writes what went wrong in the last call that could go wrong. Never blocks.
    pub(crate) fn write_last_failure(&self, to: &mut Encoder) {
        let open = self.open.lock();
        to.failure(open.as_ref().and_then(|open| open.last.as_ref()));
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let open = self.open.get_mut().take();
        self.scene.within(|| drop(open));
    }
}

impl Open {
    fn statement(&mut self, key: StatementKey) -> &mut Raw {
        self.statements.get_mut(&key).expect("a process's statements are its connection's")
    }
}

fn connect(scene: &Arc<Scene>, name: &str, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_with_flags_and_vfs(name, flags, start::VFS)?;
    // As SQLite has it if nobody asks, and Lunatic 0.13.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
    // The file and what is in it may be anybody's work.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    for (limit, most) in [
        (Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, SQL_BYTES_MAX as usize),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
        // What a statement is compiled to: a view of views may be anything.
        (Limit::SQLITE_LIMIT_VDBE_OP, 1_000_000),
        // These take stack, or time in which nothing can be asked.
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
        (Limit::SQLITE_LIMIT_PARSER_DEPTH, 100),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 100),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 100),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, PATTERN_BYTES_MAX),
    ] {
        connection.set_limit(limit, i32::try_from(most).expect("a limit of SQLite's"))?;
    }
    functions::replace(&connection)
        .map_err(|code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None))?;
    connection.busy_timeout(std::time::Duration::ZERO)?;
    connection.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON;")?;
    let asking = Arc::clone(scene);
    let instructions = u64::from(ASK_EVERY.unsigned_abs());
    let stop = move || asking.count(instructions) || asking.is_abandoned();
    connection.progress_handler(ASK_EVERY, Some(stop))?;
    let judging = Arc::clone(scene);
    connection
        .authorizer(Some(move |asked: AuthContext<'_>| rules::judge(&judging, asked.action)))?;
    Ok(connection)
}

fn zero_ended(sql: &str) -> Result<CString, Failure> {
    CString::new(sql).map_err(|error| {
        Failure::new(ERROR, format!("there is a zero byte in it, at {}", error.nul_position()))
    })
}

fn name_of(statement: &Raw, column: usize) -> Result<String, Failure> {
    let none = || Failure::new(7, "out of memory");
    statement.column_name(column).ok_or_else(none)
}

fn bind(statement: &mut Raw, bytes: &[u8]) -> Result<(), Failure> {
    let misuse = |message: String| Failure::new(21, message);
    let mut list = BindList::new(bytes).map_err(misuse)?;
    let mut before = 0;
    while let Some((key, value)) = list.next().map_err(misuse)? {
        let index = match key {
            Key::Next => before + 1,
            Key::Index(index) => usize::try_from(index).unwrap_or(usize::MAX),
            Key::Name(name) => named(statement, name)
                .ok_or_else(|| misuse(format!("the statement has no parameter \"{name}\"")))?,
        };
        let last = statement.parameters();
        if index == 0 || index > last {
            return Err(misuse(format!(
                "the statement has no parameter {index}, they go from 1 to {last}"
            )));
        }
        statement.bind(index, &value)?;
        before = index;
    }
    Ok(())
}

/// A parameter by its name, with its sign or without.
fn named(statement: &Raw, name: &str) -> Option<usize> {
    let with_sign = |sign| statement.parameter(&format!("{sign}{name}"));
    statement.parameter(name).or_else(|| [':', '@', '$'].into_iter().find_map(with_sign))
}
