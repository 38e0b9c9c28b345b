//! The interfaces, one file each. [`modules`] is the table of everything that a guest may import.

pub(crate) mod channel;
mod config;
mod distributed;
pub(crate) mod error;
mod message;
mod metrics;
mod networking;
mod process;
mod registry;
pub(crate) mod seed;
mod sqlite;
pub(crate) mod timer;
mod trap;
mod version;
pub(crate) mod wasi;

use lunatic_engine::HostFunctions;

use crate::bind::FunctionDoc;

/// One interface: the first name of its imports.
#[derive(Debug)]
pub struct HostModule {
    /// As guests write it.
    pub name: &'static str,
    /// What it is for, as Markdown.
    pub doc: &'static str,
    /// Its functions.
    pub functions: &'static [FunctionDoc],
}

/// All interfaces, in the order of the reference. One of many functions comes as several tables of the
/// same name, one behind the other.
#[must_use]
pub fn modules() -> Vec<&'static HostModule> {
    vec![
        &process::MODULE,
        &config::older::MODULE,
        &config::wasi::MODULE,
        &config::precise::MODULE,
        &message::MODULE,
        &timer::MODULE,
        &channel::MODULE,
        &registry::MODULE,
        &networking::dns::MODULE,
        &networking::tcp::MODULE,
        &networking::tls::MODULE,
        &networking::udp::MODULE,
        &error::MODULE,
        &trap::MODULE,
        &metrics::MODULE,
        &sqlite::MODULE,
        &distributed::MODULE,
        &version::MODULE,
        &seed::shared::MODULE,
        &seed::referenced::MODULE,
        &seed::numbered::MODULE,
        &seed::sided::MODULE,
        &seed::tcp::MODULE,
        &seed::tcp::referenced::MODULE,
        &seed::tcp::numbered::MODULE,
        &seed::tcp::sided::MODULE,
        &wasi::MODULE,
        &wasi::unstable::MODULE,
    ]
}

/// Everything a guest may import, for [`lunatic_engine::Image::new`].
#[must_use]
pub fn functions() -> HostFunctions {
    let mut all = HostFunctions::default();
    for module in modules() {
        for function in module.functions {
            all.add(function.function);
        }
    }
    wasi::unstable::inherited().for_each(|function| all.add(function));
    all.add(seed::shared::yield_of_2020());
    all
}
