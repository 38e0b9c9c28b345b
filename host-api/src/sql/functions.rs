//! Functions of SQL that are ours: those that in SQLite take the product of two lengths, for minutes where
//! both are long, as nothing ends a function at its work. What ours do is in `text.rs` and `json.rs`; here is
//! how SQLite calls them.

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::ptr::{self, NonNull};

use rusqlite::{Connection, ffi};

use super::VALUE_BYTES_MAX;
use super::json::{self, NotPretty};
use super::statement::address_of;
use super::text::{self, LEFT, RIGHT};

/// What SQLite keeps for a function that answers JSON in its binary form.
const BINARY: usize = 1;

/// SQLite's mark of texts that are JSON.
const JSON_SUBTYPE: c_uint = b'J' as c_uint;

/// What `json_pretty` indents by.
const INDENT: &[u8] = b"    ";

/// As SQLite calls a function.
type Function =
    unsafe extern "C" fn(*mut ffi::sqlite3_context, c_int, *mut *mut ffi::sqlite3_value);

/// Gives a connection these functions in place of SQLite's.
///
/// # Errors
/// With SQLite's code.
pub(super) fn replace(connection: &Connection) -> Result<(), c_int> {
    let functions: [(_, &[c_int], Function, usize); 9] = [
        (c"ltrim", &[1, 2], trim, LEFT),
        (c"rtrim", &[1, 2], trim, RIGHT),
        (c"trim", &[1, 2], trim, LEFT | RIGHT),
        (c"instr", &[2], instr, 0),
        (c"replace", &[3], replace_parts, 0),
        (c"unhex", &[1, 2], unhex, 0),
        (c"json_patch", &[2], json_patch, 0),
        (c"jsonb_patch", &[2], json_patch, BINARY),
        (c"json_pretty", &[1, 2], json_pretty, 0),
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
    let flags = ffi::SQLITE_UTF8
        | ffi::SQLITE_DETERMINISTIC
        | ffi::SQLITE_INNOCUOUS
        | ffi::SQLITE_RESULT_SUBTYPE;
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

/// # Safety
/// As SQLite calls a function: with two values.
unsafe extern "C" fn json_patch(
    context: *mut ffi::sqlite3_context,
    _: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: by this function's contract.
    let values = unsafe { *values.cast::<[*mut ffi::sqlite3_value; 2]>() };
    // SAFETY: the context and a value of this call.
    let mut texts = values.iter().map(|&value| unsafe { minified(context, value) });
    let Some(target) = texts.next().flatten() else { return };
    let Some(patch) = texts.next().flatten() else { return };
    let Some(text) = json::patched(&target, &patch) else {
        // SAFETY: the context of this call.
        return unsafe { fail(context, c"malformed JSON", ffi::SQLITE_ERROR) };
    };
    // SAFETY: the context of this call; the text is shorter than both together, and they than 1 GiB.
    unsafe { answer_text(context, &text) };
    // SAFETY: of a function of ours, which was registered with a number.
    if unsafe { ffi::sqlite3_user_data(context) }.addr() != BINARY {
        // SAFETY: the context of this call.
        return unsafe { ffi::sqlite3_result_subtype(context, JSON_SUBTYPE) };
    }
    let bind = |statement| {
        let (at, len) = (text.as_ptr().cast(), text.len() as c_int);
        // SAFETY: the statement is there; the bytes are, until they are copied.
        unsafe { ffi::sqlite3_bind_text(statement, 1, at, len, ffi::SQLITE_TRANSIENT()) }
    };
    let answer = |value: *mut ffi::sqlite3_value| {
        // SAFETY: the context of this call, and a value that is copied.
        unsafe { ffi::sqlite3_result_value(context, value) };
    };
    // SAFETY: the context of this call.
    unsafe { evaluate(context, c"SELECT jsonb(?1)", bind, answer) };
}

/// # Safety
/// As SQLite calls a function: with so many values.
unsafe extern "C" fn json_pretty(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: by this function's contract; there is one value at least.
    let values = unsafe { std::slice::from_raw_parts(values, count.unsigned_abs() as usize) };
    // SAFETY: the context and a value of this call.
    let Some(text) = (unsafe { minified(context, values[0]) }) else { return };
    // SAFETY: a value of this call, asked once.
    let indent = values.get(1).and_then(|&value| unsafe { text_of(value) });
    let indent = indent.map(|indent| indent.split(|&byte| byte == 0).next().unwrap_or_default());
    match json::pretty(&text, indent.unwrap_or(INDENT), VALUE_BYTES_MAX) {
        // SAFETY: the context of this call.
        Ok(lines) => unsafe { answer_text(context, &lines) },
        // SAFETY: as above.
        Err(NotPretty::TooDeep) => unsafe {
            fail(context, c"JSON nested too deep", ffi::SQLITE_ERROR);
        },
        // SAFETY: as above.
        Err(NotPretty::TooLong) => unsafe { ffi::sqlite3_result_error_toobig(context) },
    }
}

/// A document as SQLite writes it; none for Null, or if it fails, as the function then does.
///
/// # Safety
/// The context and a value of a call that lasts.
unsafe fn minified(
    context: *mut ffi::sqlite3_context,
    value: *const ffi::sqlite3_value,
) -> Option<Vec<u8>> {
    // SAFETY: the statement is there, and the value, by this function's contract.
    let bind = |statement| unsafe { ffi::sqlite3_bind_value(statement, 1, value) };
    // SAFETY: the value is the statement's, and asked once.
    let read = |value| unsafe { text_of(value) }.map(<[u8]>::to_vec);
    // SAFETY: by this function's contract.
    unsafe { evaluate(context, c"SELECT json(?1)", bind, read) }.flatten()
}

/// The value of an expression with a parameter; none if SQLite fails, as the function then does.
///
/// # Safety
/// The context of a call that lasts. `bind` gives a statement's parameter its value, and answers SQLite's
/// code.
unsafe fn evaluate<T>(
    context: *mut ffi::sqlite3_context,
    sql: &CStr,
    bind: impl FnOnce(*mut ffi::sqlite3_stmt) -> c_int,
    read: impl FnOnce(*mut ffi::sqlite3_value) -> T,
) -> Option<T> {
    // SAFETY: by this function's contract.
    let database = unsafe { ffi::sqlite3_context_db_handle(context) };
    let mut statement = ptr::null_mut();
    let (sql, tail) = (sql.as_ptr(), ptr::null_mut());
    // SAFETY: the connection that calls is open; the SQL ends with a zero byte.
    let mut code = unsafe { ffi::sqlite3_prepare_v2(database, sql, -1, &raw mut statement, tail) };
    if code == ffi::SQLITE_OK {
        code = bind(statement);
    }
    if code == ffi::SQLITE_OK {
        // SAFETY: the statement is there.
        code = unsafe { ffi::sqlite3_step(statement) };
    }
    let answer = if code == ffi::SQLITE_ROW {
        // SAFETY: the statement has a row, of one column; it is not used before it was read.
        Some(read(unsafe { ffi::sqlite3_column_value(statement, 0) }))
    } else {
        // SAFETY: the connection is open.
        let words = unsafe { ffi::sqlite3_errmsg(database) };
        // SAFETY: SQLite has a string for each failure, there until the next call on the connection.
        let words = unsafe { CStr::from_ptr(words) };
        // SAFETY: the context of this call.
        unsafe { fail(context, words, code) };
        None
    };
    // SAFETY: the statement, or null, and not used again.
    unsafe { ffi::sqlite3_finalize(statement) };
    answer
}

/// The function fails with these words.
///
/// # Safety
/// The context is that of a call that lasts.
unsafe fn fail(context: *mut ffi::sqlite3_context, words: &CStr, code: c_int) {
    // SAFETY: the caller's promise; the words are copied.
    unsafe { ffi::sqlite3_result_error(context, words.as_ptr(), -1) };
    // SAFETY: as above.
    unsafe { ffi::sqlite3_result_error_code(context, code) };
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
        let places = (1..=values.len()).map(|number| format!("?{number}"));
        let places = places.collect::<Vec<_>>().join(", ");
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

    /// Documents that have much in common: with names in several spellings, more than once, and JSON5.
    fn document() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            3 => Just("null".to_string()),
            7 => prop::sample::select(
                &["1", "-2.5e3", "\"a\\u00e4\"", "true", "[]", "{}", "\" , }\\\"\"", "0x1F", ".5", "'b'"][..]
            )
            .prop_map(str::to_string),
        ];
        let names = [
            "\"a\"",
            "\"b\"",
            "\"\\u0061\"",
            "\"\u{e4}\"",
            "\"\\u00e4\"",
            "c",
            "\"\\ud83d\\ude00\"",
            "\"\u{1f600}\"",
            "'\\x61'",
            "\"\\ud83d\"",
        ];
        let name = prop::sample::select(Vec::from(names));
        leaf.prop_recursive(4, 24, 5, move |inner| {
            let member = (name.clone(), inner.clone())
                .prop_map(|(name, value)| format!("{name} : {value}"));
            prop_oneof![
                1 => prop::collection::vec(inner, 0..4).prop_map(|all| format!("[{}]", all.join(" , "))),
                4 => prop::collection::vec(member, 0..5).prop_map(|all| format!("{{ {} }}", all.join(","))),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn documents_are_patched_and_shown_as_by_sqlite(
            target in prop_oneof![9 => document(), 1 => "[{}a\":,]{0,6}"],
            patch in document(),
            indent in prop_oneof![Just(Value::Null), "[ab]{0,2}".prop_map(Value::Text)],
        ) {
            thread_local! {
                static BOTH: [Connection; 2] = both("UTF-8");
            }
            let texts = [target, patch].map(Value::Text);
            let shown = [texts[0].clone(), indent];
            let calls: [(_, &[Value]); 6] = [
                ("json_patch", &texts),
                ("json_pretty", &texts[..1]),
                ("json_pretty", &shown),
                // Whether it is JSON, and not a text, for other functions.
                ("concat(json_array(json_patch(?1, ?2)))||concat", &texts),
                ("concat(json(jsonb_patch(?1, ?2)), typeof(jsonb_patch(?1, ?2)))||concat", &texts),
                ("json_pretty(jsonb(?1))||concat", &texts[..1]),
            ];
            BOTH.with(|[theirs, ours]| {
                for (function, values) in calls {
                    let [expected, found] =
                        [theirs, ours].map(|connection| answer(connection, function, values));
                    prop_assert_eq!(expected, found, "{}", function);
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
