//! From bytes to machine code: the compiler as this crate uses it.
//!
//! wasmer compiles and nothing else. It gets a module only after [`crate::validate`]; it runs in a
//! thread of ours with a deep stack, because translation goes as deep as a hostile module nests;
//! and a panic in it becomes an error, because a guest may kill itself but not the node. Each
//! module has a wasmer `Engine` of its own: an engine owns the machine code of its modules until it
//! is dropped, and a panic inside it would poison it for the others.

use std::any::Any;
use std::fmt;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use wasmer::sys::vm::{
    MemoryStyle, TableStyle, VMGlobal, VMGlobalDefinition, VMMemory, VMMemoryDefinition, VMTable,
    VMTableDefinition,
};
use wasmer::sys::{
    Artifact, CompilerConfig, Cranelift, CraneliftOptLevel, EngineBuilder, Features, Target,
    Tunables,
};
use wasmer_compiler::{ArtifactCreate, Engine};
use wasmer_types::{
    CompilationProgressCallback, CompileError, GlobalIndex, GlobalType, MemoryError, MemoryType,
    ModuleInfo, TableType, UserAbort, WasmError,
};

use crate::cache::{Cache, Key};
use crate::forms::{Form, MemoryForm};
use crate::memory::fence_bytes;
use crate::meter::{self, Meter};
use crate::text::shown;
use crate::validate::{self, LoadError, LoadErrorKind, Weight};

/// The stack of the thread that validates, translates and links. Address space only: untouched
/// pages cost nothing.
const COMPILER_STACK_BYTES: usize = 256 << 20;

/// How hard cranelift tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OptLevel {
    /// Compiles fastest; for tests and for code that runs once.
    None,
    /// The fastest code.
    #[default]
    Speed,
    /// The fastest code, then the smaller.
    SpeedAndSize,
}

/// What decides the machine code of a module. Two sets of options never share a cached module.
#[derive(Clone, Debug)]
pub struct CompilerOptions {
    /// Default: the form that runs everywhere.
    pub form: Form,
    /// Default: [`OptLevel::Speed`].
    pub opt_level: OptLevel,
    /// Threads that compile. Default: the cores this process may use. Does not change the code.
    pub threads: NonZero<usize>,
}

impl Default for CompilerOptions {
    fn default() -> Self {
        Self {
            form: Form::default(),
            opt_level: OptLevel::default(),
            threads: thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN),
        }
    }
}

/// Called now and then while a module compiles, from several threads, with (done, total) in units
/// that only their ratio gives meaning to.
pub type Progress = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// Compiles modules.
#[derive(Clone, Default)]
pub struct Compiler {
    options: CompilerOptions,
    progress: Option<Progress>,
    abandoned: Option<Abandoned>,
    weighed: Option<Weighed>,
    time_max: Option<Duration>,
    cache: Option<Cache>,
}

/// Asked now and then while a module compiles, from several threads: true gives the module up.
pub type Abandoned = Arc<dyn Fn() -> bool + Send + Sync>;

/// Told before a module is compiled what that will take; an error gives the module up.
pub type Weighed = Arc<dyn Fn(Weight) -> Result<(), String> + Send + Sync>;

impl fmt::Debug for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiler").field("options", &self.options).finish_non_exhaustive()
    }
}

/// A module as machine code in this process. The code lives as long as this value.
pub struct Compiled {
    // Dropped before the engine that holds the code it points into.
    artifact: Artifact,
    _engine: Engine,
    form: Form,
    reductions_global: Option<GlobalIndex>,
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled")
            .field("name", &self.module().name)
            .field("reductions_global", &self.reductions_global)
            .finish_non_exhaustive()
    }
}

impl Compiled {
    pub(crate) fn new(artifact: Artifact, engine: Engine, form: Form) -> Self {
        let reductions_global =
            if form.yields { meter::reductions_global(artifact.module_info()) } else { None };
        Self { artifact, _engine: engine, form, reductions_global }
    }

    /// Functions, signatures, data initializers: what wasmer made.
    pub(crate) fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// What the module declares, with the global that yield points added.
    pub(crate) fn module(&self) -> &ModuleInfo {
        self.artifact.module_info()
    }

    /// What it was compiled for.
    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// The `i64` global that counts reductions down, when compiled with yield points.
    pub(crate) fn reductions_global(&self) -> Option<GlobalIndex> {
        self.reductions_global
    }
}

impl Compiler {
    /// A compiler for the machine it runs on.
    pub fn new(options: CompilerOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// Looks in `cache` before compiling, and leaves there what it compiles.
    #[must_use]
    pub fn with_cache(self, cache: Cache) -> Self {
        Self { cache: Some(cache), ..self }
    }

    /// Reports progress to `progress`.
    #[must_use]
    pub fn with_progress(self, progress: Progress) -> Self {
        Self { progress: Some(progress), ..self }
    }

    /// The same compiler with other options.
    #[must_use]
    pub fn with_options(&self, options: CompilerOptions) -> Self {
        Self { options, ..self.clone() }
    }

    /// Gives a module up between two functions when `abandoned` says so.
    #[must_use]
    pub fn abandoned_when(self, abandoned: Abandoned) -> Self {
        Self { abandoned: Some(abandoned), ..self }
    }

    /// Tells `weighed` what each module takes before it is compiled.
    #[must_use]
    pub fn weighed_by(self, weighed: Weighed) -> Self {
        Self { weighed: Some(weighed), ..self }
    }

    /// A compiler of the same options for modules that guests bring along: on one thread, without a
    /// cache, which is for programs that come again, and with a limit of time for each module.
    #[must_use]
    pub fn for_guests(&self, time_max: Duration) -> Self {
        let options = CompilerOptions { threads: NonZero::<usize>::MIN, ..self.options.clone() };
        Self { time_max: Some(time_max), ..Self::new(options) }
    }

    /// What this compiler was made with.
    pub fn options(&self) -> &CompilerOptions {
        &self.options
    }

    /// Compiles a module given as binary or as WebAssembly text (which begins with a parenthesis).
    pub fn compile(&self, bytes: &[u8]) -> Result<Compiled, LoadError> {
        let Some(cache) = &self.cache else { return self.compile_apart(bytes) };
        let key = self.key(bytes);
        if let Some(compiled) = cache.load(&key).and_then(|payload| self.revive(payload)) {
            return Ok(compiled);
        }
        let compiled = self.compile_apart(bytes)?;
        match compiled.artifact.serialize() {
            Ok(payload) => cache.store(&key, &payload),
            Err(error) => tracing::warn!("cannot serialize a compiled module: {error}"),
        }
        Ok(compiled)
    }

    /// Compiles in a thread with a deep stack, where a panic ends only the thread.
    fn compile_apart(&self, bytes: &[u8]) -> Result<Compiled, LoadError> {
        thread::scope(|scope| {
            let compiler = thread::Builder::new()
                .name("lunatic compiler".to_string())
                .stack_size(COMPILER_STACK_BYTES)
                .spawn_scoped(scope, || catch_unwind(AssertUnwindSafe(|| self.compile_here(bytes))))
                .map_err(|error| LoadErrorKind::Resource {
                    message: format!(
                        "no thread with {} MiB of stack to compile in (ulimit -v, ulimit -u): {error}",
                        COMPILER_STACK_BYTES >> 20
                    ),
                })?;
            // The thread catches its own panics, so both layers mean the same.
            match compiler.join().flatten() {
                Ok(result) => result,
                Err(panic) => {
                    Err(LoadErrorKind::CompilerBug { message: panic_message(&*panic) }.into())
                }
            }
        })
    }

    /// Everything that decides the machine code for `bytes`.
    fn key(&self, bytes: &[u8]) -> Key {
        // Our own part in the machine code, so that changing it can never find old entries.
        const OURS: [&str; 4] = [
            include_str!("compile.rs"),
            include_str!("meter.rs"),
            include_str!("validate/costs.rs"),
            include_str!("validate/features.rs"),
        ];
        let target = Target::default();
        let CompilerOptions { form, opt_level, threads: _ } = &self.options;
        let decisions = format!(
            "{} {} {:?} {form:?} {opt_level:?} {}",
            wasmer_compiler::VERSION,
            target.triple(),
            target.cpu_features(),
            fence_bytes(),
        );
        let ours = OURS.map(str::as_bytes);
        Key::of(&[decisions.as_bytes(), ours[0], ours[1], ours[2], ours[3], bytes])
    }

    /// A compiled module from the cache, or `None` when wasmer does not like what it reads.
    fn revive(&self, payload: Vec<u8>) -> Option<Compiled> {
        let engine = Engine::headless();
        let revived = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: deserialize wants bytes that the caller trusts to be valid for this engine
            // and this processor. `Cache::load` took them from a file that only this user can
            // write, under a key that names this wasmer, this processor and these options, with the
            // checksum that `compile` wrote over what serialize returned.
            unsafe { Artifact::deserialize(&engine, payload.into()) }
        }));
        match revived {
            Ok(Ok(artifact)) => Some(Compiled::new(artifact, engine, self.options.form)),
            Ok(Err(error)) => {
                tracing::warn!("cannot use a cached module, compiling it again: {error}");
                None
            }
            Err(panic) => {
                let message = panic_message(&*panic);
                tracing::warn!("cannot use a cached module, compiling it again: {message}");
                None
            }
        }
    }

    fn compile_here(&self, bytes: &[u8]) -> Result<Compiled, LoadError> {
        let binary;
        let bytes = if is_text(bytes) {
            binary = translate_text(bytes)?;
            &binary
        } else {
            bytes
        };
        let validated = validate::validate(bytes)?;
        if let Some(weighed) = &self.weighed {
            weighed(validated.weight).map_err(|message| LoadErrorKind::Abandoned { message })?;
        }
        let meter = self.options.form.yields.then(|| Arc::new(Meter::new(validated.costs)));
        let engine = self.engine(meter);
        let progress = self.progress_callback();
        let artifact = Artifact::new(&engine, bytes, &Layout(self.options.form.memory), progress)
            .map_err(explain)?;
        Ok(Compiled::new(artifact, engine, self.options.form))
    }

    /// What wasmer calls between two functions.
    fn progress_callback(&self) -> Option<CompilationProgressCallback> {
        let Self { progress, abandoned, time_max, .. } = self.clone();
        if progress.is_none() && abandoned.is_none() && time_max.is_none() {
            return None;
        }
        let begun = Instant::now();
        Some(CompilationProgressCallback::new(move |step| {
            if let (Some(progress), Some(done), Some(total)) =
                (&progress, step.phase_step(), step.phase_step_count())
            {
                progress(done, total);
            }
            if abandoned.as_ref().is_some_and(|abandoned| abandoned()) {
                return Err(UserAbort::new("nobody waits for it any more"));
            }
            match time_max {
                Some(limit) if begun.elapsed() > limit => {
                    Err(UserAbort::new(format!("it took longer than {limit:?}, the limit")))
                }
                _ => Ok(()),
            }
        }))
    }

    /// An engine that compiles with our options, for one module.
    fn engine(&self, meter: Option<Arc<Meter>>) -> Engine {
        let mut cranelift = Cranelift::new();
        cranelift.opt_level(match self.options.opt_level {
            OptLevel::None => CraneliftOptLevel::None,
            OptLevel::Speed => CraneliftOptLevel::Speed,
            OptLevel::SpeedAndSize => CraneliftOptLevel::SpeedAndSize,
        });
        cranelift.num_threads(self.options.threads);
        if let Some(meter) = meter {
            cranelift.push_middleware(meter);
        }
        if cfg!(test) {
            // Nobody else checks what the middleware adds.
            cranelift.enable_verifier();
        }
        EngineBuilder::new(cranelift)
            .set_target(Some(Target::default()))
            .set_features(Some(features()))
            .engine()
    }
}

/// The features as wasmer knows them; [`crate::validate`] has enforced the same set before.
fn features() -> Features {
    Features {
        reference_types: true,
        simd: true,
        bulk_memory: true,
        multi_value: true,
        extended_const: true,
        ..Features::none()
    }
}

/// Whether `bytes` are WebAssembly text: the first thing that is neither blank nor comment is a
/// parenthesis.
fn is_text(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    loop {
        rest = rest.trim_ascii_start();
        if let Some(comment) = rest.strip_prefix(b";;") {
            match comment.iter().position(|&byte| byte == b'\n') {
                Some(end) => rest = &comment[end..],
                None => return false,
            }
        } else {
            // A block comment begins with a parenthesis too.
            return rest.starts_with(b"(");
        }
    }
}

/// Text to binary.
fn translate_text(bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
    if bytes.len() > validate::MAX_MODULE_BYTES {
        let (count, limit) = (bytes.len() as u64, validate::MAX_MODULE_BYTES as u64);
        return Err(LoadErrorKind::Limit { what: "bytes", count, limit, offset: 0 }.into());
    }
    wat::parse_bytes(bytes).map(|binary| binary.into_owned()).map_err(|error| {
        // Printed over several lines: "message", then "--> <anon>:line:column", then the quoted
        // line.
        let printed = error.to_string();
        let place = printed.lines().find_map(|line| line.trim_start().strip_prefix("--> "));
        let mut numbers = place.into_iter().flat_map(|place| place.rsplit(':'));
        let column = numbers.next().and_then(|number| number.parse().ok()).unwrap_or(0);
        let line = numbers.next().and_then(|number| number.parse().ok()).unwrap_or(0);
        let message = shown(printed.lines().next().unwrap_or("unreadable text"));
        LoadErrorKind::Text { message, line, column }.into()
    })
}

/// wasmer's error about a module that our validation let through.
fn explain(error: CompileError) -> LoadError {
    let message = error.to_string();
    match error {
        CompileError::Resource(_) => LoadErrorKind::Resource { message },
        CompileError::Wasm(WasmError::Unsupported(_) | WasmError::ImplLimitExceeded)
        | CompileError::UnsupportedFeature(_)
        | CompileError::UnsupportedTarget(_)
        // Cranelift's limits on the size of a function, among others.
        | CompileError::Codegen(_) => LoadErrorKind::Compile { message },
        CompileError::Aborted(_) => LoadErrorKind::Abandoned { message },
        _ => LoadErrorKind::CompilerBug { message },
    }
    .into()
}

/// What a panic said.
fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|message| (*message).to_string())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_string())
}

/// How compiled code sees memories and tables. The rest of the trait is for wasmer's own instances,
/// which we never make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout(MemoryForm);

const NOT_WASMER: &str = "lunatic lays out its instances itself";

impl Tunables for Layout {
    fn memory_style(&self, _memory: &MemoryType) -> MemoryStyle {
        match self.0 {
            // Explicit bounds checks: the only style in which a memory may be a slot of any size. The
            // code compares where an access begins, if it reaches less than the fence beyond.
            MemoryForm::Dense => MemoryStyle::Dynamic { offset_guard_size: fence_bytes() as u64 },
            // Its base is a constant to compiled code: the memory never moves.
            MemoryForm::Guarded => MemoryStyle::Static,
        }
    }

    fn table_style(&self, _table: &TableType) -> TableStyle {
        TableStyle::CallerChecksSignature
    }

    fn create_host_memory(
        &self,
        _ty: &MemoryType,
        _style: &MemoryStyle,
    ) -> Result<VMMemory, MemoryError> {
        Err(MemoryError::UnsupportedOperation { message: NOT_WASMER.to_string() })
    }

    unsafe fn create_vm_memory(
        &self,
        _ty: &MemoryType,
        _style: &MemoryStyle,
        _vm_definition_location: NonNull<VMMemoryDefinition>,
    ) -> Result<VMMemory, MemoryError> {
        Err(MemoryError::UnsupportedOperation { message: NOT_WASMER.to_string() })
    }

    fn create_host_table(&self, _ty: &TableType, _style: &TableStyle) -> Result<VMTable, String> {
        Err(NOT_WASMER.to_string())
    }

    unsafe fn create_vm_table(
        &self,
        _ty: &TableType,
        _style: &TableStyle,
        _vm_definition_location: NonNull<VMTableDefinition>,
    ) -> Result<VMTable, String> {
        Err(NOT_WASMER.to_string())
    }

    fn create_global(&self, _ty: GlobalType) -> Result<VMGlobal, String> {
        Err(NOT_WASMER.to_string())
    }

    unsafe fn create_vm_global(
        &self,
        _ty: GlobalType,
        _vm_definition_location: NonNull<VMGlobalDefinition>,
    ) -> Result<VMGlobal, String> {
        Err(NOT_WASMER.to_string())
    }
}

#[cfg(test)]
mod tests;
