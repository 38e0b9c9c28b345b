//! A Rust compiler for wasm32-wasip1 made from Debian's packages, without installing any of them.
//!
//! Debian's `rustc-web` knows the target but has no standard library for it; `rust-web-src` has that library's source. So:
//! the packages are downloaded and unpacked into a directory, cargo's build-std compiles the library once, and the result
//! is laid where the compiler looks for it: an ordinary sysroot, for which plain `cargo build` needs no flags.
//!
//! A prefix is made in a directory of its own and appears under its final name by one rename, so that it is there whole or
//! not at all. A lock keeps two runs from making it twice.
//!
//! Everything in a prefix is found relative to it, but for one link: the linker is that of the host's rustup, which moves
//! with rustup's toolchains and is therefore set anew before each use.

use super::{TARGET, std_library};
use crate::step;
use anyhow::{Context, Result, bail};
use std::env::consts::ARCH;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Raised when the recipe changes, so that prefixes of an older one are not taken.
const RECIPE: u32 = 1;

/// Debian's LLVM and libstd packages carry a number of their own, found in the dependencies; these do not.
const PACKAGES: [&str; 3] = ["rustc-web", "libstd-rust-web-dev", "rust-web-src"];

/// Stands for the directory in which the library is compiled, in the paths it knows of itself.
const SOURCES: &str = "/rustc-web";

/// What Debian's wasi-libc of 2022 lacks and newer standard libraries want: threads that cannot be had. EAGAIN and EINVAL
/// have the numbers 6 and 28 in WASI.
const STUBS: &str = r#"//! Stand-ins for the thread functions of a C library that has none.
#![no_std]
use core::ffi::{c_int, c_void};
const EAGAIN: c_int = 6;
const EINVAL: c_int = 28;
#[no_mangle]
pub extern "C" fn pthread_create(
    _: *mut c_void, _: *const c_void, _: *const c_void, _: *mut c_void,
) -> c_int { EAGAIN }
#[no_mangle]
pub extern "C" fn pthread_join(_: *mut c_void, _: *mut *mut c_void) -> c_int { EINVAL }
#[no_mangle]
pub extern "C" fn pthread_detach(_: *mut c_void) -> c_int { EINVAL }
#[no_mangle]
pub extern "C" fn pthread_attr_init(_: *mut c_void) -> c_int { 0 }
#[no_mangle]
pub extern "C" fn pthread_attr_setstacksize(_: *mut c_void, _: usize) -> c_int { 0 }
#[no_mangle]
pub extern "C" fn pthread_attr_destroy(_: *mut c_void) -> c_int { 0 }
"#;

/// `$0` is absolute, because cargo is given an absolute path; no process is started to find out where we are.
const RUSTC_SCRIPT: &str = r#"#!/bin/sh
usr="${0%/*}/../root/usr"
LD_LIBRARY_PATH="$usr/lib/MULTIARCH" exec "$usr/bin/rustc" "$@"
"#;

/// A directory that holds such a compiler.
pub(super) struct Prefix(PathBuf);

impl Prefix {
    fn of_version(cache: &Path, version: &str) -> Prefix {
        let plain = version.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-");
        Prefix(cache.join(format!("rustc-web-{plain}-recipe-{RECIPE}")))
    }

    pub(super) fn rustc(&self) -> PathBuf {
        self.0.join("bin").join("rustc")
    }

    pub(super) fn name(&self) -> String {
        self.0.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn usr(&self) -> PathBuf {
        self.0.join("root").join("usr")
    }

    fn library_directory(&self, target: &str) -> PathBuf {
        self.usr().join("lib").join("rustlib").join(target).join("lib")
    }

    /// Whole, and of use on this machine.
    fn is_ready(&self) -> bool {
        std_library(&self.rustc()).is_some()
    }

    /// Points the prefix to the linker of the host's compiler.
    pub(super) fn link_linker(&self) -> Result<()> {
        let host = host_triple()?;
        let linker = host_linker(&host)?;
        let directory = self.usr().join("lib").join("rustlib").join(&host).join("bin");
        let link = directory.join("rust-lld");
        if fs::read_link(&link).is_ok_and(|old| old == linker) {
            return Ok(());
        }
        fs::create_dir_all(&directory).with_context(|| creating(&directory))?;
        let new = directory.join(format!("rust-lld.{}", std::process::id()));
        symlink(&linker, &new).with_context(|| creating(&new))?;
        fs::rename(&new, &link).with_context(|| creating(&link))
    }
}

/// A prefix that an earlier run made: of the preferred version, or of any.
pub(super) fn cached(cache: &Path, preferred: &str) -> Option<Prefix> {
    let preferred = Prefix::of_version(cache, preferred);
    if preferred.is_ready() {
        return Some(preferred);
    }
    let suffix = format!("-recipe-{RECIPE}");
    let mut others: Vec<PathBuf> =
        fs::read_dir(cache).ok()?.flatten().map(|entry| entry.path()).collect();
    others.sort();
    let of_this_recipe =
        |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().ends_with(&suffix));
    others.into_iter().filter(of_this_recipe).map(Prefix).find(Prefix::is_ready)
}

/// Makes a prefix at this version of the packages, or at the one apt offers.
pub(super) fn make(cache: &Path, version: Option<&str>) -> Result<Prefix> {
    for tool in ["apt-get", "apt-cache", "dpkg-deb"] {
        step::output(Command::new(tool).arg("--version"))
            .context("making a compiler from Debian's packages: this is no Debian system")?;
    }
    fs::create_dir_all(cache).with_context(|| creating(cache))?;
    // Compilers know files by their real paths.
    let cache = &cache.canonicalize().with_context(|| format!("resolving {}", cache.display()))?;
    let _lock = lock(cache)?;
    let packages = Packages::choose(version)?;
    let prefix = Prefix::of_version(cache, &packages.version);
    if prefix.is_ready() {
        return Ok(prefix); // another run made it while we waited for the lock
    }
    let making =
        format!("making a compiler for {TARGET} from Debian's rustc-web {}", packages.version);
    eprintln!("==> {making} (once; about two minutes)");
    remove_leftovers(cache)?;
    let scratch = Scratch(cache.join(format!(".making-{}", std::process::id())));
    assemble(&scratch.0, &packages).with_context(|| making.clone())?;
    let _ = fs::remove_dir_all(&prefix.0); // not ready, so of no use to anybody
    fs::rename(scratch.0.join("prefix"), &prefix.0).with_context(|| creating(&prefix.0))?;
    eprintln!("    kept as {}", prefix.0.display());
    Ok(prefix)
}

/// Held until dropped; a run that dies lets it go.
fn lock(cache: &Path) -> Result<File> {
    let path = cache.join("lock");
    let file = File::create(&path).with_context(|| creating(&path))?;
    if file.try_lock().is_err() {
        eprintln!("==> waiting for another run that is making a compiler ({})", path.display());
        file.lock().with_context(|| format!("locking {}", path.display()))?;
    }
    Ok(file)
}

/// What runs that were interrupted have left: nobody else is making anything while we hold the lock.
fn remove_leftovers(cache: &Path) -> Result<()> {
    for entry in fs::read_dir(cache).with_context(|| format!("listing {}", cache.display()))? {
        let entry = entry.with_context(|| format!("listing {}", cache.display()))?;
        if entry.file_name().to_string_lossy().starts_with(".making-") {
            let path = entry.path();
            fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

/// A directory that goes away, whatever happens.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // the next run removes what this one could not
    }
}

/// The packages of one version, as `name=version` where the version matters.
struct Packages {
    version: String,
    specs: Vec<String>,
}

impl Packages {
    /// Asks apt, after an `apt-get update` if it does not know.
    fn choose(version: Option<&str>) -> Result<Packages> {
        Packages::known(version).or_else(|first| {
            eprintln!("==> apt does not know the packages yet ({first:#})");
            let mut apt = Command::new("apt-get");
            // Our stdout is kept for one line of `cargo xtask toolchain`.
            apt.args(["update", "--quiet"]).stdout(std::io::stderr());
            step::run(&mut apt).context(
                "fetching apt's package lists: run `apt-get update` as root and try again",
            )?;
            Packages::known(version)
        })
    }

    fn known(version: Option<&str>) -> Result<Packages> {
        let version = match version {
            Some(version) => version.to_string(),
            None => candidate("rustc-web")?,
        };
        let library = dependency(&format!("libstd-rust-web-dev={version}"), "libstd-rust-web-")?;
        let llvm = dependency(&format!("{library}={version}"), "libllvm")?;
        let mut specs: Vec<String> =
            PACKAGES.iter().map(|name| format!("{name}={version}")).collect();
        specs.extend([format!("{library}={version}"), llvm, "wasi-libc".to_string()]);
        Ok(Packages { version, specs })
    }
}

/// The version apt would install.
fn candidate(package: &str) -> Result<String> {
    let policy = step::output(Command::new("apt-cache").args(["policy", package]))?;
    let line = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
    match line {
        Some(version) if version != "(none)" => Ok(version.to_string()),
        _ => bail!("apt has no package {package:?}; it is part of Debian 12"),
    }
}

/// The package among the dependencies of `spec` whose name is `stem` and a number.
fn dependency(spec: &str, stem: &str) -> Result<String> {
    let shown = step::output(Command::new("apt-cache").args(["show", spec]))?;
    dependency_in(&shown, stem)
        .with_context(|| format!("the package {spec:?} depends on no {stem}<number>"))
}

fn dependency_in(shown: &str, stem: &str) -> Option<String> {
    let depends = shown.lines().find_map(|line| line.strip_prefix("Depends: "))?;
    depends.split(", ").find_map(|word| {
        let name = word.split([' ', ':']).next()?;
        let number = name.strip_prefix(stem)?;
        number.starts_with(|c: char| c.is_ascii_digit()).then(|| name.to_string())
    })
}

/// Fills `scratch/prefix`.
fn assemble(scratch: &Path, packages: &Packages) -> Result<()> {
    let prefix = Prefix(scratch.join("prefix"));
    unpack(&scratch.join("debs"), packages, &prefix.0.join("root"))?;
    write_rustc_script(&prefix)?;
    prefix.link_linker()?;
    let seed = write_seed(&scratch.join("seed"))?;
    build_std(scratch, &seed, &prefix)?;
    lay_startup_objects(&seed, &prefix)?;
    if !prefix.is_ready() {
        bail!("the compiler does not find the standard library that was built for it");
    }
    try_it(&seed, &prefix)?;
    // Sources and manuals, two thirds of the size, are of no use any more.
    for waste in ["lib/rustlib/src", "src", "share"] {
        let _ = fs::remove_dir_all(prefix.usr().join(waste));
    }
    Ok(())
}

fn unpack(downloads: &Path, packages: &Packages, root: &Path) -> Result<()> {
    for directory in [downloads, root] {
        fs::create_dir_all(directory).with_context(|| creating(directory))?;
    }
    let mut apt = Command::new("apt-get");
    // apt's own user may not write to our directory.
    apt.current_dir(downloads).args(["-o", "APT::Sandbox::User=root", "--quiet", "download"]);
    step::output(apt.args(&packages.specs))?;
    for entry in
        fs::read_dir(downloads).with_context(|| format!("listing {}", downloads.display()))?
    {
        let package = entry.with_context(|| format!("listing {}", downloads.display()))?.path();
        step::output(Command::new("dpkg-deb").arg("-x").arg(&package).arg(root))?;
    }
    Ok(())
}

fn write_rustc_script(prefix: &Prefix) -> Result<()> {
    let path = prefix.rustc();
    let directory = path.parent().expect("rustc lies in bin/");
    fs::create_dir_all(directory).with_context(|| creating(directory))?;
    fs::write(&path, RUSTC_SCRIPT.replace("MULTIARCH", &multiarch()))
        .with_context(|| creating(&path))?;
    fs::set_permissions(&path, Permissions::from_mode(0o755)).with_context(|| creating(&path))
}

/// A crate for which cargo builds the standard library, and which holds the stubs.
fn write_seed(directory: &Path) -> Result<PathBuf> {
    let manifest =
        "[package]\nname = \"seed\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n";
    let source = directory.join("src");
    fs::create_dir_all(&source).with_context(|| creating(&source))?;
    fs::write(directory.join("Cargo.toml"), manifest).with_context(|| creating(directory))?;
    fs::write(source.join("lib.rs"), STUBS).with_context(|| creating(&source))?;
    Ok(directory.to_path_buf())
}

fn build_std(scratch: &Path, seed: &Path, prefix: &Prefix) -> Result<()> {
    let mut cargo = step::cargo();
    cargo
        .current_dir(seed)
        .args(["build", "--release", "--target", TARGET, "--target-dir", "target"])
        // test: for `cargo test` in guest crates.
        .args(["-Z", "build-std=std,panic_abort,test"])
        .env("RUSTC", prefix.rustc())
        // build-std is not stable; the compiler and the source are of one version, which is all it asks for.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "2")
        // Panic messages carry source paths: without this each machine's library is another one, and crates compiled
        // with one do not link with the next.
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            format!("--remap-path-prefix={}={SOURCES}", scratch.display()),
        );
    step::run(&mut cargo).context("compiling the standard library")?;

    let built = seed.join("target").join(TARGET).join("release").join("deps");
    let place = prefix.library_directory(TARGET);
    fs::create_dir_all(&place).with_context(|| creating(&place))?;
    for entry in fs::read_dir(&built).with_context(|| format!("listing {}", built.display()))? {
        let entry = entry.with_context(|| format!("listing {}", built.display()))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".rlib") && !name.starts_with("libseed-") {
            let copy = place.join(&*name);
            fs::copy(entry.path(), &copy).with_context(|| creating(&copy))?;
        }
    }
    Ok(())
}

/// The C library and the objects a program starts with, where the compiler expects its own; the stubs are linked into
/// the latter, so that they are always there.
fn lay_startup_objects(seed: &Path, prefix: &Prefix) -> Result<()> {
    let libc = prefix.usr().join("lib").join("wasm32-wasi");
    let place = prefix.library_directory(TARGET).join("self-contained");
    fs::create_dir_all(&place).with_context(|| creating(&place))?;
    let copy = place.join("libc.a");
    fs::copy(libc.join("libc.a"), &copy).with_context(|| creating(&copy))?;

    let stubs = seed.join("stubs.o");
    let mut rustc = Command::new(prefix.rustc());
    rustc.args(["--target", TARGET, "--crate-type", "lib", "--emit", "obj", "-Cpanic=abort"]);
    rustc.args(["-Copt-level=2", "-Ccodegen-units=1"]).arg(seed.join("src/lib.rs"));
    step::output(rustc.arg("-o").arg(&stubs))?;
    let linker = host_linker(&host_triple()?)?;
    for object in ["crt1-command.o", "crt1-reactor.o"] {
        let mut lld = Command::new(&linker);
        lld.args(["-flavor", "wasm", "-r"]).arg(libc.join(object)).arg(&stubs);
        step::output(lld.arg("-o").arg(place.join(object)))?;
    }
    Ok(())
}

/// A prefix that cannot compile a program is not worth keeping.
fn try_it(seed: &Path, prefix: &Prefix) -> Result<()> {
    let source = seed.join("hello.rs");
    fs::write(&source, "fn main() { println!(\"hello\") }").with_context(|| creating(&source))?;
    let mut rustc = Command::new(prefix.rustc());
    rustc.args(["--target", TARGET]).arg(&source).arg("-o").arg(seed.join("hello.wasm"));
    step::output(&mut rustc).map(drop).context("compiling a first program")
}

fn host_triple() -> Result<String> {
    Ok(step::output(Command::new("rustc").args(["--print", "host-tuple"]))?.trim().to_string())
}

/// rustup's rust-lld links WebAssembly; Debian's packages would need a linker of their own.
fn host_linker(host: &str) -> Result<PathBuf> {
    let sysroot = step::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let linker = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin/rust-lld");
    if !linker.exists() {
        bail!(
            "there is no linker at {}; use a compiler that was installed by rustup",
            linker.display()
        );
    }
    Ok(linker)
}

/// Debian's name for this machine's libraries.
fn multiarch() -> String {
    format!("{ARCH}-linux-gnu")
}

fn creating(path: &Path) -> String {
    format!("creating {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "Package: libstd-rust-web-1.85\nPre-Depends: libllvm0\n\
                         Depends: libc6 (>= 2.34), libllvm19 (>= 1:19.1), zlib1g:any\nSize: 1\n";

    #[test]
    fn numbered_dependencies_are_found() {
        assert_eq!(dependency_in(SHOWN, "libllvm").as_deref(), Some("libllvm19"));
        assert_eq!(dependency_in(SHOWN, "libstd-rust-web-"), None);
        assert_eq!(dependency_in(SHOWN, "zlib").as_deref(), Some("zlib1g"));
    }

    #[test]
    fn a_version_is_a_file_name() {
        let prefix = Prefix::of_version(Path::new("cache"), "1.85.0+dfsg3-1~deb12u3");
        assert_eq!(prefix.name(), format!("rustc-web-1.85.0-dfsg3-1-deb12u3-recipe-{RECIPE}"));
    }
}
