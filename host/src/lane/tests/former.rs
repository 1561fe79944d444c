//! States move out of the former rules after a swap; what goes wrong there is nothing against the current ones.

use std::sync::atomic::AtomicU32;

use super::*;
use crate::decider::{Decider, Fault, Form, Rules, Slot, Verdict};

/// Native rules under another digest; what is made of them loses its instance when a state is taken out.
struct Fragile {
    inner: Arc<dyn Rules>,
    digest: u8,
    fragile: bool,
    started: AtomicU32,
}

struct FragileDecider(Box<dyn Decider>, bool);

fn rules(digest: u8, fragile: bool) -> Arc<Fragile> {
    let inner = NativeRules::<Account>::book().active("account").unwrap();
    Arc::new(Fragile { inner, digest, fragile, started: AtomicU32::new(0) })
}

impl Rules for Fragile {
    fn digest(&self) -> Digest {
        Digest([self.digest; 32])
    }
    fn state_tag(&self) -> u64 {
        self.inner.state_tag()
    }
    fn instantiate(&self) -> Result<Box<dyn Decider>, Fault> {
        self.started.fetch_add(1, Ordering::AcqRel);
        Ok(Box::new(FragileDecider(self.inner.instantiate()?, self.fragile)))
    }
}

impl Decider for FragileDecider {
    fn load(&mut self, slot: Slot, snapshot: &[u8]) -> Result<(), Fault> {
        self.0.load(slot, snapshot)
    }
    fn decide(
        &mut self,
        slot: Slot,
        context: &ordain_sdk::contract::Context<'_>,
        command: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Verdict, Fault> {
        self.0.decide(slot, context, command, out)
    }
    fn fold(&mut self, slot: Slot, events: &[u8]) -> Result<(), Fault> {
        self.0.fold(slot, events)
    }
    fn snapshot(&mut self, slot: Slot, form: Form, out: &mut Vec<u8>) -> Result<(), Fault> {
        if self.1 {
            return Err(Fault { reason: FailureReason::Trap, message: "planted".into(), instance_lost: true });
        }
        self.0.snapshot(slot, form, out)
    }
    fn release(&mut self, slot: Slot) {
        self.0.release(slot);
    }
}

/// Rules that can be swapped.
struct Book(Mutex<Arc<Fragile>>);

impl RuleBook for Book {
    fn active(&self, _: &str) -> Option<Arc<dyn Rules>> {
        let rules: Arc<dyn Rules> = Arc::<Fragile>::clone(&self.0.lock().unwrap());
        Some(rules)
    }
    fn types(&self) -> Vec<String> {
        vec!["account".into()]
    }
}

/// The current rules were started anew for every state that the former ones could not give any more, and all states that
/// they held were lost each time.
#[test]
fn former_rules_that_are_lost_cost_the_current_ones_nothing() {
    let dir = TempDir::new().unwrap();
    let book = Arc::new(Book(Mutex::new(rules(1, true))));
    let host = Host::start_on(&dir, settings(1), Arc::clone(&book) as Arc<dyn RuleBook>, |log| log);
    let ids: Vec<String> = (0..20).map(|n| format!("acc-{n}")).collect();
    for id in &ids {
        host.send(command(id, "open", OPEN));
    }
    let next = rules(2, false);
    *book.0.lock().unwrap() = Arc::clone(&next);
    host.lanes.ways[0].0.tell(Control::Modules);
    for id in &ids {
        assert_eq!(host.send(command(id, "deposit", DEPOSIT)).entry().head.version, 2);
    }
    assert_eq!(next.started.load(Ordering::Acquire), 1);
    host.stop();
}
