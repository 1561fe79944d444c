//! Where modules become instances: one engine per process, compiled code kept on disk, a clock that cuts endless calls.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ordain_sdk::contract::{Manifest, STATUS_LOGGED, STATUS_OK};
use wasmtime::{Config, Engine, OptLevel, RegallocAlgorithm, Strategy};

use super::cache::Cache;
use super::gate::{self, Gated};
use super::guest::Guest;
use super::limits::Limits;
use super::module::Module;
use super::refused::{Refused, Rule};
use super::text::{SENTENCE_BYTES_MAX, one_line};
use super::ticks::Ticks;
use crate::message::Digest;

/// Stack of a call in bytes. At which depth it ends depends on the compiler, so no decision may depend on it; it does
/// not, because reaching it is a trap.
const STACK_BYTES_MAX: usize = 512 << 10;
/// Bytes of a module's description of itself.
const MANIFEST_BYTES_MAX: usize = 1 << 20;

/// The sandbox cannot be set up on this machine; the message says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoSandbox(pub String);

/// Compiles modules and starts instances under one set of limits. Cheap to clone; make one per process, since code is
/// shared and kept apart per engine.
#[derive(Clone)]
pub struct Sandbox(Arc<Shared>);

struct Shared {
    engine: Engine,
    ticks: Arc<Ticks>,
    limits: Limits,
    cache: Option<Cache>,
}

impl Sandbox {
    /// Sets up the engine and its clock. `cache_dir` keeps compiled code; without one every start compiles anew.
    ///
    /// # Errors
    /// [`NoSandbox`] if the limits make no sense or the machine has no room for the engine.
    pub fn new(limits: Limits, cache_dir: Option<&Path>) -> Result<Self, NoSandbox> {
        limits.check().map_err(NoSandbox)?;
        let engine = Engine::new(&config()).map_err(|error| {
            NoSandbox(format!(
                "the Wasm engine does not start on this machine: {error}; please report it with your CPU's name"
            ))
        })?;
        let ticks = Ticks::start(&engine)
            .map_err(|error| NoSandbox(format!("the clock that cuts endless calls does not start: {error}")))?;
        let cache = cache_dir.and_then(|dir| {
            let opened = Cache::open(dir, &engine);
            if let Err(error) = &opened {
                tracing::warn!(dir = %dir.display(), %error, "compiled modules are not kept: every start compiles them anew");
            }
            opened.ok()
        });
        Ok(Self(Arc::new(Shared { engine, ticks, limits, cache })))
    }

    /// The limits under which everything here runs.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(super) fn ticks(&self) -> &Arc<Ticks> {
        &self.0.ticks
    }

    /// Makes a module of a file's bytes: gate, compiler (on this thread, for about a second per megabyte), and a first
    /// instance that is asked what it is. Nothing of it is in service afterwards.
    ///
    /// # Errors
    /// [`Refused`] with the first rule that is broken.
    pub fn compile(&self, bytes: &[u8]) -> Result<Module, Refused> {
        let Gated { schemas, warnings, costly, .. } = gate::check(bytes, &self.0.limits)?;
        let digest = Digest::of(bytes);
        let code = self.code(digest, bytes, costly)?;
        let manifest = self.describe(&code)?;
        Module::assemble(digest, manifest, schemas, warnings, code, self.clone())
    }

    fn code(&self, digest: Digest, bytes: &[u8], costly: bool) -> Result<wasmtime::Module, Refused> {
        if let Some(code) = self.0.cache.as_ref().and_then(|cache| cache.load(&self.0.engine, digest)) {
            return Ok(code);
        }
        let compiled = catch_unwind(AssertUnwindSafe(|| match costly {
            false => wasmtime::Module::from_binary(&self.0.engine, bytes),
            true => compile_fast(&self.0.engine, bytes),
        }));
        let code = match compiled {
            Ok(Ok(code)) => code,
            Ok(Err(error)) => {
                let error = one_line(format!("{error:#}").as_bytes(), SENTENCE_BYTES_MAX);
                return Err(Refused::new(Rule::Compile, format!("the module does not compile: {error}")));
            }
            Err(_) => {
                let message = "the module broke the compiler: build it with another toolchain, and please report it";
                return Err(Refused::new(Rule::Compile, message));
            }
        };
        if let Some(cache) = &self.0.cache {
            cache.store(&code, digest);
        }
        Ok(code)
    }

    fn describe(&self, code: &wasmtime::Module) -> Result<Manifest, Refused> {
        let limits = &self.0.limits;
        let starts = |fault: super::Fault| Refused::new(Rule::Compile, fault.message);
        let describes =
            |what: String| Refused::new(Rule::Describe, format!("the module does not describe itself: {what}"));
        let mut guest = Guest::start(self, code).map_err(starts)?;
        guest.allow(Duration::from_millis(limits.init_ms));
        let place = guest.describe().map_err(|fault| describes(fault.message))?;
        match guest.bytes(place).split_first() {
            Some((&status, body)) if status & !STATUS_LOGGED == STATUS_OK && body.len() <= MANIFEST_BYTES_MAX => {
                rmp_serde::from_slice(body)
                    .map_err(|error| describes(one_line(error.to_string().as_bytes(), SENTENCE_BYTES_MAX)))
            }
            Some((&status, body)) => Err(describes(format!("status {status} and {} bytes", body.len()))),
            None => Err(describes("its answer is empty".to_owned())),
        }
    }
}

/// The engine's settings. Each deviation from the defaults is a decision of docs/adr/0001 or of the security model:
/// the smallest set of features, canonical NaNs, traps by signal (bounds checks cost nothing, and an explicit form of
/// them had a miscompilation).
fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_features(wasmtime::WasmFeatures::all(), false)
        .wasm_features(gate::FEATURES, true)
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .epoch_interruption(true)
        .signals_based_traps(true)
        .max_wasm_stack(STACK_BYTES_MAX);
    config
}

/// Compiles with the register allocator whose time is bounded by the size of the code. It is the same code otherwise, so
/// the one engine runs it.
fn compile_fast(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<wasmtime::Module> {
    let fast = Engine::new(config().cranelift_regalloc_algorithm(RegallocAlgorithm::SinglePass))?;
    let code = fast.precompile_module(bytes)?;
    #[allow(unsafe_code, reason = "the only way to hand code from one engine to another")]
    // SAFETY: `deserialize` asks for unmodified output of this version of the compiler: it is a line old.
    unsafe {
        wasmtime::Module::deserialize(engine, code)
    }
}
