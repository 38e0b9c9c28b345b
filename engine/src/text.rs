//! Text of others in what people read: guests' names, and words of files, in messages, errors and logs.
//!
//! Whoever chooses it may have it hold what a terminal takes for orders, line ends that look like messages
//! of ours, or a hundred kilobytes. So a name is shown with such characters escaped, and cut off; a
//! message is cut off where it is kept.

/// Characters of a name that are shown. By feel: mangled names of generic functions are long.
const NAME_CHARS_MAX: usize = 400;

/// Bytes of a message that is kept for a guest.
pub const MESSAGE_BYTES_MAX: usize = 4096;

/// What stands for the rest.
const REST: char = '…';

/// A name, as it may be shown.
#[must_use]
pub fn shown(name: &str) -> String {
    let mut shown = String::with_capacity(name.len().min(NAME_CHARS_MAX));
    for (at, character) in name.chars().enumerate() {
        if at == NAME_CHARS_MAX {
            shown.push(REST);
            break;
        }
        show(character, &mut shown);
    }
    shown
}

/// A message as one line. What is quoted in it need not have been [`shown`].
#[must_use]
pub fn line(message: &str) -> String {
    let mut line = String::with_capacity(message.len().min(MESSAGE_BYTES_MAX));
    for character in message.chars() {
        // What follows is cut off.
        if line.len() > MESSAGE_BYTES_MAX {
            break;
        }
        show(character, &mut line);
    }
    cut(line)
}

fn show(character: char, text: &mut String) {
    if is_plain(character) {
        text.push(character);
    } else {
        text.extend(character.escape_default());
    }
}

/// Whether a terminal shows the character, and does nothing else: it is no control character, and
/// does not change the direction of what stands beside it.
fn is_plain(character: char) -> bool {
    let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let ends_line = matches!(character, '\u{2028}' | '\u{2029}');
    !character.is_control() && !turns && !ends_line
}

/// The message, or as much of it as is kept.
#[must_use]
pub fn cut(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX - REST.len_utf8()));
        message.push(REST);
        message.shrink_to_fit();
    }
    message
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{MESSAGE_BYTES_MAX, NAME_CHARS_MAX, cut, line, shown};

    #[test]
    fn names_as_authors_write_them_stay_as_they_are() {
        for name in ["main", "core::fmt::Formatter<'_>::pad", "größe", "函数", "a b"] {
            assert_eq!(shown(name), name);
        }
    }

    #[test]
    fn orders_for_terminals_are_shown_and_not_obeyed() {
        assert_eq!(
            shown("a\x1b[2Jb\nlunatic: \u{9b}1m\u{202e}\0"),
            "a\\u{1b}[2Jb\\nlunatic: \\u{9b}1m\\u{202e}\\u{0}"
        );
    }

    proptest! {
        #[test]
        fn no_name_is_long_and_none_has_a_control_character(name in ".{0,2000}") {
            let shown = shown(&name);
            prop_assert!(shown.chars().count() <= 10 * NAME_CHARS_MAX + 1);
            prop_assert!(!shown.chars().any(char::is_control));
        }

        #[test]
        fn a_line_is_one_and_not_endless(message in ".{0,5000}", ends in "\\PC{0,20}\n\\PC{0,20}") {
            let shown = line(&(message + &ends));
            prop_assert!(shown.len() <= MESSAGE_BYTES_MAX);
            prop_assert!(!shown.chars().any(char::is_control));
            prop_assert_eq!(line(&shown), shown);
        }

        #[test]
        fn a_message_keeps_its_beginning(message in ".{0,3000}") {
            let kept = cut(message.clone());
            prop_assert!(kept.len() <= MESSAGE_BYTES_MAX);
            prop_assert!(kept == message || message.starts_with(kept.trim_end_matches('…')));
        }
    }
}
