//! How many files this process of the operating system may have open.

use rustix::process::{Resource, Rlimit};

/// Raises the limit as far as the system allows it: by custom it begins low, for programs that put
/// descriptors into bit sets of a fixed size, and who needs more has to ask.
pub fn raise_open_files_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, ?limit, "the limit of open files stays");
    }
}
