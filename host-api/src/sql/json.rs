//! `json_patch` and `json_pretty` on texts that SQLite itself has made of what it was given: without space
//! between its parts, and without what only JSON5 allows.
//!
//! SQLite's own compare each name of the one object with each of the other: two minutes for a megabyte; and
//! indent without looking how long that gets.

use std::borrow::Cow;
use std::collections::HashMap;

/// How deep SQLite lets arrays and objects nest.
const DEPTH_MAX: usize = 1000;

/// A part of a document.
enum Part<'a> {
    /// Taken as it is.
    Whole(&'a [u8]),
    Object(Vec<Member<'a>>),
}

struct Member<'a> {
    /// As it is written, with its quotation marks.
    name: &'a [u8],
    /// None once it has been removed.
    value: Option<Part<'a>>,
}

/// What becomes of a document with the changes that another describes (RFC 7396); `None` if one of them is
/// none.
pub(super) fn patched(target: &[u8], patch: &[u8]) -> Option<Vec<u8>> {
    let patch = document(patch)?;
    let whole = merged(Some(document(target)?), patch);
    let mut text = Vec::with_capacity(target.len());
    write(&whole, &mut text);
    Some(text)
}

fn merged<'a>(target: Option<Part<'a>>, patch: Part<'a>) -> Part<'a> {
    let Part::Object(changes) = patch else { return patch };
    let mut members = match target {
        Some(Part::Object(members)) => members,
        _ => Vec::new(),
    };
    // Names may come more than once. The first counts, until it is removed.
    let mut places: HashMap<Cow<'a, [u8]>, Vec<usize>> = HashMap::with_capacity(members.len());
    let there = members.iter().enumerate().filter(|(_, member)| member.value.is_some());
    for (at, member) in there.rev() {
        places.entry(meant(member.name)).or_default().push(at);
    }
    for Member { name, value } in changes {
        let Some(value) = value else { continue };
        let at = places.entry(meant(name)).or_default();
        let removes = matches!(value, Part::Whole(b"null"));
        match at.last() {
            Some(&first) if removes => {
                members[first].value = None;
                at.pop();
            }
            Some(&first) => {
                let before = members[first].value.take();
                members[first].value = Some(merged(before, value));
            }
            None if removes => {}
            None => {
                at.push(members.len());
                members.push(Member { name, value: Some(merged(None, value)) });
            }
        }
    }
    Part::Object(members)
}

fn write(part: &Part<'_>, text: &mut Vec<u8>) {
    match part {
        Part::Whole(whole) => text.extend_from_slice(whole),
        Part::Object(members) => {
            text.push(b'{');
            let begin = text.len();
            for Member { name, value } in members {
                let Some(value) = value else { continue };
                if text.len() > begin {
                    text.push(b',');
                }
                text.extend_from_slice(name);
                text.push(b':');
                write(value, text);
            }
            text.push(b'}');
        }
    }
}

/// The bytes that a name means.
fn meant(name: &[u8]) -> Cow<'_, [u8]> {
    let inner = name.get(1..name.len() - 1).unwrap_or_default();
    if !inner.contains(&b'\\') {
        return Cow::Borrowed(inner);
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        let Some((&escape, behind)) = rest.split_first().filter(|_| first == b'\\') else {
            bytes.push(first);
            continue;
        };
        rest = behind;
        bytes.push(match escape {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                push_code(escaped(&mut rest), &mut bytes);
                continue;
            }
            other => other,
        });
    }
    Cow::Owned(bytes)
}

/// The number behind `\u`, with the second half of a pair if it is the first.
fn escaped(rest: &mut &[u8]) -> u32 {
    let number = |text: &[u8]| {
        let digits = std::str::from_utf8(text.get(..4)?).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    let first = number(rest).unwrap_or_default();
    *rest = rest.get(4..).unwrap_or_default();
    let second = rest.strip_prefix(b"\\u").and_then(number);
    match second.filter(|low| first & 0xfc00 == 0xd800 && low & 0xfc00 == 0xdc00) {
        Some(low) => {
            *rest = &rest[6..];
            0x1_0000 + ((first & 0x3ff) << 10) + (low & 0x3ff)
        }
        None => first,
    }
}

/// In UTF-8, and a half of a pair as if it were a character.
fn push_code(code: u32, bytes: &mut Vec<u8>) {
    match char::from_u32(code) {
        Some(character) => {
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        None => {
            let part = |shift: u32| 0x80 | (code >> shift & 0x3f) as u8;
            bytes.extend_from_slice(&[0xe0 | (code >> 12) as u8, part(6), part(0)]);
        }
    }
}

/// A whole document.
fn document(text: &[u8]) -> Option<Part<'_>> {
    let mut rest = text;
    let part = part(&mut rest, 0)?;
    rest.is_empty().then_some(part)
}

fn part<'a>(rest: &mut &'a [u8], depth: usize) -> Option<Part<'a>> {
    if rest.first() != Some(&b'{') {
        return whole(rest).map(Part::Whole);
    }
    if depth > DEPTH_MAX {
        return None;
    }
    *rest = &rest[1..];
    let mut members = Vec::new();
    if take(rest, b'}') {
        return Some(Part::Object(members));
    }
    loop {
        let name = string(rest)?;
        take(rest, b':').then_some(())?;
        let value = Some(part(rest, depth + 1)?);
        members.push(Member { name, value });
        if take(rest, b'}') {
            return Some(Part::Object(members));
        }
        take(rest, b',').then_some(())?;
    }
}

fn take(rest: &mut &[u8], byte: u8) -> bool {
    let is_next = rest.first() == Some(&byte);
    *rest = &rest[usize::from(is_next)..];
    is_next
}

/// A string with its quotation marks.
fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    rest.first().filter(|&&byte| byte == b'"')?;
    let mut len = 1;
    loop {
        match rest.get(len)? {
            b'"' => break,
            b'\\' => len += 2,
            _ => len += 1,
        }
    }
    split(rest, len + 1)
}

fn split<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (front, behind) = rest.split_at_checked(len)?;
    *rest = behind;
    Some(front)
}

/// What is no object: up to where it ends, whatever is in it.
fn whole<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut inner = *rest;
    let mut depth = 0_usize;
    while let Some(&first) = inner.first() {
        match first {
            b'"' => {
                string(&mut inner)?;
            }
            b'[' | b'{' => {
                depth += 1;
                inner = &inner[1..];
            }
            b']' | b'}' | b',' if depth == 0 => break,
            _ => {
                depth -= usize::from(first == b']' || first == b'}');
                inner = &inner[1..];
            }
        }
    }
    let len = rest.len() - inner.len();
    (len > 0 && depth == 0).then_some(())?;
    split(rest, len)
}

/// Why a text has none that is easier to read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotPretty {
    TooDeep,
    TooLong,
}

/// A document with each member and element on a line of its own, of at most `max` bytes.
pub(super) fn pretty(text: &[u8], indent: &[u8], max: usize) -> Result<Vec<u8>, NotPretty> {
    let mut lines = Vec::with_capacity(text.len());
    let mut depth = 0_usize;
    let mut rest = text;
    while let Some((&first, behind)) = rest.split_first() {
        let next = behind.first();
        let mut breaks = false;
        match first {
            b'"' => {
                let Some(string) = string(&mut rest) else { break };
                lines.extend_from_slice(string);
                continue;
            }
            b'[' | b'{' if next == Some(&(first + 2)) => {
                lines.extend_from_slice(&rest[..2]);
                rest = &behind[1..];
                continue;
            }
            b'[' | b'{' => {
                lines.push(first);
                depth += 1;
                breaks = true;
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                begin_line(&mut lines, indent, depth, max)?;
                lines.push(first);
            }
            b':' => lines.extend_from_slice(b": "),
            b',' => {
                lines.push(b',');
                breaks = true;
            }
            _ => lines.push(first),
        }
        if depth >= DEPTH_MAX {
            return Err(NotPretty::TooDeep);
        }
        if breaks {
            begin_line(&mut lines, indent, depth, max)?;
        }
        rest = behind;
    }
    if lines.len() > max { Err(NotPretty::TooLong) } else { Ok(lines) }
}

fn begin_line(
    lines: &mut Vec<u8>,
    indent: &[u8],
    depth: usize,
    max: usize,
) -> Result<(), NotPretty> {
    if lines.len() + 1 + depth * indent.len() > max {
        return Err(NotPretty::TooLong);
    }
    lines.push(b'\n');
    (0..depth).for_each(|_| lines.extend_from_slice(indent));
    Ok(())
}
