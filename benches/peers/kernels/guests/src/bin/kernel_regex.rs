//! Searches in 10 MB of text.

use regex::Regex;

fn main() {
    let text = kernel_guests::text(10_000_000);
    let text = std::str::from_utf8(&text).expect("ASCII");
    for pattern in [r"[a-z]+@[a-z]+\.org", r"(?i)WORKER\s+(slice|fiber)", r"\b\d+\b\s+a\s+mail"] {
        let regex = Regex::new(pattern).expect("a pattern");
        assert!(regex.find_iter(text).count() > 100);
    }
}
