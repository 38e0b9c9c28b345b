//! The tests that a module exports, and which of them are wanted.
//!
//! `#[lunatic::test]` exports a function `#lunatic_test_`, then `#ignore_` if it is to be ignored,
//! then `#panic_TEXT#` if it should panic with a message that contains TEXT (with `\#` for `#`),
//! then the path of the function.

use lunatic_engine::text::shown;

use super::options::Options;

const PREFIX: &str = "#lunatic_test_";
const IGNORE: &str = "#ignore_";
const PANIC: &str = "#panic_";

/// One test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Case {
    /// The exported function.
    pub(super) export: String,
    /// The path of the function, as its author sees it.
    pub(super) name: String,
    pub(super) ignored: bool,
    /// It should panic, with a message that contains this; empty: with any, or by a trap.
    pub(super) should_panic: Option<String>,
}

impl Case {
    fn of(export: &str) -> Option<Self> {
        let rest = export.strip_prefix(PREFIX)?;
        let (ignored, rest) = match rest.strip_prefix(IGNORE) {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let (should_panic, name) = match rest.strip_prefix(PANIC).and_then(expected) {
            Some((text, name)) => (Some(text), name),
            None => (None, rest),
        };
        // What a terminal would obey is shown instead; filters see the same name.
        Some(Self { export: export.to_string(), name: shown(name), ignored, should_panic })
    }

    /// As the line about its result calls it.
    pub(super) fn title(&self) -> String {
        match self.should_panic {
            Some(_) => format!("{} - should panic", self.name),
            None => self.name.clone(),
        }
    }
}

/// Splits at the first `#` that no backslash precedes.
fn expected(text: &str) -> Option<(String, &str)> {
    let end = text.match_indices('#').map(|(at, _)| at).find(|&at| !text[..at].ends_with('\\'))?;
    Some((text[..end].replace("\\#", "#"), &text[end + 1..]))
}

/// All tests, by name.
pub(super) fn all<'a>(exports: impl Iterator<Item = &'a str>) -> Vec<Case> {
    let mut cases: Vec<Case> = exports.filter_map(Case::of).collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Selection {
    pub(super) run: Vec<Case>,
    pub(super) ignore: Vec<Case>,
    pub(super) filtered_out: usize,
}

impl Selection {
    pub(super) fn new(cases: Vec<Case>, options: &Options) -> Self {
        let mut selection = Self::default();
        for case in cases {
            if !is_wanted(&case, options) {
                selection.filtered_out += 1;
            } else if options.benches_only() || case.ignored && !runs_ignored(options) {
                selection.ignore.push(case);
            } else {
                selection.run.push(case);
            }
        }
        selection
    }

    /// All but those that were filtered out.
    pub(super) fn count(&self) -> usize {
        self.run.len() + self.ignore.len()
    }
}

fn runs_ignored(options: &Options) -> bool {
    options.ignored || options.include_ignored
}

fn is_wanted(case: &Case, options: &Options) -> bool {
    let matches = |filter: &String| {
        if options.exact { case.name == *filter } else { case.name.contains(filter) }
    };
    (options.filters.is_empty() || options.filters.iter().any(matches))
        && !options.skip.iter().any(matches)
        && (case.ignored || !options.ignored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn case(name: &str, ignored: bool, should_panic: Option<&str>) -> Case {
        let should_panic = should_panic.map(str::to_string);
        Case { export: String::new(), name: name.to_string(), ignored, should_panic }
    }

    #[test]
    fn the_names_of_exports_tell_what_a_test_expects() {
        for (export, wanted) in [
            ("#lunatic_test_a::b", case("a::b", false, None)),
            ("#lunatic_test_#ignore_a::b", case("a::b", true, None)),
            ("#lunatic_test_#panic_#a::b", case("a::b", false, Some(""))),
            ("#lunatic_test_#panic_no, \\#1: a#b#a::b", case("b#a::b", false, Some("no, #1: a"))),
            ("#lunatic_test_#ignore_#panic_x#a", case("a", true, Some("x"))),
            // Nobody writes these.
            ("#lunatic_test_#panic_x", case("#panic_x", false, None)),
            ("#lunatic_test_#panic_x\\#a", case("#panic_x\\#a", false, None)),
            ("#lunatic_test_", case("", false, None)),
        ] {
            let found = Case::of(export).expect("it is a test");
            assert_eq!(Case { export: String::new(), ..found }, wanted, "{export}");
        }
        assert_eq!(Case::of("lunatic_test_a"), None);
    }

    #[test]
    fn filters_choose_as_those_of_rusts_harness_do() {
        let chosen = |words: &[&str]| {
            let cases = ["a::one", "a::two", "b::one"].map(|name| case(name, false, None));
            let cases = [&cases[..], &[case("b::ignored", true, None)]].concat();
            let selection = Selection::new(cases, &Options::parse_from(words));
            let names = |cases: &[Case]| {
                cases.iter().map(|case| case.name.clone()).collect::<Vec<_>>().join(" ")
            };
            (names(&selection.run), names(&selection.ignore), selection.filtered_out)
        };
        let all = || "a::one a::two b::one".to_string();
        let ignored = || "b::ignored".to_string();
        assert_eq!(chosen(&[]), (all(), ignored(), 0));
        assert_eq!(chosen(&["one"]), ("a::one b::one".into(), String::new(), 2));
        assert_eq!(chosen(&["a::", "b::one"]), (all(), String::new(), 1));
        assert_eq!(chosen(&["one", "--exact"]), (String::new(), String::new(), 4));
        assert_eq!(chosen(&["--exact", "a::one"]), ("a::one".into(), String::new(), 3));
        assert_eq!(chosen(&["--skip", "a::", "--skip", "ign"]), ("b::one".into(), "".into(), 3));
        assert_eq!(chosen(&["--ignored"]), (ignored(), String::new(), 3));
        assert_eq!(
            chosen(&["--include-ignored", "b::"]),
            ("b::one b::ignored".into(), String::new(), 2)
        );
        assert_eq!(chosen(&["--bench", "b::"]), (String::new(), "b::one b::ignored".into(), 2));
    }
}
