//! One running instance at the level of bytes: calls under a budget, results checked before they are believed.
//!
//! Invariant: after a trap the store is never entered again, but once to read the panic's text; Rust code that was
//! stopped in the middle of a call keeps no promise.

use std::sync::Arc;
use std::time::Duration;

use ordain_sdk::contract::{Context, PANIC_BYTES_MAX};
use wasmtime::{Instance, Memory, ResourceLimiter, Store, Trap, TypedFunc, WasmParams, WasmResults};

use super::Fault;
use super::budget::Budget;
use super::sandbox::Sandbox;
use super::text::{SENTENCE_BYTES_MAX, one_line};
use super::ticks::Ticks;
use crate::message::FailureReason;

/// CPU time for reading the panic's text, which only gives an address.
const PANIC_TEXT_BUDGET: Duration = Duration::from_millis(5);
/// Smallest input buffer asked for.
const BUFFER_BYTES_MIN: usize = 4096;

/// What wasmtime keeps beside an instance for us.
struct Host {
    budget: Budget,
    ticks: Arc<Ticks>,
    memory_bytes_max: usize,
    table_elements_max: usize,
}

/// The module asked for more than its limit. It traps at once instead of seeing the refusal: what it would do then
/// depends on what else is resident, and a decision must not.
#[derive(Debug, thiserror::Error)]
#[error("the module asked for {asked} {what}, its limit is {limit}")]
struct OverLimit {
    asked: usize,
    what: &'static str,
    limit: usize,
}

impl ResourceLimiter for Host {
    fn memory_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let limit = self.memory_bytes_max.min(maximum.unwrap_or(usize::MAX));
        if desired > limit {
            return Err(OverLimit { asked: desired, what: "bytes of memory", limit }.into());
        }
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(error)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let limit = self.table_elements_max.min(maximum.unwrap_or(usize::MAX));
        if desired > limit {
            return Err(OverLimit { asked: desired, what: "table elements", limit }.into());
        }
        Ok(true)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(error)
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        1
    }

    fn memories(&self) -> usize {
        1
    }
}

/// The functions of the contract.
struct Exports {
    describe: TypedFunc<(), u64>,
    buf: TypedFunc<u32, u32>,
    load: TypedFunc<(u32, u32), u64>,
    decide: TypedFunc<(u32, u32, u32), u64>,
    fold: TypedFunc<(u32, u32), u64>,
    snapshot: TypedFunc<(u32, u32), u64>,
    drop: TypedFunc<u32, ()>,
    log: TypedFunc<(), u64>,
    panic: TypedFunc<(), u64>,
}

/// A store with its one instance, and the functions that belong to this very store.
pub struct Guest {
    store: Store<Host>,
    memory: Memory,
    exports: Exports,
    buffer_at: usize,
    buffer_len: usize,
}

/// Where a result lies in the module's memory; good until the next call.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    at: usize,
    len: usize,
}

impl Guest {
    /// Starts an instance of compiled code and runs `ordain_init`.
    ///
    /// # Errors
    /// [`Fault`] if it does not start within its limits.
    pub fn start(sandbox: &Sandbox, code: &wasmtime::Module) -> Result<Self, Fault> {
        let limits = sandbox.limits();
        let host = Host {
            budget: Budget::default(),
            ticks: Arc::clone(sandbox.ticks()),
            memory_bytes_max: usize::try_from(limits.memory_bytes_per_instance).unwrap_or(usize::MAX),
            table_elements_max: usize::try_from(limits.table_elements_max).unwrap_or(usize::MAX),
        };
        let mut store = Store::new(sandbox.engine(), host);
        store.limiter(|host| host);
        store.epoch_deadline_callback(|mut store| {
            let host = store.data_mut();
            host.ticks.met();
            Ok(host.budget.tick())
        });
        let does_not_start = |error: wasmtime::Error| {
            let mut fault = fault_of(&error);
            fault.message = format!("an instance of the module does not start: {}", fault.message);
            fault
        };
        store.data_mut().budget.restart(Duration::from_millis(limits.init_ms));
        store.set_epoch_deadline(1);
        let instance = Instance::new(&mut store, code, &[]).map_err(does_not_start)?;
        let (memory, exports) = find(&instance, &mut store).map_err(does_not_start)?;
        let init = instance.get_typed_func::<(), ()>(&mut store, "ordain_init").map_err(does_not_start)?;
        let mut guest = Self { store, memory, exports, buffer_at: 0, buffer_len: 0 };
        let done = init.call(&mut guest.store, ());
        guest.checked(done)?;
        Ok(guest)
    }

    /// Bytes of memory the instance holds.
    pub fn memory_bytes(&self) -> usize {
        self.memory.data_size(&self.store)
    }

    /// Makes one budget the one of the calls that follow.
    #[inline]
    pub fn allow(&mut self, cpu: Duration) {
        self.store.data_mut().budget.restart(cpu);
        self.store.set_epoch_deadline(1);
    }

    /// `ordain_describe`.
    pub fn describe(&mut self) -> Result<Place, Fault> {
        let packed = self.exports.describe.call(&mut self.store, ());
        self.place(packed)
    }

    /// `ordain_load` with a snapshot.
    pub fn load(&mut self, slot: u32, snapshot: &[u8]) -> Result<Place, Fault> {
        self.put(snapshot)?;
        let packed = self.exports.load.call(&mut self.store, (slot, snapshot.len() as u32));
        self.place(packed)
    }

    /// `ordain_decide` with a context, written where the module reads it, and a command.
    #[inline]
    pub fn decide(&mut self, slot: u32, context: &Context<'_>, command: &[u8]) -> Result<Place, Fault> {
        let parts = [
            context.aggregate_id.as_bytes(),
            context.command_id.as_bytes(),
            context.correlation_id.as_bytes(),
            context.metadata,
        ];
        let context_len = Context::HEAD + parts.iter().map(|part| part.len()).sum::<usize>();
        let mut rest = self.room(context_len + command.len())?;
        let mut write = |bytes: &[u8]| {
            let (here, tail) = std::mem::take(&mut rest).split_at_mut(bytes.len());
            here.copy_from_slice(bytes);
            rest = tail;
        };
        let mut head = [0; Context::HEAD];
        head[..8].copy_from_slice(&context.time_ms.to_le_bytes());
        head[8..16].copy_from_slice(&context.version.to_le_bytes());
        for (length, part) in head[16..].chunks_exact_mut(4).zip(parts) {
            length.copy_from_slice(&(part.len() as u32).to_le_bytes());
        }
        write(&head);
        parts.into_iter().for_each(&mut write);
        write(command);
        let lengths = (slot, context_len as u32, command.len() as u32);
        let packed = self.exports.decide.call(&mut self.store, lengths);
        self.place(packed)
    }

    /// `ordain_fold` with frames of events.
    pub fn fold(&mut self, slot: u32, events: &[u8]) -> Result<Place, Fault> {
        self.put(events)?;
        let packed = self.exports.fold.call(&mut self.store, (slot, events.len() as u32));
        self.place(packed)
    }

    /// `ordain_snapshot`.
    pub fn snapshot(&mut self, slot: u32, form: u32) -> Result<Place, Fault> {
        let packed = self.exports.snapshot.call(&mut self.store, (slot, form));
        self.place(packed)
    }

    /// `ordain_drop`.
    pub fn drop_slot(&mut self, slot: u32) -> Result<(), Fault> {
        let done = self.exports.drop.call(&mut self.store, slot);
        self.checked(done)
    }

    /// `ordain_log`.
    pub fn log(&mut self) -> Result<Place, Fault> {
        let packed = self.exports.log.call(&mut self.store, ());
        self.place(packed)
    }

    /// The bytes of a result.
    #[inline]
    pub fn bytes(&self, place: Place) -> &[u8] {
        // `place` checked it, and a memory never shrinks.
        self.memory.data(&self.store).get(place.at..place.at + place.len).unwrap_or_default()
    }

    /// Checks that a result lies in the memory.
    #[inline]
    fn place(&mut self, packed: wasmtime::Result<u64>) -> Result<Place, Fault> {
        let packed = self.checked(packed)?;
        let (at, len) = ((packed >> 32) as usize, packed as u32 as usize);
        if at + len > self.memory.data_size(&self.store) {
            let memory = self.memory_bytes();
            return Err(garbage(&format!(
                "its result ({len} bytes at {at}) lies outside its memory of {memory} bytes"
            )));
        }
        Ok(Place { at, len })
    }

    /// Room for `len` bytes of input in the module's memory.
    #[inline]
    fn room(&mut self, len: usize) -> Result<&mut [u8], Fault> {
        if len > self.buffer_len {
            self.ask_for_buffer(len)?;
        }
        let memory = self.memory.data_mut(&mut self.store);
        memory
            .get_mut(self.buffer_at..self.buffer_at + len)
            .ok_or_else(|| garbage("its buffer lies outside its memory"))
    }

    #[cold]
    fn ask_for_buffer(&mut self, len: usize) -> Result<(), Fault> {
        let Ok(wanted) = u32::try_from(len.next_power_of_two().max(BUFFER_BYTES_MIN)) else {
            return Err(too_large(format!("an input of {len} bytes does not fit into a module")));
        };
        let at = self.exports.buf.call(&mut self.store, wanted);
        let (at, wanted) = (self.checked(at)? as usize, wanted as usize);
        let memory = self.memory_bytes();
        if at == 0 || at + wanted > memory {
            return Err(garbage(&format!(
                "its buffer of {wanted} bytes at {at} lies outside its memory of {memory} bytes"
            )));
        }
        (self.buffer_at, self.buffer_len) = (at, wanted);
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.room(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn checked<T>(&mut self, result: wasmtime::Result<T>) -> Result<T, Fault> {
        match result {
            Ok(value) => Ok(value),
            Err(error) => Err(self.trapped(&error)),
        }
    }

    /// The fault of a call that did not return, with the panic's text if the module left one.
    #[cold]
    fn trapped(&mut self, error: &wasmtime::Error) -> Fault {
        let mut fault = fault_of(error);
        tracing::debug!(target: "ordain::module", "trap in a module: {error:?}");
        // Any other trap than `unreachable` did not come from a panic: an older text would explain the wrong thing.
        if fault.reason == FailureReason::Trap && error.downcast_ref() == Some(&Trap::UnreachableCodeReached) {
            self.allow(PANIC_TEXT_BUDGET);
            if let Ok(packed) = self.exports.panic.call(&mut self.store, ()) {
                let (at, len) = ((packed >> 32) as usize, packed as u32 as usize);
                let memory = self.memory.data(&self.store);
                let text = memory.get(at..at + len).unwrap_or_default();
                if !text.is_empty() {
                    fault.message = one_line(text, PANIC_BYTES_MAX);
                }
            }
        }
        fault
    }
}

fn find(instance: &Instance, store: &mut Store<Host>) -> wasmtime::Result<(Memory, Exports)> {
    fn function<P: WasmParams, R: WasmResults>(
        instance: &Instance,
        store: &mut Store<Host>,
        name: &str,
    ) -> wasmtime::Result<TypedFunc<P, R>> {
        instance.get_typed_func(store, name)
    }
    let memory = instance
        .get_memory(&mut *store, "memory")
        .ok_or_else(|| wasmtime::Error::msg("the module exports no memory"))?;
    let exports = Exports {
        describe: function(instance, store, "ordain_describe")?,
        buf: function(instance, store, "ordain_buf")?,
        load: function(instance, store, "ordain_load")?,
        decide: function(instance, store, "ordain_decide")?,
        fold: function(instance, store, "ordain_fold")?,
        snapshot: function(instance, store, "ordain_snapshot")?,
        drop: function(instance, store, "ordain_drop")?,
        log: function(instance, store, "ordain_log")?,
        panic: function(instance, store, "ordain_panic")?,
    };
    Ok((memory, exports))
}

/// What a trap is called in an outcome.
fn fault_of(error: &wasmtime::Error) -> Fault {
    let (reason, message) = if let Some(over) = error.downcast_ref::<OverLimit>() {
        (FailureReason::Memory, over.to_string())
    } else {
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => {
                (FailureReason::Timeout, "the call took longer than its limit of CPU time".to_owned())
            }
            Some(trap) => (FailureReason::Trap, trap.to_string()),
            None => (FailureReason::Trap, one_line(error.root_cause().to_string().as_bytes(), SENTENCE_BYTES_MAX)),
        }
    };
    Fault { reason, message, instance_lost: true }
}

/// The module broke the contract: nothing else it says is believed.
#[cold]
pub fn garbage(what: &str) -> Fault {
    Fault {
        reason: FailureReason::Trap,
        message: format!("the module broke the contract: {what}"),
        instance_lost: true,
    }
}

/// An honest module went over a limit of size: its slot is unusable, the instance is not.
#[cold]
pub fn too_large(message: String) -> Fault {
    Fault { reason: FailureReason::TooLarge, message, instance_lost: false }
}
