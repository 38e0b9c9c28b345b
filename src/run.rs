//! `lunatic run`: arguments to configuration, a module to an image, an image to a run.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, iter};

use anyhow::{Context, anyhow};
use lunatic_engine::text::shown;
use lunatic_engine::{Cache, Compiler, CompilerOptions, Image, Module};
use lunatic_host_api::{
    ExitReason, Node, NodeBuilder, Preempt, ProcessConfig, Stdio, functions, raise_open_files_limit,
};

use crate::cli::{PreemptArgument, Run, RunArguments};
use crate::exit_code::{Code, Failure, OrFail};
use crate::profile::Profiling;
use crate::rights::Rights;
use crate::{input, output, progress, stats, streams, test};

/// What the main process runs, as WASI commands have it.
const ENTRY: &str = "_start";

/// Frames of a backtrace that are shown; the innermost are the ones that tell.
const FRAMES_SHOWN: usize = 32;

/// Runs a program to its end.
pub(crate) fn run(run: &Run) -> Result<ExitCode, Failure> {
    if run.rights.print_rights {
        return print_rights(&run.rights);
    }
    let profiling = run.arguments.profile.as_ref().map(Profiling::start).transpose();
    let profiling = profiling.or_fail(Code::Load)?;
    let module = load(&run.arguments)?;
    let code = if test::is_harness(&run.arguments.module) {
        test::test_module(run, &module, None)?
    } else {
        run_module(run, &module)?
    };
    if let Some(profiling) = profiling {
        profiling.finish(&run.arguments.module.to_string_lossy()).or_fail(Code::Output)?;
    }
    Ok(code)
}

/// Runs a program that is loaded to its end.
pub(crate) fn run_module(
    Run { arguments, rights }: &Run,
    module: &Module,
) -> Result<ExitCode, Failure> {
    let begun = Instant::now();
    let image = module.make(builder(arguments)?.form()).or_fail(Code::Load)?;
    check_entry(&arguments.module, image).or_fail(Code::Load)?;
    let config = config(arguments, rights)?;
    let stdio = config.stdio.clone();
    let node = start(arguments)?;
    stop_on_ctrl_c(&node)?;
    let observer = arguments.stats.map(|format| (format, node.observer()));
    let reason = node.run(module, config, ENTRY).or_fail(Code::Load)?;
    tracing::info!("the main process {reason}, {:.1?} after the start", begun.elapsed());
    let code = if stdio.broken_pipe() {
        Code::Success
    } else {
        explain(&reason);
        Code::of(&reason)
    };
    if let Some((format, observer)) = observer {
        stats::print(format, &observer.stats());
    }
    let Some((stream, error)) = stdio.lost_output() else { return Ok(code.into()) };
    output::say(format_args!(
        "lunatic: not all that the program wrote to its {stream} is there: {error}"
    ));
    // A failure of the program's own says more.
    Ok(if code.number() == 0 { Code::Output } else { code }.into())
}

/// Prints what a program would be given.
pub(crate) fn print_rights(rights: &Rights) -> Result<ExitCode, Failure> {
    let mut config = ProcessConfig::new(Stdio::inherit());
    rights.grant(&mut config).or_fail(Code::Load)?;
    output::print(&rights.print(&config).or_fail(Code::Internal)?)?;
    Ok(Code::Success.into())
}

/// Reads, compiles (or finds in the cache) and links the module.
pub(crate) fn load(arguments: &RunArguments) -> Result<Module, Failure> {
    let begun = Instant::now();
    let path = &arguments.module;
    let name = path.display();
    let bytes = input::read(path, Module::BYTES_MAX)
        .with_context(|| format!("cannot read \"{name}\""))
        .or_fail(Code::Load)?;
    check_text(path, &bytes)
        .with_context(|| format!("cannot load \"{name}\""))
        .or_fail(Code::Load)?;
    let module = Module::new(bytes, compiler(arguments), Arc::new(functions()));
    let line = progress::Line::new();
    module
        .make_with(builder(arguments)?.form(), line.as_ref().map(progress::Line::progress))
        .with_context(|| format!("cannot load \"{name}\""))
        .or_fail(Code::Load)?;
    drop(line);
    tracing::info!("loaded \"{name}\" in {:.1?}", begun.elapsed());
    Ok(module)
}

/// Whether the module is a program: it exports what the main process runs.
fn check_entry(path: &Path, image: &Image) -> anyhow::Result<()> {
    let entry = image.function(ENTRY).ok_or_else(|| no_entry(path, image))?;
    let ty = image.function_type(entry);
    if !ty.params().is_empty() || !ty.results().is_empty() {
        anyhow::bail!(
            "cannot run \"{}\": its function \"{ENTRY}\" has the type {ty}; a program's takes and \
             gives nothing",
            path.display()
        );
    }
    Ok(())
}

fn no_entry(path: &Path, image: &Image) -> anyhow::Error {
    let mut names: Vec<String> = image.function_names().take(5).map(shown).collect();
    names.sort_unstable();
    let others = if names.is_empty() {
        "nor any other function".to_string()
    } else {
        format!("only others ({}, …)", names.join(", "))
    };
    anyhow!(
        "cannot run \"{}\": it exports no function \"{ENTRY}\", {others}; build it as a \
         program (in Rust: a binary for wasm32-wasip1, not a library)",
        path.display()
    )
}

fn compiler(arguments: &RunArguments) -> Compiler {
    let compiler = Compiler::new(CompilerOptions {
        opt_level: arguments.opt_level.into(),
        ..CompilerOptions::default()
    });
    let cache =
        if arguments.no_cache { None } else { cache_directory("modules").and_then(Cache::open) };
    match cache {
        Some(cache) => compiler.with_cache(cache),
        None => compiler,
    }
}

fn check_text(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let is_text = path.extension().is_some_and(|extension| extension == "wat");
    if is_text && !bytes.is_ascii() && std::str::from_utf8(bytes).is_err() {
        anyhow::bail!("a .wat file is UTF-8 text, this one is not");
    }
    Ok(())
}

/// `$XDG_CACHE_HOME/lunatic/NAME`, or the same under `~/.cache`.
pub(crate) fn cache_directory(name: &str) -> Option<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env::home_dir().map(|home| home.join(".cache")))?;
    Some(base.join("lunatic").join(name))
}

/// What the main process is given.
pub(crate) fn config(arguments: &RunArguments, rights: &Rights) -> Result<ProcessConfig, Failure> {
    let mut config = ProcessConfig::new(streams::open(arguments).or_fail(Code::Load)?);
    let program = arguments.module.file_name().unwrap_or(arguments.module.as_os_str());
    let args = iter::once(program).chain(arguments.args.iter().map(OsString::as_os_str));
    config.args = args.map(|arg| arg.as_bytes().to_vec()).collect();
    rights.grant(&mut config).or_fail(Code::Load)?;
    Ok(config)
}

/// The workers, and what all processes share.
pub(crate) fn start(arguments: &RunArguments) -> Result<Node, Failure> {
    // Many processes have many files; each has a limit of its own.
    raise_open_files_limit();
    builder(arguments)?.start().map_err(|error| {
        let code = if error.is_about_a_setting() { Code::Usage } else { Code::Internal };
        Failure { code, source: error.into() }
    })
}

/// The same before it is started.
pub(crate) fn builder(arguments: &RunArguments) -> Result<NodeBuilder, Failure> {
    let mut builder =
        NodeBuilder::new().memories(arguments.memory.into()).compiler(&compiler(arguments));
    if let Some(workers) = arguments.workers {
        builder = builder.workers(workers.get());
    }
    if let Some(processes) = arguments.processes_max {
        builder = builder.processes_max(processes.get());
    }
    if let Some(bytes) = arguments.max_host_memory {
        builder = builder.host_memory_max(bytes);
    }
    if let Some(bytes) = arguments.max_total_memory {
        builder = builder.total_memory_max(bytes);
    }
    if arguments.without_guard_marks {
        builder = builder.without_guard_marks();
    }
    if let Some(tick) = arguments.tick_us {
        builder = builder.tick(Duration::from_micros(tick.get().into()));
    }
    Ok(builder.preempt(preempt(arguments)?))
}

fn preempt(arguments: &RunArguments) -> Result<Preempt, Failure> {
    match arguments.preempt {
        None => Ok(Preempt::default()),
        Some(PreemptArgument::Fuel) => Ok(Preempt::Fuel),
        Some(PreemptArgument::Signal) if Preempt::Signal.is_supported() => Ok(Preempt::Signal),
        Some(PreemptArgument::Signal) => Err(anyhow!(
            "--preempt signal is for Linux on aarch64, and on x86-64 processors with XSAVE; use --preempt fuel"
        ))
        .or_fail(Code::Internal),
    }
}

/// The first Ctrl-C ends all processes in order, the second one everything at once.
fn stop_on_ctrl_c(node: &Node) -> Result<(), Failure> {
    let stopper = node.stopper();
    let mut asked = false;
    ctrlc::set_handler(move || {
        if std::mem::replace(&mut asked, true) {
            std::process::exit(i32::from(Code::Interrupted.number()));
        }
        stopper.stop();
    })
    .context("cannot listen for Ctrl-C, on a thread of its own (check `ulimit -v` and `ulimit -u`)")
    .or_fail(Code::Internal)
}

/// Tells why the main process ended, if that is not what a program does.
fn explain(reason: &ExitReason) {
    match reason {
        ExitReason::Returned | ExitReason::Code(_) | ExitReason::Shutdown => return,
        _ => output::say(format_args!("lunatic: the main process {reason}")),
    }
    for frame in reason.frames().iter().take(FRAMES_SHOWN) {
        output::say(format_args!("    at {frame}"));
    }
    if reason.frames().len() > FRAMES_SHOWN {
        output::say(format_args!("    … and {} more", reason.frames().len() - FRAMES_SHOWN));
    }
}
