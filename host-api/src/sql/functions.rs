//! Functions of SQL that are ours: those that in SQLite take the product of two lengths, for minutes where
//! both are long, as nothing ends a function at its work. What ours do is in `text.rs`; here is how
//! SQLite calls them.

use std::ffi::{CStr, c_int, c_void};
use std::ptr::{self, NonNull};

use rusqlite::{Connection, ffi};

use super::VALUE_BYTES_MAX;
use super::statement::address_of;
use super::text::{self, LEFT, RIGHT};

/// As SQLite calls a function.
type Function =
    unsafe extern "C" fn(*mut ffi::sqlite3_context, c_int, *mut *mut ffi::sqlite3_value);

/// Gives a connection these functions in place of SQLite's.
///
/// # Errors
/// With SQLite's code.
pub(super) fn replace(connection: &Connection) -> Result<(), c_int> {
    let functions: [(_, &[c_int], Function, usize); 6] = [
        (c"ltrim", &[1, 2], trim, LEFT),
        (c"rtrim", &[1, 2], trim, RIGHT),
        (c"trim", &[1, 2], trim, LEFT | RIGHT),
        (c"instr", &[2], instr, 0),
        (c"replace", &[3], replace_parts, 0),
        (c"unhex", &[1, 2], unhex, 0),
    ];
    for (name, arguments, function, kept) in functions {
        for &count in arguments {
            register(connection, name, count, function, kept)?;
        }
    }
    Ok(())
}

fn register(
    connection: &Connection,
    name: &CStr,
    arguments: c_int,
    function: Function,
    kept: usize,
) -> Result<(), c_int> {
    let flags = ffi::SQLITE_UTF8 | ffi::SQLITE_DETERMINISTIC | ffi::SQLITE_INNOCUOUS;
    // SAFETY: the connection is open; the name ends with a zero byte; what is kept is a number.
    let code = unsafe {
        ffi::sqlite3_create_function_v2(
            address_of(connection).as_ptr(),
            name.as_ptr(),
            arguments,
            flags,
            ptr::without_provenance_mut::<c_void>(kept),
            Some(function),
            None,
            None,
            None,
        )
    };
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(code) }
}

/// # Safety
/// As SQLite calls a function: with so many values.
unsafe extern "C" fn trim(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: of a function of ours, which was registered with the number of its sides.
    let sides = unsafe { ffi::sqlite3_user_data(context) }.addr();
    // SAFETY: by this function's contract; there is one value at least.
    let values = unsafe { std::slice::from_raw_parts(values, count.unsigned_abs() as usize) };
    // SAFETY: a value of this call, asked once.
    let mut texts = values.iter().map(|&value| unsafe { text_of(value) });
    let Some(text) = texts.next().flatten() else { return };
    let set = match texts.next() {
        None => b" ",
        // SQLite's own ends at a zero byte.
        Some(Some(set)) => set.split(|&byte| byte == 0).next().unwrap_or_default(),
        Some(None) => return,
    };
    // SAFETY: the context of this call.
    unsafe { answer_text(context, text::trimmed(text, set, sides)) };
}

/// # Safety
/// As SQLite calls a function: with two values.
unsafe extern "C" fn instr(
    context: *mut ffi::sqlite3_context,
    _: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: by this function's contract.
    let values = unsafe { *values.cast::<[*mut ffi::sqlite3_value; 2]>() };
    // SAFETY: values of this call.
    let kinds = values.map(|value| unsafe { ffi::sqlite3_value_type(value) });
    if kinds.contains(&ffi::SQLITE_NULL) {
        return;
    }
    // SAFETY: as above. A number becomes a text by this.
    let place = if unsafe { ffi::sqlite3_value_bytes(values[1]) } == 0 {
        1
    } else if kinds.iter().all(|&kind| kind == ffi::SQLITE_BLOB) {
        // SAFETY: values of this call, which nothing else is asked for.
        let [whole, part] = values.map(|value| unsafe { blob_of(value) });
        text::place_in_blob(whole, part)
    } else {
        // Of a blob beside a text a copy becomes a text: whose value it is keeps its blob.
        let is_mixed = kinds.contains(&ffi::SQLITE_BLOB);
        // SAFETY: as above.
        let copies = values.map(|value| is_mixed.then(|| unsafe { Copy::of(value) }));
        let texts = [0, 1].map(|at| {
            let value = copies[at].as_ref().map_or(Some(values[at]), Copy::value);
            // SAFETY: a value of this call or a copy that lives longer than the text, asked once.
            value.and_then(|value| unsafe { text_of(value) })
        });
        let [Some(whole), Some(part)] = texts else {
            // SAFETY: the context of this call.
            return unsafe { ffi::sqlite3_result_error_nomem(context) };
        };
        text::place_in_text(whole, part)
    };
    // SAFETY: the context of this call; a value is shorter than 2 GiB.
    unsafe { ffi::sqlite3_result_int(context, place as c_int) };
}

/// # Safety
/// As SQLite calls a function: with three values.
unsafe extern "C" fn replace_parts(
    context: *mut ffi::sqlite3_context,
    _: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: by this function's contract.
    let values = unsafe { *values.cast::<[*mut ffi::sqlite3_value; 3]>() };
    // SAFETY: a value of this call, asked once.
    let mut texts = values.iter().map(|&value| unsafe { text_of(value) });
    let Some(text) = texts.next().flatten() else { return };
    let Some(part) = texts.next().flatten() else { return };
    if part.first().is_none_or(|&first| first == 0) {
        // SAFETY: the context of this call.
        return unsafe { answer_text(context, text) };
    }
    let Some(by) = texts.next().flatten() else { return };
    match text::replaced(text, part, by, VALUE_BYTES_MAX) {
        // SAFETY: the context of this call.
        Some(whole) => unsafe { answer_text(context, &whole) },
        // SAFETY: the context of this call.
        None => unsafe { ffi::sqlite3_result_error_toobig(context) },
    }
}

/// # Safety
/// As SQLite calls a function: with so many values.
unsafe extern "C" fn unhex(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: by this function's contract; there is one value at least.
    let values = unsafe { std::slice::from_raw_parts(values, count.unsigned_abs() as usize) };
    // SAFETY: a value of this call, asked once.
    let mut texts = values.iter().map(|&value| unsafe { text_of(value) });
    let Some(text) = texts.next().flatten() else { return };
    let Some(between) = texts.next().unwrap_or(Some(&[])) else { return };
    let Some(bytes) = text::unhexed(text, between) else { return };
    // SAFETY: SQLite copies the bytes, of which there are less than 2 GiB. The address is never null.
    unsafe {
        ffi::sqlite3_result_blob(
            context,
            bytes.as_ptr().cast(),
            bytes.len() as c_int,
            ffi::SQLITE_TRANSIENT(),
        );
    };
}

/// Gives an answer.
///
/// # Safety
/// The context is that of a call that lasts.
unsafe fn answer_text(context: *mut ffi::sqlite3_context, text: &[u8]) {
    // SAFETY: the caller's promise; SQLite copies the bytes, of which there are less than 2 GiB.
    unsafe {
        ffi::sqlite3_result_text(
            context,
            text.as_ptr().cast(),
            text.len() as c_int,
            ffi::SQLITE_TRANSIENT(),
        );
    };
}

/// A value as a text; `None` for Null, and for want of memory.
///
/// # Safety
/// A value of a call that lasts as long as the answer is used; only once for each.
unsafe fn text_of<'a>(value: *mut ffi::sqlite3_value) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    let text = unsafe { ffi::sqlite3_value_text(value) };
    // SAFETY: as above; asked after the text, it is the text's.
    let len = unsafe { ffi::sqlite3_value_bytes(value) };
    let len = usize::try_from(len).ok()?;
    // SAFETY: SQLite's text has so many bytes, until the value is asked for something else.
    (!text.is_null()).then(|| unsafe { std::slice::from_raw_parts(text, len) })
}

/// The bytes of a blob.
///
/// # Safety
/// As [`text_of`]; the value is a blob.
unsafe fn blob_of<'a>(value: *mut ffi::sqlite3_value) -> &'a [u8] {
    // SAFETY: the caller's promise.
    let blob = unsafe { ffi::sqlite3_value_blob(value) };
    // SAFETY: as above; asked after the blob, it is the blob's.
    let len = unsafe { ffi::sqlite3_value_bytes(value) };
    let len = usize::try_from(len).unwrap_or(0);
    if blob.is_null() {
        return &[];
    }
    // SAFETY: SQLite's blob has so many bytes, until the value is asked for something else.
    unsafe { std::slice::from_raw_parts(blob.cast(), len) }
}

/// A copy of a value; none, for want of memory.
struct Copy(Option<NonNull<ffi::sqlite3_value>>);

impl Copy {
    /// # Safety
    /// A value of a call that lasts.
    unsafe fn of(value: *const ffi::sqlite3_value) -> Self {
        // SAFETY: the caller's promise.
        Self(NonNull::new(unsafe { ffi::sqlite3_value_dup(value) }))
    }

    fn value(&self) -> Option<*mut ffi::sqlite3_value> {
        self.0.map(NonNull::as_ptr)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Some(value) = self.0 {
            // SAFETY: a copy of ours, which nobody uses any more.
            unsafe { ffi::sqlite3_value_free(value.as_ptr()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::types::Value;
    use rusqlite::{Connection, params_from_iter};

    use super::super::{VALUE_BYTES_MAX, start};

    /// A connection with SQLite's functions and one with ours.
    fn both(encoding: &str) -> [Connection; 2] {
        start::start().expect("it starts");
        let open = || {
            let connection = Connection::open_in_memory().expect("in memory");
            let limit = i32::try_from(VALUE_BYTES_MAX).expect("small");
            let length = rusqlite::limits::Limit::SQLITE_LIMIT_LENGTH;
            connection.set_limit(length, limit).expect("a limit");
            let set = format!("PRAGMA encoding = '{encoding}'; CREATE TABLE t (a)");
            connection.execute_batch(&set).expect("SQL");
            connection
        };
        let both = [open(), open()];
        super::replace(&both[1]).expect("replaced");
        both
    }

    /// What a function answers, with its type and all of its bytes, or how it fails.
    fn answer(connection: &Connection, function: &str, values: &[Value]) -> String {
        let places = vec!["?"; values.len()].join(", ");
        let sql = format!(
            "WITH f (x) AS MATERIALIZED (SELECT {function}({places})) \
             SELECT typeof(x) || hex(CAST(x AS BLOB)) FROM f"
        );
        let mut statement = connection.prepare(&sql).expect("SQL");
        let answer = statement.query_row(params_from_iter(values), |row| row.get::<_, String>(0));
        answer.unwrap_or_else(|error| error.to_string())
    }

    /// Values of all kinds, alike enough for one to be part of another.
    fn value() -> impl Strategy<Value = Value> {
        let text = "[aA\u{e4}\u{20ac}\u{1f600}\u{fffd}\u{0} 1]{0,6}";
        const BYTES: [u8; 13] =
            [0, b'a', b'A', b' ', 0x80, 0xa4, 0xc3, 0xe4, 0xed, 0xf0, 0xff, b'1', b'g'];
        prop_oneof![
            1 => Just(Value::Null),
            1 => (-11..12_i64).prop_map(Value::Integer),
            1 => (-11..12_i32).prop_map(|number| Value::Real(f64::from(number) / 2.0)),
            6 => text.prop_map(Value::Text),
            6 => prop::collection::vec(prop::sample::select(&BYTES[..]), 0..6).prop_map(Value::Blob),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn functions_answer_what_sqlites_do(values in prop::array::uniform3(value())) {
            thread_local! {
                static BOTH: [[Connection; 2]; 2] = ["UTF-8", "UTF-16le"].map(both);
            }
            let functions = [("instr", 2), ("replace", 3), ("unhex", 1), ("unhex", 2)];
            BOTH.with(|encodings| {
                for [theirs, ours] in encodings {
                    for (function, count) in functions {
                        let values = &values[..count];
                        let [expected, found] =
                            [theirs, ours].map(|connection| answer(connection, function, values));
                        prop_assert_eq!(expected, found, "{}", function);
                    }
                }
                Ok(())
            })?;
        }
    }

    #[test]
    fn what_is_replaced_may_be_as_long_as_a_value_and_no_longer() {
        let [theirs, ours] = both("UTF-8");
        let half = Value::Text("a".repeat(VALUE_BYTES_MAX / 2));
        for by in ["", "b", "bb", "bbb"] {
            let values = [half.clone(), Value::Text("a".into()), Value::Text(by.into())];
            assert_eq!(answer(&theirs, "replace", &values), answer(&ours, "replace", &values));
        }
    }
}
