//! `lunatic imports`: everything a guest may import, from the tables that link it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use lunatic_host_api::{FunctionDoc, modules};

use crate::exit_code::{Code, Failure, OrFail};

const INTRODUCTION: &str = "\
# What a guest may import

Made by `lunatic imports --markdown` from the tables that bind the functions; a test compares.

A *pointer* is an address in the guest's memory; the host reads and writes little-endian numbers
there. A guest that breaks a contract (a pointer outside of its memory, an unknown handle) traps:
that process ends, with a message that names the function. WASI functions answer `EFAULT` instead.
Functions that wait suspend their process and never a thread.
";

/// Prints the list.
pub(crate) fn print(markdown: bool) -> Result<ExitCode, Failure> {
    let text = if markdown { reference() } else { list() };
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        other => other.or_fail(Code::Internal)?,
    }
    Ok(Code::Success.into())
}

fn list() -> String {
    let mut text = String::new();
    for module in modules() {
        for function in module.functions {
            let _ =
                writeln!(text, "{} {}{}", module.name, function.function.name, signature(function));
        }
    }
    text
}

fn reference() -> String {
    let mut text = INTRODUCTION.to_string();
    let mut last = "";
    for module in modules() {
        // One interface may be described in several parts.
        if module.name != last {
            let _ = write!(text, "\n## `{}`\n", module.name);
        }
        last = module.name;
        let _ = write!(text, "\n{}\n", trimmed(module.doc));
        for function in module.functions {
            let name = function.function.name;
            let _ = write!(
                text,
                "\n### `{name}`\n\n`{name}{}`\n\n{}\n",
                signature(function),
                trimmed(function.doc)
            );
        }
    }
    text
}

fn signature(function: &FunctionDoc) -> String {
    let types = function.function.params.iter().map(|ty| ty.to_string().to_lowercase());
    let params: Vec<String> =
        function.params.iter().zip(types).map(|(name, ty)| format!("{name}: {ty}")).collect();
    let result = function
        .function
        .results
        .first()
        .map_or_else(String::new, |ty| format!(" -> {}", ty.to_string().to_lowercase()));
    format!("({}){result}", params.join(", "))
}

/// Documentation lines without the space that follows their slashes.
fn trimmed(doc: &str) -> String {
    doc.lines().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
}
