//! Functions of SQL that are ours: SQLite's own `trim`, `ltrim` and `rtrim` compare each character of
//! the one text with each of the other, for minutes where both are long, and nothing ends that. Ours
//! look it up.

use std::collections::HashSet;
use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use rusqlite::{Connection, ffi};

use super::statement::address_of;

/// Most bytes of a character. What is longer, in a text that is not UTF-8, is not trimmed.
const CHARACTER_BYTES_MAX: usize = 4;

/// The sides that a function trims, as what SQLite keeps for it.
const LEFT: usize = 1;
const RIGHT: usize = 2;

/// Gives a connection these functions in place of SQLite's.
///
/// # Errors
/// With SQLite's code.
pub(super) fn replace(connection: &Connection) -> Result<(), c_int> {
    let functions = [(c"ltrim", LEFT), (c"rtrim", RIGHT), (c"trim", LEFT | RIGHT)];
    let flags = ffi::SQLITE_UTF8 | ffi::SQLITE_DETERMINISTIC | ffi::SQLITE_INNOCUOUS;
    for (name, sides) in functions {
        for arguments in [1, 2] {
            register(connection, name, arguments, flags, sides)?;
        }
    }
    Ok(())
}

fn register(
    connection: &Connection,
    name: &CStr,
    arguments: c_int,
    flags: c_int,
    sides: usize,
) -> Result<(), c_int> {
    // SAFETY: the connection is open; the name ends with a zero byte; what is kept is a number.
    let code = unsafe {
        ffi::sqlite3_create_function_v2(
            address_of(connection).as_ptr(),
            name.as_ptr(),
            arguments,
            flags,
            ptr::without_provenance_mut::<c_void>(sides),
            Some(trim),
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
    let rest = trimmed(text, set, sides);
    // SAFETY: SQLite copies the bytes; a text of a value is shorter than 1 GiB.
    unsafe {
        ffi::sqlite3_result_text(
            context,
            rest.as_ptr().cast(),
            rest.len() as c_int,
            ffi::SQLITE_TRANSIENT(),
        );
    };
}

/// A value as a text; `None` for Null.
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

fn trimmed<'a>(text: &'a [u8], set: &[u8], sides: usize) -> &'a [u8] {
    let set: HashSet<&[u8]> = characters(set).collect();
    let mut rest = text;
    let lengths = || 1..=CHARACTER_BYTES_MAX;
    while sides & LEFT != 0
        && let Some(behind) =
            lengths().find_map(|len| rest.split_at_checked(len).filter(|(c, _)| set.contains(c)))
    {
        rest = behind.1;
    }
    while sides & RIGHT != 0
        && let Some(before) = lengths().find_map(|len| {
            let at = rest.len().checked_sub(len)?;
            rest.split_at_checked(at).filter(|(_, c)| set.contains(c))
        })
    {
        rest = before.0;
    }
    rest
}

/// A text's characters, as SQLite sees them: a byte and, if it begins a longer one, those that go on.
fn characters(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (&first, more) = rest.split_first()?;
        let goes_on = |byte: &&u8| **byte & 0xc0 == 0x80;
        let len = if first >= 0xc0 { 1 + more.iter().take_while(goes_on).count() } else { 1 };
        let (character, behind) = rest.split_at(len);
        rest = behind;
        Some(character)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As SQLite's own works: each with each.
    fn as_sqlite<'a>(text: &'a str, set: &str, sides: usize) -> &'a str {
        let one_of = |c: char| set.contains(c);
        let text = if sides & LEFT != 0 { text.trim_start_matches(one_of) } else { text };
        if sides & RIGHT != 0 { text.trim_end_matches(one_of) } else { text }
    }

    proptest! {
        #[test]
        fn trimming_is_that_of_each_with_each(
            text in "[ab\u{e4}\u{20ac}\u{1f600} ]{0,12}",
            set in "[ab\u{e4}\u{20ac}\u{1f600}]{0,3}",
            sides in 1..4_usize,
        ) {
            let expected = as_sqlite(&text, &set, sides);
            prop_assert_eq!(trimmed(text.as_bytes(), set.as_bytes(), sides), expected.as_bytes());
        }

        #[test]
        fn any_bytes_can_be_trimmed(
            text in prop::collection::vec(any::<u8>(), 0..30),
            set in prop::collection::vec(any::<u8>(), 0..30),
        ) {
            let rest = trimmed(&text, &set, LEFT | RIGHT);
            prop_assert!(text.windows(rest.len().max(1)).any(|part| part == rest) || rest.is_empty());
        }
    }
}
