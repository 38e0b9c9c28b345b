//! The peers that run beside us: found on this machine, built from benches/peers, started like us.
//!
//! A peer is a program that takes the name of a row and a count and prints the lines of
//! `output.rs`. What is not found is said with what to install, and its published figures stand in.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::guest::Guest;
use crate::machine::said;
use crate::rows::{BEAM, GO, Row, TOKIO};
use crate::{Session, WORKERS, sender};

/// A peer that is ready to run.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    program: PathBuf,
    /// Before the row and the count.
    arguments: Vec<OsString>,
    environment: (&'static str, String),
}

impl Peer {
    pub(crate) fn command(&self, row: &Row, count: u64) -> Result<Command, String> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(row.name).arg(count.to_string());
        command.env(self.environment.0, &self.environment.1);
        if matches!(row.guest, Guest::Reader(_)) {
            command.env(sender::PORT, sender::start(count)?.to_string());
        }
        Ok(command)
    }
}

/// Builds all that can be built; says what cannot, and why.
pub(crate) fn find() -> Vec<Peer> {
    let mut peers = Vec::new();
    for (name, found) in [(BEAM, erlang()), (GO, go()), (TOKIO, tokio())] {
        match found {
            Ok(peer) => peers.push(peer),
            Err(reason) => println!("{name} does not run beside us: {reason}"),
        }
    }
    peers
}

fn erlang() -> Result<Peer, String> {
    let (erl, erlc) = (in_path("erl"), in_path("erlc"));
    let (Some(erl), Some(erlc)) = (erl, erlc) else {
        return Err("no `erl` and `erlc` were found; apt install erlang-base".to_string());
    };
    let place = place("erlang")?;
    build(Command::new(erlc).arg("-o").arg(&place).arg(sources("erlang").join("bench.erl")))?;
    let version = "io:format(\"Erlang/OTP ~s, erts ~s\", \
                   [erlang:system_info(otp_release), erlang:system_info(version)]), halt().";
    let version = said(Command::new(&erl).args(["-noshell", "-eval", version]));
    let mut arguments: Vec<OsString> =
        vec!["+S".into(), format!("{WORKERS}:{WORKERS}").into(), "+P".into(), "4000000".into()];
    arguments.extend(["-noshell".into(), "-pa".into(), place.into_os_string()]);
    arguments.extend(["-run", "bench", "main"].map(OsString::from));
    // An editor of dumps is the last that a failing bench needs.
    let environment = ("ERL_CRASH_DUMP_SECONDS", "0".to_string());
    Ok(Peer { name: BEAM, version, program: erl, arguments, environment })
}

fn go() -> Result<Peer, String> {
    let go = in_path("go").ok_or("no `go` was found; install a Go toolchain")?;
    let program = place("go")?.join("bench");
    let mut command = Command::new(&go);
    command.current_dir(sources("go")).env("GOTOOLCHAIN", "local").env("GOWORK", "off");
    build(command.args(["build", "-o"]).arg(&program).arg("."))?;
    let version = said(Command::new(&go).args(["env", "GOVERSION"]));
    let environment = ("GOMAXPROCS", WORKERS.to_string());
    Ok(Peer { name: GO, version, program, arguments: Vec::new(), environment })
}

fn tokio() -> Result<Peer, String> {
    let cargo = env::var_os("CARGO").map(PathBuf::from).or_else(|| in_path("cargo"));
    let cargo = cargo.ok_or("no `cargo` was found; install a Rust toolchain")?;
    let place = place("tokio")?;
    let manifest = sources("tokio").join("Cargo.toml");
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--locked", "--quiet", "--manifest-path"]).arg(&manifest);
    build(command.arg("--target-dir").arg(&place))?;
    let lock = fs::read_to_string(manifest.with_file_name("Cargo.lock")).unwrap_or_default();
    let version = locked_version(&lock, "tokio").unwrap_or("of unknown version");
    let environment = ("BENCH_WORKERS", WORKERS.to_string());
    Ok(Peer {
        name: TOKIO,
        version: format!("tokio {version}"),
        program: place.join("release/bench-tokio"),
        arguments: Vec::new(),
        environment,
    })
}

/// Who runs beside us, in one line for the header.
pub(crate) fn versions(session: &Session) -> String {
    let versions = session.peers.iter().map(|peer| peer.version.as_str());
    versions.collect::<Vec<_>>().join("; ")
}

fn locked_version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

fn sources(peer: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(peer)
}

/// Where a peer is built.
fn place(peer: &str) -> Result<PathBuf, String> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers").join(peer);
    fs::create_dir_all(&place)
        .map_err(|error| format!("creating \"{}\": {error}", place.display()))?;
    Ok(place)
}

fn build(command: &mut Command) -> Result<(), String> {
    let program = Path::new(command.get_program()).display().to_string();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("starting `{program}`: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{program}` ended with {}: {}", output.status, said.trim()))
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}
