//! A module's side of every call: resident states, the input buffer, the result. Plain Rust without `unsafe`, so that
//! all of it is tested natively; [`crate::export`] only gives it addresses.

use crate::codec;
use crate::contract::{
    CONTRACT_VERSION, Context, FORM_COMPACT, FORM_NAMED, Frames, Manifest, STATUS_BAD_EVENT, STATUS_BAD_INPUT,
    STATUS_LOGGED, STATUS_NO_SLOT, STATUS_OK, STATUS_REJECTED,
};
use crate::decider::Decider;
use std::fmt::Display;
use std::io::Write;

#[cfg(test)]
mod tests;

/// States of many aggregates under slots, and the two buffers that are used again by every call: a call allocates only
/// what the author's own types need.
#[derive(Debug)]
pub struct Runtime<D> {
    input: Vec<u8>,
    output: Vec<u8>,
    slots: Vec<Option<Box<D>>>,
}

/// The calls of the contract for some decider; a result is status byte and body, valid until the next call.
pub trait Calls {
    /// `ordain_buf`: room for `bytes` of input.
    fn buffer(&mut self, bytes: usize) -> &mut [u8];
    /// `ordain_describe`.
    fn describe(&mut self) -> &[u8];
    /// `ordain_load`.
    fn load(&mut self, slot: usize, bytes: usize) -> &[u8];
    /// `ordain_decide`.
    fn decide(&mut self, slot: usize, context_bytes: usize, command_bytes: usize) -> &[u8];
    /// `ordain_fold`.
    fn fold(&mut self, slot: usize, bytes: usize) -> &[u8];
    /// `ordain_snapshot`.
    fn snapshot(&mut self, slot: usize, form: u32) -> &[u8];
    /// `ordain_drop`.
    fn drop_slot(&mut self, slot: usize);
    /// `ordain_schemas`.
    #[cfg(feature = "schemas")]
    fn schemas(&mut self) -> &[u8];
}

/// Replaces whatever the result holds by a status and a sentence.
fn fail(output: &mut Vec<u8>, status: u8, message: impl Display) {
    output.clear();
    output.push(status);
    let _ = write!(output, "{message}"); // a Vec takes everything
}

/// Marks the result if the author logged something during the call.
fn finish(output: &mut [u8]) -> &[u8] {
    if crate::export::with(|sdk| sdk.log.take_fresh()) {
        output[0] |= STATUS_LOGGED;
    }
    output
}

fn no_slot(output: &mut Vec<u8>, slot: usize) {
    fail(output, STATUS_NO_SLOT, format_args!("slot {slot} holds no state: load it first"));
}

fn beyond_buffer(output: &mut Vec<u8>) {
    fail(output, STATUS_BAD_INPUT, "the input is longer than the buffer asked for");
}

impl<D: Decider> Runtime<D> {
    /// A runtime without any state.
    pub const fn new() -> Self {
        Self { input: Vec::new(), output: Vec::new(), slots: Vec::new() }
    }
}

impl<D: Decider> Default for Runtime<D> {
    fn default() -> Self {
        Self::new()
    }
}

/// Decides on `state` and, if accepted, folds the events in; what to tell the host is left in `output`.
fn decide_and_evolve<D: Decider>(state: &mut D, context: &[u8], command: &[u8], output: &mut Vec<u8>) {
    let Some(context) = Context::parse(context) else {
        return fail(output, STATUS_BAD_INPUT, "the context is cut short or not UTF-8");
    };
    let command = match codec::decode_whole(command) {
        Ok(command) => command,
        Err(error) => return fail(output, STATUS_BAD_INPUT, error),
    };
    match state.decide(command, &context) {
        Err(rejection) => {
            output.push(STATUS_REJECTED);
            if let Err(error) = codec::encode_named(&rejection, output) {
                panic!("a rejection does not serialise: {error}");
            }
        }
        Ok(events) => {
            output.push(STATUS_OK);
            for event in events {
                if let Err(error) = record_and_evolve(state, &event, output) {
                    return fail(output, STATUS_BAD_EVENT, format_args!("does not read its own event: {error}"));
                }
            }
        }
    }
}

/// Writes the event's frame and folds what was written. The state follows the bytes the log will hold and not the value
/// in memory, so that a value that does not survive is found now and not by the next restart.
fn record_and_evolve<D: Decider>(
    state: &mut D,
    event: &D::Event,
    output: &mut Vec<u8>,
) -> Result<(), rmp_serde::decode::Error> {
    let head = output.len();
    let body = head + 4;
    output.extend_from_slice(&[0; 4]);
    if let Err(error) = codec::encode_named(event, output) {
        panic!("an event does not serialise: {error}");
    }
    let length = (output.len() - body) as u32;
    output[head..body].copy_from_slice(&length.to_le_bytes());
    state.evolve(codec::decode(&output[body..])?);
    Ok(())
}

impl<D: Decider> Calls for Runtime<D> {
    fn buffer(&mut self, bytes: usize) -> &mut [u8] {
        if self.input.len() < bytes {
            self.input.resize(bytes, 0);
        }
        &mut self.input
    }

    fn describe(&mut self) -> &[u8] {
        self.output.clear();
        let samples = D::samples().into_iter().map(|sample| {
            let mut bytes = Vec::new();
            codec::encode_named(&sample, &mut bytes).map(|()| bytes)
        });
        let written = samples.collect::<Result<Vec<_>, _>>().and_then(|samples| {
            let manifest = Manifest {
                contract: CONTRACT_VERSION,
                sdk: crate::VERSION.to_owned(),
                aggregate_type: D::TYPE.to_owned(),
                state_version: D::STATE_VERSION,
                samples,
            };
            self.output.push(STATUS_OK);
            codec::encode_named(&manifest, &mut self.output)
        });
        if let Err(error) = written {
            panic!("a sample command does not serialise: {error}");
        }
        finish(&mut self.output)
    }

    fn load(&mut self, slot: usize, bytes: usize) -> &[u8] {
        self.output.clear();
        let Some(snapshot) = self.input.get(..bytes) else {
            beyond_buffer(&mut self.output);
            return &self.output;
        };
        let state = if snapshot.is_empty() { Ok(D::default()) } else { codec::decode_compact(snapshot) };
        match state {
            Ok(state) => {
                if self.slots.len() <= slot {
                    self.slots.resize_with(slot + 1, || None);
                }
                self.slots[slot] = Some(Box::new(state));
                self.output.push(STATUS_OK);
            }
            Err(error) => fail(&mut self.output, STATUS_BAD_INPUT, error),
        }
        finish(&mut self.output)
    }

    fn decide(&mut self, slot: usize, context_bytes: usize, command_bytes: usize) -> &[u8] {
        self.output.clear();
        let end = context_bytes.checked_add(command_bytes);
        match (end.and_then(|end| self.input.get(..end)), self.slots.get_mut(slot)) {
            (None, _) => beyond_buffer(&mut self.output),
            (Some(input), Some(Some(state))) => {
                let (context, command) = input.split_at(context_bytes);
                decide_and_evolve(state.as_mut(), context, command, &mut self.output);
            }
            _ => no_slot(&mut self.output, slot),
        }
        finish(&mut self.output)
    }

    fn fold(&mut self, slot: usize, bytes: usize) -> &[u8] {
        self.output.clear();
        self.output.push(STATUS_OK);
        match (self.input.get(..bytes), self.slots.get_mut(slot)) {
            (None, _) => beyond_buffer(&mut self.output),
            (Some(input), Some(Some(state))) => {
                for (index, frame) in Frames(input).enumerate() {
                    let Ok(frame) = frame else {
                        fail(&mut self.output, STATUS_BAD_EVENT, format_args!("frame {index} is cut short"));
                        break;
                    };
                    match codec::decode(frame) {
                        Ok(event) => state.evolve(event),
                        Err(error) => {
                            fail(&mut self.output, STATUS_BAD_EVENT, format_args!("frame {index}: {error}"));
                            break;
                        }
                    }
                }
            }
            _ => no_slot(&mut self.output, slot),
        }
        finish(&mut self.output)
    }

    fn snapshot(&mut self, slot: usize, form: u32) -> &[u8] {
        self.output.clear();
        let Some(Some(state)) = self.slots.get(slot) else {
            no_slot(&mut self.output, slot);
            return &self.output;
        };
        self.output.push(STATUS_OK);
        let written = match form {
            FORM_COMPACT => codec::encode_compact(state.as_ref(), &mut self.output),
            FORM_NAMED => codec::encode_named(state.as_ref(), &mut self.output),
            _ => {
                fail(&mut self.output, STATUS_BAD_INPUT, format_args!("unknown snapshot form {form}"));
                Ok(())
            }
        };
        if let Err(error) = written {
            panic!("the state does not serialise: {error}");
        }
        finish(&mut self.output)
    }

    fn drop_slot(&mut self, slot: usize) {
        if let Some(state) = self.slots.get_mut(slot) {
            *state = None;
        }
    }

    #[cfg(feature = "schemas")]
    fn schemas(&mut self) -> &[u8] {
        self.output.clear();
        self.output.push(STATUS_OK);
        crate::schemas::write::<D>(&mut self.output);
        finish(&mut self.output)
    }
}
