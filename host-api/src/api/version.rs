//! `lunatic::version`: which runtime this is.

use crate::bind::{Fault, host_functions};

host_functions! {
    /// The version of the runtime, for guests that want to know what they may expect.
    pub(crate) MODULE: "lunatic::version";

    /// The first number of the runtime's version.
    fn major(_call) -> Result<u32, Fault> {
        Ok(number(env!("CARGO_PKG_VERSION_MAJOR")))
    }

    /// The second number of the runtime's version.
    fn minor(_call) -> Result<u32, Fault> {
        Ok(number(env!("CARGO_PKG_VERSION_MINOR")))
    }

    /// The third number of the runtime's version.
    fn patch(_call) -> Result<u32, Fault> {
        Ok(number(env!("CARGO_PKG_VERSION_PATCH")))
    }
}

fn number(text: &str) -> u32 {
    text.parse().expect("cargo's version numbers are numbers")
}
