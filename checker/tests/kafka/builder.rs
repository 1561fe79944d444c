//! Builds honest logs, record by record, and lets a test bend any of them before they are judged.

use std::collections::{BTreeMap, HashMap};
use std::fs;

use ordain_checker::history::read::History;
use ordain_checker::kafka::{self, Layout, Options, Part, Record, Source, Topic, TypeTopics};
use ordain_checker::{Report, murmur};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const PARTITIONS: u32 = 4;
pub const LANES: u32 = 2;
pub const V1: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
pub const V2: &str = "sha256:2222222222222222222222222222222222222222222222222222222222222222";

/// A record that can be bent.
#[derive(Clone, Debug)]
pub struct Rec {
    pub offset: u64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Rec {
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match self.headers.iter_mut().find(|(header, _)| header == name) {
            Some((_, old)) => *old = Some(value.into()),
            None => self.headers.push((name.into(), Some(value.into()))),
        }
        self
    }
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.headers.retain(|(header, _)| header != name);
        self
    }
    pub fn get(&self, name: &str) -> String {
        let value = self.headers.iter().find(|(header, _)| header == name).and_then(|(_, value)| value.clone());
        String::from_utf8(value.unwrap_or_default()).unwrap()
    }
    pub fn json(&self) -> Value {
        serde_json::from_slice(self.value.as_deref().unwrap()).unwrap()
    }
    pub fn set_json(&mut self, value: &Value) -> &mut Self {
        self.value = Some(value.to_string().into());
        self
    }
    pub fn headers(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }
    fn record(&self) -> Record {
        Record::new(self.offset, self.key.as_deref(), self.value.as_deref(), self.headers())
    }
}

/// A partition in memory.
#[derive(Clone, Debug, Default)]
pub struct Mem {
    pub records: Vec<Rec>,
    pub start: u64,
    /// Offsets behind the last stable one.
    pub open: u64,
    next: u64,
}

impl Mem {
    pub fn push(&mut self, mut record: Rec) -> usize {
        record.offset = self.next;
        self.next += 1;
        self.records.push(record);
        self.records.len() - 1
    }
    /// A marker of a transaction, or a record that was taken back.
    pub fn skip(&mut self) {
        self.next += 1;
    }
}

/// What is answered.
#[derive(Clone)]
pub enum Answer {
    Accepted(Vec<Value>),
    Rejected(Value),
    Conflict,
    Failed(&'static str, &'static str),
    /// What the step before was answered with.
    Repeated(usize),
}

/// One command of the story: where its records are.
#[derive(Clone, Debug)]
pub struct Step {
    pub partition: u32,
    pub command: usize,
    /// Indices of its answer's records.
    pub answer: Vec<usize>,
    pub outcome: Value,
}

pub struct Golden {
    pub of: &'static str,
    pub topics: BTreeMap<(String, u32), Mem>,
    pub steps: Vec<Step>,
    pub operations: Vec<Value>,
    pub nemesis: Vec<Value>,
    pub module: &'static str,
    pub time_ms: u64,
    /// Per lane, offset of the record by which it was taken last.
    pub terms: HashMap<u32, u64>,
    takings: u32,
    sequences: HashMap<(String, u32), u64>,
    pub versions: HashMap<String, u64>,
}

pub fn home(id: &str) -> u32 {
    murmur::partition(id, PARTITIONS)
}

pub fn command_record(id: &str, command_id: &str, expected: Option<u64>, body: &Value) -> Rec {
    let mut record = Rec { offset: 0, key: Some(id.into()), value: Some(body.to_string().into()), headers: Vec::new() };
    record.set("content-type", "application/json").set("ce_id", command_id);
    if let Some(version) = expected {
        record.set("ce_expectedversion", &version.to_string());
    }
    record
}

impl Golden {
    pub fn new() -> Self {
        let mut golden = Self {
            of: "account",
            topics: BTreeMap::new(),
            steps: Vec::new(),
            operations: Vec::new(),
            nemesis: vec![json!({"at_ns": 0, "event": "swap_begin", "type": "account", "module": V1, "rules": "v1"})],
            module: V1,
            time_ms: 0,
            terms: HashMap::new(),
            takings: 0,
            sequences: HashMap::new(),
            versions: HashMap::new(),
        };
        golden.add_type("account");
        for lane in 0..LANES {
            let layout =
                json!({"cluster_id": "c", "generation": 1, "partitions": PARTITIONS, "lanes": LANES, "types": []});
            let value = Some(layout.to_string().into());
            golden.lane(lane).push(Rec { offset: 0, key: Some("layout".into()), value, headers: Vec::new() });
            golden.take(lane);
        }
        golden
    }

    /// Two accounts with some life in them.
    pub fn story() -> Self {
        let mut golden = Self::new();
        golden.open("acc-1");
        golden.deposit("acc-1", 50);
        golden.open("acc-2");
        golden
    }

    pub fn add_type(&mut self, of: &str) {
        for partition in 0..PARTITIONS {
            self.topics.insert((format!("{of}.commands"), partition), Mem::default());
            self.topics.insert((format!("{of}.events"), partition), Mem::default());
        }
        for lane in 0..LANES {
            self.topics.entry(("lanes".into(), lane)).or_default();
        }
    }
    pub fn lane(&mut self, lane: u32) -> &mut Mem {
        self.topics.get_mut(&("lanes".to_owned(), lane)).unwrap()
    }
    pub fn commands(&mut self, partition: u32) -> &mut Mem {
        self.topics.get_mut(&(format!("{}.commands", self.of), partition)).unwrap()
    }
    pub fn events(&mut self, partition: u32) -> &mut Mem {
        self.topics.get_mut(&(format!("{}.events", self.of), partition)).unwrap()
    }
    pub fn command(&mut self, step: usize) -> &mut Rec {
        let step = self.steps[step].clone();
        &mut self.commands(step.partition).records[step.command]
    }
    /// A record of a step's answer.
    pub fn event(&mut self, step: usize, index: usize) -> &mut Rec {
        let step = self.steps[step].clone();
        &mut self.events(step.partition).records[step.answer[index]]
    }
    pub fn operation(&mut self, step: usize) -> &mut Value {
        &mut self.operations[step]
    }

    /// Somebody takes a lane: a record of his in every partition of it.
    pub fn take(&mut self, lane: u32) -> u64 {
        self.takings += 1;
        let owner = json!({"lane": lane, "nonce": format!("n{}", self.takings), "modules": {}});
        let mut record =
            Rec { offset: 0, key: Some("owner".into()), value: Some(owner.to_string().into()), headers: Vec::new() };
        record.set("ce_type", "ordain.owner").set("ce_specversion", "1.0").set("content-type", "application/json");
        for ((topic, partition), mem) in &mut self.topics {
            if topic.ends_with(".events") && partition % LANES == lane {
                mem.push(record.clone());
                mem.skip();
            }
        }
        let mem = self.lane(lane);
        let index = mem.push(record);
        mem.skip();
        let term = mem.records[index].offset;
        self.terms.insert(lane, term);
        term
    }

    /// A command with an honest answer, asked after everything before was over.
    pub fn add(&mut self, id: &str, expected: Option<u64>, body: Value, answer: Answer) -> usize {
        let command_id = format!("c{}", self.steps.len());
        self.ask(command_record(id, &command_id, expected, &body), home(id), id, answer)
    }

    /// A command's record in a partition, and an honest answer under the name of `subject`.
    pub fn ask(&mut self, record: Rec, partition: u32, subject: &str, answer: Answer) -> usize {
        let command = self.commands(partition).push(record.clone());
        let offset = self.commands(partition).records[command].offset;
        self.time_ms += 1;
        let version = self.versions.get(subject).copied().unwrap_or(0);
        let outcome = self.outcome(&record, partition, offset, subject, version, &answer);
        let records = match &answer {
            Answer::Accepted(events) if !events.is_empty() => {
                self.events_of(&record, subject, version, events, &outcome)
            }
            _ => vec![self.outcome_record(subject, version, &outcome)],
        };
        self.versions.insert(
            subject.to_owned(),
            version + if let Answer::Accepted(events) = &answer { events.len() as u64 } else { 0 },
        );
        let answer = self.answer(partition, offset, records);
        self.steps.push(Step { partition, command, answer, outcome: outcome.clone() });
        self.operate(&record, subject, &outcome);
        self.steps.len() - 1
    }

    fn operate(&mut self, record: &Rec, subject: &str, outcome: &Value) {
        let now = self.time_ms * 10;
        let body: Value = serde_json::from_slice(record.value.as_deref().unwrap_or(b"null")).unwrap_or(json!(null));
        self.operations.push(json!({
            "seq": self.time_ms, "type": self.of, "id": subject, "command_id": outcome["command_id"],
            "expected_version": record.get("ce_expectedversion").parse::<u64>().ok(), "command": body, "invoke_ns": now,
            "done_ns": now + 5, "result": outcome["outcome"], "answer": outcome,
        }));
    }

    fn outcome(
        &self,
        record: &Rec,
        partition: u32,
        offset: u64,
        subject: &str,
        version: u64,
        answer: &Answer,
    ) -> Value {
        let command_id = match record.get("ce_id") {
            none if none.is_empty() => format!("p.{}.commands-{partition}-{offset}", self.of),
            id => id,
        };
        let mut outcome = match answer {
            Answer::Accepted(events) => {
                let events = events.iter().zip(version + 1..).map(|(event, v)| json!({"version": v, "event": event}));
                json!({"outcome": "accepted", "events": events.collect::<Vec<_>>()})
            }
            Answer::Rejected(Value::String(code)) => json!({"outcome": "rejected", "rejection": {"code": code}}),
            Answer::Rejected(rejection) => {
                let (code, details) = rejection.as_object().unwrap().iter().next().unwrap();
                json!({"outcome": "rejected", "rejection": {"code": code, "details": details}})
            }
            Answer::Conflict => {
                let expected: u64 = record.get("ce_expectedversion").parse().unwrap_or(0);
                json!({"outcome": "conflict", "conflict": {"expected": expected, "actual": version}})
            }
            Answer::Failed(reason, message) => {
                json!({"outcome": "failed", "failure": {"reason": reason, "message": message}})
            }
            Answer::Repeated(first) => {
                let mut again = self.steps[*first].outcome.clone();
                again["replayed"] = json!(true);
                return again;
            }
        };
        let events = if let Answer::Accepted(events) = answer { events.len() as u64 } else { 0 };
        outcome["version"] = json!(version + events);
        outcome["command_id"] = json!(command_id);
        outcome["type"] = json!(self.of);
        outcome["id"] = json!(subject);
        outcome["module"] = json!(self.module);
        outcome
    }

    fn answer_record(&self, subject: &str, version: u64, index: u64, count: u64, outcome: &Value) -> Rec {
        let mut record = Rec { offset: 0, key: Some(subject.into()), value: None, headers: Vec::new() };
        let (seconds, ms) = (self.time_ms / 1000, self.time_ms % 1000);
        let time = format!("2026-01-02T{:02}:{:02}:{:02}.{ms:03}Z", seconds / 3600, seconds / 60 % 60, seconds % 60);
        record
            .set("content-type", "application/json")
            .set("ce_specversion", "1.0")
            .set("ce_source", "/ordain")
            .set("ce_subject", subject)
            .set("ce_time", &time)
            .set("ce_sequence", &version.to_string())
            .set("ce_commandid", outcome["command_id"].as_str().unwrap())
            .set("ce_commandhash", "0123456789abcdef")
            .set("ce_commandindex", &index.to_string())
            .set("ce_commandcount", &count.to_string())
            .set("ce_module", self.module);
        record
    }

    fn events_of(&self, _command: &Rec, subject: &str, version: u64, events: &[Value], outcome: &Value) -> Vec<Rec> {
        let count = events.len() as u64;
        let one = |(index, event): (u64, &Value)| {
            let version = version + index;
            let variant = event.as_object().unwrap().keys().next().unwrap();
            let mut record = self.answer_record(subject, version, index, count, outcome);
            record.set("ce_id", &format!("{}/{subject}/{version}", self.of));
            record.set("ce_type", &format!("{}.{variant}", self.of)).set_json(event);
            record
        };
        (1..).zip(events).map(one).collect()
    }

    fn outcome_record(&self, subject: &str, version: u64, outcome: &Value) -> Rec {
        let mut record = self.answer_record(subject, version, 0, 0, outcome);
        record
            .set("ce_type", "ordain.outcome")
            .set("ce_id", &format!("{}/{subject}/outcome-{}", self.of, self.time_ms));
        record.set_json(outcome);
        record
    }

    /// Commits the records of an answer, numbered and signed.
    fn answer(&mut self, partition: u32, offset: u64, records: Vec<Rec>) -> Vec<usize> {
        let epoch = self.terms[&(partition % LANES)];
        let mut indices = Vec::new();
        for mut record in records {
            let sequence = self.sequences.entry((self.of.to_owned(), partition)).or_default();
            record.set("ce_logsequence", &sequence.to_string());
            *sequence += 1;
            record.set("ce_commandoffset", &offset.to_string()).set("ce_epoch", &epoch.to_string());
            indices.push(self.events(partition).push(record));
        }
        self.events(partition).skip();
        indices
    }

    /// Numbers the records of a partition anew, as if they had been written like that, with a marker behind each command.
    pub fn renumber(&mut self, partition: u32) {
        let mem = self.events(partition);
        let (mut sequence, mut offset) = (0_u64, 0);
        for record in &mut mem.records {
            record.offset = offset;
            offset += 1;
            let owner = record.get("ce_type") == "ordain.owner";
            if !owner {
                record.set("ce_logsequence", &sequence.to_string());
                sequence += 1;
            }
            if owner || record.get("ce_commandindex") == record.get("ce_commandcount") {
                offset += 1;
            }
        }
        mem.next = offset;
    }

    pub fn open(&mut self, id: &str) -> usize {
        let fields = json!({"owner": "ann", "overdraft_limit": 100});
        self.add(id, Some(0), json!({"Open": fields}), Answer::Accepted(vec![json!({"Opened": fields})]))
    }
    pub fn deposit(&mut self, id: &str, amount: i64) -> usize {
        let fields = json!({"amount": amount});
        self.add(id, None, json!({"Deposit": fields}), Answer::Accepted(vec![json!({"Deposited": fields})]))
    }
    pub fn withdraw(&mut self, id: &str, amount: i64) -> usize {
        let fields = json!({"amount": amount});
        self.add(id, None, json!({"Withdraw": fields}), Answer::Accepted(vec![json!({"Withdrawn": fields})]))
    }
    pub fn close(&mut self, id: &str) -> usize {
        self.add(id, None, json!({"Close": {}}), Answer::Accepted(vec![json!({"Closed": {}})]))
    }
    pub fn conflict(&mut self, id: &str, expected: u64) -> usize {
        self.add(id, Some(expected), json!({"Deposit": {"amount": 1}}), Answer::Conflict)
    }
    /// Two deposits by one command. No rules of the bank's do that: the log is to be judged without them.
    pub fn two(&mut self, id: &str) -> usize {
        let two = vec![json!({"Deposited": {"amount": 1}}), json!({"Deposited": {"amount": 2}})];
        self.nemesis.clear();
        self.add(id, None, json!({"Deposit": {"amount": 3}}), Answer::Accepted(two))
    }
    /// Sends a step's command again under the same id, and answers as told.
    pub fn again_as(&mut self, step: usize, answer: Answer) -> usize {
        let (record, partition) = (self.command(step).clone(), self.steps[step].partition);
        let subject = self.steps[step].outcome["id"].as_str().unwrap().to_owned();
        self.ask(record, partition, &subject, answer)
    }
    pub fn again(&mut self, step: usize) -> usize {
        self.again_as(step, Answer::Repeated(step))
    }
    /// Sends another body under a step's command id.
    pub fn reuse_as(&mut self, step: usize, answer: Answer) -> usize {
        let mut record = self.command(step).clone();
        record.set_json(&json!({"Deposit": {"amount": 777}}));
        let id = self.steps[step].outcome["id"].as_str().unwrap().to_owned();
        self.ask(record, home(&id), &id, answer)
    }
    /// The client never learned how it ended.
    pub fn unheard(&mut self, step: usize) {
        let operation = self.operations[step].as_object_mut().unwrap();
        operation.remove("answer");
        operation.insert("result".into(), json!("unknown"));
    }

    /// Judged with what clients saw.
    pub fn judge(&self) -> Report {
        self.judge_with(&Options::default())
    }
    pub fn judge_with(&self, options: &Options) -> Report {
        let folder = TempDir::new().unwrap();
        let lines = |values: &[Value]| values.iter().map(|value| format!("{value}\n")).collect::<String>();
        fs::write(folder.path().join("client-a.jsonl"), lines(&self.operations)).unwrap();
        fs::write(folder.path().join("nemesis.jsonl"), lines(&self.nemesis)).unwrap();
        kafka::judge(&mut Memory(self), &History::open(folder.path()).unwrap(), options).unwrap()
    }
    /// Judged by itself.
    pub fn judge_alone(&self) -> Report {
        let rules = vec![(V1.to_owned(), "v1".to_owned())];
        let options = Options { rules: if self.nemesis.is_empty() { vec![] } else { rules }, ..Options::default() };
        kafka::judge(&mut Memory(self), &History::gather(&[]).unwrap(), &options).unwrap()
    }
}

struct Memory<'a>(&'a Golden);

impl Memory<'_> {
    fn mem(&self, topic: Topic<'_>, partition: u32) -> Option<&Mem> {
        self.0.topics.get(&(topic.to_string(), partition))
    }
}

impl Source for Memory<'_> {
    fn layout(&mut self) -> anyhow::Result<Layout> {
        let count = |name: &str| self.0.topics.keys().filter(|(topic, _)| topic == name).count() as u32;
        let mut names: Vec<_> = self.0.topics.keys().filter_map(|(topic, _)| Some(topic.rsplit_once('.')?.0)).collect();
        names.dedup();
        let of = |name: &str| TypeTopics {
            name: name.to_owned(),
            commands: count(&format!("{name}.commands")),
            events: count(&format!("{name}.events")),
        };
        let types: std::collections::BTreeSet<_> = names.into_iter().collect();
        Ok(Layout { prefix: "p.".into(), types: types.into_iter().map(of).collect(), lanes: count("lanes") })
    }
    fn part(&mut self, topic: Topic<'_>, partition: u32) -> anyhow::Result<Part> {
        let mem = self.mem(topic, partition).unwrap();
        let records = mem.records.iter().map(Rec::record).collect();
        Ok(Part { records, start: mem.start, stable: mem.next, high: mem.next + mem.open })
    }
    fn again(&self, topic: Topic<'_>, partition: u32, offset: u64) -> Option<Record> {
        self.mem(topic, partition)?.records.iter().find(|record| record.offset == offset).map(Rec::record)
    }
}
