//! Second pass: the log, entry by entry. Numbers first, then what the command was, then what was decided.

use std::fmt;

use super::asked::failure_hash;
use super::modules::Wrong;
use super::{Answered, Cause, Content, Decision, Judge, Known, NOWHERE, Pointer, Said, key};
use crate::canonical::{Canonical, NULL, Tagged, join, whole_messagepack};
use crate::history::Ending;
use crate::log::entry::frames;
use crate::log::{Answer, Block, Entry, KIND_ENTRIES, KIND_OWNER};
use crate::murmur;
use crate::report::Kind;

/// Outcomes of the log as they are counted.
pub(super) const WORDS: [&str; 5] = ["accepted", "rejected", "conflict", "failed", "repeated"];

/// Where a repeat points whose first answer was not committed yet: that is in the same block or the lane's last one.
const NOT_YET: u64 = u64::MAX;

/// An aggregate's full name, made only when it is shown.
struct Name<'a>(&'a Answered<'a>);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.aggregate_type, self.0.aggregate_id)
    }
}

impl Judge {
    pub(super) fn block(&mut self, block: &Block<'_>) {
        self.report.blocks += 1;
        match block.kind {
            KIND_OWNER => {
                self.owners.insert(block.lane, (block.lsn, block.lanes));
                return;
            }
            KIND_ENTRIES => {}
            other => {
                self.found(Kind::BlockMalformed, format!("block {} is of kind {other}", block.lsn), Cause::default());
                return;
            }
        }
        let owner = self.owners.get(&block.lane).copied();
        if owner != Some((block.term, block.lanes)) {
            let owner = owner.map_or("nobody".to_owned(), |(term, lanes)| format!("owner {term} with {lanes} lanes"));
            let message = format!(
                "block {} was written to lane {} under owner {} with {} lanes, while the lane belonged to {owner}",
                block.lsn, block.lane, block.term, block.lanes
            );
            // The first entry of the block shows what it was about; each change of writer is one violation.
            let first = if block.count > 0 { self.decisions.len() as u32 } else { NOWHERE };
            self.found(Kind::ForeignWriter, message, Cause { decision: first, ..Cause::default() });
            self.owners.insert(block.lane, (block.term, block.lanes));
        }
        let latest = self.latest_blocks.entry(block.lane).or_insert([block.lsn; 2]);
        *latest = [block.lsn, latest[0]];
        for entry in block.entries() {
            match entry {
                Ok(entry) => self.entry(block, &entry),
                Err(what) => {
                    self.found(Kind::BlockMalformed, format!("block {}: {what}", block.lsn), Cause::default());
                }
            }
        }
    }

    fn entry(&mut self, block: &Block<'_>, entry: &Entry<'_>) {
        let cause = Cause::decision(self.decisions.len());
        let events = self.events(entry, cause);
        self.numbers(block, entry, events.len(), cause);
        let said = match entry.answer {
            Answer::Accepted { .. } => Said::Accepted,
            Answer::Rejected(bytes) => Said::Rejected(whole_messagepack(bytes).unwrap_or_else(|what| {
                self.not_messagepack(entry.command_id, &what, cause);
                Tagged { name: String::new(), inside: NULL }
            })),
            Answer::Conflict => Said::Conflict,
            Answer::Failed { reason, message } => Said::Failed { reason, message },
            Answer::Repeated(lsn) => Said::Repeated(Pointer::Block(lsn)),
        };
        self.answered(&Answered {
            at: (block.lsn, entry.offset),
            stream: entry.partition,
            aggregate_type: entry.aggregate_type,
            aggregate_id: entry.aggregate_id,
            command_id: entry.command_id,
            body: entry.body,
            body_hash: Canonical::of_messagepack(entry.body).unwrap_or_default().0,
            expected: entry.expected,
            version: entry.version,
            module: entry.module,
            events,
            said,
            known: None,
            strange: false,
        });
    }

    fn not_messagepack(&mut self, command_id: &str, what: &str, cause: Cause) {
        let message = format!("the answer to {command_id} is not MessagePack: {what}");
        self.found(Kind::BlockMalformed, message, cause);
    }

    /// One answered command of any log, whose numbers were looked at.
    pub fn answered(&mut self, entry: &Answered<'_>) {
        let cause = Cause::decision(self.decisions.len());
        let aggregate = self.aggregate(entry.aggregate_type, entry.aggregate_id);
        let before = self.aggregates[aggregate as usize].version;
        let versions = self.versions(entry, before, entry.events.len() as u64, cause);
        // What follows a missing event cannot be compared with the rules.
        self.aggregates[aggregate as usize].spoiled |= !versions;
        let asked = self.asked_index.get(&key([entry.aggregate_type, entry.aggregate_id, entry.command_id])).copied();
        let module = self.modules.logged(&entry.module);
        let content = self.logged_content(entry, module, cause);
        let (ending, outcome) = match entry.said {
            Said::Accepted => (Ending::Accepted, 0),
            Said::Rejected(_) => (Ending::Rejected, 1),
            Said::Conflict => (Ending::Conflict, 2),
            Said::Failed { .. } => (Ending::Failed, 3),
            Said::Repeated(_) => (Ending::Unknown, 4),
        };
        self.outcomes[outcome] += 1;
        self.modules.count(module, outcome);
        self.report.events += entry.events.len() as u64;
        self.decisions.push(Decision {
            at: entry.at,
            asked: asked.unwrap_or(NOWHERE),
            aggregate,
            events: entry.events.len() as u32,
            body: entry.body_hash,
            ending,
            answer: content,
        });
        match asked {
            None if entry.strange => {}
            None => {
                let name = entry.command_id;
                self.found(Kind::Phantom, format!("command {name} is in the log, but no client sent it"), cause);
            }
            Some(asked) => self.command(entry, asked, cause),
        }
        self.module(entry, asked, module, cause);
        if !matches!(entry.said, Said::Repeated(_)) {
            self.by_the_rules(entry, aggregate, module, cause);
        }
        let state = &mut self.aggregates[aggregate as usize];
        state.version = if entry.events.is_empty() { before } else { entry.version };
    }

    fn events<'a>(&mut self, entry: &Entry<'a>, cause: Cause) -> Vec<&'a [u8]> {
        let Answer::Accepted { count, frames: bytes } = entry.answer else { return Vec::new() };
        let events = frames(bytes).unwrap_or_else(|what| {
            self.found(Kind::HalfCommand, format!("command {} ends in a torn event: {what}", entry.command_id), cause);
            Vec::new()
        });
        if events.len() as u64 != u64::from(count) {
            let message = format!("command {} claims {count} events and has {}", entry.command_id, events.len());
            self.found(Kind::HalfCommand, message, cause);
        }
        events
    }

    /// Partition and its dense numbers, lane and owner: I5 and I9.
    fn numbers(&mut self, block: &Block<'_>, entry: &Entry<'_>, events: usize, cause: Cause) {
        let right = murmur::partition(entry.aggregate_id, self.options.partitions);
        if entry.partition != right {
            let message = format!("{} is in partition {}, it belongs in {right}", entry.aggregate_id, entry.partition);
            self.found(Kind::WrongPartition, message, cause);
        }
        if block.lanes > 0 && entry.partition % block.lanes != block.lane {
            let message =
                format!("partition {} was written by lane {} of {}", entry.partition, block.lane, block.lanes);
            self.found(Kind::ForeignWriter, message, cause);
        }
        let Some(partition) = self.partitions.get_mut(entry.partition as usize) else { return };
        let (sequence, offset, term) = (partition.sequence, partition.command_offset, partition.term);
        partition.sequence = entry.sequence + events.max(1) as u64;
        partition.command_offset = entry.command_offset + 1;
        partition.term = term.max(block.term);
        if block.term < term {
            let message = format!("owner {} wrote after owner {term} to partition {}", block.term, entry.partition);
            self.found(Kind::ForeignWriter, message, cause);
        }
        let mut dense = |expected: u64, found: u64, hole: Kind, repeated: Kind, name: &str| {
            if expected != found {
                let message = format!("{name} {found} in partition {} where {expected} was due", entry.partition);
                self.found(if found > expected { hole } else { repeated }, message, cause);
            }
        };
        dense(sequence, entry.sequence, Kind::SequenceHole, Kind::SequenceRepeated, "sequence");
        dense(offset, entry.command_offset, Kind::OffsetHole, Kind::OffsetRepeated, "command");
    }

    /// Versions and what was expected of them: I5 and I6. Whether the versions follow each other.
    fn versions(&mut self, entry: &Answered<'_>, before: u64, events: u64, cause: Cause) -> bool {
        let name = Name(entry);
        let decided_at = entry.version.saturating_sub(events);
        match entry.said {
            Said::Repeated(_) => return true,
            Said::Conflict if entry.version != before => {
                let message = format!("conflict with version {} of {name}, which had {before}", entry.version);
                self.found(Kind::ConflictWrong, message, cause);
                return true;
            }
            _ if decided_at > before => {
                self.found(Kind::VersionGap, format!("{name} goes from {before} to {}", decided_at + 1), cause);
                return false;
            }
            _ if decided_at < before => {
                let message = format!("{name} has {before} and gets {} again", decided_at + 1);
                self.found(Kind::VersionRepeated, message, cause);
                return false;
            }
            _ => {}
        }
        let Some(expected) = entry.expected else {
            if entry.said == Said::Conflict {
                self.found(Kind::ConflictNeedless, format!("conflict on {name}, nothing was expected"), cause);
            }
            return true;
        };
        match entry.said {
            Said::Conflict if expected == before => {
                self.found(Kind::ConflictNeedless, format!("conflict on {name} at the expected version"), cause);
            }
            Said::Accepted | Said::Rejected(_) if expected != before => {
                let message = format!("{name} had {before}, {expected} was expected, and it was decided all the same");
                self.found(Kind::ExpectationIgnored, message, cause);
            }
            _ => {}
        }
        true
    }

    fn logged_content(&mut self, entry: &Answered<'_>, module: u16, cause: Cause) -> Content {
        let inside = match &entry.said {
            Said::Accepted => {
                let hashes: Result<Vec<_>, _> =
                    entry.events.iter().map(|event| Canonical::of_messagepack(event)).collect();
                hashes.map_or_else(
                    |what| {
                        self.not_messagepack(entry.command_id, &what, cause);
                        0
                    },
                    |hashes| Canonical::list(hashes).0,
                )
            }
            Said::Rejected(no) => join(Canonical::text(&no.name).0, no.inside.0),
            Said::Conflict => join(entry.expected.unwrap_or(0), entry.version),
            Said::Failed { reason, message } => failure_hash(reason, message),
            Said::Repeated(_) => 0,
        };
        Content { version: entry.version, inside, module }
    }

    /// Whether this is the first and only decision about its command, and about what was asked: I4, I7, I10, I12.
    fn command(&mut self, entry: &Answered<'_>, asked: u32, cause: Cause) {
        let (name, body) = (entry.command_id, entry.body_hash);
        let command = &self.asked[asked as usize];
        if !self.was_sent(asked, body) || (!command.mixed && command.expected != entry.expected) {
            let message = format!("command {name} is in the log with another body or expected version than was sent");
            self.found(Kind::ForeignBody, message, cause);
            return;
        }
        let command = &self.asked[asked as usize];
        let original = self.decisions.get(command.decision as usize).map(|first| (first.at.0, first.body));
        let on_its_way = |first| self.latest_blocks.values().any(|latest| latest.contains(&first));
        let reused = entry.said.reused();
        let repeats = reused || matches!(entry.said, Said::Repeated(_));
        if repeats {
            self.asked[asked as usize].repeats_owed -= 1;
        }
        if let Some(known) = entry.known {
            if known == Known::New && !repeats {
                self.first_or_forgotten(asked, cause);
            }
            return;
        }
        match (&entry.said, original) {
            (&Said::Repeated(Pointer::Block(lsn)), Some((first, same)))
                if same == body && (lsn == first || (lsn == NOT_YET && on_its_way(first))) => {}
            (Said::Repeated(_), Some((_, other))) if other != body => {
                let message = format!("command {name} came with another body and got the first one's answer");
                self.found(Kind::ReusedIdTaken, message, cause);
            }
            (Said::Repeated(pointer), first) => {
                let first = first.map_or("nowhere".to_owned(), |(lsn, _)| lsn.to_string());
                let message = format!("the repeat of {name} points to {pointer:?}, its first answer is {first}");
                self.found(Kind::RepeatMisleads, message, cause);
            }
            (_, Some((_, first))) if reused && first != body => {}
            (_, _) if reused => {
                let message = format!("command {name} was refused as a reused id, but it is not one");
                self.found(Kind::ReuseClaimedWrongly, message, cause);
            }
            (_, Some((first, other))) => {
                let command = &mut self.asked[asked as usize];
                command.effects = command.effects.saturating_add(1);
                let kind = if other == body { Kind::Doubled } else { Kind::ReusedIdTaken };
                self.found(kind, format!("command {name} was decided again, the first time in block {first}"), cause);
            }
            (_, None) => self.first_or_forgotten(asked, cause),
        }
    }

    /// A command that is decided as a new one: its first decision, or another one long after, when its id was forgotten.
    fn first_or_forgotten(&mut self, asked: u32, cause: Cause) {
        let command = &mut self.asked[asked as usize];
        if command.decision != NOWHERE {
            command.forgotten = true;
            return;
        }
        command.decision = cause.decision;
        command.effects = 1;
        self.real_time(asked, cause);
    }

    /// I7: what was over before another thing began comes first in the log.
    fn real_time(&mut self, asked: u32, cause: Cause) {
        let aggregate = &mut self.aggregates[self.decisions[cause.decision as usize].aggregate as usize];
        let command = &self.asked[asked as usize];
        let mut wrong = None;
        if command.done_first < aggregate.latest_invoke {
            let later = aggregate.latest;
            wrong =
                Some((Kind::OrderReversed, format!("it was over before decision {later} of the log was asked for")));
        } else if command.invoke_first > aggregate.latest_invoke {
            (aggregate.latest_invoke, aggregate.latest) = (command.invoke_first, cause.decision);
        }
        let attempt = &self.attempts[command.first_attempt as usize];
        if command.attempts == 1 && attempt.stream != 0 {
            let stream = (attempt.place.client, attempt.stream);
            if aggregate.stream == stream && attempt.seq < aggregate.seq && wrong.is_none() {
                let message = format!("number {} of its stream came after number {}", attempt.seq, aggregate.seq);
                wrong = Some((Kind::StreamReordered, message));
            }
            (aggregate.stream, aggregate.seq) = (stream, attempt.seq);
        }
        if let Some((kind, message)) = wrong {
            self.found(kind, message, cause);
        }
    }

    fn module(&mut self, entry: &Answered<'_>, asked: Option<u32>, module: u16, cause: Cause) {
        // A failure before any decision names the module that was active, or none. A repeat decides nothing.
        if matches!(entry.said, Said::Repeated(_) | Said::Failed { .. }) {
            return;
        }
        let of_type = self.modules.of_type(entry.aggregate_type);
        let (invoke, done) = asked.map_or((0, u64::MAX), |asked| {
            let command = &self.asked[asked as usize];
            (command.invoke_first, command.done_first)
        });
        let Some(partition) = self.partitions.get_mut(entry.stream as usize) else { return };
        let from = partition.succession.get(&of_type).copied().unwrap_or(0);
        let wrong = match self.modules.decided(of_type, from, module, invoke, done) {
            Ok(at) => {
                partition.succession.insert(of_type, at);
                return;
            }
            Err(wrong) => wrong,
        };
        let name = self.modules.name(module);
        let (kind, message) = match wrong {
            Wrong::Unknown => (Kind::UnknownModule, format!("{name} decided, but nobody gave it to the host")),
            Wrong::Order => (Kind::ModuleOrder, format!("{name} decided after its successor in this partition")),
            Wrong::Time => (Kind::ModuleTime, format!("{name} decided when it was not its turn")),
        };
        self.found(kind, message, cause);
    }
}
