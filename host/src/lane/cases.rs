//! What really happened, as material to check new rules with before they decide anything.

use std::collections::HashSet;

use super::Board;
use crate::decider::self_check::{Case, CaseCommand};
use crate::history;
use crate::log::{Entry, History, Lsn};
use crate::message::{AggregateId, AggregateType};
use crate::store::{LIST_MAX, Store};

/// Aggregates whose newest command is decided again: each is decided several times.
const NEWEST_MAX: usize = 32;
/// Other aggregates, of any age, whose events are read again.
const OTHERS_MAX: usize = 32;
/// Events of one case, the first ones of its aggregate: the rest of a longer history is left to the rebuild.
const EVENTS_MAX: u64 = 1000;

/// Cases of a type: its newest commands, one per aggregate, each with the aggregate's events before it; and whole histories,
/// of those aggregates and of others evenly spread over the first ids that the store has.
pub fn sample<'a>(
    boards: impl Iterator<Item = &'a Board>,
    log: &dyn History,
    store: &Store,
    of: &AggregateType,
) -> Vec<Case> {
    let mut seen = HashSet::new();
    let mut cases = newest(boards, log, of, &mut seen);
    // Of a store that cannot be read nothing is sampled: whoever needs it will say what is wrong with it.
    let stored = store.list(of.as_str(), None, LIST_MAX).unwrap_or_default();
    let step = stored.len().div_ceil(OTHERS_MAX).max(1);
    for (id, version) in stored.iter().step_by(step).filter(|(id, _)| !seen.contains(id)) {
        cases.extend(case(log, of, id, *version, None));
    }
    cases
}

fn newest<'a>(
    boards: impl Iterator<Item = &'a Board>,
    log: &dyn History,
    of: &AggregateType,
    seen: &mut HashSet<String>,
) -> Vec<Case> {
    let mut blocks: Vec<Lsn> = boards
        .flat_map(|board| board.newest_blocks.lock().expect("no panic while held").iter().copied().collect::<Vec<_>>())
        .collect();
    blocks.sort_unstable();
    let mut cases = Vec::new();
    for lsn in blocks.into_iter().rev() {
        // What cannot be read is no reason to refuse a module; whoever needs the block will say what is wrong with it.
        let Ok(block) = log.block(lsn) else { continue };
        for (_, entry) in block.entries().filter(|(_, entry)| entry.aggregate_type == of.as_str()) {
            if seen.len() == NEWEST_MAX {
                return cases;
            }
            if !seen.insert(entry.aggregate_id.to_owned()) {
                continue;
            }
            // Read back from Kafka, an answer has its events, and the command is elsewhere.
            if !entry.body.is_empty() && entry.version_before() <= EVENTS_MAX {
                cases.extend(case(log, of, entry.aggregate_id, entry.version_before(), Some(&entry)));
            }
            if entry.events() > 0 || entry.body.is_empty() {
                cases.extend(case(log, of, entry.aggregate_id, entry.head.version, None));
            }
        }
    }
    cases
}

/// An aggregate as it was at a version, and a command that it met there.
fn case(log: &dyn History, of: &AggregateType, id: &str, version: u64, met: Option<&Entry<'_>>) -> Option<Case> {
    let aggregate = AggregateId::parse(id).ok()?;
    let version = version.min(EVENTS_MAX);
    let mut frames = Vec::new();
    if version > 0 {
        let page = history::events(log, of, &aggregate, version, 1, version as usize).ok()?;
        if page.events.len() as u64 != version {
            return None;
        }
        for event in &page.events {
            ordain_sdk::contract::write_frame(&mut frames, event.bytes());
        }
    }
    let command = met.map(|entry| CaseCommand {
        time_ms: entry.time_ms,
        command_id: entry.command_id.into(),
        correlation_id: entry.correlation_id.into(),
        metadata: entry.metadata.to_vec(),
        body: entry.body.to_vec(),
    });
    Some(Case { aggregate_id: id.into(), history: frames, version, command })
}
