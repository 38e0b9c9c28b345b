//! A large program that does a little of everything: for `cargo xtask bench compile`.
//!
//! Text of a WebAssembly module becomes a binary; the text is searched, compressed, put into JSON and
//! hashed.

use std::fmt::Write as _;

use regex::Regex;
use serde_json::{json, Value};
use sha2::{Digest, Sha256};

const FUNCTIONS: usize = 20_000;

fn main() {
    let text = module();
    let binary = wat::parse_str(&text).expect("a valid module");
    assert!(binary.starts_with(b"\0asm") && binary.len() > FUNCTIONS * 20);

    let call = Regex::new(r"(?m)^local.get 0 local.get 1 call \$f(\d+)").expect("a pattern");
    let calls = call.captures_iter(&text).filter_map(|call| call.get(1));
    let calls: Vec<&str> = calls.map(|number| number.as_str()).collect();
    assert_eq!(calls.len(), FUNCTIONS - 1);

    let small = lz4_flex::compress_prepend_size(text.as_bytes());
    let again = lz4_flex::decompress_size_prepended(&small).expect("what was compressed");
    let lines = text.lines().map(|line| json!({ "text": line, "bytes": line.len() }));
    let lines: Vec<Value> = lines.collect();
    let all = json!({ "calls": calls, "lines": lines });
    let written = serde_json::to_string(&all).expect("values can be written");
    let read: Value = serde_json::from_str(&written).expect("what was written");
    assert!(read == all);

    let hash = |bytes: &[u8]| Sha256::new().chain_update(bytes).finalize();
    assert_eq!(hash(&again), hash(text.as_bytes()));
}

/// Functions that call one another.
fn module() -> String {
    let mut text = String::from("(module (memory 1)\n");
    for number in 0..FUNCTIONS {
        let _ = writeln!(
            text,
            "(func $f{number} (param i32 i64) (result i64) (local f64)\n\
             local.get 0 i64.load offset={number} local.get 1 i64.add local.set 1"
        );
        if let Some(callee) = number.checked_sub(1) {
            let _ = writeln!(text, "local.get 0 local.get 1 call $f{callee} local.set 1");
        }
        text.push_str(
            "block loop local.get 0 i32.eqz br_if 1 local.get 0 i32.const 1 i32.sub local.set 0 \
             br 0 end end\nf64.const 0.5 local.get 1 f64.convert_i64_s f64.mul local.set 2 \
             local.get 1)\n",
        );
    }
    text + ")"
}
