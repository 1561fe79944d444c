//! The past of one aggregate, read by its id from committed blocks: events, states at a version, outcomes.
//! Runs on reader threads; the lane is asked only for the head.

use crate::decider::{Decider, Form, Rules};
use std::time::Duration;

use crate::engine::{Answered, History as Page, HistoryEvent, ReadError, StateView};
use crate::lane::answer_in;
use crate::log::{Answer, History, Lsn};
use crate::message::{AggregateId, AggregateType, CommandId};

/// Bytes of events folded by one call.
const FOLD_BYTES: usize = 256 * 1024;

fn broken(error: impl std::fmt::Display) -> ReadError {
    ReadError::Broken(error.to_string())
}

/// Calls `each` with the answers of an aggregate that hold events with versions above `after`, in order, until it says stop.
fn walk(
    log: &dyn History,
    of: &AggregateType,
    id: &AggregateId,
    after: u64,
    mut each: impl FnMut(Answered) -> Result<bool, ReadError>,
) -> Result<(), ReadError> {
    for lsn in log.blocks_from(of.as_str(), id.as_str(), after + 1).map_err(broken)? {
        let block = log.block(lsn).map_err(broken)?;
        for (offset, entry) in block.entries() {
            if entry.aggregate_id != id.as_str()
                || entry.aggregate_type != of.as_str()
                || entry.events() == 0
                || entry.head.version <= after
            {
                continue;
            }
            if !each(Answered { block: block.clone(), offset, repeated: false })? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Events from version `from` on, at most `limit`, of an aggregate whose version is `head`.
///
/// # Errors
/// [`ReadError::Broken`] if the log cannot be read or has a gap.
pub fn events(
    log: &dyn History,
    of: &AggregateType,
    id: &AggregateId,
    head: u64,
    from: u64,
    limit: usize,
) -> Result<Page, ReadError> {
    let mut page = Page { head, events: Vec::new(), next: None };
    let from = from.max(1);
    let mut next = from;
    walk(log, of, id, from - 1, |answered| {
        let entry = answered.entry();
        let (first, count) = (entry.version_before() + 1, entry.events() as u32);
        if first > next {
            return Err(broken(format!(
                "the log has no event {next} of {of}/{id}, but a later one: restore it from a backup"
            )));
        }
        for index in 1..=count {
            let version = first + u64::from(index) - 1;
            if version < next || version > head {
                continue;
            }
            if page.events.len() == limit {
                page.next = Some(version);
                return Ok(false);
            }
            page.events.push(HistoryEvent { version, answered: answered.clone(), index, count });
            next = version + 1;
        }
        Ok(true)
    })?;
    Ok(page)
}

/// The state after `version` events, folded by `rules` from the first one on.
///
/// # Errors
/// [`ReadError::Broken`] if the log cannot be read, [`ReadError::Quarantined`] if the rules cannot fold it.
pub fn state_at(
    log: &dyn History,
    rules: &dyn Rules,
    of: &AggregateType,
    id: &AggregateId,
    version: u64,
) -> Result<StateView, ReadError> {
    let stuck = |fault: crate::decider::Fault| {
        ReadError::Quarantined(format!("module {} cannot fold the events of {of}/{id}: {fault}", rules.digest()))
    };
    let mut decider: Box<dyn Decider> = rules.instantiate().map_err(stuck)?;
    decider.load(0, &[]).map_err(stuck)?;
    let mut frames = Vec::new();
    let mut reached = 0;
    walk(log, of, id, 0, |answered| {
        let entry = answered.entry();
        let Answer::Accepted { events, .. } = entry.answer else { return Ok(true) };
        let wanted = version.min(entry.head.version).saturating_sub(entry.version_before());
        for frame in ordain_sdk::contract::Frames(events).take(wanted as usize) {
            let frame = frame.map_err(|_| broken(format!("a torn event in the block at {}", answered.block.lsn())))?;
            ordain_sdk::contract::write_frame(&mut frames, frame);
        }
        reached = entry.version_before() + wanted;
        if frames.len() >= FOLD_BYTES {
            decider.fold(0, &frames).map_err(stuck)?;
            frames.clear();
        }
        Ok(reached < version)
    })?;
    if reached != version {
        return Err(broken(format!("the log has {reached} events of {of}/{id} where {version} were asked for")));
    }
    if !frames.is_empty() {
        decider.fold(0, &frames).map_err(stuck)?;
    }
    let mut state = Vec::new();
    decider.snapshot(0, Form::Named, &mut state).map_err(stuck)?;
    Ok(StateView { version, state, module: rules.digest(), age: Duration::ZERO })
}

/// The first answer to a command id: in the block the lane remembers, or else searched from the newest block back.
///
/// # Errors
/// [`ReadError::Broken`] if the log cannot be read.
pub fn outcome(
    log: &dyn History,
    of: &AggregateType,
    id: &AggregateId,
    command: &CommandId,
    known: Option<Lsn>,
) -> Result<Option<Answered>, ReadError> {
    let blocks = match known {
        Some(lsn) => vec![lsn],
        None => log.blocks_after(of.as_str(), id.as_str(), Lsn(0)).map_err(broken)?,
    };
    for lsn in blocks.into_iter().rev() {
        let block = log.block(lsn).map_err(broken)?;
        if let Some(answered) = answer_in(&block, of.as_str(), id.as_str(), command.as_str()) {
            return Ok(Some(answered));
        }
    }
    Ok(None)
}

/// The answer to the command at an offset of its log of commands; `None` if it was not answered yet. A repeated command
/// has the first answer to its id.
///
/// # Errors
/// [`ReadError::Broken`] if the log cannot be read.
pub fn answer_at(
    log: &dyn History,
    of: &AggregateType,
    id: &AggregateId,
    offset: u64,
) -> Result<Option<Answered>, ReadError> {
    for lsn in log.blocks_after(of.as_str(), id.as_str(), Lsn(0)).map_err(broken)?.into_iter().rev() {
        let block = log.block(lsn).map_err(broken)?;
        let ours = block.entries().filter(|(_, e)| e.aggregate_id == id.as_str() && e.aggregate_type == of.as_str());
        let mut earlier = false;
        for (at, entry) in ours {
            if entry.head.command_offset != offset {
                earlier |= entry.head.command_offset < offset;
                continue;
            }
            if let Answer::Repeated { .. } = entry.answer {
                let command = CommandId::parse(entry.command_id).map_err(broken)?;
                let first = outcome(log, of, id, &command, None)?;
                return Ok(first.map(|first| Answered { repeated: true, ..first }));
            }
            return Ok(Some(Answered { block: block.clone(), offset: at, repeated: false }));
        }
        if earlier {
            // Offsets rise: what comes before is earlier still.
            return Ok(None);
        }
    }
    Ok(None)
}
