//! The verdict: what was counted, and every promise that was broken, with what lies around it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal, $invariant:literal;)+) => {
        /// What was broken. Each belongs to one invariant of the history checker.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Kind {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Its word in reports.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// The invariant it breaks.
            pub fn invariant(self) -> &'static str {
                match self { $(Self::$name => $invariant,)+ }
            }
        }
    };
}

kinds! {
    /// Bytes in the middle of the log that are no block.
    LogDamaged = "log_damaged", "P11";
    /// A block whose checksum fits but whose inside does not.
    BlockMalformed = "block_malformed", "P11";
    /// A record whose headers or value cannot be read or contradict each other, or that does not belong into its topic.
    RecordMalformed = "record_malformed", "P11";
    /// Topics that do not belong together, or are not what the record of the layout says.
    LayoutDiffers = "layout_differs", "P11";
    /// The beginning of a topic that is kept for ever is gone.
    LogTruncated = "log_truncated", "P1";
    /// Answered, but not in the log.
    Lost = "lost", "I1";
    /// In the log with another answer than the client got.
    AnsweredDifferently = "answered_differently", "I1";
    /// An answer about another command or aggregate than was asked, or one that contradicts itself.
    AnswerForeign = "answer_foreign", "I1";
    /// Told that it was refused, while the log holds events of it.
    RefusalHasEvents = "refusal_has_events", "I2";
    /// The host said that nothing was recorded, while the log holds the command.
    RefusedButRecorded = "refused_but_recorded", "I2";
    /// Not all of a command's events are there, or more.
    HalfCommand = "half_command", "I3";
    /// The events of one command were not committed together.
    TornCommit = "torn_commit", "I3";
    /// An answer to a command that is not in the topic of commands.
    AnswerWithoutCommand = "answer_without_command", "I4";
    /// A command was decided that nobody can read.
    DecidedUnreadable = "decided_unreadable", "I4";
    /// In the log, but nobody asked for it.
    Phantom = "phantom", "I4";
    /// In the log with another body or another expected version than was asked.
    ForeignBody = "foreign_body", "I4";
    /// A version is missing.
    VersionGap = "version_gap", "I5";
    /// A version is there twice.
    VersionRepeated = "version_repeated", "I5";
    /// An aggregate outside its partition.
    WrongPartition = "wrong_partition", "I5";
    /// A command was refused as misrouted although it was where it belongs.
    MisroutedWrongly = "misrouted_wrongly", "I5";
    /// The time of a partition's answers went back.
    TimeFell = "time_fell", "I5";
    /// A number of the partition's dense sequence is missing.
    SequenceHole = "sequence_hole", "I5";
    /// A number of the partition's dense sequence is there twice.
    SequenceRepeated = "sequence_repeated", "I5";
    /// A command number of the partition is missing.
    OffsetHole = "offset_hole", "I5";
    /// A command number of the partition is there twice.
    OffsetRepeated = "offset_repeated", "I5";
    /// Decided although the expected version was another one.
    ExpectationIgnored = "expectation_ignored", "I6";
    /// A conflict with another actual version than the aggregate had.
    ConflictWrong = "conflict_wrong", "I6";
    /// A conflict although the versions agreed, or none was expected.
    ConflictNeedless = "conflict_needless", "I6";
    /// One command was over before another of its aggregate began, yet the log has them the other way round.
    OrderReversed = "order_reversed", "I7";
    /// Two commands of one stream and one aggregate were decided in the other order.
    StreamReordered = "stream_reordered", "I7";
    /// A read of the present that does not show what had been acknowledged before it.
    StaleRead = "stale_read", "I8";
    /// A state that the log's events do not make.
    WrongState = "wrong_state", "I8";
    /// Written by an owner that had lost its lane, or never had it.
    ForeignWriter = "foreign_writer", "I9";
    /// A command decided more than once.
    Doubled = "doubled", "I10";
    /// Two first answers to one command.
    AnsweredTwice = "answered_twice", "I10";
    /// A repeated answer without a first one, or that points elsewhere.
    RepeatMisleads = "repeat_misleads", "I10";
    /// Two answers to one record of a command.
    CommandAnsweredTwice = "command_answered_twice", "I10";
    /// A record of a command that was never answered.
    Unanswered = "unanswered", "I11";
    /// Answers in another order than their commands.
    AnswersReordered = "answers_reordered", "I11";
    /// The same id with another body, and not refused.
    ReusedIdTaken = "reused_id_taken", "I12";
    /// Refused as a reused id although body and id were those of the first attempt, or there was none.
    ReuseClaimedWrongly = "reuse_claimed_wrongly", "I12";
    /// Decided by a module that nobody gave to the host.
    UnknownModule = "unknown_module", "I14";
    /// A module decided again after its successor had, in one partition.
    ModuleOrder = "module_order", "I14";
    /// A module decided before it was given to the host, or after its successor was said to decide everywhere.
    ModuleTime = "module_time", "I14";
    /// A transaction that never ended keeps what is behind it from readers.
    OpenTransaction = "open_transaction", "I15";
    /// A new owner for an account that was closed.
    RenamedAfterClose = "renamed_after_close", "I16";
    /// Another decision than the rules of the deciding module make.
    RuleBroken = "rule_broken", "I16";
    /// Money came out of nowhere or went there.
    TotalsDiffer = "totals_differ", "I16";
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.word(), self.invariant())
    }
}

/// A broken promise.
#[derive(Debug, Clone, Serialize)]
pub struct Violation {
    /// Which.
    pub kind: Kind,
    /// What was found, in one sentence.
    pub message: String,
    /// The operations of the command, as their clients wrote them down.
    pub operations: Vec<String>,
    /// The aggregate's entries in the log around it; the one it is about is marked by `>`.
    pub log: Vec<String>,
    /// What was being done to the host at that time.
    pub nemesis: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.kind, self.message)?;
        let parts = [("client", &self.operations), ("log", &self.log), ("nemesis", &self.nemesis)];
        for (name, lines) in parts {
            for line in lines {
                writeln!(f, "    {name:<8}{line}")?;
            }
        }
        Ok(())
    }
}

/// Decisions of one module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ByModule {
    /// Name of its rules, where known.
    pub rules: Option<String>,
    /// Decisions by outcome.
    pub outcomes: BTreeMap<String, u64>,
}

/// Everything that was counted and found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Distinct commands that clients asked for.
    pub commands: u64,
    /// Attempts to get them decided.
    pub operations: u64,
    /// Attempts by their ending.
    pub endings: BTreeMap<String, u64>,
    /// Commands that no client has an answer to.
    pub unresolved: u64,
    /// Reads of states.
    pub reads: u64,
    /// Blocks in the log.
    pub blocks: u64,
    /// Records read, if the log is on Kafka.
    pub records: u64,
    /// Commands at the end of their partitions that were not answered yet, if the log is on Kafka.
    pub pending: u64,
    /// Entries in the log by outcome, `repeated` among them.
    pub outcomes: BTreeMap<String, u64>,
    /// Events in the log.
    pub events: u64,
    /// Aggregates in the log.
    pub aggregates: u64,
    /// Decisions by the digest of their module.
    pub modules: BTreeMap<String, ByModule>,
    /// Answered commands that are not in the log as answered.
    pub lost: u64,
    /// Commands with more than one effect.
    pub doubled: u64,
    /// Accepted changes of owner after the account was closed.
    pub rename_after_close_accepted: u64,
    /// Cents in all accounts.
    pub cents: i128,
    /// Bytes a crash left behind the last durable block.
    pub torn_tail_bytes: u64,
    /// Seconds the check took.
    pub seconds: f64,
    /// Number of violations by kind.
    pub kinds: BTreeMap<String, u64>,
    /// The first of them, in full.
    pub violations: Vec<Violation>,
}

impl Report {
    /// Whether every promise was kept.
    pub fn holds(&self) -> bool {
        self.kinds.is_empty()
    }

    /// The kinds found, each once.
    pub fn found(&self) -> Vec<Kind> {
        Kind::ALL.iter().copied().filter(|kind| self.kinds.contains_key(kind.word())).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &BTreeMap<String, u64>| {
            counts.iter().map(|(word, n)| format!("{n} {word}")).collect::<Vec<_>>().join(", ")
        };
        writeln!(f, "asked     {} commands in {} attempts: {}", self.commands, self.operations, list(&self.endings))?;
        let size = match self.records {
            0 => format!("{} blocks", self.blocks),
            records => format!("{records} records"),
        };
        writeln!(f, "log       {size}, {} events: {}", self.events, list(&self.outcomes))?;
        for (digest, module) in &self.modules {
            let name = module.rules.as_deref().unwrap_or("?");
            writeln!(f, "module    {name} {}: {}", digest.get(..19).unwrap_or(digest), list(&module.outcomes))?;
        }
        writeln!(
            f,
            "verdict   lost {}, doubled {}, renamed after close {}, unresolved {}, violations {}",
            self.lost,
            self.doubled,
            self.rename_after_close_accepted,
            self.unresolved,
            self.kinds.values().sum::<u64>()
        )?;
        for (kind, count) in &self.kinds {
            writeln!(f, "          {count} {kind}")?;
        }
        for violation in &self.violations {
            write!(f, "\n{violation}")?;
        }
        Ok(())
    }
}
