//! Collapsed stacks: one line for each, `process;outermost;…;innermost microseconds`. Flame graph
//! programs (`inferno-flamegraph`, `flamegraph.pl`) and speedscope read them.

use std::io::{self, Write};

use lunatic_engine::profile::Profile;

pub(super) fn write(profile: &Profile, to: &mut impl Write) -> io::Result<()> {
    // The separator cannot stand in a name.
    let names: Vec<String> = profile.names.iter().map(|name| name.replace(';', ":")).collect();
    for stack in &profile.stacks {
        write!(to, "{}", names[stack.process])?;
        for &frame in &stack.frames {
            write!(to, ";{}", names[frame])?;
        }
        writeln!(to, " {}", (stack.nanos / 1_000).max(1))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use lunatic_engine::profile::Stack;

    use super::*;

    #[test]
    fn a_stack_is_a_line() {
        let names = ["main", "a;b", "c d"].map(Into::into).to_vec();
        let stacks = vec![
            Stack { process: 0, frames: vec![0, 1], nanos: 2_500 },
            Stack { process: 0, frames: vec![0, 2], nanos: 1 },
        ];
        let mut text = Vec::new();
        write(&Profile { names, stacks, lost_nanos: 0 }, &mut text).expect("memory takes all");
        assert_eq!(String::from_utf8_lossy(&text), "main;main;a:b 2\nmain;main;c d 1\n");
    }
}
