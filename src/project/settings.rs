//! The two keys in cargo's settings, and how they get into a file that people wrote: all else in it,
//! comments included, stays as it is, and what says otherwise is replaced only on request.

use anyhow::{Context, bail};
use toml_edit::{Array, DocumentMut, Item, Table, TableLike, value};

use super::{RUNNER, TARGET};

/// What a new file says.
const NEW: &str = r#"# Programs are compiled to WebAssembly, and `cargo run` and `cargo test` have lunatic run them.
[build]
target = "wasm32-wasip1"

[target.wasm32-wasip1]
# Options for the runtime stand before the dashes: "lunatic run --allow-net --dir data --".
runner = "lunatic run --"
"#;

/// What a new project's file says besides.
const SMALL_STACK: &str = r#"# A stack of one page, so that processes stay small; Rust's own choice is 1 MiB for each. Programs that
# call themselves deeply want more: running out of it ends a process.
rustflags = ["-C", "link-arg=-zstack-size=65536"]
"#;

/// The file of a new project.
pub(super) fn of_new_project() -> String {
    format!("{NEW}{SMALL_STACK}")
}

/// A file with both keys.
#[derive(Debug)]
pub(super) struct Edited {
    pub(super) text: String,
    /// What its user should know.
    pub(super) notes: Vec<String>,
}

/// Adds the keys to a file. `force` replaces what says otherwise; without it that is an error.
pub(super) fn add(text: Option<&str>, force: bool) -> anyhow::Result<Edited> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
        return Ok(Edited { text: NEW.to_string(), notes: Vec::new() });
    };
    let mut document: DocumentMut = text.parse()?;
    let (mut conflicts, mut notes) = (Vec::new(), Vec::new());
    let mut changed = false;
    let root: &mut dyn TableLike = document.as_table_mut();
    let build = table(root, "build", false)?;
    if !build.get("target").is_some_and(is_target) {
        set("build.target", build, "target", TARGET, &mut conflicts);
        changed = true;
    }
    let target = table(table(root, "target", true)?, TARGET, false)?;
    match target.get("runner").map(words) {
        Some(Some(words)) if is_lunatic(&words) => {
            if words.last().is_some_and(|last| last != "--") && !words.contains(&"test".into()) {
                notes.push(format!(
                    "the runner stays \"{}\"; with \"--\" at its end options of programs would be \
                     told from lunatic's",
                    words.join(" ")
                ));
            }
        }
        _ => {
            set("target.wasm32-wasip1.runner", target, "runner", RUNNER, &mut conflicts);
            changed = true;
        }
    }
    if !conflicts.is_empty() && !force {
        bail!("{}; nothing was changed, --force replaces it", conflicts.join(", and "));
    }
    let text = if changed { document.to_string() } else { text.to_string() };
    Ok(Edited { text, notes })
}

/// The words of the runner in a file of settings, if it has one.
pub(super) fn runner(text: &str) -> Option<Vec<String>> {
    let document: DocumentMut = text.parse().ok()?;
    words(document.get("target")?.get(TARGET)?.get("runner")?)
}

/// A table in a table, made if there is none. `implicit`: without a heading of its own.
fn table<'a>(
    parent: &'a mut dyn TableLike,
    key: &str,
    implicit: bool,
) -> anyhow::Result<&'a mut dyn TableLike> {
    if !parent.contains_key(key) {
        let mut table = Table::new();
        table.set_implicit(implicit);
        parent.insert(key, Item::Table(table));
    }
    let item = parent.get_mut(key).and_then(Item::as_table_like_mut);
    item.with_context(|| format!("\"{key}\" is not a table there"))
}

/// Sets a key, and notes what it said before.
fn set(path: &str, table: &mut dyn TableLike, key: &str, new: &str, conflicts: &mut Vec<String>) {
    match table.get_mut(key) {
        None => drop(table.insert(key, value(new))),
        Some(old) => {
            let mut plain = old.clone();
            plain.as_value_mut().iter_mut().for_each(|plain| plain.decor_mut().clear());
            conflicts.push(format!("{path} is {plain}, not \"{new}\""));
            let decor = old.as_value().map(|old| old.decor().clone());
            *old = value(new);
            if let (Some(decor), Some(new)) = (decor, old.as_value_mut()) {
                *new.decor_mut() = decor;
            }
        }
    }
}

/// One target, ours, as a text or a list of one.
fn is_target(item: &Item) -> bool {
    let one =
        item.as_array().filter(|targets| targets.len() == 1).and_then(|targets| targets.get(0));
    item.as_str() == Some(TARGET) || one.and_then(|target| target.as_str()) == Some(TARGET)
}

/// A command as cargo reads it: a text of words, or a list.
fn words(item: &Item) -> Option<Vec<String>> {
    let list = |words: &Array| {
        words.iter().map(|word| word.as_str().map(str::to_string)).collect::<Option<Vec<_>>>()
    };
    match item.as_str() {
        Some(text) => Some(text.split_whitespace().map(str::to_string).collect()),
        None => item.as_array().and_then(list),
    }
}

fn is_lunatic(words: &[String]) -> bool {
    words.first().is_some_and(|program| program.rsplit('/').next() == Some("lunatic"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_has_been_set_up_stays_as_it_is() {
        for text in [
            NEW,
            &of_new_project(),
            "build.target = ['wasm32-wasip1']\ntarget.wasm32-wasip1.runner = [\"/a b/lunatic\", \"run\", \"--\"]",
            "build = { target = 'wasm32-wasip1' } # x\ntarget = { wasm32-wasip1 = { runner = 'lunatic' } }",
        ] {
            assert_eq!(add(Some(text), false).expect("no conflict").text, text);
        }
    }

    #[test]
    fn what_stands_in_a_file_stays_around_what_is_added() {
        let text = "# first\n[alias]\nx = 'run' # an alias\n\n[build] # how\njobs = 3\n\n\
                    [target.x86_64-unknown-linux-gnu]\nlinker = 'lld'\n# last\n";
        let edited = add(Some(text), false).expect("no conflict");
        let again = add(Some(&edited.text), false).expect("no conflict");
        assert_eq!(edited.text, again.text);
        let mut rest = edited.text.as_str();
        for line in text.lines() {
            let at = rest.find(line).unwrap_or_else(|| panic!("{line:?} is lost: {}", edited.text));
            rest = &rest[at + line.len()..];
        }
        let document: DocumentMut = edited.text.parse().expect("it is TOML");
        assert_eq!(document["build"]["target"].as_str(), Some(TARGET));
        assert_eq!(runner(&edited.text), Some(vec!["lunatic".into(), "run".into(), "--".into()]));
    }

    #[test]
    fn what_says_otherwise_is_named_and_replaced_on_request_only() {
        let text = "[build]\ntarget = \"wasm32-wasi\" # old\n[target.wasm32-wasip1]\nrunner = ['wasmtime', 'run']\n";
        let error = add(Some(text), false).expect_err("a conflict").to_string();
        for words in ["\"wasm32-wasi\"", "['wasmtime', 'run']", "--force", "nothing was changed"] {
            assert!(error.contains(words), "{words} is missing: {error}");
        }
        let forced = add(Some(text), true).expect("forced").text;
        let expected = text.replace("\"wasm32-wasi\"", "\"wasm32-wasip1\"");
        assert_eq!(forced, expected.replace("['wasmtime', 'run']", "\"lunatic run --\""));
    }

    #[test]
    fn tables_of_every_form_take_the_keys_and_other_things_do_not() {
        for text in ["target = {}", "build = { jobs = 1 }\n", "target.wasm32-wasip1.linker = 'x'\n"]
        {
            let edited = add(Some(text), false).expect("no conflict").text;
            assert!(runner(&edited).is_some(), "{edited}");
            assert_eq!(add(Some(&edited), false).expect("no conflict").text, edited);
        }
        for text in ["build = 3", "target = []", "[target]\nwasm32-wasip1 = 'x'"] {
            let error = add(Some(text), true).expect_err("no table").to_string();
            assert!(error.contains("is not a table"), "{error}");
        }
        assert!(add(Some("[build"), true).is_err());
    }
}
