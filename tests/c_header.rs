//! `examples/c/lunatic.h` is what `lunatic imports --c-header` makes, and that says what the tables say
//! that bind the functions: each function of `lunatic::*` is declared, with as many parameters of the
//! same types, and the same result.

mod support;

use std::collections::BTreeMap;

use support::run;

const HEADER: &str = include_str!("../examples/c/lunatic.h");

/// Parameters, and a result or nothing, as WebAssembly has them.
#[derive(Debug, PartialEq, Eq)]
struct Type {
    params: Vec<&'static str>,
    result: Option<&'static str>,
}

/// What a type of C is to WebAssembly. Its pointers are 32 bits long.
fn of_c(text: &str) -> &'static str {
    if text.contains('*') {
        return "i32";
    }
    let mut words = text.split_whitespace();
    if words.any(|word| word == "double") {
        return "f64";
    }
    let mut words = text.split_whitespace();
    match words.find(|word| word.ends_with("_t")) {
        Some("int64_t" | "uint64_t") => "i64",
        Some("int32_t" | "uint32_t") => "i32",
        _ => panic!("a type that this test does not know: {text:?}"),
    }
}

/// `LUNATIC_IMPORT("module", "name") result function(parameters);`, each by its module and name.
fn declared() -> BTreeMap<(String, String), Type> {
    let mut all = BTreeMap::new();
    for part in HEADER.split("LUNATIC_IMPORT(\"").skip(1) {
        let (names, rest) = part.split_once("\")").expect("a name ends");
        let (module, name) = names.split_once("\", \"").expect("two names");
        let (declaration, _) = rest.split_once(");").expect("a declaration ends");
        let (function, params) = declaration.split_once('(').expect("it has parameters");
        let params: Vec<_> = params.split(',').filter(|param| param.trim() != "void").collect();
        let (result, _) = function.trim().rsplit_once(' ').expect("a result and a name");
        let result = (result.trim() != "void").then(|| of_c(result));
        let declared = Type { params: params.into_iter().map(of_c).collect(), result };
        let twice = all.insert((module.to_string(), name.to_string()), declared);
        assert_eq!(twice, None, "{module}::{name} is declared twice");
    }
    all
}

/// What `lunatic imports` prints: `module name(parameter: type, …) -> type`.
fn bound() -> BTreeMap<(String, String), Type> {
    let output = run(&["imports"], b"").expect_quiet_success();
    let known = |text: &str| match text.trim() {
        "i32" => "i32",
        "i64" => "i64",
        "f64" => "f64",
        other => panic!("a type that this test does not know: {other:?}"),
    };
    let parse = |line: &str| {
        let (module, rest) = line.split_once(' ').expect("a module");
        let (name, rest) = rest.split_once('(').expect("parameters");
        let (params, result) = rest.split_once(')').expect("they end");
        let types = params.split(',').filter_map(|param| param.split_once(':'));
        let result = result.trim().strip_prefix("->").map(known);
        let bound = Type { params: types.map(|(_, ty)| known(ty)).collect(), result };
        ((module.to_string(), name.to_string()), bound)
    };
    output.stdout.lines().map(parse).collect()
}

#[test]
fn the_header_for_c_is_up_to_date() {
    let made = run(&["imports", "--c-header"], b"").expect_quiet_success().stdout;
    let how = "write it anew: lunatic imports --c-header > examples/c/lunatic.h";
    assert!(HEADER == made, "{how}");
}

#[test]
fn the_header_for_c_declares_what_is_bound() {
    let (declared, bound) = (declared(), bound());
    let lines = HEADER.matches("LUNATIC_IMPORT(\"").count();
    assert!(lines > 0 && declared.len() == lines, "all declarations are found");
    let ours = bound.into_iter().filter(|((module, _), _)| module.starts_with("lunatic::"));
    let ours: BTreeMap<_, _> = ours.collect();
    for (name, bound) in &ours {
        assert_eq!(declared.get(name), Some(bound), "{name:?}");
    }
    assert_eq!(declared.len(), ours.len(), "and nothing else is declared");
}
