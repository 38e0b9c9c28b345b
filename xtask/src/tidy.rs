//! `cargo xtask tidy`: the house rules that a machine can check.
//!
//! A rule is a function from a file to complaints. It sees every file that git tracks or would track, so a new file is
//! checked before it is committed. Each rule has a test in which it is seen to fail.

use crate::{repository, step};
use anyhow::{Context, Result, bail};
use std::fs;
use std::process::Command;

/// Code that runs in the product; tests, examples and benches may take shortcuts.
const PRODUCT: [&str; 6] =
    ["src/", "engine/src/", "scheduler/src/", "host-api/src/", "guest/rust/src/", "xtask/src/"];

/// The aim is 500; above this a file must be cut.
const LINES_MAX: usize = 1_000;

/// Top directories that are a developer's machine and not the project.
const MACHINE_PATHS: [&str; 2] = ["/root", "/work"];

// Written in two parts, so that this file does not break its own rules.
const UNWRAP: &str = concat!(".unwrap", "()");
const UNFINISHED: [&str; 2] = [concat!("todo", "!("), concat!("unimplemented", "!(")];
/// Hosts that a text of ours may lead to. An allowance, not a list of what is forbidden: so that
/// nobody has to name a package registry to keep it out.
/// The last one is part of a file format's mark.
const HOSTS: [&str; 6] = [
    "github.com",
    "keepachangelog.com",
    "semver.org",
    "www.speedscope.app",
    // Nobody's, and this machine.
    "example.org",
    "127.0.0.1",
];
const ATOMICS: [&str; 2] = [concat!("std::sync::", "atomic"), concat!("core::sync::", "atomic")];

/// Where unsafe code may be; the page says so under this heading, a list for each crate.
const PAGE_OF_UNSAFE: &str = "ARCHITECTURE.md";
const HEADING_OF_UNSAFE: &str = "## Where unsafe lives";
// Written in two parts, as above.
const UNSAFE: [&str; 5] = [
    concat!("uns", "afe {"),
    concat!("uns", "afe fn"),
    concat!("uns", "afe impl"),
    concat!("uns", "afe extern"),
    concat!("uns", "afe trait"),
];

/// A file under the rules.
struct Source<'a> {
    /// Relative to the root of the repository.
    path: &'a str,
    text: &'a str,
}

/// Line number and what is wrong.
type Complaint = (usize, String);

const RULES: [fn(&Source<'_>, &mut Vec<Complaint>); 7] =
    [header, length, unwraps, unfinished, machine_paths, hosts, scheduler_atomics];

pub(crate) fn run() -> Result<()> {
    let mut complaints = Vec::new();
    let mut count = 0;
    let page = fs::read_to_string(repository::root().join(PAGE_OF_UNSAFE))
        .with_context(|| format!("reading {PAGE_OF_UNSAFE}"))?;
    let mut listed = listed_unsafe(&page);
    for path in files()? {
        let bytes =
            fs::read(repository::root().join(&path)).with_context(|| format!("reading {path}"))?;
        let Ok(text) = String::from_utf8(bytes) else { continue }; // not text
        count += 1;
        for (line, what) in check(&Source { path: &path, text: &text }) {
            complaints.push(format!("{path}:{line}: {what}"));
        }
        if let Some((line, what)) = unsafe_code(&Source { path: &path, text: &text }, &mut listed) {
            complaints.push(format!("{path}:{line}: {what}"));
        }
    }
    for place in listed.iter().filter(|place| !place.seen) {
        complaints.push(format!("{PAGE_OF_UNSAFE}: no unsafe code is left in {}", place.path));
    }
    if complaints.is_empty() {
        eprintln!("    {count} files are tidy");
        return Ok(());
    }
    bail!("{} house rules are broken:\n  {}", complaints.len(), complaints.join("\n  "))
}

/// What git tracks or would track, as far as it is there.
fn files() -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(repository::root());
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listed = step::output(&mut git).context("listing the files of the repository")?;
    let there = |path: &&str| !path.is_empty() && repository::root().join(path).is_file();
    Ok(listed.split('\0').filter(there).map(str::to_string).collect())
}

fn check(source: &Source<'_>) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for rule in RULES {
        rule(source, &mut complaints);
    }
    complaints
}

impl<'a> Source<'a> {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    fn is_product(&self) -> bool {
        let named_for_tests = self.path.ends_with("/tests.rs") || self.path.contains("/tests/");
        self.is_rust()
            && !named_for_tests
            && PRODUCT.iter().any(|directory| self.path.starts_with(directory))
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &'a str)> {
        (1..).zip(self.text.lines())
    }

    /// Lines of code that is neither comment nor inside an item marked `#[cfg(test)]`.
    fn product_lines(&self) -> impl Iterator<Item = (usize, &'a str)> {
        let mut skip = Skip::No;
        self.lines().filter(move |(_, line)| {
            skip = skip.after(line);
            matches!(skip, Skip::No) && !line.trim_start().starts_with("//")
        })
    }
}

/// Where we are in an item that only exists in tests. Formatted code is assumed: an item ends with a brace at the
/// indentation it began at.
#[derive(Clone, Copy)]
enum Skip {
    No,
    /// The attribute was seen; the item comes.
    Item {
        indent: usize,
    },
    /// Inside the braces of the item.
    Body {
        indent: usize,
    },
    /// On the last line of the item.
    Last,
}

impl Skip {
    fn after(self, line: &str) -> Skip {
        let trimmed = line.trim();
        let indent = line.len() - line.trim_start().len();
        match self {
            Skip::No | Skip::Last => {
                let begins =
                    trimmed.starts_with("#[cfg(test)]") || trimmed.starts_with("#[cfg(all(test");
                if begins { Skip::Item { indent } } else { Skip::No }
            }
            Skip::Item { .. } if trimmed.ends_with(';') || trimmed.ends_with("{}") => Skip::Last,
            Skip::Item { indent } if trimmed.ends_with('{') => Skip::Body { indent },
            Skip::Body { indent: of_item } if indent == of_item && trimmed.starts_with('}') => {
                Skip::Last
            }
            other => other,
        }
    }
}

fn header(source: &Source<'_>, complaints: &mut Vec<Complaint>) {
    let exempt = source.path.ends_with("main.rs") || source.path.ends_with("build.rs");
    if source.is_rust() && !exempt && !source.text.starts_with("//!") {
        complaints.push((1, "a file starts with a `//!` header that says what it is".into()));
    }
}

fn length(source: &Source<'_>, complaints: &mut Vec<Complaint>) {
    let count = source.text.lines().count();
    if source.is_rust() && count > LINES_MAX {
        let what = format!("{count} lines, the limit is {LINES_MAX}: cut the file by concepts");
        complaints.push((count, what));
    }
}

fn unwraps(source: &Source<'_>, complaints: &mut Vec<Complaint>) {
    if source.is_product() {
        for (number, line) in source.product_lines() {
            if line.contains(UNWRAP) {
                let what = format!("{UNWRAP} in product code: `expect` states the invariant");
                complaints.push((number, what));
            }
        }
    }
}

fn unfinished(source: &Source<'_>, complaints: &mut Vec<Complaint>) {
    if source.is_rust() {
        for (number, line) in source.lines() {
            for mark in UNFINISHED.iter().filter(|mark| line.contains(**mark)) {
                complaints.push((number, format!("unfinished code: {mark}…)")));
            }
        }
    }
}

fn machine_paths(source: &Source<'_>, complaints: &mut Vec<Complaint>) {
    if source.path == file!() {
        return; // names them as examples
    }
    for (number, line) in source.lines() {
        if MACHINE_PATHS.iter().any(|path| names_path(line, path)) {
            complaints.push((number, "a path that exists only on one machine".into()));
        }
    }
}

/// Does `line` contain `path` as an absolute path, not as a part of another word or path?
fn names_path(line: &str, path: &str) -> bool {
    let continues = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let joins = |c: char| continues(c) || matches!(c, '.' | '/' | '}' | ')' | '*' | '~' | '>');
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + path.len()..].chars().next();
        !before.is_some_and(joins) && !after.is_some_and(continues)
    })
}

/// A lock file is cargo's to write, and names its registry.
fn hosts(source: &Source<'_>, complaints: &mut Vec<Complaint>) {
    if source.path.ends_with("Cargo.lock") || source.path.starts_with("LICENSE") {
        return;
    }
    for (number, line) in source.lines() {
        for rest in line.split("://").skip(1) {
            let host = rest.split(|c: char| !c.is_alphanumeric() && c != '.' && c != '-').next();
            let host = host.unwrap_or_default();
            if host.contains('.') && !HOSTS.contains(&host) {
                complaints
                    .push((number, format!("a host that is not one of ours to name: {host}")));
            }
        }
    }
}

/// loom can only replace what comes from the shim.
fn scheduler_atomics(source: &Source<'_>, complaints: &mut Vec<Complaint>) {
    let governed = source.is_product() && source.path.starts_with("scheduler/src/");
    if !governed || source.path.starts_with("scheduler/src/sync") {
        return;
    }
    for (number, line) in source.product_lines() {
        if ATOMICS.iter().any(|path| line.contains(path)) {
            let what = "atomics of the scheduler come from its `sync` shim, so that loom sees them";
            complaints.push((number, what.into()));
        }
    }
}

/// A file or, with a slash at its end, a directory in which unsafe code may be.
struct Place {
    path: String,
    seen: bool,
}

/// What the page lists: after "In `crate/src/`" the places in there, which begin lines as items or follow them.
fn listed_unsafe(page: &str) -> Vec<Place> {
    let section = page.split(HEADING_OF_UNSAFE).nth(1).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut within = "";
    let mut places = Vec::new();
    for line in section.lines() {
        let quoted = line.split('`').skip(1).step_by(2);
        if line.starts_with("In `") {
            within = quoted.clone().next().unwrap_or_default();
        }
        for name in quoted.filter(|name| !within.is_empty() && *name != within) {
            if name.ends_with(".rs") || name.ends_with('/') {
                places.push(Place { path: format!("{within}{name}"), seen: false });
            }
        }
    }
    places
}

/// The first line of unsafe code, if the file is not one of those that may have some.
fn unsafe_code(source: &Source<'_>, listed: &mut [Place]) -> Option<Complaint> {
    let is_unsafe = |line: &str| UNSAFE.iter().any(|word| line.contains(word));
    let (number, _) = source.product_lines().find(|(_, line)| is_unsafe(line))?;
    let mut places = listed.iter_mut().filter(|place| {
        source.path == place.path
            || place.path.ends_with('/') && source.path.starts_with(&place.path)
    });
    if let Some(place) = places.next() {
        place.seen = true;
        return None;
    }
    source
        .is_product()
        .then(|| (number, format!("unsafe code, in a file that {PAGE_OF_UNSAFE} does not list")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(path: &str, text: &str) -> Vec<usize> {
        check(&Source { path, text }).into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn a_tidy_file_has_no_complaint() {
        assert_eq!(lines_of("src/a.rs", "//! Says what it is.\n\nfn f() {}\n"), []);
    }

    #[test]
    fn a_missing_header_is_seen() {
        assert_eq!(lines_of("src/a.rs", "fn f() {}\n"), [1]);
        assert_eq!(lines_of("src/main.rs", "fn main() {}\n"), []);
        assert_eq!(lines_of("docs/a.md", "# text\n"), []);
    }

    #[test]
    fn a_long_file_is_seen() {
        let text = format!("//! Long.\n{}", "\n".repeat(LINES_MAX));
        assert_eq!(lines_of("src/a.rs", &text), [LINES_MAX + 1]);
    }

    #[test]
    fn unwrap_is_seen_in_product_code_only() {
        let text = format!(
            "//! Header.\nfn f() {{ x{UNWRAP} }}\n/// x{UNWRAP}\n#[cfg(test)]\nmod tests {{\n    \
             fn g() {{\n        x{UNWRAP}\n    }}\n}}\nfn h() {{ x{UNWRAP} }}\n"
        );
        assert_eq!(lines_of("engine/src/a.rs", &text), [2, 10]);
        assert_eq!(lines_of("engine/tests/a.rs", &text), []);
        let text = format!("//! Header.\n#[cfg(test)]\nmod tests;\nfn f() {{ x{UNWRAP} }}\n");
        assert_eq!(lines_of("engine/src/a.rs", &text), [4]);
    }

    #[test]
    fn unfinished_code_is_seen() {
        let text = format!("//! Header.\nfn f() {{ {}) }}\n", UNFINISHED[0]);
        assert_eq!(lines_of("tests/a.rs", &text), [2]);
    }

    #[test]
    fn machine_paths_are_seen_as_whole_paths() {
        let [root, work] = MACHINE_PATHS;
        for bad in [format!("cd {root}/x"), format!("\"{work}\""), format!("see `{work}/a.md`")] {
            assert_eq!(lines_of("docs/a.md", &bad), [1], "{bad}");
        }
        for good in [format!("prefix{root}/usr"), format!("{work}ers"), format!("${{x}}{root}")] {
            assert_eq!(lines_of("docs/a.md", &good), [], "{good}");
        }
    }

    #[test]
    fn strange_hosts_are_seen_but_in_lock_files() {
        let text = format!("see https{}registry.example/x", "://");
        assert_eq!(lines_of("README.md", &text), [1]);
        assert_eq!(lines_of("examples/Cargo.lock", &text), []);
    }

    #[test]
    fn scheduler_takes_atomics_from_its_shim() {
        let text = format!("//! Header.\nuse {}::AtomicU8;\n", ATOMICS[0]);
        assert_eq!(lines_of("scheduler/src/queue.rs", &text), [2]);
        assert_eq!(lines_of("scheduler/src/sync.rs", &text), []);
        assert_eq!(lines_of("engine/src/a.rs", &text), []);
    }

    #[test]
    fn unsafe_code_is_seen_where_the_page_does_not_list_it() {
        let page = format!(
            "`text.rs`\n{HEADING_OF_UNSAFE}\nIn `a/src/`:\n- `b.rs`, `c/`: x\n\nIn `d/src/`: `e.rs`\n\n## Next `f.rs`\n"
        );
        let text = format!("//! Header.\n// {0}\nfn f() {{ {0} }}\n", UNSAFE[0]);
        let mut listed = listed_unsafe(&page);
        let paths: Vec<&str> = listed.iter().map(|place| place.path.as_str()).collect();
        assert_eq!(paths, ["a/src/b.rs", "a/src/c/", "d/src/e.rs"]);
        for path in ["a/src/b.rs", "a/src/c/x.rs", "tests/a.rs"] {
            assert_eq!(unsafe_code(&Source { path, text: &text }, &mut listed), None, "{path}");
        }
        let unlisted = Source { path: "engine/src/x.rs", text: &text };
        assert_eq!(unsafe_code(&unlisted, &mut listed).map(|(line, _)| line), Some(3));
        let seen: Vec<bool> = listed.iter().map(|place| place.seen).collect();
        assert_eq!(seen, [true, true, false]);
    }
}
