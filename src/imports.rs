//! `lunatic imports`: everything a guest may import, from the tables that link it.

mod c_header;

use std::fmt::Write as _;
use std::process::ExitCode;

use lunatic_host_api::{FunctionDoc, modules};

use crate::cli::ImportsArguments;
use crate::exit_code::{Code, Failure};
use crate::output;

const INTRODUCTION: &str = "\
# What a guest may import

Made by `lunatic imports --markdown` from the tables that bind the functions; a test compares. It is
meant for those who write a binding for another language. `examples/c/lunatic.h` is the one for C; it
is made of the same tables, by `lunatic imports --c-header`.

## Conventions

**Modules.** A program is a WebAssembly module that exports its memory as `memory` and a function
`_start`, which takes and gives nothing: the main process runs it. Only what is imported has to be
there, by its two names and with the very type below. A type `i64` is 64 bits also where a number is
small; numbers are unsigned unless a text says otherwise.

**Memory.** A *pointer* (`…_ptr`, i32) is an address in the memory of the calling process, a length
counts bytes unless a text says otherwise. The host reads and writes there during the call only, and
keeps no address. Numbers in memory are little-endian and need no alignment. Text is UTF-8 with a
length, without a zero at its end.

**Mistakes.** A guest that breaks a contract (a pointer outside of its memory, an unknown handle, no
current message) *traps*: the process ends, and no other, with a message that names the function.
WASI functions answer an error number instead (`EFAULT` for a pointer).

**Errors** that a program can handle are values. Where a text speaks of an *error id*, the function
answered 1 and wrote a u64: `lunatic::error` has the text behind it, until it is dropped.

**Waiting.** A function that waits suspends its process and never a thread. Timeouts are in
milliseconds; `u64::MAX` (-1) is no limit, 0 does not wait. 9027 is the answer when the time has
passed.

**Handles and ids.** Handles of resources (channels, sockets, configurations, …) are numbers of one
process and one kind: nobody else can use them, they are not used again, and all go with their
process. They reach another process inside of a message, as what `push_…` attached and `take_…`
took. Process ids are valid in all processes, and no secrets: they can be guessed, so what others may
do to a process is up to their rights. The id of a process that has ended finds nobody.

**Messages.** Each process has one *current* message, which is written, sent, received and read by
separate calls; see `lunatic::message`. What the bytes mean is the program's affair.

**Spawning.** A new process is a new instance of the module: its memory is as at the start, the
module's start function runs, then the exported function that the spawn names; `_start` and
constructors do not. Its parameters are records of 17 bytes: the type (0x7F i32, 0x7E i64, 0x7B
v128), then 16 bytes of the value. To run a function pointer, export one function that takes the
pointer as `i32` and calls it. Stacks of processes are small; the memory's own stack is the
compiler's affair (`-z stack-size`).

**Tests.** `lunatic test` runs each export whose name begins with `#lunatic_test_`; see its `--help`.
";

/// What is not as the older Lunatic has it, behind the conventions.
const DIFFERENCES: &str = include_str!("imports/differences.md");

/// Prints the list, in the form that was asked for.
pub(crate) fn print(form: &ImportsArguments) -> Result<ExitCode, Failure> {
    let text = match form {
        ImportsArguments { markdown: true, .. } => reference(),
        ImportsArguments { c_header: true, .. } => c_header::header(),
        _ => list(),
    };
    output::print(&text)?;
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
    let mut text = format!("{INTRODUCTION}{DIFFERENCES}");
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
    let params: Vec<String> = function
        .params
        .iter()
        .zip(types)
        .map(|(param, ty)| format!("{}: {ty}", shown(param.name)))
        .collect();
    let result = function
        .function
        .results
        .first()
        .map_or_else(String::new, |ty| format!(" -> {}", ty.to_string().to_lowercase()));
    format!("({}){result}", params.join(", "))
}

/// A parameter's name, without the mark of one that nobody looks at.
fn shown(name: &str) -> &str {
    name.trim_start_matches('_')
}

/// Documentation lines without the space that follows their slashes.
fn trimmed(doc: &str) -> String {
    doc.lines().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
}
