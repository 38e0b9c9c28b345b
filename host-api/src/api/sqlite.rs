//! `lunatic::sqlite`: databases, as Lunatic 0.13 has them.

use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use crate::bind::{Call, Fault, host_functions};
use crate::fs::DirGrant;
use crate::guest_type::{Bytes, In, Out, Text};
use crate::jobs::{Asker, Turn};
use crate::memory::Ptr;
use crate::queue::{Queue, Task};
use crate::sql::wire::Encoder;
use crate::sql::{
    ANSWER_BYTES_MAX, Connection, Database, Failure, LOCK_TRIES, LOCK_WAIT, MEMORY_BYTES_MAX,
    SQL_BYTES_MAX, Statement,
};

/// Connections of one process. Each has a few files of the system's. By feel.
const CONNECTIONS_MAX: usize = 64;

/// What an instruction of SQLite's costs the process, in reductions. By feel.
const INSTRUCTION: u64 = 10;

/// The longest path of a database, as the system has it.
const PATH_BYTES_MAX: u32 = 4096;

/// The path of a database without a file.
const IN_MEMORY: &str = ":memory:";

host_functions! {
    /// SQLite databases. Connections and statements are numbers, from 0 on; they belong to the process
    /// that got them, and count as resources. All that runs SQL, or waits for a disk, lets others run
    /// meanwhile. Errors are traps unless a function says otherwise.
    ///
    /// What is returned as an address lies in memory of the guest's own: its exported function
    /// `lunatic_alloc` (i32) -> i32 is called for so many bytes, and their number (u32) is written to
    /// `len_ptr`. Values are encoded so: numbers little-endian in their full width, a length as a u64, a
    /// variant as a u32 from 0 on, an option as a byte (0 or 1) and what it holds. A *value* is one of
    /// Null, Blob (length, bytes), Text (length, UTF-8), Double (f64), Integer (i64).
    ///
    /// Limits: a text, a blob or a stored row has at most 1 MiB, a pattern of `LIKE` or `GLOB` 100 bytes, an
    /// answer 64 MiB, the SQL of a call 16 MiB; SQLite takes at most 256 MiB of memory for a process, or as much as that may have itself; a
    /// process has at most 64 connections. `ATTACH` is for `:memory:` only, extensions are not loaded, and settings
    /// that concern more than the one database are refused or do nothing. Who needs a lock that another
    /// connection has waits for it, 5 seconds at most (`PRAGMA busy_timeout` does nothing). SQLite's
    /// instructions cost fuel; 32 queries of all processes run at the same time, 18 of those that descend
    /// from one child of the main process and have one configuration, others queue.
    pub(crate) MODULE: "lunatic::sqlite";

    /// Opens the database at a path in a directory that the process was given, or makes it if it is not
    /// there and the directory may be written. `:memory:` and the empty path are ones without a file. 0:
    /// the connection's id (u64) is at `connection_id_ptr`. 1: an error id is there. There is no call that
    /// closes it: that is the end of the process.
    fn open(
        call, path_ptr: In<Text>, path_len: u32, connection_id_ptr: Out<u64>,
    ) -> Poll<Result<u64, Fault>> {
        let opened = call.job(|call, turn| {
            // Checked before there is a connection whose id could not be told.
            call.memory.slice_mut(connection_id_ptr, 8)?;
            begin_open(call, (path_ptr, path_len), turn)
        });
        opened.map(|result| {
            let max = call.state.config.resources_max;
            let (status, id) = match result? {
                Ok(database) => {
                    let connection = Connection::new(database, &call.state.node);
                    (0, call.state.resources.add(connection, max)?)
                }
                Err(words) => (1, call.state.keep_error(words)?),
            };
            call.state.tell_held();
            call.memory.write_u64(connection_id_ptr, id)?;
            Ok(status)
        })
    }

    /// Compiles the first statement of the SQL; answers its id. Traps if it is not valid.
    fn query_prepare(
        call, connection_id: u64, query_ptr: In<Text>, query_len: u32,
    ) -> Poll<Result<u64, Fault>> {
        let prepared = on_database(call, connection_id, |call| {
            let sql = sql(call, query_ptr, query_len)?;
            let max = call.state.config.resources_max;
            if !call.state.resources.has_room_for(1, max) {
                return Err(Fault::new(format!(
                    "the process holds {max} resources, its limit; one more SQLite statement needs \
                     others closed"
                )));
            }
            Ok(move |database: &Database, asker, _: &mut usize| database.prepare(asker, &sql))
        });
        prepared.map(|result| {
            let key = result?.map_err(|failure| trap("prepare the statement", &failure))?;
            call.add(Statement { connection: connection_id, key })
        })
    }

    /// Runs all statements of the SQL and leaves out their rows. 0, or SQLite's result code (see
    /// `last_error`) of the first that failed; those before it have been run.
    fn execute(
        call, connection_id: u64, sql_ptr: In<Text>, sql_len: u32,
    ) -> Poll<Result<u32, Fault>> {
        let done = on_database(call, connection_id, |call| {
            let sql = sql(call, sql_ptr, sql_len)?;
            Ok(move |database: &Database, asker, from: &mut usize| {
                database.execute(asker, &sql, from)
            })
        });
        done.map(|result| Ok(result?.map_or_else(|failure| failure.code, |()| 0)))
    }

    /// Gives parameters of a statement their values, for all its runs from now on. The bytes are a
    /// length and so many pairs: a key, which is a variant (0: the parameter behind the one before; 1:
    /// its number, a u64 from 1 on; 2: its name, a length and UTF-8, with its sign or without), and a
    /// variant with the value (0: Null; 1: Blob; 2: Text; 3: Double; 4: an i32; 5: an i64). Traps if
    /// there is no such parameter, and if a row of the statement has been read since its last
    /// `statement_reset`.
    fn bind_value(
        call, statement_id: u64, bind_data_ptr: In<Bytes>, bind_data_len: u32,
    ) -> Result<(), Fault> {
        let (database, statement) = find(call, statement_id)?;
        let bytes = call.memory.slice(bind_data_ptr, bind_data_len)?;
        let bound = database.bind(statement.key, bytes);
        call.state.tell_held();
        bound.map_err(|failure| trap("bind values", &failure))
    }

    /// How many rows the connection's last statement has changed, inserted or deleted.
    fn sqlite3_changes(call, connection_id: u64) -> Result<u32, Fault> {
        Ok(call.state.resources.get::<Connection>(connection_id)?.database().changes())
    }

    /// Puts a statement back to its beginning. Its values stay bound.
    fn statement_reset(call, statement_id: u64) -> Poll<Result<(), Fault>> {
        on_statement(call, statement_id, |database, statement, _| {
            database.reset(statement.key);
            Ok(())
        })
        .map(|result| result?.map_err(|failure| trap("reset the statement", &failure)))
    }

    /// Runs a statement up to its next row. 100: there is one, for `read_row` and `read_column`; 101: the
    /// statement has ended (and begins anew with the next call). Traps if it fails.
    fn sqlite3_step(call, statement_id: u64) -> Poll<Result<u32, Fault>> {
        on_statement(call, statement_id, |database, statement, asker| {
            database.step(asker, statement.key)
        })
        .map(|result| result?.map_err(|failure| trap("run the statement", &failure)))
    }

    /// Closes a statement: its id means nothing from then on. Traps if it is unknown.
    fn sqlite3_finalize(call, statement_id: u64) -> Poll<Result<(), Fault>> {
        let closed = on_statement(call, statement_id, |database, statement, _| {
            database.finalize(statement.key);
            Ok(())
        });
        closed.map(|result| {
            result?.map_err(|failure| trap("close the statement", &failure))?;
            call.give_up::<Statement>(statement_id)
        })
    }

    /// How many columns the statement's rows have: 0 if it has no rows.
    fn column_count(call, statement_id: u64) -> Result<u32, Fault> {
        let (database, statement) = find(call, statement_id)?;
        Ok(u32::try_from(database.columns(statement.key)).unwrap_or(u32::MAX))
    }

    /// Answers the address of what went wrong in the connection's last call: an option of SQLite's result
    /// code (u32), and an option of a text. Both are none if nothing did.
    fn last_error(call, connection_id: u64, len_ptr: Out<u32>) -> Poll<Result<u32, Fault>> {
        call.give(len_ptr, |call| {
            let connection = call.state.resources.get::<Connection>(connection_id)?;
            let mut encoder = Encoder::default();
            connection.database().write_last_failure(&mut encoder);
            finish(encoder)
        })
    }

    /// Answers the address of the value of a column (from 0 on) of the current row. Null if there is no
    /// row. Traps if there is no such column.
    fn read_column(
        call, statement_id: u64, column_idx: u32, len_ptr: Out<u32>,
    ) -> Poll<Result<u32, Fault>> {
        call.give(len_ptr, |call| {
            let (database, statement) = find(call, statement_id)?;
            let column = check_column(&database, statement, column_idx)?;
            let mut encoder = Encoder::default();
            database
                .read_column(statement.key, column, &mut encoder)
                .map_err(|failure| trap("read a column", &failure))?;
            finish(encoder)
        })
    }

    /// Answers the address of the current row: a length and so many values. They are Null if there is
    /// no row.
    fn read_row(call, statement_id: u64, len_ptr: Out<u32>) -> Poll<Result<u32, Fault>> {
        call.give(len_ptr, |call| {
            let (database, statement) = find(call, statement_id)?;
            let mut encoder = Encoder::default();
            database
                .read_row(statement.key, &mut encoder)
                .map_err(|failure| trap("read a row", &failure))?;
            finish(encoder)
        })
    }

    /// Answers the address of a column's name, in UTF-8. Traps if there is no such column.
    fn column_name(
        call, statement_id: u64, column_idx: u32, len_ptr: Out<u32>,
    ) -> Poll<Result<u32, Fault>> {
        call.give(len_ptr, |call| {
            let (database, statement) = find(call, statement_id)?;
            let column = check_column(&database, statement, column_idx)?;
            let name = database.column_name(statement.key, column);
            Ok(name.map_err(|failure| trap("name a column", &failure))?.into_bytes())
        })
    }

    /// Answers the address of the names of all columns: a length and so many texts (length, UTF-8).
    fn column_names(call, statement_id: u64, len_ptr: Out<u32>) -> Poll<Result<u32, Fault>> {
        call.give(len_ptr, |call| {
            let (database, statement) = find(call, statement_id)?;
            let names = database.column_names(statement.key);
            let names = names.map_err(|failure| trap("name the columns", &failure))?;
            let mut encoder = Encoder::default();
            encoder.count(names.len());
            names.iter().for_each(|name| encoder.text(name));
            finish(encoder)
        })
    }
}

fn trap(what: &str, failure: &Failure) -> Fault {
    Fault::new(format!("cannot {what}: {failure}"))
}

fn finish(encoder: Encoder) -> Result<Vec<u8>, Fault> {
    encoder.finish().ok_or_else(|| {
        Fault::new(format!("an answer of more than {ANSWER_BYTES_MAX} bytes, which is the most"))
    })
}

/// SQL as the guest has it.
fn sql(call: &Call<'_, '_>, at: Ptr, len: u32) -> Result<String, Fault> {
    if len > SQL_BYTES_MAX {
        return Err(Fault::new(format!("SQL of {len} bytes, at most {SQL_BYTES_MAX} can be run")));
    }
    let bytes = call.memory.slice(at, len)?;
    let text = std::str::from_utf8(bytes);
    text.map(str::to_string).map_err(|error| Fault::new(format!("the SQL is not UTF-8: {error}")))
}

/// A statement and its connection.
fn find(call: &Call<'_, '_>, id: u64) -> Result<(Arc<Database>, Statement), Fault> {
    let statement = *call.state.resources.get::<Statement>(id)?;
    let connection = call.state.resources.get::<Connection>(statement.connection)?;
    Ok((Arc::clone(connection.database()), statement))
}

fn check_column(database: &Database, statement: Statement, column: u32) -> Result<usize, Fault> {
    let columns = database.columns(statement.key);
    usize::try_from(column).ok().filter(|column| *column < columns).ok_or_else(|| {
        Fault::new(format!("the statement has no column {column}, they go from 0 to {columns} - 1"))
    })
}

type Done<T> = Result<T, Failure>;

/// What comes of work on a connection's database, which `prepare` makes of the call: once, and again
/// while another connection has locked what it needs. The work is told where in its SQL to begin, and
/// tells where the next one would.
fn on_database<T, W>(
    call: &mut Call<'_, '_>,
    connection: u64,
    prepare: impl FnOnce(&mut Call<'_, '_>) -> Result<W, Fault>,
) -> Poll<Result<Done<T>, Fault>>
where
    T: Send + 'static,
    W: FnOnce(&Database, Asker, &mut usize) -> Done<T> + Send + 'static,
{
    let done = call.job(|call, turn: Turn<(Done<T>, usize, u64)>| {
        let database = Arc::clone(call.state.resources.get::<Connection>(connection)?.database());
        let work = prepare(call)?;
        let mut from = call.state.wait.sql_done;
        database.allow(call.state.reductions_left() / INSTRUCTION);
        submit(call, turn.asker(), move || {
            let done = work(&database, turn.asker(), &mut from);
            let run = database.take_run();
            // Before the process goes on: perhaps its end is to close the database.
            drop(database);
            turn.finish((done, from, run));
        })
    });
    let (done, from, run) = match done {
        Poll::Ready(Ok(done)) => done,
        Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
        Poll::Pending => return Poll::Pending,
    };
    call.state.charge(i64::try_from(run.saturating_mul(INSTRUCTION)).unwrap_or(i64::MAX));
    if call.state.reductions_left() == 0 {
        // Its account is settled when it yields: it ends there.
        call.state.wait.yields = true;
        return Poll::Pending;
    }
    if done.as_ref().is_err_and(|failure| failure.is_transient) && try_again(call, from) {
        return Poll::Pending;
    }
    call.state.tell_held();
    Poll::Ready(Ok(done))
}

/// Something is locked: whether there is time to try again, for which the process is woken.
fn try_again(call: &mut Call<'_, '_>, from: usize) -> bool {
    if call.deadline_passed(LOCK_WAIT) {
        return false;
    }
    let wait = &mut call.state.wait;
    wait.sql_done = from;
    let pause = LOCK_TRIES.start.saturating_mul(1 << wait.sql_tries.min(16)).min(LOCK_TRIES.end);
    wait.sql_tries += 1;
    call.wake_at_deadline_or(Some(Instant::now() + pause));
    true
}

/// The same for a statement's.
fn on_statement<T: Send + 'static>(
    call: &mut Call<'_, '_>,
    id: u64,
    work: impl FnOnce(&Database, Statement, Asker) -> Done<T> + Send + 'static,
) -> Poll<Result<Done<T>, Fault>> {
    let statement = match call.state.resources.get::<Statement>(id) {
        Ok(statement) => *statement,
        Err(fault) => return Poll::Ready(Err(fault)),
    };
    on_database(call, statement.connection, |_| {
        Ok(move |database: &Database, asker, _: &mut usize| work(database, statement, asker))
    })
}

/// Has work done on the pool, if somebody still waits for it then.
fn submit(
    call: &mut Call<'_, '_>,
    asker: Asker,
    work: impl FnOnce() + Send + 'static,
) -> Result<(), Fault> {
    let task = Task { owner: Some(call.state.owner()), asker: Some(asker), work: Box::new(work) };
    Queue::put(&call.state.node, |node| &node.sql, task)
        .map_err(|error| Fault::new(format!("cannot use SQLite: {error}")))
}

type Opened = Result<Arc<Database>, String>;

fn begin_open(
    call: &mut Call<'_, '_>,
    (path_ptr, path_len): (Ptr, u32),
    turn: Turn<Opened>,
) -> Result<(), Fault> {
    if path_len > PATH_BYTES_MAX {
        return Err(Fault::new(format!(
            "a database's path of {path_len} bytes, it may have {PATH_BYTES_MAX}"
        )));
    }
    let path = call.memory.slice(path_ptr, path_len)?;
    let path = std::str::from_utf8(path)
        .map_err(|error| Fault::new(format!("a database's path is not UTF-8: {error}")))?
        .to_string();
    let connections = call.state.resources.count::<Connection>();
    if connections >= CONNECTIONS_MAX {
        turn.finish(Err(format!(
            "cannot open the database \"{path}\": the process has {connections} connections, the most \
             that it may"
        )));
        return Ok(());
    }
    // SQLite keeps a database without a name in a temporary file; those of guests are in memory.
    let in_memory = path == IN_MEMORY || path.is_empty();
    let grant = DirGrant::find(&call.state.config.dirs, &path);
    if grant.is_none() && !in_memory {
        let denied = call.state.denied(format!(
            "the database \"{path}\": the process was given no directory that it lies in; \
             lunatic run --dir DIRECTORY would give it one"
        ));
        turn.finish(Err(format!("cannot open {denied}")));
        return Ok(());
    }
    let max = MEMORY_BYTES_MAX.min(call.state.config.memory_bytes_max);
    let meter = call.state.resources.sql_meter(max);
    submit(call, turn.asker(), move || {
        let opened = match grant {
            _ if in_memory => Database::in_memory(meter),
            Some((grant, rest)) => Database::at(&grant.dir, &rest, meter),
            None => unreachable!("refused before"),
        };
        let opened = opened
            .map(Arc::new)
            .map_err(|words| format!("cannot open the database \"{path}\": {words}"));
        turn.finish(opened);
    })
}
