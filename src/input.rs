//! Files that are read whole. What is named on the command line may be anything, and have no end.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What a file holds, which must not be more than so many bytes.
pub(crate) fn read(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let expected = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(expected.min(bytes_max).saturating_add(1));
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(io::Error::other(format!("it has more than {bytes_max} bytes")));
    }
    Ok(bytes)
}
