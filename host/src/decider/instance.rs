//! A [`Decider`] that is a Wasm instance: what the state machine talks to.

use std::time::Duration;

use ordain_sdk::contract::{
    Context, FORM_COMPACT, FORM_NAMED, STATUS_BAD_EVENT, STATUS_BAD_INPUT, STATUS_LOGGED, STATUS_NO_SLOT, STATUS_OK,
    STATUS_REJECTED,
};

use super::guest::{Guest, Place, garbage, too_large};
use super::limits::Limits;
use super::logs::Logs;
use super::module::Module;
use super::shape;
use super::text::{SENTENCE_BYTES_MAX, one_line};
use super::{Decider, Fault, Form, Slot, Verdict};
use crate::message::FailureReason;

#[cfg(test)]
mod tests;

/// One instance of a module with its resident states. Belongs to one thread at a time.
pub struct Instance {
    module: Module,
    /// The fault that lost it, once there was one.
    guest: Result<Guest, Fault>,
    bounds: Bounds,
    logs: Logs,
}

/// [`Limits`] in the units of the calls.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    decide: Duration,
    fold: Duration,
    result_bytes_max: usize,
    snapshot_bytes_max: usize,
    events_max: u32,
}

impl From<&Limits> for Bounds {
    fn from(limits: &Limits) -> Self {
        Self {
            decide: Duration::from_millis(limits.decide_ms),
            fold: Duration::from_millis(limits.fold_ms),
            result_bytes_max: usize::try_from(limits.result_bytes_max).unwrap_or(usize::MAX),
            snapshot_bytes_max: usize::try_from(limits.snapshot_bytes_max).unwrap_or(usize::MAX),
            events_max: limits.events_per_command_max,
        }
    }
}

impl Instance {
    /// Starts a fresh instance, without any state.
    ///
    /// # Errors
    /// [`Fault`] if it does not start within its limits.
    pub fn new(module: &Module) -> Result<Self, Fault> {
        let limits = module.sandbox().limits();
        Ok(Self {
            guest: Ok(Guest::start(module.sandbox(), module.code())?),
            bounds: limits.into(),
            logs: Logs::new(module, limits),
            module: module.clone(),
        })
    }

    /// The module it is an instance of.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// Runs a call. A fault that loses the instance drops it at once and answers every later call.
    #[inline]
    fn run<T>(&mut self, call: impl FnOnce(&mut Guest, &Bounds, &mut Logs) -> Result<T, Fault>) -> Result<T, Fault> {
        let result = match &mut self.guest {
            Ok(guest) => call(guest, &self.bounds, &mut self.logs),
            Err(fault) => return Err(fault.clone()),
        };
        if let Err(fault) = &result
            && fault.instance_lost
        {
            self.guest = Err(fault.clone());
        }
        result
    }
}

impl Decider for Instance {
    fn load(&mut self, slot: Slot, snapshot: &[u8]) -> Result<(), Fault> {
        self.run(|guest, bounds, _| {
            guest.allow(bounds.fold);
            let place = guest.load(slot, snapshot)?;
            done(guest, place)
        })
    }

    fn decide(
        &mut self,
        slot: Slot,
        context: &Context<'_>,
        command: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Verdict, Fault> {
        out.clear();
        self.run(|guest, bounds, logs| {
            guest.allow(bounds.decide);
            let place = guest.decide(slot, context, command)?;
            let (status, body) = split(guest.bytes(place))?;
            let verdict = verdict_of(status & !STATUS_LOGGED, body, bounds, out);
            if status & STATUS_LOGGED != 0 {
                let text = guest.log()?;
                logs.show(context.aggregate_id, guest.bytes(text));
            }
            verdict
        })
    }

    fn fold(&mut self, slot: Slot, events: &[u8]) -> Result<(), Fault> {
        self.run(|guest, bounds, _| {
            guest.allow(bounds.fold);
            let place = guest.fold(slot, events)?;
            done(guest, place)
        })
    }

    fn snapshot(&mut self, slot: Slot, form: Form, out: &mut Vec<u8>) -> Result<(), Fault> {
        out.clear();
        self.run(|guest, bounds, _| {
            guest.allow(bounds.fold);
            let form = match form {
                Form::Compact => FORM_COMPACT,
                Form::Named => FORM_NAMED,
            };
            let place = guest.snapshot(slot, form)?;
            let (status, body) = split(guest.bytes(place))?;
            if status & !STATUS_LOGGED != STATUS_OK {
                return done(guest, place);
            }
            if body.len() > bounds.snapshot_bytes_max {
                return Err(too_large(format!(
                    "the state has {} bytes as a snapshot, the limit is {} (limits.snapshot_bytes_max)",
                    body.len(),
                    bounds.snapshot_bytes_max
                )));
            }
            out.extend_from_slice(body);
            if status & STATUS_LOGGED != 0 {
                guest.log()?;
            }
            Ok(())
        })
    }

    fn release(&mut self, slot: Slot) {
        // A fault here has dropped the instance, which the next call reports.
        let _ = self.run(|guest, bounds, _| {
            guest.allow(bounds.decide);
            guest.drop_slot(slot)
        });
    }

    /// Resident states and the allocator's holes together; 0 once it is lost. A memory never shrinks: an instance that
    /// has grown too large is replaced by a fresh one.
    fn memory_bytes(&self) -> usize {
        self.guest.as_ref().map_or(0, Guest::memory_bytes)
    }
}

/// Status and body of a result.
#[inline]
fn split(result: &[u8]) -> Result<(u8, &[u8]), Fault> {
    match result.split_first() {
        Some((&status, body)) => Ok((status, body)),
        None => Err(garbage("its result is empty")),
    }
}

/// The end of a call that answers with a status only. What it logged is taken and thrown away: folding is repeated at
/// every restart, and its lines would be repeated with it.
fn done(guest: &mut Guest, place: Place) -> Result<(), Fault> {
    let (status, text) = split(guest.bytes(place))?;
    let sentence = || one_line(text, SENTENCE_BYTES_MAX);
    let fault = |reason, message| Err(Fault { reason, message, instance_lost: false });
    let result = match status & !STATUS_LOGGED {
        STATUS_OK => Ok(()),
        STATUS_BAD_INPUT => fault(FailureReason::Unreadable, format!("the module cannot read this: {}", sentence())),
        STATUS_BAD_EVENT => {
            fault(FailureReason::Unreadable, format!("the module cannot read an event: {}", sentence()))
        }
        STATUS_NO_SLOT => fault(FailureReason::Trap, format!("no state is loaded: {}", sentence())),
        other => Err(garbage(&format!("it answered with the unknown status {other}"))),
    };
    if status & STATUS_LOGGED != 0 {
        guest.log()?;
    }
    result
}

/// What a decision's result says, once it is checked; its bytes are copied to `out`.
#[inline]
fn verdict_of(status: u8, body: &[u8], bounds: &Bounds, out: &mut Vec<u8>) -> Result<Verdict, Fault> {
    match status {
        STATUS_OK | STATUS_REJECTED => {
            if body.len() > bounds.result_bytes_max {
                let (bytes, limit) = (body.len(), bounds.result_bytes_max);
                return Err(too_large(format!(
                    "the result has {bytes} bytes, the limit is {limit} (limits.result_bytes_max)"
                )));
            }
            let verdict = if status == STATUS_OK {
                let count = shape::count_events(body).map_err(|what| garbage(&what))?;
                if count > bounds.events_max {
                    let limit = bounds.events_max;
                    return Err(too_large(format!(
                        "the result has {count} events, the limit is {limit} (limits.events_per_command_max)"
                    )));
                }
                Verdict::Accepted { count }
            } else if shape::is_tagged(body) {
                Verdict::Rejected
            } else {
                return Err(garbage(
                    "its rejection is not one MessagePack value of the form \"Variant\" or {\"Variant\": …}",
                ));
            };
            out.extend_from_slice(body);
            Ok(verdict)
        }
        STATUS_BAD_INPUT => Ok(Verdict::Unreadable(one_line(body, SENTENCE_BYTES_MAX))),
        // Its own events, or a slot that was never loaded: the slot is dirty, the instance is well.
        STATUS_BAD_EVENT | STATUS_NO_SLOT => Err(Fault {
            reason: FailureReason::Trap,
            message: one_line(body, SENTENCE_BYTES_MAX),
            instance_lost: false,
        }),
        other => Err(garbage(&format!("it answered with the unknown status {other}"))),
    }
}
