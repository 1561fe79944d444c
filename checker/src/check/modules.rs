//! Which module may decide when: I14.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::bank::Rules;
use crate::history::{Nemesis, NemesisEvent};
use crate::report::ByModule;

/// All modules that were named by anyone, and the order in which they were given to the host.
#[derive(Debug, Default)]
pub struct Modules {
    index: HashMap<[u8; 32], u16>,
    modules: Vec<Module>,
    types: HashMap<String, u16>,
    /// Per type, in order.
    successions: Vec<Vec<Swap>>,
    nemesis: Vec<NemesisEvent>,
}

#[derive(Debug)]
struct Module {
    name: String,
    rules: Option<Rules>,
    rules_name: Option<String>,
    outcomes: [u64; 5],
}

#[derive(Debug)]
struct Swap {
    module: u16,
    begin: u64,
    end: Option<u64>,
}

/// No module: the answer names none.
pub const NO_MODULE: u16 = 0;

/// Why a module may not have decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Nobody gave it to the host.
    Unknown,
    /// Its successor had already decided in this partition.
    Order,
    /// It was not yet, or no longer, the one to decide.
    Time,
}

impl Modules {
    pub fn new(nemesis: &[NemesisEvent]) -> Self {
        let mut modules = Self { nemesis: nemesis.to_vec(), ..Self::default() };
        modules.intern([0; 32], "none");
        for event in nemesis {
            match &event.event {
                Nemesis::SwapBegin { aggregate_type, module, rules } => {
                    let index = modules.named(module);
                    let known = &mut modules.modules[usize::from(index)];
                    known.rules = rules.as_deref().and_then(Rules::named);
                    known.rules_name.clone_from(rules);
                    let of_type = usize::from(modules.of_type(aggregate_type));
                    modules.successions[of_type].push(Swap { module: index, begin: event.at_ns, end: None });
                }
                Nemesis::SwapEnd { aggregate_type, module } => {
                    let index = modules.named(module);
                    let of_type = usize::from(modules.of_type(aggregate_type));
                    let swaps = modules.successions[of_type].iter_mut().rev();
                    if let Some(swap) = swaps.into_iter().find(|swap| swap.module == index && swap.end.is_none()) {
                        swap.end = Some(event.at_ns);
                    }
                }
                _ => {}
            }
        }
        modules
    }

    /// Says which rules a module has that no history names.
    ///
    /// # Errors
    /// If the digest or the name of the rules is none.
    pub fn declare(&mut self, module: &str, rules: &str) -> anyhow::Result<()> {
        anyhow::ensure!(digest(module).is_some(), "{module} is no digest: write sha256: and 64 hex digits");
        let known = Rules::named(rules);
        anyhow::ensure!(known.is_some(), "{rules} names no rules: v1, v2-fee, v2-no-overdraft and v3 are known");
        let index = self.named(module);
        let module = &mut self.modules[usize::from(index)];
        (module.rules, module.rules_name) = (known, Some(rules.to_owned()));
        Ok(())
    }

    fn intern(&mut self, digest: [u8; 32], name: &str) -> u16 {
        let next = self.modules.len() as u16;
        *self.index.entry(digest).or_insert_with(|| {
            let module = Module { name: name.to_owned(), rules: None, rules_name: None, outcomes: [0; 5] };
            self.modules.push(module);
            next
        })
    }

    /// Number of the module with a digest as text; [`NO_MODULE`] for an empty one.
    pub fn named(&mut self, name: &str) -> u16 {
        if name.is_empty() {
            return NO_MODULE;
        }
        match digest(name) {
            Some(digest) => self.intern(digest, name),
            // A text that is no digest is a module of its own, which is in no log.
            None => self.intern(padded(name), name),
        }
    }

    /// Number of the module with a digest as in the log.
    pub fn logged(&mut self, digest: &[u8; 32]) -> u16 {
        match self.index.get(digest) {
            Some(&index) => index,
            None => {
                let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                self.intern(*digest, &format!("sha256:{hex}"))
            }
        }
    }

    /// Number of a type.
    pub fn of_type(&mut self, aggregate_type: &str) -> u16 {
        match self.types.get(aggregate_type) {
            Some(&index) => index,
            None => {
                let next = self.successions.len() as u16;
                self.types.insert(aggregate_type.to_owned(), next);
                self.successions.push(Vec::new());
                next
            }
        }
    }

    pub fn name(&self, module: u16) -> &str {
        &self.modules[usize::from(module)].name
    }

    pub fn rules(&self, module: u16) -> Option<Rules> {
        self.modules[usize::from(module)].rules
    }

    pub fn count(&mut self, module: u16, outcome: usize) {
        self.modules[usize::from(module)].outcomes[outcome] += 1;
    }

    /// Where in its type's succession a decision stands that was made after `from` there, by `module`, at some moment
    /// between `invoke` and `done`.
    pub fn decided(&self, of_type: u16, from: usize, module: u16, invoke: u64, done: u64) -> Result<usize, Wrong> {
        let swaps = &self.successions[usize::from(of_type)];
        if swaps.is_empty() {
            return Ok(from);
        }
        let in_time = |at: usize| {
            let replaced = swaps.get(at + 1).and_then(|next| next.end);
            swaps[at].begin <= done && replaced.is_none_or(|end| end >= invoke)
        };
        let mut later = (from..swaps.len()).filter(|&at| swaps[at].module == module);
        let known_later = later.clone().next().is_some();
        if let Some(at) = later.find(|&at| in_time(at)) {
            return Ok(at);
        }
        let known = swaps.iter().any(|swap| swap.module == module);
        Err(match (known, known_later) {
            (false, _) => Wrong::Unknown,
            (true, false) => Wrong::Order,
            (true, true) => Wrong::Time,
        })
    }

    /// Decisions by module, for the report.
    pub fn table(&self, words: &[&str; 5]) -> BTreeMap<String, ByModule> {
        let decided = self.modules.iter().filter(|module| module.outcomes.iter().any(|&count| count > 0));
        let row = |module: &Module| {
            let counts = words.iter().zip(module.outcomes).filter(|&(_, count)| count > 0);
            let outcomes = counts.map(|(word, count)| ((*word).to_owned(), count)).collect();
            (module.name.clone(), ByModule { rules: module.rules_name.clone(), outcomes })
        };
        decided.map(row).collect()
    }

    /// What was done to the host between two moments, and the last thing before.
    pub fn around(&self, from: u64, to: u64) -> Vec<String> {
        let first = self.nemesis.partition_point(|event| event.at_ns < from).saturating_sub(1);
        let during = self.nemesis[first..].iter().take_while(|event| event.at_ns <= to);
        during.take(10).map(|event| format!("{} {:?}", event.at_ns, event.event)).collect()
    }
}

fn digest(name: &str) -> Option<[u8; 32]> {
    let hex = name.strip_prefix("sha256:")?;
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    let mut out = [0; 32];
    for (place, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(out)
}

fn padded(name: &str) -> [u8; 32] {
    let mut out = [0xff; 32];
    let taken = name.len().min(31);
    out[..taken].copy_from_slice(&name.as_bytes()[..taken]);
    out
}
