//! What the programs have in common: text to work on.

/// Words that repeat as those of people do, always the same.
pub fn text(bytes: usize) -> Vec<u8> {
    const WORDS: [&str; 12] = [
        "process",
        "message",
        "the",
        "a",
        "mailbox",
        "of",
        "and",
        "fiber",
        "42",
        "worker",
        "slice",
        "lunatic@example.org",
    ];
    let mut text = Vec::with_capacity(bytes + 20);
    let mut state = 0x9e37_79b9_u32;
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        text.extend_from_slice(WORDS[(state % 12) as usize].as_bytes());
        text.push(if state & 0xf000 == 0 { b'\n' } else { b' ' });
    }
    text.truncate(bytes);
    text
}
