//! What really happened lately, as material to check new rules with before they decide anything.

use std::collections::HashSet;

use super::Board;
use crate::decider::self_check::{Case, CaseCommand};
use crate::history;
use crate::log::{Entry, History, Lsn};
use crate::message::{AggregateId, AggregateType};

/// Cases given at once: each is decided several times.
const CASES_MAX: usize = 32;
/// Events of one case: longer histories are left to the rebuild.
const EVENTS_MAX: u64 = 1000;

/// The newest commands of a type, one per aggregate, each with the aggregate's events before it.
pub fn newest<'a>(boards: impl Iterator<Item = &'a Board>, log: &dyn History, of: &AggregateType) -> Vec<Case> {
    let mut blocks: Vec<Lsn> = boards
        .flat_map(|board| board.newest_blocks.lock().expect("no panic while held").iter().copied().collect::<Vec<_>>())
        .collect();
    blocks.sort_unstable();
    let mut seen = HashSet::new();
    let mut cases = Vec::new();
    for lsn in blocks.into_iter().rev() {
        // What cannot be read is no reason to refuse a module; whoever needs the block will say what is wrong with it.
        let Ok(block) = log.block(lsn) else { continue };
        for (_, entry) in block.entries().filter(|(_, entry)| entry.aggregate_type == of.as_str()) {
            if cases.len() == CASES_MAX {
                return cases;
            }
            // Read back from Kafka, an answer has its events, and the command is elsewhere.
            if !entry.body.is_empty()
                && entry.version_before() <= EVENTS_MAX
                && seen.insert(entry.aggregate_id.to_owned())
            {
                cases.extend(case(log, of, &entry));
            }
        }
    }
    cases
}

fn case(log: &dyn History, of: &AggregateType, entry: &Entry<'_>) -> Option<Case> {
    let id = AggregateId::parse(entry.aggregate_id).ok()?;
    let version = entry.version_before();
    let mut frames = Vec::new();
    if version > 0 {
        let page = history::events(log, of, &id, version, 1, version as usize).ok()?;
        if page.events.len() as u64 != version {
            return None;
        }
        for event in &page.events {
            ordain_sdk::contract::write_frame(&mut frames, event.bytes());
        }
    }
    let command = CaseCommand {
        time_ms: entry.time_ms,
        command_id: entry.command_id.into(),
        correlation_id: entry.correlation_id.into(),
        metadata: entry.metadata.to_vec(),
        body: entry.body.to_vec(),
    };
    Some(Case { aggregate_id: entry.aggregate_id.into(), history: frames, version, command: Some(command) })
}
