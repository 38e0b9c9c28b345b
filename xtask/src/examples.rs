//! `cargo xtask examples`: the examples in other languages than Rust to WebAssembly.
//!
//! Their compilers need not be on the machine, and nothing is downloaded: an example without one is left out, loudly, and
//! so is its test. A compiler is there if it passes a probe; then it must also compile the example. What cannot be built
//! is removed from target/guests/, so that no test runs the program of another day.

use crate::{repository, step};
use anyhow::{Context, Result, bail};
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Stands in a command for the file to make.
const RESULT: &str = "{result}";

/// An example, and those who could compile it: the first that is there does.
struct Example {
    /// In target/guests/ it has this name.
    name: &'static str,
    source: &'static str,
    compilers: Vec<Compiler>,
    /// What to say if there is none.
    needs: &'static str,
}

struct Compiler {
    /// Succeeds if the compiler, and what it needs, is there.
    probe: Vec<String>,
    /// `RESULT` stands for the file to make.
    compile: Vec<String>,
    /// For both.
    env: &'static [(&'static str, &'static str)],
}

/// What has become of an example.
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    /// Why it was left out; `None`: it is built.
    pub(crate) left_out: Option<String>,
}

/// Builds the examples with these names, or all, into target/guests/.
pub(crate) fn build(names: &[String]) -> Result<Vec<Outcome>> {
    let mut examples = examples();
    for name in names {
        if !examples.iter().any(|example| example.name == name) {
            let known: Vec<&str> = examples.iter().map(|example| example.name).collect();
            bail!("no example is called {name:?}; there are {}", known.join(", "));
        }
    }
    examples.retain(|example| names.is_empty() || names.iter().any(|name| name == example.name));
    let place = repository::guests();
    fs::create_dir_all(&place).with_context(|| format!("creating {}", place.display()))?;
    examples.iter().map(|example| example.build(&place)).collect()
}

/// Says which were left out, and why.
pub(crate) fn print(outcomes: &[Outcome]) {
    for outcome in outcomes {
        match &outcome.left_out {
            None => eprintln!("    target/guests/{}.wasm", outcome.name),
            Some(reason) => eprintln!("    SKIPPED {}: {reason}", outcome.name),
        }
    }
}

impl Example {
    fn build(&self, place: &Path) -> Result<Outcome> {
        let Self { name, .. } = *self;
        let result = place.join(format!("{name}.wasm"));
        let Some(compiler) = self.compilers.iter().find(|compiler| compiler.is_there()) else {
            if result.exists() {
                fs::remove_file(&result)
                    .with_context(|| format!("removing {}", result.display()))?;
            }
            return Ok(Outcome { name, left_out: Some(format!("there is no {}", self.needs)) });
        };
        // By a rename, because a test of another terminal may be reading the old one. The name's end tells compilers
        // what to make.
        let new = place.join(format!("{name}.{}.wasm", std::process::id()));
        step::run(&mut compiler.command(&new))
            .with_context(|| format!("compiling {}", self.source))?;
        fs::rename(&new, &result).with_context(|| format!("writing {}", result.display()))?;
        Ok(Outcome { name, left_out: None })
    }
}

impl Compiler {
    fn is_there(&self) -> bool {
        let output = command(&self.probe).envs(self.env.iter().copied()).output();
        output.is_ok_and(|output| output.status.success())
    }

    fn command(&self, result: &Path) -> Command {
        let result = result.to_string_lossy();
        let words: Vec<String> =
            self.compile.iter().map(|word| word.replace(RESULT, &result)).collect();
        let mut command = command(&words);
        command.envs(self.env.iter().copied());
        command
    }
}

fn command(words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir(repository::root());
    command
}

fn examples() -> Vec<Example> {
    vec![
        c_family("tally_c", "examples/c/tally.c", &["c"]),
        c_family("overflow_c", "examples/c/overflow.c", &["c"]),
        c_family("tally_cpp", "examples/cpp/tally.cpp", &["c++", "-fno-exceptions", "-std=c++20"]),
        go("tally_go", "examples/go/tally.go"),
        zig("tally_zig", "examples/zig/tally.zig"),
        assemblyscript("tally_assemblyscript", "examples/assemblyscript/tally.ts"),
    ]
}

/// `language` is what `-x` calls it, then its flags.
fn c_family(name: &'static str, source: &'static str, language: &[&str]) -> Example {
    let (language, flags) = (language[0], &language[1..]);
    let (clang, header, driver) = match language {
        "c" => ("clang-22", "stdio.h", "cc"),
        _ => ("clang++-22", "iostream", "c++"),
    };
    let rest = ["-O2", "-Wall", "-I", "examples/c", source, "-o", RESULT];
    let rest = [flags, &rest[..]].concat();
    // Debian's libraries are where the old name of the target leads, of which clang warns.
    let clang_target = [clang, "--target=wasm32-wasi", "-Wno-deprecated"];
    let mut compilers = vec![Compiler {
        // With headers, linker and libraries: a clang alone makes nothing.
        probe: words(
            &words(&clang_target, &["-x", language, "-include", header, "/dev/null"]),
            &["-nostartfiles", "-Wl,--no-entry", "-o", "/dev/null"],
        ),
        compile: words(&clang_target, &rest),
        env: &[],
    }];
    compilers.extend(zigs().into_iter().map(|zig| Compiler {
        probe: words(&zig, &["version"]),
        compile: words(&words(&zig, &[driver, "-target", "wasm32-wasi"]), &rest),
        env: &[],
    }));
    Example { name, source, compilers, needs: "clang-22 for wasm32-wasi, and no zig" }
}

/// The ways to call zig: by itself, or as the Python package `ziglang` brings it.
fn zigs() -> [Vec<String>; 2] {
    [
        vec![tool("LUNATIC_ZIG", "zig")],
        words(&[tool("LUNATIC_TEST_PYTHON", "python3")], &["-m", "ziglang"]),
    ]
}

fn zig(name: &'static str, source: &'static str) -> Example {
    let emit = format!("-femit-bin={RESULT}");
    let compilers = zigs().into_iter().map(|zig| Compiler {
        probe: words(&zig, &["version"]),
        compile: words(
            &zig,
            &["build-exe", source, "-target", "wasm32-wasi", "-O", "ReleaseSafe", &emit],
        ),
        env: &[],
    });
    Example {
        name,
        source,
        compilers: compilers.collect(),
        needs: "zig (LUNATIC_ZIG, or LUNATIC_TEST_PYTHON for a Python that has it)",
    }
}

fn go(name: &'static str, source: &'static str) -> Example {
    let go = [tool("LUNATIC_GO", "go")];
    let compiler = Compiler {
        // Its own compiler, as `env` has it: one before Go 1.21 knows no wasip1.
        probe: words(&go, &["tool", "compile", "-V"]),
        compile: words(&go, &["build", "-trimpath", "-o", RESULT, source]),
        // With what is on the machine, whatever the file would like.
        env: &[
            ("GOOS", "wasip1"),
            ("GOARCH", "wasm"),
            ("GOTOOLCHAIN", "local"),
            ("GOPROXY", "off"),
        ],
    };
    Example { name, source, compilers: vec![compiler], needs: "go of 1.21 or later (LUNATIC_GO)" }
}

fn assemblyscript(name: &'static str, source: &'static str) -> Example {
    let asc = [tool("LUNATIC_ASC", "asc")];
    let compiler = Compiler {
        probe: words(&asc, &["--version"]),
        // Nobody is there to import an `abort` from: without it a mistake is a trap.
        compile: words(
            &asc,
            &[source, "-O", "--exportStart", "_start", "--use", "abort=", "--outFile", RESULT],
        ),
        env: &[],
    };
    Example {
        name,
        source,
        compilers: vec![compiler],
        needs: "asc of AssemblyScript (LUNATIC_ASC)",
    }
}

/// A program's name or path: what the variable says, or else this.
fn tool(variable: &str, otherwise: &str) -> String {
    env::var(variable).ok().filter(|name| !name.is_empty()).unwrap_or_else(|| otherwise.to_string())
}

fn words<A: AsRef<str>, B: AsRef<str>>(first: &[A], second: &[B]) -> Vec<String> {
    let first = first.iter().map(|word| word.as_ref().to_string());
    first.chain(second.iter().map(|word| word.as_ref().to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(probe: &str) -> Example {
        let compiler = Compiler {
            probe: vec![probe.to_string()],
            compile: words(&["cp"], &["xtask/Cargo.toml", RESULT]),
            env: &[],
        };
        Example { name: "an_example", source: "none", compilers: vec![compiler], needs: "tool" }
    }

    #[test]
    fn what_no_compiler_is_there_for_is_left_out_and_removed() {
        let place = env::temp_dir().join(format!("xtask-examples-{}", std::process::id()));
        fs::create_dir_all(&place).expect("it can be made");
        let result = place.join("an_example.wasm");
        let outcome = example("true").build(&place).expect("`cp` makes it");
        assert_eq!(outcome.left_out, None);
        assert!(result.exists());
        for missing in ["no-such-program-here", "false"] {
            let outcome = example(missing).build(&place).expect("that is no error");
            assert_eq!(outcome.left_out.as_deref(), Some("there is no tool"));
            assert!(!result.exists());
        }
        fs::remove_dir_all(&place).expect("it is there");
    }

    #[test]
    fn the_sources_are_there_and_have_names_of_their_own() {
        let examples = examples();
        for example in &examples {
            assert!(repository::root().join(example.source).is_file(), "{}", example.source);
            assert_eq!(examples.iter().filter(|other| other.name == example.name).count(), 1);
            for compiler in &example.compilers {
                assert!(compiler.compile.iter().any(|word| word.contains(RESULT)));
            }
        }
    }
}
