//! Builds honest histories, number by number, and lets a test bend any of them before they are written.

use std::fs;
use std::path::Path;

use ordain_checker::history::read::History;
use ordain_checker::log::Log;
use ordain_checker::{Options, Report, judge, murmur};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const V1: [u8; 32] = [0x11; 32];
pub const V2: [u8; 32] = [0x22; 32];

pub fn name(module: [u8; 32]) -> String {
    format!("sha256:{}", module.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// The answer in a log entry.
#[derive(Clone)]
pub enum Answer {
    Accepted(Vec<Value>),
    Rejected(Value),
    Conflict,
    Failed(u8, &'static str),
    /// The step that holds the first answer.
    Repeated(usize),
}

/// An entry of the log; what is `None` is numbered honestly when it is written.
#[derive(Clone)]
pub struct Entry {
    pub id: String,
    pub command_id: String,
    pub expected: Option<u64>,
    pub body: Value,
    pub answer: Answer,
    pub module: [u8; 32],
    pub partition: Option<u32>,
    pub sequence: Option<u64>,
    pub offset: Option<u64>,
    pub version: Option<u64>,
    pub count: Option<u32>,
    pub original: Option<u64>,
    pub term: Option<u64>,
    /// Stands in the block of the step before.
    pub joined: bool,
}

/// One command: what the log says of it, and what its client wrote down.
#[derive(Clone, Default)]
pub struct Step {
    pub entry: Option<Entry>,
    pub operations: Vec<Value>,
}

pub struct Golden {
    pub steps: Vec<Step>,
    pub nemesis: Vec<Value>,
    pub lanes: u32,
    pub now: u64,
    pub module: [u8; 32],
    /// What every entry of an aggregate would be numbered by the time it is added.
    versions: std::collections::HashMap<String, u64>,
    commands: u64,
}

/// Where blocks stand in the written log.
pub struct Written {
    pub bytes: Vec<u8>,
    /// Address of each step's block, by step.
    pub blocks: Vec<usize>,
}

impl Golden {
    pub fn new() -> Self {
        let nemesis = vec![
            json!({"at_ns": 0, "event": "swap_begin", "type": "account", "module": name(V1), "rules": "v1"}),
            json!({"at_ns": 1, "event": "host_start"}),
        ];
        Self { steps: Vec::new(), nemesis, lanes: 2, now: 100, module: V1, versions: Default::default(), commands: 0 }
    }

    /// Adds a command with an honest answer; it was asked after everything before was over.
    pub fn add(&mut self, id: &str, expected: Option<u64>, body: Value, answer: Answer) -> usize {
        self.commands += 1;
        let entry = Entry {
            id: id.into(),
            command_id: format!("c{}", self.commands),
            expected,
            body,
            answer,
            module: self.module,
            partition: None,
            sequence: None,
            offset: None,
            version: None,
            count: None,
            original: None,
            term: None,
            joined: false,
        };
        self.push(entry)
    }

    pub fn push(&mut self, entry: Entry) -> usize {
        let version = self.versions.entry(entry.id.clone()).or_default();
        if let Answer::Accepted(events) = &entry.answer {
            *version += events.len() as u64;
        }
        let operation = self.operation(&entry);
        self.now += 10;
        self.steps.push(Step { entry: Some(entry), operations: vec![operation] });
        self.steps.len() - 1
    }

    fn operation(&self, entry: &Entry) -> Value {
        let version = self.versions[&entry.id];
        let mut answer = match &entry.answer {
            Answer::Accepted(events) => {
                let first = version + 1 - events.len() as u64;
                let numbered = events.iter().zip(first..).map(|(event, v)| json!({"version": v, "event": event}));
                json!({"outcome": "accepted", "events": numbered.collect::<Vec<_>>()})
            }
            Answer::Rejected(Value::String(code)) => json!({"outcome": "rejected", "rejection": {"code": code}}),
            Answer::Rejected(rejection) => {
                let (code, details) = rejection.as_object().unwrap().iter().next().unwrap();
                json!({"outcome": "rejected", "rejection": {"code": code, "details": details}})
            }
            Answer::Conflict => json!({
                "outcome": "conflict", "conflict": {"expected": entry.expected.unwrap_or(0), "actual": version},
            }),
            Answer::Failed(reason, message) => {
                let reason = ["unreadable", "trap", "", "", "", "", "command_id_reused"][usize::from(*reason)];
                json!({"outcome": "failed", "failure": {"reason": reason, "message": message}})
            }
            Answer::Repeated(first) => {
                let mut answer = self.steps[*first].operations[0]["answer"].clone();
                answer["replayed"] = json!(true);
                answer
            }
        };
        if answer.get("version").is_none() {
            answer["version"] = json!(version);
        }
        answer["command_id"] = json!(entry.command_id);
        answer["type"] = json!("account");
        answer["id"] = json!(entry.id);
        if answer.get("module").is_none() {
            answer["module"] = json!(name(entry.module));
        }
        json!({
            "seq": self.now, "type": "account", "id": entry.id, "command_id": entry.command_id,
            "expected_version": entry.expected, "command": entry.body, "invoke_ns": self.now, "done_ns": self.now + 5,
            "result": answer["outcome"], "answer": answer,
        })
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
    pub fn rename_refused(&mut self, id: &str) -> usize {
        self.add(id, None, json!({"Rename": {"owner": "bob"}}), Answer::Rejected(json!("Closed")))
    }
    pub fn conflict(&mut self, id: &str, expected: u64) -> usize {
        self.add(id, Some(expected), json!({"Deposit": {"amount": 1}}), Answer::Conflict)
    }
    /// Sends a step's command again, under the same id.
    pub fn again(&mut self, step: usize) -> usize {
        let first = self.steps[step].entry.clone().unwrap();
        self.push(Entry { answer: Answer::Repeated(step), joined: false, ..first })
    }
    /// Sends another body under a step's command id.
    pub fn reuse(&mut self, step: usize) -> usize {
        let first = self.steps[step].entry.clone().unwrap();
        let body = json!({"Deposit": {"amount": 777}});
        self.push(Entry { answer: Answer::Failed(6, "the id stands for another command"), body, ..first })
    }
    /// Gives the host the second module, whose accounts may not be overdrawn.
    pub fn swap(&mut self) {
        self.swap_begin();
        self.swap_end();
    }
    pub fn swap_begin(&mut self) {
        let (at, module) = (self.now, name(V2));
        self.nemesis
            .push(json!({"at_ns": at, "event": "swap_begin", "type": "account", "module": module, "rules": "v2-no-overdraft"}));
        self.now += 10;
    }
    pub fn swap_end(&mut self) {
        self.nemesis.push(json!({"at_ns": self.now, "event": "swap_end", "type": "account", "module": name(V2)}));
        self.now += 10;
        self.module = V2;
    }
    pub fn read(&mut self, id: &str, version: u64, state: Value) {
        let line = json!({
            "seq": self.now, "invoke_ns": self.now, "done_ns": self.now + 5,
            "read": {"type": "account", "id": id, "version": version, "state": state, "past": false},
        });
        self.now += 10;
        self.steps.push(Step { entry: None, operations: vec![line] });
    }

    /// The client never learned how it ended.
    pub fn unanswered(&mut self, step: usize) {
        let operation = self.steps[step].operations[0].as_object_mut().unwrap();
        operation.remove("answer");
        operation.insert("result".into(), json!("unknown"));
    }
    pub fn entry(&mut self, step: usize) -> &mut Entry {
        self.steps[step].entry.as_mut().unwrap()
    }
    pub fn operation_mut(&mut self, step: usize) -> &mut Value {
        &mut self.steps[step].operations[0]
    }

    pub fn judge(&self) -> Report {
        self.judge_damaged(|_| {})
    }

    /// Writes it all, lets `damage` change the log's bytes, and has it judged.
    pub fn judge_damaged(&self, damage: impl FnOnce(&mut Written)) -> Report {
        let mut written = self.encode();
        damage(&mut written);
        self.judge_segments(&[(0, &written.bytes)])
    }

    pub fn judge_segments(&self, segments: &[(u64, &[u8])]) -> Report {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("log")).unwrap();
        for (base, bytes) in segments {
            fs::write(folder.path().join(format!("log/{base:020}.log")), bytes).unwrap();
        }
        self.write_history(&folder.path().join("history"));
        let log = Log::open(&folder.path().join("log")).unwrap();
        let history = History::open(&folder.path().join("history")).unwrap();
        judge(&log, &history, Options::default()).unwrap()
    }

    fn write_history(&self, folder: &Path) {
        fs::create_dir(folder).unwrap();
        let lines = |values: &mut dyn Iterator<Item = &Value>| values.map(|v| format!("{v}\n")).collect::<String>();
        let operations = lines(&mut self.steps.iter().flat_map(|step| &step.operations));
        fs::write(folder.join("client-a.jsonl"), operations).unwrap();
        fs::write(folder.join("nemesis.jsonl"), lines(&mut self.nemesis.iter())).unwrap();
    }

    /// The log's bytes: an owner's record per lane, then a block per step, then zeros.
    pub fn encode(&self) -> Written {
        let mut written = Written { bytes: Vec::new(), blocks: Vec::new() };
        let mut terms = Vec::new();
        for lane in 0..self.lanes {
            terms.push(written.bytes.len() as u64);
            block(&mut written.bytes, 2, lane, self.lanes, *terms.last().unwrap(), 0, b"taken");
        }
        let mut numbers = Numbers::default();
        let mut index = 0;
        while index < self.steps.len() {
            let mut end = index + 1;
            while self.steps.get(end).is_some_and(|step| step.entry.as_ref().is_some_and(|entry| entry.joined)) {
                end += 1;
            }
            let lsn = written.bytes.len();
            let entries: Vec<_> = self.steps[index..end].iter().filter_map(|step| step.entry.as_ref()).collect();
            written.blocks.extend((index..end).map(|_| lsn));
            let mut payload = Vec::new();
            for entry in &entries {
                numbers.encode(entry, &written.blocks, &mut payload);
            }
            if let Some(first) = entries.first() {
                let lane = partition(first) % self.lanes;
                let term = first.term.unwrap_or(terms[lane as usize]);
                block(&mut written.bytes, 1, lane, self.lanes, term, entries.len() as u32, &payload);
            }
            index = end;
        }
        written.bytes.extend([0; 4096]);
        written
    }
}

fn partition(entry: &Entry) -> u32 {
    entry.partition.unwrap_or_else(|| murmur::partition(&entry.id, 16))
}

/// The numbers a lane would give.
#[derive(Default)]
struct Numbers {
    partitions: std::collections::HashMap<u32, (u64, u64)>,
    versions: std::collections::HashMap<String, u64>,
}

impl Numbers {
    fn encode(&mut self, entry: &Entry, blocks: &[usize], out: &mut Vec<u8>) {
        let packed = |value: &Value| rmp_serde::to_vec_named(value).unwrap();
        let mut payload = Vec::new();
        let (kind, reason, count) = match &entry.answer {
            Answer::Accepted(events) => {
                for event in events.iter().map(packed) {
                    payload.extend((event.len() as u32).to_le_bytes());
                    payload.extend(event);
                }
                (0, 0, events.len() as u64)
            }
            Answer::Rejected(rejection) => {
                payload = packed(rejection);
                (1, 0, 0)
            }
            Answer::Conflict => (2, 0, 0),
            Answer::Failed(reason, message) => {
                payload = message.as_bytes().to_vec();
                (3, *reason, 0)
            }
            Answer::Repeated(first) => {
                payload = entry.original.unwrap_or(blocks[*first] as u64).to_le_bytes().to_vec();
                (4, 0, 0)
            }
        };
        let version = self.versions.entry(entry.id.clone()).or_default();
        *version = entry.version.unwrap_or(*version + count);
        let (sequence, offset) = self.partitions.entry(partition(entry)).or_default();
        let (this, command) = (entry.sequence.unwrap_or(*sequence), entry.offset.unwrap_or(*offset));
        (*sequence, *offset) = (this + count.max(1), command + 1);
        let mut bytes = vec![kind, reason, u8::from(entry.expected.is_some()), 0];
        bytes.extend(partition(entry).to_le_bytes());
        for number in [this, command, *version, entry.expected.unwrap_or(0), 1_700_000_000_000, 0] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(entry.module);
        bytes.extend(entry.count.unwrap_or(count as u32).to_le_bytes());
        let body = packed(&entry.body);
        let parts: [&[u8]; 8] =
            [b"account", entry.id.as_bytes(), entry.command_id.as_bytes(), b"", b"", b"", &body, &payload];
        parts.iter().for_each(|part| bytes.extend((part.len() as u32).to_le_bytes()));
        parts.iter().for_each(|part| bytes.extend(*part));
        out.extend((bytes.len() as u32).to_le_bytes());
        out.extend(bytes);
    }
}

/// Appends a block. Everything before it counts as durable.
pub fn block(log: &mut Vec<u8>, kind: u8, lane: u32, lanes: u32, term: u64, count: u32, payload: &[u8]) {
    let lsn = log.len() as u64;
    let mut covered = vec![kind, 1];
    covered.extend((lane as u16).to_le_bytes());
    for number in [lsn, lsn, term] {
        covered.extend(number.to_le_bytes());
    }
    covered.extend(count.to_le_bytes());
    covered.extend(lanes.to_le_bytes());
    covered.extend(payload);
    log.extend(b"OBLK");
    log.extend((payload.len() as u32).to_le_bytes());
    log.extend(crc32c::crc32c(&covered).to_le_bytes());
    log.extend(covered);
}
