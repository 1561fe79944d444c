//! One partition of a type: its events from the first to the last, each answer beside the command that it answers.

use super::answer::{Fields, Shown, command_offset, log_sequence};
use super::command::{Command, Home};
use super::known::KnownIds;
use super::names::UNROUTED;
use super::owners::{Owners, Taking, is_owner};
use super::record::{Record, shown};
use crate::check::{Answered, Cause, Judge, Known, NOWHERE, Said};
use crate::history::Ending;
use crate::report::Kind;

/// Which partition.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Full name of the topic of commands.
    pub commands_topic: &'a str,
    /// The type.
    pub aggregate_type: &'a str,
    /// The partition.
    pub partition: u32,
    /// Of how many.
    pub partitions: u32,
    /// Number of the sequence for the check.
    pub stream: u32,
    /// Commands at the end may be unanswered.
    pub pending: bool,
    /// Commands may come from clients without a history.
    pub strange: bool,
}

/// A walk through one partition.
pub struct Walk<'a> {
    place: Place<'a>,
    owners: &'a Owners,
    judge: &'a mut Judge,
    known: KnownIds,
    /// Names of outcomes that were there already.
    names: hashbrown::HashSet<u64>,
    next_sequence: u64,
    /// The offset behind the last answered command's.
    next_command: u64,
    time_ms: i64,
    /// The term that the last owner's record in this partition began.
    owner: Option<u64>,
    /// The term of the last answer.
    term: u64,
}

/// The records of one answered command.
type Group<'r> = Vec<(&'r Record, Fields<'r>)>;

impl<'a> Walk<'a> {
    /// Nothing was read yet.
    pub fn new(place: Place<'a>, owners: &'a Owners, judge: &'a mut Judge) -> Self {
        Self {
            place,
            owners,
            judge,
            known: KnownIds::default(),
            names: hashbrown::HashSet::new(),
            next_sequence: 0,
            next_command: 0,
            time_ms: i64::MIN,
            owner: None,
            term: 0,
        }
    }

    /// Reads it all.
    pub fn run(mut self, commands: &[Record], events: &[Record]) {
        let mut answered = vec![false; commands.len()];
        let mut group: Group<'_> = Vec::new();
        for record in events {
            if is_owner(record) {
                self.close(&mut group, commands, &mut answered);
                self.owner(record);
                continue;
            }
            self.sequence(record);
            let fields = match Fields::read(record, self.place.aggregate_type) {
                Ok(fields) => fields,
                Err(what) => {
                    self.close(&mut group, commands, &mut answered);
                    self.found(Kind::RecordMalformed, record, &what);
                    // It answers its command all the same, however badly.
                    let offset = command_offset(record);
                    if let Some(at) = offset.and_then(|offset| position(commands, offset)) {
                        answered[at] = true;
                    }
                    continue;
                }
            };
            self.belongs(&mut group, record, &fields, commands, &mut answered);
            let whole = fields.index == fields.count;
            group.push((record, fields));
            if whole {
                self.close(&mut group, commands, &mut answered);
            }
        }
        self.close(&mut group, commands, &mut answered);
        self.unanswered(commands, &answered);
    }

    fn found(&mut self, kind: Kind, record: &Record, what: &str) {
        let Place { aggregate_type, partition, .. } = self.place;
        let message = format!("{aggregate_type}.events-{partition}@{}: {what}", record.offset);
        let cause = Cause::decision(self.judge.decisions.len());
        self.judge.found(kind, message, cause);
    }

    /// The dense number of every record.
    fn sequence(&mut self, record: &Record) {
        let due = self.next_sequence;
        match log_sequence(record) {
            Ok(number) => {
                self.next_sequence = number.saturating_add(1);
                if number != due {
                    let kind = if number > due { Kind::SequenceHole } else { Kind::SequenceRepeated };
                    self.found(kind, record, &format!("has number {number} where {due} was due"));
                }
            }
            // Fields::read says what is wrong.
            Err(_) => self.next_sequence += 1,
        }
    }

    fn owner(&mut self, record: &Record) {
        let term = Taking::read(record).and_then(|taking| self.owners.term(&taking, self.place.partition));
        match term {
            Ok(term) => {
                if let Some(before) = self.owner.filter(|&before| before >= term) {
                    self.found(Kind::ForeignWriter, record, &format!("owner {term} took over from owner {before}"));
                }
                self.owner = Some(term);
            }
            Err(what) => self.found(Kind::ForeignWriter, record, &what),
        }
    }

    /// Ends the group before a record that does not go on with it, and looks at how the record goes on.
    fn belongs<'r>(
        &mut self,
        group: &mut Group<'r>,
        record: &'r Record,
        fields: &Fields<'r>,
        commands: &[Record],
        answered: &mut [bool],
    ) {
        let Some((before, last)) = group.last() else {
            if fields.index > 1 {
                let what = format!("is event {} of {}, the first is missing", fields.index, fields.count);
                self.found(Kind::HalfCommand, record, &what);
            }
            return;
        };
        if fields.index != last.index + 1 || fields.command_offset != last.command_offset {
            self.close(group, commands, answered);
            self.belongs(group, record, fields, commands, answered);
            return;
        }
        let (apart, shares, dense) =
            (record.offset != before.offset + 1, fields.shares(last), fields.version == last.version + 1);
        if apart {
            let what = format!("event {} of a command is not in one commit with the one before", fields.index);
            self.found(Kind::TornCommit, record, &what);
        }
        if !shares {
            self.found(Kind::RecordMalformed, record, "differs from the event before in what a command's events share");
        }
        if !dense {
            let kind = if fields.version > last.version { Kind::VersionGap } else { Kind::VersionRepeated };
            self.found(kind, record, &format!("goes from version {} to {}", last.version, fields.version));
        }
    }

    /// The group is over: it is an answer.
    fn close(&mut self, group: &mut Group<'_>, commands: &[Record], answered: &mut [bool]) {
        let group = std::mem::take(group);
        let (Some((first, _)), Some((_, last))) = (group.first(), group.last()) else { return };
        if last.index != last.count {
            let what = format!("of {} events of command {} there are {}", last.count, last.command_id, group.len());
            self.found(Kind::HalfCommand, first, &what);
        }
        self.term(first, last);
        if last.time_ms < self.time_ms {
            self.found(Kind::TimeFell, first, "is older than the answer before it");
        }
        self.time_ms = self.time_ms.max(last.time_ms);
        if last.variant.is_none() && !self.names.insert(xxhash_rust::xxh3::xxh3_64(last.id.as_bytes())) {
            self.found(Kind::RecordMalformed, first, &format!("another outcome is named {}", last.id));
        }
        let at = position(commands, last.command_offset);
        self.order(first, last.command_offset, at.map(|at| answered[at]));
        if let Some(at) = at {
            answered[at] = true;
            let record = &commands[at];
            let command = Command::read(record, self.place.partition, self.place.partitions);
            if self.names_it(first, last, &command, record) {
                self.decided(&group, &command);
                return;
            }
        }
        self.fold_only(&group);
    }

    /// Events of nobody's command: they are in the log, and change what they are about.
    fn fold_only(&mut self, group: &Group<'_>) {
        let (Some((first, _)), Some((_, last))) = (group.first(), group.last()) else { return };
        let events: Vec<_> = group.iter().filter_map(|(record, fields)| fields.event(record).ok()).collect();
        if last.variant.is_some() {
            self.hand_on(first, last, &Command::unknown(), events, Said::Accepted, Known::New);
        }
    }

    /// Answers come in the order of their commands, one for each.
    fn order(&mut self, first: &Record, offset: u64, answered: Option<bool>) {
        match answered {
            None => {
                let what = format!("answers a command at {offset}, where there is none");
                self.found(Kind::AnswerWithoutCommand, first, &what);
            }
            Some(true) => {
                let what = format!("answers the command at {offset}, which was answered before");
                self.found(Kind::CommandAnsweredTwice, first, &what);
            }
            Some(false) if offset < self.next_command => {
                let what = format!("answers the command at {offset} after that at {}", self.next_command - 1);
                self.found(Kind::AnswersReordered, first, &what);
            }
            Some(false) => {}
        }
        self.next_command = self.next_command.max(offset.saturating_add(1));
    }

    /// I9: the writer had the lane then.
    fn term(&mut self, first: &Record, fields: &Fields<'_>) {
        let term = fields.epoch;
        if let Some(what) = self.owners.unknown(term, self.place.partition) {
            self.found(Kind::ForeignWriter, first, &what);
        } else if let Some(owner) = self.owner.filter(|&owner| owner != term) {
            let what = format!("was written by owner {term}, while the lane belonged to owner {owner}");
            self.found(Kind::ForeignWriter, first, &what);
        } else if term < self.term {
            self.found(Kind::ForeignWriter, first, &format!("owner {term} wrote after owner {}", self.term));
        }
        self.term = self.term.max(term);
    }

    /// Whether an answer is about the command whose offset it names.
    fn names_it(&mut self, first: &Record, fields: &Fields<'_>, command: &Command<'_>, record: &Record) -> bool {
        let unrouted =
            fields.subject.strip_prefix(UNROUTED).is_some_and(|n| super::text::number(n.as_bytes()).is_some());
        let subject = match command.home {
            Home::Here(id) => id == fields.subject,
            Home::Elsewhere(id) => unrouted || id == fields.subject,
            Home::Nowhere => unrouted,
        };
        let Place { commands_topic, partition, .. } = self.place;
        let id = command.is_named(fields.command_id, commands_topic, partition, record.offset);
        if !(subject && id) {
            let what = format!(
                "answers command {} of {}, but the record at {} is {record}",
                fields.command_id, fields.subject, record.offset
            );
            self.found(Kind::AnswerForeign, first, &what);
        }
        subject && id
    }

    /// Hands an answered command on to the check.
    fn decided(&mut self, group: &Group<'_>, command: &Command<'_>) {
        let (Some((first, _)), Some((_, last))) = (group.first(), group.last()) else { return };
        let (mut events, mut outcome) = (Vec::new(), None);
        for (record, fields) in group {
            let wrong = match fields.variant {
                Some(_) => fields.event(record).map(|event| events.push(event)),
                None => fields.outcome(record, self.place.aggregate_type).map(|shown| outcome = Some(shown)),
            };
            if let Err(what) = wrong {
                self.found(Kind::RecordMalformed, record, &what);
                return;
            }
        }
        let said = outcome.as_ref().map_or(Said::Accepted, Shown::said);
        self.readable(first, &said, command);
        let known = self.known.look_up(last.subject, last.command_id, command.hash, last.time_ms);
        self.repeats(first, &said, known, outcome.as_ref());
        if !said.reused() && !matches!(said, Said::Repeated(_)) {
            let decision = self.judge.decisions.len() as u32;
            self.known.remember(last.subject, last.command_id, command.hash, last.time_ms, decision);
        }
        let told = outcome.as_ref().and_then(|shown| shown.outcome.as_ref()?.conflict);
        if let Some(conflict) =
            told.filter(|conflict| said == Said::Conflict && Some(conflict.expected) != command.expected)
        {
            let what =
                format!("conflict with {} expected, the command expects {:?}", conflict.expected, command.expected);
            self.found(Kind::ConflictNeedless, first, &what);
        }
        self.hand_on(first, last, command, events, said, known);
    }

    fn hand_on(
        &mut self,
        first: &Record,
        last: &Fields<'_>,
        command: &Command<'_>,
        events: Vec<Vec<u8>>,
        said: Said<'_>,
        known: Known,
    ) {
        self.judge.answered(&Answered {
            at: (first.offset, self.place.stream),
            stream: self.place.stream,
            aggregate_type: self.place.aggregate_type,
            aggregate_id: last.subject,
            command_id: last.command_id,
            body: &command.body,
            body_hash: command.hash,
            expected: command.expected,
            version: last.version,
            module: last.module,
            events: events.iter().map(Vec::as_slice).collect(),
            said,
            known: Some(known),
            // Nobody waits for an answer to what has no place.
            strange: self.place.strange || last.subject.starts_with(UNROUTED),
        });
    }

    /// What cannot be decided fails, and what is at home is not sent away.
    fn readable(&mut self, first: &Record, said: &Said<'_>, command: &Command<'_>) {
        let undecided = matches!(said, Said::Failed { .. } | Said::Repeated(_));
        match (&command.defect, command.home) {
            (Some(_), Home::Elsewhere(id)) if !undecided => {
                let what = format!("{id} does not belong to this partition, and was decided here");
                self.found(Kind::WrongPartition, first, &what);
            }
            (Some(defect), _) if !undecided => {
                let what = format!("a command was decided that cannot be: {defect}");
                self.found(Kind::DecidedUnreadable, first, &what);
            }
            (_, Home::Here(id)) if matches!(said, Said::Failed { reason: "misrouted", .. }) => {
                self.found(Kind::MisroutedWrongly, first, &format!("{id} was called misrouted in its own partition"));
            }
            _ => {}
        }
    }

    /// I10 and I12: a known id is not decided again.
    fn repeats(&mut self, first: &Record, said: &Said<'_>, known: Known, outcome: Option<&Shown<'_>>) {
        let repeated = matches!(said, Said::Repeated(_));
        let (kind, what) = match known {
            Known::Same(decision) if repeated => match self.differs(decision, outcome) {
                None => return,
                Some(what) => (Kind::RepeatMisleads, what),
            },
            Known::Other(_) if said.reused() => return,
            Known::New if !repeated && !said.reused() => return,
            Known::New if repeated => (Kind::RepeatMisleads, "repeats an answer that is not known".to_owned()),
            Known::New | Known::Same(_) if said.reused() => {
                (Kind::ReuseClaimedWrongly, "was refused as a reused id, but it is not one".to_owned())
            }
            Known::Other(decision) => (Kind::ReusedIdTaken, format!("its id stands for another command, #{decision}")),
            Known::New | Known::Same(_) => (Kind::Doubled, format!("decided again, the first time as {known:?}")),
        };
        self.found(kind, first, &what);
    }

    /// What a repeated answer says that the first one did not.
    fn differs(&mut self, decision: u32, outcome: Option<&Shown<'_>>) -> Option<String> {
        let shown = outcome?;
        let outcome = shown.outcome.as_ref()?;
        let content = self.judge.content(outcome);
        let first = self.judge.decisions.get(decision as usize).filter(|_| decision != NOWHERE)?;
        let inside =
            content.inside == first.answer.inside || (shown.events_left_out && outcome.outcome == Ending::Accepted);
        let same = outcome.outcome == first.ending
            && inside
            && (content.version, content.module) == (first.answer.version, first.answer.module);
        (!same).then(|| format!("repeats another answer than #{decision}"))
    }

    /// I11: every command was answered, up to the end or up to the last answer.
    fn unanswered(&mut self, commands: &[Record], answered: &[bool]) {
        let Place { aggregate_type, partition, pending, .. } = self.place;
        for (record, _) in commands.iter().zip(answered).filter(|&(_, &answered)| !answered) {
            let at_end = record.offset >= self.next_command;
            self.judge.report.pending += u64::from(at_end);
            if at_end && pending {
                continue;
            }
            let message = format!(
                "{aggregate_type}.commands-{partition}@{}: {}",
                record.offset,
                shown(record.to_string().as_bytes())
            );
            self.judge.found(Kind::Unanswered, message, Cause::default());
        }
    }
}

fn position(commands: &[Record], offset: u64) -> Option<usize> {
    commands.binary_search_by_key(&offset, |record| record.offset).ok()
}
