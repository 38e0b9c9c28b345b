//! A prepared statement: SQLite's own, which outlives the call that made it and so cannot borrow its
//! connection as Rust would have it. All of this is called within the connection's scene and under its
//! lock, and a connection closes its statements before itself (`database.rs`).

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::NonNull;

use rusqlite::Connection;
use rusqlite::ffi;

use super::Failure;
use super::wire::Value;

/// A statement of a connection that is open.
#[derive(Debug)]
pub(super) struct Raw {
    statement: NonNull<ffi::sqlite3_stmt>,
    database: NonNull<ffi::sqlite3>,
    /// There was a row since its beginning.
    has_begun: bool,
}

// SAFETY: SQLite lets any thread use a statement, one at a time; that is what the lock is for.
unsafe impl Send for Raw {}

/// SQL that was compiled up to the end of a statement.
pub(super) struct Prepared {
    /// `None`: there was nothing but space and comments.
    pub(super) statement: Option<Raw>,
    /// Where the next statement begins.
    pub(super) rest: usize,
}

/// The connection's own address.
pub(super) fn address_of(connection: &Connection) -> NonNull<ffi::sqlite3> {
    // SAFETY: the address is used for calls that leave the connection open.
    NonNull::new(unsafe { connection.handle() }).expect("an open connection")
}

/// What the last call on the connection has to say about its failure.
fn failure_of(database: NonNull<ffi::sqlite3>, code: c_int) -> Failure {
    // SAFETY: the connection is open.
    let text = unsafe { ffi::sqlite3_errmsg(database.as_ptr()) };
    // SAFETY: a string, until the next call on the connection.
    let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy());
    let mut failure = Failure::new(primary(code), text.unwrap_or_default());
    // SAFETY: the connection is open.
    let detail = unsafe { ffi::sqlite3_extended_errcode(database.as_ptr()) };
    // What a transaction has read has changed since: it never gets the lock, however long it waits.
    let is_stale = detail == ffi::SQLITE_BUSY_SNAPSHOT;
    failure.is_transient = code & 0xff == ffi::SQLITE_BUSY && !is_stale;
    failure
}

/// Without the details of the extended code, which older programs do not know.
fn primary(code: c_int) -> u32 {
    u32::try_from(code & 0xff).unwrap_or(1)
}

/// How many rows the last statement has changed.
pub(super) fn changes(connection: &Connection) -> u32 {
    // SAFETY: the connection is open.
    let changes = unsafe { ffi::sqlite3_changes(address_of(connection).as_ptr()) };
    u32::try_from(changes).unwrap_or(0)
}

impl Raw {
    /// Compiles the statement that begins at `from`.
    pub(super) fn prepare(
        connection: &Connection,
        sql: &CStr,
        from: usize,
    ) -> Result<Prepared, Failure> {
        let database = address_of(connection);
        let text = &sql.to_bytes_with_nul()[from..];
        let too_long = || Failure::new(18, "the SQL is too long");
        let len = c_int::try_from(text.len()).map_err(|_| too_long())?;
        let mut statement = std::ptr::null_mut();
        let mut tail: *const c_char = std::ptr::null();
        // SAFETY: the connection is open; the text has so many bytes, a zero at the end; the answers go
        // to variables.
        let code = unsafe {
            ffi::sqlite3_prepare_v3(
                database.as_ptr(),
                text.as_ptr().cast(),
                len,
                0,
                &raw mut statement,
                &raw mut tail,
            )
        };
        if code != ffi::SQLITE_OK {
            return Err(failure_of(database, code));
        }
        let consumed = (tail as usize).saturating_sub(text.as_ptr() as usize);
        let statement =
            NonNull::new(statement).map(|statement| Self { statement, database, has_begun: false });
        Ok(Prepared { statement, rest: from + consumed })
    }

    /// Goes on to the next row; SQLite's code for what became of it.
    pub(super) fn step(&mut self) -> Result<u32, Failure> {
        // SAFETY: the statement is there.
        match unsafe { ffi::sqlite3_step(self.statement.as_ptr()) } {
            code @ (ffi::SQLITE_ROW | ffi::SQLITE_DONE) => {
                self.has_begun = code == ffi::SQLITE_ROW;
                Ok(primary(code))
            }
            code => {
                let mut failure = failure_of(self.database, code);
                // Another try would begin anew.
                failure.is_transient &= !std::mem::take(&mut self.has_begun);
                Err(failure)
            }
        }
    }

    /// Back to the beginning. What went wrong with the last row is not said again.
    pub(super) fn reset(&mut self) {
        // SAFETY: the statement is there.
        unsafe { ffi::sqlite3_reset(self.statement.as_ptr()) };
        self.has_begun = false;
    }

    /// How many parameters it has, the highest number.
    pub(super) fn parameters(&self) -> usize {
        // SAFETY: the statement is there.
        let count = unsafe { ffi::sqlite3_bind_parameter_count(self.statement.as_ptr()) };
        usize::try_from(count).unwrap_or(0)
    }

    /// The number of the parameter with this name, sign included.
    pub(super) fn parameter(&self, name: &str) -> Option<usize> {
        let name = CString::new(name).ok()?;
        // SAFETY: the statement is there, and the name ends with a zero byte.
        let index =
            unsafe { ffi::sqlite3_bind_parameter_index(self.statement.as_ptr(), name.as_ptr()) };
        usize::try_from(index).ok().filter(|index| *index > 0)
    }

    /// Gives a parameter (from 1 on) its value, which SQLite copies.
    pub(super) fn bind(&mut self, index: usize, value: &Value<'_>) -> Result<(), Failure> {
        let statement = self.statement.as_ptr();
        let index = c_int::try_from(index).unwrap_or(0);
        let code = match *value {
            // SAFETY: the statement is there; SQLite checks the number, here and below.
            Value::Null => unsafe { ffi::sqlite3_bind_null(statement, index) },
            // SAFETY: see above.
            Value::Integer(number) => unsafe { ffi::sqlite3_bind_int64(statement, index, number) },
            // SAFETY: see above.
            Value::Double(number) => unsafe { ffi::sqlite3_bind_double(statement, index, number) },
            Value::Blob(bytes) => {
                let at: *const c_void = if bytes.is_empty() {
                    // Null would be NULL.
                    NonNull::<u8>::dangling().as_ptr().cast()
                } else {
                    bytes.as_ptr().cast()
                };
                // SAFETY: so many bytes are there, and copied before the call is over.
                unsafe {
                    ffi::sqlite3_bind_blob64(
                        statement,
                        index,
                        at,
                        bytes.len() as u64,
                        ffi::SQLITE_TRANSIENT(),
                    )
                }
            }
            Value::Text(text) => {
                let encoding = ffi::SQLITE_UTF8 as u8;
                // SAFETY: as above.
                unsafe {
                    ffi::sqlite3_bind_text64(
                        statement,
                        index,
                        text.as_ptr().cast(),
                        text.len() as u64,
                        ffi::SQLITE_TRANSIENT(),
                        encoding,
                    )
                }
            }
        };
        if code == ffi::SQLITE_OK { Ok(()) } else { Err(failure_of(self.database, code)) }
    }

    /// How many columns its rows have.
    pub(super) fn columns(&self) -> usize {
        // SAFETY: the statement is there.
        let count = unsafe { ffi::sqlite3_column_count(self.statement.as_ptr()) };
        usize::try_from(count).unwrap_or(0)
    }

    /// The name of a column that there is; `None` for want of memory.
    pub(super) fn column_name(&self, column: usize) -> Option<String> {
        let column = c_int::try_from(column).ok()?;
        // SAFETY: the statement is there; SQLite checks the number.
        let name = unsafe { ffi::sqlite3_column_name(self.statement.as_ptr(), column) };
        // SAFETY: a string, until the next call on the statement.
        (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
    }

    /// The value of a column of the current row, if there is one; NULL if not. It is looked at in
    /// place: `look` must not call this statement.
    pub(super) fn value<T>(
        &mut self,
        column: usize,
        look: impl FnOnce(Value<'_>) -> T,
    ) -> Result<T, Failure> {
        let statement = self.statement.as_ptr();
        let column = c_int::try_from(column).unwrap_or(-1);
        // SAFETY: the statement is there; SQLite checks the number, here and below.
        let value = match unsafe { ffi::sqlite3_column_type(statement, column) } {
            ffi::SQLITE_INTEGER => {
                // SAFETY: see above.
                Value::Integer(unsafe { ffi::sqlite3_column_int64(statement, column) })
            }
            ffi::SQLITE_FLOAT => {
                // SAFETY: see above.
                Value::Double(unsafe { ffi::sqlite3_column_double(statement, column) })
            }
            ffi::SQLITE_BLOB => {
                // SAFETY: see above.
                let at = unsafe { ffi::sqlite3_column_blob(statement, column) };
                // SAFETY: the value is still there, as nothing else has been called.
                Value::Blob(unsafe { self.bytes(at, column) }?)
            }
            ffi::SQLITE_TEXT => {
                // SAFETY: see above.
                let at = unsafe { ffi::sqlite3_column_text(statement, column) };
                // SAFETY: as above.
                let bytes = unsafe { self.bytes(at.cast(), column) }?;
                return Ok(match std::str::from_utf8(bytes) {
                    Ok(text) => look(Value::Text(text)),
                    Err(_) => look(Value::Text(&String::from_utf8_lossy(bytes))),
                });
            }
            _ => Value::Null,
        };
        Ok(look(value))
    }

    /// The bytes of a column's value, which SQLite has just answered to be `at`.
    ///
    /// # Safety
    /// Nothing was called on the statement since, nor is while the answer is used.
    unsafe fn bytes(&self, at: *const c_void, column: c_int) -> Result<&[u8], Failure> {
        // SAFETY: the statement is there; SQLite checks the number.
        let len = unsafe { ffi::sqlite3_column_bytes(self.statement.as_ptr(), column) };
        let len = usize::try_from(len).unwrap_or(0);
        if at.is_null() {
            // An empty blob is null, too.
            let no_memory = || Failure::new(7, "out of memory");
            return if len == 0 && !self.is_out_of_memory() { Ok(&[]) } else { Err(no_memory()) };
        }
        // SAFETY: SQLite has so many bytes there; the rest is the caller's promise.
        Ok(unsafe { std::slice::from_raw_parts(at.cast(), len) })
    }

    fn is_out_of_memory(&self) -> bool {
        // SAFETY: the connection is open.
        let code = unsafe { ffi::sqlite3_errcode(self.database.as_ptr()) };
        code & 0xff == ffi::SQLITE_NOMEM
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: the statement is there, and not used again.
        unsafe { ffi::sqlite3_finalize(self.statement.as_ptr()) };
    }
}
