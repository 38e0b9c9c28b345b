//! What the functions of SQL that are ours do with texts, each in time that grows with the lengths and not
//! with their product. What they answer is what SQLite's own do (`functions.rs` compares).

use std::borrow::Cow;
use std::collections::HashSet;

use memchr::memmem;

/// Most bytes of a character. What is longer, in a text that is not UTF-8, is not trimmed.
const CHARACTER_BYTES_MAX: usize = 4;

/// The sides that a function trims, as what SQLite keeps for it.
pub(super) const LEFT: usize = 1;
pub(super) const RIGHT: usize = 2;

/// A text without the characters of a set on these sides.
pub(super) fn trimmed<'a>(text: &'a [u8], set: &[u8], sides: usize) -> &'a [u8] {
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

/// Whether a byte goes on with a character that others have begun.
fn goes_on(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// A text's characters, as SQLite sees them: a byte and, if it begins a longer one, those that go on.
fn characters(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (&first, more) = rest.split_first()?;
        let longer = || more.iter().take_while(|&&byte| goes_on(byte)).count();
        let (character, behind) = rest.split_at(1 + if first >= 0xc0 { longer() } else { 0 });
        rest = behind;
        Some(character)
    })
}

/// Where a text begins in another, in characters from 1 on; 0 if it does not.
pub(super) fn place_in_text(text: &[u8], part: &[u8]) -> usize {
    let at = match part.first() {
        // A blob with a part of a character only, read as a text of UTF-16: SQLite finds the end.
        None => text.iter().position(|&byte| byte == 0).or(Some(text.len())),
        // Searched for at the beginnings of characters only, of which the first byte is one.
        Some(&first) if goes_on(first) => text.starts_with(part).then_some(0),
        Some(_) => memmem::find(text, part),
    };
    let begun = |before: &[u8]| before.iter().skip(1).filter(|&&byte| !goes_on(byte)).count();
    at.map_or(0, |at| 1 + usize::from(at > 0) + begun(&text[..at]))
}

/// Where bytes begin in others, from 1 on; 0 if they do not.
pub(super) fn place_in_blob(blob: &[u8], part: &[u8]) -> usize {
    memmem::find(blob, part).map_or(0, |at| at + 1)
}

/// A text with something else for each occurrence of a part, which is not empty; `None` if that has more
/// than `max` bytes.
pub(super) fn replaced<'a>(
    text: &'a [u8],
    part: &[u8],
    by: &[u8],
    max: usize,
) -> Option<Cow<'a, [u8]>> {
    let finder = memmem::Finder::new(part);
    let count = finder.find_iter(text).count();
    if count == 0 {
        return Some(Cow::Borrowed(text));
    }
    let len = text.len() - count * part.len() + count.checked_mul(by.len())?;
    if len > max {
        return None;
    }
    let mut whole = Vec::with_capacity(len);
    let mut rest = 0;
    for at in finder.find_iter(text) {
        whole.extend_from_slice(&text[rest..at]);
        whole.extend_from_slice(by);
        rest = at + part.len();
    }
    whole.extend_from_slice(&text[rest..]);
    Some(Cow::Owned(whole))
}

/// The bytes that a text spells in hexadecimal digits, up to a zero byte, with characters of `between` between
/// the bytes; `None` if it has others.
pub(super) fn unhexed(text: &[u8], between: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut rest = text.split(|&byte| byte == 0).next().unwrap_or_default();
    let mut bytes = Vec::with_capacity(rest.len() / 2);
    let mut known = None;
    while let Some((&first, behind)) = rest.split_first() {
        if let Some(high) = digit(first) {
            let (&second, behind) = behind.split_first()?;
            bytes.push(high << 4 | digit(second)?);
            rest = behind;
        } else {
            let known = known.get_or_insert_with(|| code_points(between));
            known.contains(&code_point(&mut rest)).then_some(())?;
        }
    }
    Some(bytes)
}

fn code_points(text: &[u8]) -> HashSet<u32> {
    let mut rest = text;
    std::iter::from_fn(|| (!rest.is_empty()).then(|| code_point(&mut rest))).collect()
}

/// The first character of a text that is not empty, as SQLite reads it, whatever the bytes are.
fn code_point(rest: &mut &[u8]) -> u32 {
    /// For what is none.
    const REPLACEMENT: u32 = 0xfffd;
    let character = characters(rest).next().unwrap_or_default();
    *rest = &rest[character.len()..];
    let (&first, more) = character.split_first().expect("the text is not empty");
    if first < 0xc0 {
        return first.into();
    }
    // Of those that begin a longer character: how many bits count for it.
    let begins = match first {
        0xc0..0xe0 => first & 0x1f,
        0xe0..0xf0 => first & 0x0f,
        0xf0..0xf8 => first & 0x07,
        0xf8..0xfc => first & 0x03,
        0xfc..0xfe => first & 0x01,
        _ => 0,
    };
    let add = |code: u32, byte: &u8| code.wrapping_shl(6).wrapping_add(u32::from(byte & 0x3f));
    let code = more.iter().fold(begins.into(), add);
    let is_none = code < 0x80 || code & 0xffff_f800 == 0xd800;
    if is_none { REPLACEMENT } else { code }
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
