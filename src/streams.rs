//! Where a program's standard streams lead: `--stdin`, `--stdout` and `--stderr`, or to our own.

use std::fs::File;
use std::path::Path;

use anyhow::Context;
use lunatic_host_api::{Stdin, Stdio, StdioSink};

use crate::cli::RunArguments;

/// Opens what was named. A file that is named for both outputs is opened once, so that neither
/// writes over the other.
pub(crate) fn open(arguments: &RunArguments) -> anyhow::Result<Stdio> {
    let mut stdio = Stdio::inherit();
    // Input first: whoever misspells it shall not have emptied his output.
    if let Some(path) = &arguments.stdin {
        let file = File::open(path).with_context(|| {
            format!("cannot give the program \"{}\" to read from (--stdin)", path.display())
        })?;
        stdio.stdin = Stdin::file(file);
    }
    if let Some(path) = &arguments.stdout {
        stdio.stdout = StdioSink::file(create(path, "--stdout")?);
    }
    if let Some(path) = &arguments.stderr {
        stdio.stderr = if arguments.stdout.as_ref() == Some(path) {
            stdio.stdout.clone()
        } else {
            StdioSink::error_file(create(path, "--stderr")?)
        };
    }
    Ok(stdio)
}

fn create(path: &Path, option: &str) -> anyhow::Result<File> {
    File::create(path).with_context(|| {
        format!("cannot give the program \"{}\" to write to ({option})", path.display())
    })
}
