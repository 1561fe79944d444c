//! Asks a module that was just built what it is: manifest and JSON Schemas. A tool of `ordain build`; the daemon reads
//! the schemas from the section that the build attached and never runs this.
//!
//! The module is the author's own, but it is a program all the same: it gets an engine of its own, no imports, a limit
//! on memory and on instructions, and what it answers is checked before it is believed.

use anyhow::{Context, Result, bail, ensure};
use ordain_sdk::contract::{CONTRACT_VERSION, Manifest, STATUS_LOGGED, STATUS_OK};
use wasmtime::{Config, Engine, Instance, Memory, Module, OptLevel, Store, StoreLimits, StoreLimitsBuilder};

use crate::message::AggregateType;

#[cfg(test)]
mod tests;

/// Memory the module may take.
const MEMORY_BYTES_MAX: usize = 256 << 20;
/// Instructions it may spend: a second, where a description takes milliseconds.
const FUEL: u64 = 1_000_000_000;
/// Bytes of one answer.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// What a module says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Type, versions, samples.
    pub manifest: Manifest,
    /// The schemas as JSON, if the module was built to give them.
    pub schemas: Option<String>,
}

struct Guest {
    store: Store<StoreLimits>,
    instance: Instance,
    memory: Memory,
}

/// Runs `ordain_describe` and, if it is there, `ordain_schemas`.
///
/// # Errors
/// It is no module of this contract, imports something, traps, or answers something that is not valid.
pub fn describe(wasm: &[u8]) -> Result<Description> {
    let mut guest = Guest::start(wasm)?;
    let manifest: Manifest = rmp_serde::from_slice(&guest.ask("ordain_describe")?).context("reading the manifest")?;
    ensure!(
        manifest.contract == CONTRACT_VERSION,
        "the module speaks version {} of the contract and this ordain speaks {CONTRACT_VERSION}: build it with the \
         SDK of this ordain",
        manifest.contract
    );
    AggregateType::parse(&manifest.aggregate_type).context("`TYPE` of the decider")?;
    let schemas = match guest.has("ordain_schemas") {
        true => Some(String::from_utf8(guest.ask("ordain_schemas")?).context("reading the schemas")?),
        false => None,
    };
    if let Some(schemas) = &schemas {
        serde_json::from_str::<serde_json::Value>(schemas).context("reading the schemas")?;
    }
    Ok(Description { manifest, schemas })
}

impl Guest {
    fn start(wasm: &[u8]) -> Result<Self> {
        // Compiled for one call: quick to compile is what counts.
        let engine = Engine::new(Config::new().consume_fuel(true).cranelift_opt_level(OptLevel::None))?;
        let module = Module::new(&engine, wasm)?;
        let imports: Vec<_> = module.imports().map(|i| format!("{}.{}", i.module(), i.name())).collect();
        ensure!(
            imports.is_empty(),
            "the module imports {}, and rules may import nothing: look for a dependency that wants a clock, randomness \
             or a browser, and turn that feature of it off",
            imports.join(", ")
        );
        let limits = StoreLimitsBuilder::new().memory_size(MEMORY_BYTES_MAX).instances(1).memories(1).tables(1).build();
        let mut store = Store::new(&engine, limits);
        store.limiter(|limits| limits);
        store.set_fuel(FUEL)?;
        let instance = Instance::new(&mut store, &module, &[])?;
        let memory = instance.get_memory(&mut store, "memory").context("the module has no memory")?;
        let mut guest = Self { store, instance, memory };
        let init = guest.instance.get_typed_func::<(), ()>(&mut guest.store, "ordain_init");
        let init = init.map_err(anyhow::Error::from).context("does the crate call `ordain_sdk::export!(…)`?")?;
        let started = init.call(&mut guest.store, ());
        guest.explained("ordain_init", started)?;
        Ok(guest)
    }

    fn has(&mut self, export: &str) -> bool {
        self.instance.get_func(&mut self.store, export).is_some()
    }

    /// Calls an export that takes nothing, and returns its answer without the status byte.
    fn ask(&mut self, export: &str) -> Result<Vec<u8>> {
        let answer = self.packed(export)?;
        let answer = self.explained(export, answer)?;
        match answer.split_first() {
            Some((status, body)) if status & !STATUS_LOGGED == STATUS_OK => Ok(body.to_vec()),
            Some((status, body)) => bail!("`{export}` answered {status}: {}", String::from_utf8_lossy(body)),
            None => bail!("`{export}` answered nothing"),
        }
    }

    /// The bytes an export points to; the inner error is a trap.
    fn packed(&mut self, export: &str) -> Result<Result<Vec<u8>, wasmtime::Error>> {
        let call = self.instance.get_typed_func::<(), u64>(&mut self.store, export);
        let call = call.map_err(anyhow::Error::from).with_context(|| format!("the module has no export `{export}`"))?;
        let packed = match call.call(&mut self.store, ()) {
            Ok(packed) => packed,
            Err(trap) => return Ok(Err(trap)),
        };
        let (start, length) = ((packed >> 32) as usize, (packed & u64::from(u32::MAX)) as usize);
        ensure!(length <= ANSWER_BYTES_MAX, "the answer of `{export}` is longer than {ANSWER_BYTES_MAX} bytes");
        let answer = self.memory.data(&self.store).get(start..).and_then(|from| from.get(..length));
        Ok(Ok(answer.with_context(|| format!("the answer of `{export}` lies outside of the memory"))?.to_vec()))
    }

    /// Says what the panic said instead of where the trap was.
    fn explained<T>(&mut self, export: &str, result: Result<T, wasmtime::Error>) -> Result<T> {
        let trap = match result {
            Ok(value) => return Ok(value),
            Err(trap) => trap,
        };
        // Fuel that ran out has to be filled up for the question why.
        self.store.set_fuel(FUEL)?;
        match self.packed("ordain_panic") {
            Ok(Ok(text)) if !text.is_empty() => bail!("`{export}` failed: {}", String::from_utf8_lossy(&text)),
            _ => Err(anyhow::Error::from(trap).context(format!("`{export}` failed"))),
        }
    }
}
