//! `lunatic imports --c-header`: the functions of `lunatic::*` as C declares them.

use std::fmt::Write as _;

use lunatic_host_api::{FunctionDoc, HostModule, Meaning, Pointee, modules};

use super::{shown, trimmed};

/// What stands before the functions: types, and names for numbers.
const PREAMBLE: &str = include_str!("preamble.h");

const END: &str = "
#ifdef __cplusplus
}
#endif

#endif
";

/// The interfaces in question begin so. WASI's come with a C library, and `lunatic` is for programs
/// that were compiled in 2021.
const OURS: &str = "lunatic::";

/// A declaration longer than this goes on below.
const COLUMNS: usize = 100;

/// The whole header.
pub(super) fn header() -> String {
    let mut text = PREAMBLE.to_string();
    let mut last = "";
    for module in modules() {
        let Some(interface) = module.name.strip_prefix(OURS) else { continue };
        // One interface may be described in several parts.
        let title = if module.name == last { "" } else { module.name };
        last = module.name;
        section(&mut text, title, module);
        for function in module.functions {
            text.push('\n');
            comment(&mut text, &trimmed(function.doc));
            declare(&mut text, module.name, interface, function);
        }
    }
    text + END
}

fn section(text: &mut String, title: &str, module: &HostModule) {
    text.push('\n');
    let doc = trimmed(module.doc);
    if title.is_empty() {
        comment(text, &doc);
    } else {
        comment(text, &format!("==== {title} ====\n\n{doc}"));
    }
}

fn comment(text: &mut String, words: &str) {
    assert!(!words.contains("*/"), "it would end there: {words}");
    for (index, line) in words.trim_end().lines().enumerate() {
        let begin = if index == 0 { "/* " } else { " * " };
        text.push_str(format!("{begin}{line}").trim_end());
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push_str(" */\n");
}

fn declare(text: &mut String, module: &str, interface: &str, function: &FunctionDoc) {
    let name = function.function.name;
    let result = function.result.map_or_else(
        || "void ".to_string(),
        |meaning| c_type(meaning, function.function.results[0]),
    );
    let types = function.function.params;
    let mut params: Vec<String> = (function.params.iter().zip(types))
        .map(|(param, &ty)| c_type(param.meaning, ty) + shown(param.name))
        .collect();
    if params.is_empty() {
        params.push("void".to_string());
    }
    let _ = writeln!(text, "LUNATIC_IMPORT(\"{module}\", \"{name}\")");
    let mut line = format!("{result}lunatic_{interface}_{name}(");
    let last = params.len() - 1;
    for (index, param) in params.into_iter().enumerate() {
        let param = param + if index == last { ");" } else { "," };
        if line.len() + 1 + param.len() > COLUMNS {
            let _ = writeln!(text, "{line}");
            line = format!("    {param}");
        } else {
            let space = if line.ends_with('(') { "" } else { " " };
            line = line + space + &param;
        }
    }
    let _ = writeln!(text, "{line}");
}

/// A type, and what separates it from a name.
fn c_type(meaning: Meaning, ty: impl ToString) -> String {
    let bits = if ty.to_string().ends_with("64") { 64 } else { 32 };
    match meaning {
        Meaning::Unsigned => format!("uint{bits}_t "),
        Meaning::Signed => format!("int{bits}_t "),
        Meaning::Float => "double ".to_string(),
        Meaning::Address => "void *".to_string(),
        Meaning::Reads(pointee) => format!("const {} *", target(pointee)),
        Meaning::Writes(pointee) => format!("{} *", target(pointee)),
    }
}

fn target(pointee: Pointee) -> &'static str {
    match pointee {
        Pointee::Bytes => "void",
        Pointee::Text => "char",
        Pointee::U8 => "uint8_t",
        Pointee::U16 => "uint16_t",
        Pointee::U32 => "uint32_t",
        Pointee::U64 => "uint64_t",
        Pointee::I64 => "int64_t",
        Pointee::Parameters => "struct lunatic_parameter",
        Pointee::Buffers => "struct lunatic_buffer",
        Pointee::ExitRecord => "struct lunatic_exit",
    }
}
