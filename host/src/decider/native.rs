//! A decider that runs the author's Rust in this process, without a sandbox: the yardstick of benchmarks and the decider of
//! tests. Never used by the daemon.

use std::sync::Arc;

use ordain_sdk::Decider as Author;
use ordain_sdk::contract::{
    Context, FORM_COMPACT, FORM_NAMED, Frames, STATUS_BAD_INPUT, STATUS_LOGGED, STATUS_OK, STATUS_REJECTED,
};
use ordain_sdk::runtime::{Calls, Runtime};

use super::{Decider, Fault, Form, RuleBook, Rules, Slot, Verdict};
use crate::message::{Digest, FailureReason};

/// The rules of `A` as they are compiled into this program.
pub struct Native<A> {
    runtime: Runtime<A>,
    context: Vec<u8>,
}

impl<A: Author> Default for Native<A> {
    fn default() -> Self {
        Self { runtime: Runtime::new(), context: Vec::new() }
    }
}

fn fault(result: &[u8]) -> Fault {
    let text = String::from_utf8_lossy(&result[1..]).into_owned();
    Fault { reason: FailureReason::Trap, message: text, instance_lost: false }
}

fn status(result: &[u8]) -> u8 {
    result[0] & !STATUS_LOGGED
}

fn done(result: &[u8]) -> Result<(), Fault> {
    if status(result) == STATUS_OK { Ok(()) } else { Err(fault(result)) }
}

impl<A: Author + Send> Decider for Native<A> {
    fn load(&mut self, slot: Slot, snapshot: &[u8]) -> Result<(), Fault> {
        self.runtime.buffer(snapshot.len())[..snapshot.len()].copy_from_slice(snapshot);
        done(self.runtime.load(slot as usize, snapshot.len()))
    }

    fn decide(
        &mut self,
        slot: Slot,
        context: &Context<'_>,
        command: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Verdict, Fault> {
        self.context.clear();
        context.write(&mut self.context);
        let head = self.context.len();
        let buffer = self.runtime.buffer(head + command.len());
        buffer[..head].copy_from_slice(&self.context);
        buffer[head..head + command.len()].copy_from_slice(command);
        let result = self.runtime.decide(slot as usize, head, command.len());
        out.clear();
        out.extend_from_slice(&result[1..]);
        match status(result) {
            STATUS_OK => Ok(Verdict::Accepted { count: Frames(out).count() as u32 }),
            STATUS_REJECTED => Ok(Verdict::Rejected),
            STATUS_BAD_INPUT => Ok(Verdict::Unreadable(String::from_utf8_lossy(out).into_owned())),

            _ => Err(fault(result)),
        }
    }

    fn fold(&mut self, slot: Slot, events: &[u8]) -> Result<(), Fault> {
        self.runtime.buffer(events.len())[..events.len()].copy_from_slice(events);
        done(self.runtime.fold(slot as usize, events.len()))
    }

    fn snapshot(&mut self, slot: Slot, form: Form, out: &mut Vec<u8>) -> Result<(), Fault> {
        let form = match form {
            Form::Compact => FORM_COMPACT,
            Form::Named => FORM_NAMED,
        };
        let result = self.runtime.snapshot(slot as usize, form);
        done(result)?;
        out.clear();
        out.extend_from_slice(&result[1..]);
        Ok(())
    }

    fn release(&mut self, slot: Slot) {
        self.runtime.drop_slot(slot as usize);
    }
}

/// Native rules as a book of one page.
pub struct NativeRules<A>(std::marker::PhantomData<fn() -> A>);

impl<A: Author + Send> NativeRules<A> {
    /// The rules of `A`.
    pub fn book() -> Arc<dyn RuleBook> {
        Arc::new(Self(std::marker::PhantomData))
    }
}

impl<A: Author + Send> Rules for NativeRules<A> {
    fn digest(&self) -> Digest {
        Digest::of(A::TYPE.as_bytes())
    }

    fn state_tag(&self) -> u64 {
        u64::from(A::STATE_VERSION)
    }

    fn instantiate(&self) -> Result<Box<dyn Decider>, Fault> {
        Ok(Box::new(Native::<A>::default()))
    }
}

impl<A: Author + Send> RuleBook for NativeRules<A> {
    fn active(&self, aggregate_type: &str) -> Option<Arc<dyn Rules>> {
        (aggregate_type == A::TYPE).then(|| Arc::new(Self(std::marker::PhantomData)) as Arc<dyn Rules>)
    }

    fn types(&self) -> Vec<String> {
        vec![A::TYPE.to_owned()]
    }
}
