//! 10 MB of JSON parsed and written again.

use serde_json::{json, Value};

fn main() {
    let text = kernel_guests::text(64 << 10);
    let text = String::from_utf8_lossy(&text);
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut items = Vec::new();
    let mut bytes = 0;
    while bytes < 10_000_000 {
        let at = items.len() % (words.len() - 8);
        let item = json!({
            "id": items.len(), "name": words[at], "score": items.len() as f64 / 8.0,
            "tags": words[at..at + 8], "nested": { "on": at % 2 == 0, "none": null },
        });
        bytes += 160;
        items.push(item);
    }
    let written = serde_json::to_string(&Value::Array(items)).expect("values can be written");
    let read: Value = serde_json::from_str(&written).expect("what was written");
    assert!(serde_json::to_string(&read).expect("values can be written") == written);
}
