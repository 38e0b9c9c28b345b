//! The format of speedscope (its `file-format-schema.json`): one profile of all processes, in which
//! the outermost frame is the process's name, then one for each name.

use std::fmt::{self, Write as _};
use std::io::{self, Write};

use lunatic_engine::profile::{Profile, Stack};

use super::processes;

pub(super) fn write(profile: &Profile, program: &str, to: &mut impl Write) -> io::Result<()> {
    write!(
        to,
        "{{\"$schema\":\"https://www.speedscope.app/file-format-schema.json\",\
         \"exporter\":\"lunatic {}\",\"name\":{},\"activeProfileIndex\":0,\
         \"shared\":{{\"frames\":[",
        env!("CARGO_PKG_VERSION"),
        Quoted(program),
    )?;
    for (at, name) in profile.names.iter().enumerate() {
        write!(to, "{}\n{{\"name\":{}}}", comma(at), Quoted(name))?;
    }
    write!(to, "]}},\n\"profiles\":[")?;
    let total: u64 = profile.stacks.iter().map(|stack| stack.nanos).sum();
    sampled("all processes", total, profile.stacks.iter().map(|stack| (true, stack)), to)?;
    for (process, nanos) in processes(profile) {
        write!(to, ",")?;
        let own = profile.stacks.iter().filter(|stack| stack.process == process);
        sampled(&profile.names[process], nanos, own.map(|stack| (false, stack)), to)?;
    }
    writeln!(to, "]}}")
}

/// One profile; the flag says whether the process is a frame.
fn sampled<'a>(
    name: &str,
    total: u64,
    stacks: impl Iterator<Item = (bool, &'a Stack)> + Clone,
    to: &mut impl Write,
) -> io::Result<()> {
    write!(
        to,
        "\n{{\"type\":\"sampled\",\"name\":{},\"unit\":\"nanoseconds\",\
         \"startValue\":0,\"endValue\":{total},\"samples\":[",
        Quoted(name)
    )?;
    for (at, (with_process, stack)) in stacks.clone().enumerate() {
        let outermost = with_process.then_some(stack.process);
        let frames: Vec<String> =
            outermost.iter().chain(&stack.frames).map(ToString::to_string).collect();
        write!(to, "{}[{}]", comma(at), frames.join(","))?;
    }
    write!(to, "],\"weights\":[")?;
    for (at, (_, stack)) in stacks.enumerate() {
        write!(to, "{}{}", comma(at), stack.nanos)?;
    }
    write!(to, "]}}")
}

fn comma(at: usize) -> &'static str {
    if at == 0 { "" } else { "," }
}

/// A string of JSON.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\0'..='\x1f' => write!(f, "\\u{:04x}", u32::from(c))?,
                _ => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted() {
        assert_eq!(Quoted("a\"b\\c\n\u{e9}").to_string(), "\"a\\\"b\\\\c\\u000a\u{e9}\"");
    }
}
