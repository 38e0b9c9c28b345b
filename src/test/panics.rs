//! Finding the messages of panics in what a test printed.
//!
//! A process that panics prints its message and traps; the message is nowhere else. Rust before
//! 1.73 printed `thread 'NAME' panicked at 'MESSAGE', FILE:LINE:COLUMN`; since then it prints
//! `thread 'NAME' panicked at FILE:LINE:COLUMN:` and the message in the lines below.

const PANICKED: &str = " panicked at ";

/// The messages in order.
pub(super) fn messages(output: &str) -> Vec<&str> {
    output
        .match_indices(PANICKED)
        .filter(|&(at, _)| {
            let line = output[..at].rsplit('\n').next().unwrap_or_default();
            line.contains("thread '")
        })
        .map(|(at, words)| message(&output[at + words.len()..]))
        .collect()
}

/// The message at the beginning of what follows [`PANICKED`].
fn message(rest: &str) -> &str {
    match rest.strip_prefix('\'') {
        Some(quoted) => old_message(quoted),
        None => new_message(rest),
    }
}

/// Up to the quote that a place in the code follows: messages may contain quotes.
fn old_message(quoted: &str) -> &str {
    let is_end = |&at: &usize| is_place(quoted[at + 3..].lines().next().unwrap_or_default());
    let end = quoted.match_indices("', ").map(|(at, _)| at).find(is_end);
    &quoted[..end.unwrap_or(quoted.len())]
}

/// `FILE:LINE:COLUMN`, where the file's name does not look like the end of the message.
fn is_place(text: &str) -> bool {
    let mut parts = text.trim_end().rsplitn(3, ':');
    let mut number = || parts.next().is_some_and(|part| part.parse::<u32>().is_ok());
    number() && number() && parts.next().is_some_and(|file| !file.contains("', "))
}

/// The lines behind the first one, up to what the panic hook says next.
fn new_message(rest: &str) -> &str {
    let Some((_place, lines)) = rest.split_once('\n') else { return "" };
    let mut end = 0;
    for line in lines.split_inclusive('\n') {
        let is_next = line.starts_with("note: run with `RUST_BACKTRACE")
            || line.starts_with("stack backtrace:")
            || line.contains("thread '") && line.contains(PANICKED);
        if is_next {
            break;
        }
        end += line.len();
    }
    lines[..end].trim_end_matches('\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_in_the_formats_of_old_and_new_rust() {
        let old = "x\nthread 'main' panicked at 'it's\n', broken', src/a b.rs:12:5\nnote: run with";
        assert_eq!(messages(old), ["it's\n', broken"]);
        let new = "half a linethread '<unnamed>' panicked at src/lib.rs:3:9:\nfirst\n\nthird\n\
                   note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";
        assert_eq!(messages(new), ["first\n\nthird"]);
        let with_thread_id = "\nthread 'main' (1) panicked at src/lib.rs:3:9:\nonly\n";
        assert_eq!(messages(with_thread_id), ["only"]);
    }

    #[test]
    fn each_panic_has_its_message() {
        let two = "thread 'a' panicked at f.rs:1:1:\none\nthread 'b' panicked at f.rs:2:1:\ntwo";
        assert_eq!(messages(two), ["one", "two"]);
    }

    #[test]
    fn what_only_looks_like_a_panic_is_none() {
        assert!(messages("it panicked at once\n").is_empty());
        assert_eq!(messages("thread 'a' panicked at "), [""]);
        assert_eq!(messages("thread 'a' panicked at 'open"), ["open"]);
    }
}
