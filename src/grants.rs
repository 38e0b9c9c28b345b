//! What of the outside a program is given: `--dir` and `--listen`, as text and as opened.

use std::path::Path;

use anyhow::Context;
use lunatic_engine::text::shown;
use lunatic_host_api::{DirAccess, DirGrant, ListenGrant};

/// `HOST[::GUEST][:ro]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DirArgument {
    host: String,
    guest: String,
    access: DirAccess,
}

/// Reads a `--dir`.
pub(crate) fn dir_argument(text: &str) -> Result<DirArgument, String> {
    let (names, access) = match text.strip_suffix(":ro") {
        Some(names) => (names, DirAccess::ReadOnly),
        None => (text, DirAccess::ReadWrite),
    };
    let (host, guest) = names.split_once("::").unwrap_or((names, names));
    if host.is_empty() {
        return Err("the directory's name is empty; write \".\" for the present one".to_string());
    }
    if guest.is_empty() {
        return Err(format!(
            "the name behind \"::\" is empty; leave out the \"::\" to call it \"{}\"",
            shown(host)
        ));
    }
    Ok(DirArgument { host: host.to_string(), guest: guest.to_string(), access })
}

impl std::fmt::Display for DirArgument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, guest, access } = self;
        f.write_str(host)?;
        if host != guest {
            write!(f, "::{guest}")?;
        }
        f.write_str(if *access == DirAccess::ReadOnly { ":ro" } else { "" })
    }
}

impl DirArgument {
    /// The current directory, under the name that programs know it by.
    pub(crate) fn current() -> Self {
        Self { host: ".".to_string(), guest: ".".to_string(), access: DirAccess::ReadWrite }
    }

    /// What the program knows it by.
    pub(crate) fn guest(&self) -> &str {
        &self.guest
    }

    /// Opens the directory.
    pub(crate) fn open(&self) -> anyhow::Result<DirGrant> {
        let Self { host, guest, access } = self;
        DirGrant::open(Path::new(host), guest, *access).with_context(|| {
            format!(
                "cannot give the program \"{}\": it must be a directory that you may read (\
                 --dir HOST[::GUEST][:ro])",
                shown(host)
            )
        })
    }
}

/// Listens where a `--listen` says.
pub(crate) fn listen(address: &str) -> anyhow::Result<ListenGrant> {
    ListenGrant::bind(address).with_context(|| {
        format!(
            "cannot listen on \"{}\": it must be HOST:PORT, of this machine and free (port 0: any)",
            shown(address)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_have_a_name_outside_one_inside_and_rights() {
        use DirAccess::{ReadOnly, ReadWrite};
        for (text, host, guest, access) in [
            (".", ".", ".", ReadWrite),
            ("/a/b", "/a/b", "/a/b", ReadWrite),
            ("/a::/b", "/a", "/b", ReadWrite),
            ("/a:ro", "/a", "/a", ReadOnly),
            ("/a::/b:ro", "/a", "/b", ReadOnly),
            ("/a:b", "/a:b", "/a:b", ReadWrite),
            ("/a:ro/", "/a:ro/", "/a:ro/", ReadWrite),
            ("a::b::c", "a", "b::c", ReadWrite),
        ] {
            let expected = DirArgument { host: host.into(), guest: guest.into(), access };
            assert_eq!(dir_argument(text), Ok(expected), "{text}");
        }
        for text in ["", "::", "::/a", ":ro", "a::", "a:::ro", "::/a:ro"] {
            assert!(dir_argument(text).is_err(), "{text}: {:?}", dir_argument(text));
        }
    }
}
