//! The contract of docs/kafka-records.md, kept with nothing but Kafka's own console tools: a plain producer sends commands, a
//! plain consumer reads one answer to each. And what the daemon says of itself to programs: the AsyncAPI document names
//! the topics that are used here and the headers that come, and no reference of either document leads nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use xtask::kafka::Tool;

use crate::client::Client;
use crate::clock;
use crate::daemon::{Daemon, Launch};
use crate::field::{Counts, Field};
use crate::fleet::{brokers, knows_accounts};

/// Time for something that takes a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Partitions of each topic.
const PARTITIONS: u32 = 8;
/// The aggregate of the family.
const ACCOUNT: &str = "acc-1";
/// The commands in the producer's words: headers, key, value; and what each is answered with.
const COMMANDS: [(&str, &str, &str); 7] = [
    ("ce_id:o-1,ce_expectedversion:0", r#"{"Open":{"owner":"ada","overdraft_limit":0}}"#, "accepted"),
    (
        "ce_commandid:d-1,ce_expectedversion:1,ce_correlationid:k-1,channel:console",
        r#"{"Deposit":{"amount":500}}"#,
        "accepted",
    ),
    ("ce_id:w-1,content-type:application/json", r#"{"Withdraw":{"amount":900}}"#, "rejected"),
    ("ce_id:w-2,ce_expectedversion:7", r#"{"Withdraw":{"amount":1}}"#, "conflict"),
    ("ce_id:x-1", "no JSON", "failed"),
    ("ce_id:d-1", r#"{"Deposit":{"amount":500}}"#, "replayed"),
    ("channel:console", r#"{"Deposit":{"amount":1}}"#, "accepted"),
];

/// Runs the family.
///
/// # Errors
/// What was not so.
pub async fn run(field: &Field) -> anyhow::Result<Counts> {
    let Some(brokers) = brokers(field) else { return Ok(Counts::new()) };
    let prefix = format!("console{}-{}.", std::process::id(), clock::now_ns());
    let settings = format!("brokers = \"{brokers}\"\nprefix = \"{prefix}\"\nsession_timeout_ms = 3000\n");
    let host = launch(field, "host", &settings)?.start().await?;
    knows_accounts(host.http()).await?;
    let references = documents_hold(host.http()).await?;
    let asyncapi = Client::new(host.http()).get("/asyncapi.json").await?.json()?;
    let address = |channel: &str| {
        let found = asyncapi["channels"][channel]["address"].as_str();
        found.map(str::to_owned).with_context(|| format!("no address of {channel} in {asyncapi}"))
    };
    let (commands, events) = (address("account.commands")?, address("account.events")?);
    ensure!(commands == format!("{prefix}account.commands") && events == format!("{prefix}account.events"));
    send(&brokers, &commands)?;
    let records = read(&brokers, &events, COMMANDS.len())?;
    let answers = records.iter().filter(|record| record.headers["ce_type"] != "ordain.owner").count();
    answered(&records, &commands)?;
    described(&records, &asyncapi)?;
    lag_is_shown(&brokers, &prefix, &commands).await?;
    host.stop(Duration::from_secs(30)).await?;
    Ok(Counts::from([("records", records.len() as u64), ("answers", answers as u64), ("references", references)]))
}

/// A host on Kafka, with the rest of its `[log]` as given.
pub(super) fn launch(field: &Field, name: &str, log: &str) -> anyhow::Result<Launch> {
    let folder = field.folder.join(name);
    let _none = std::fs::remove_dir_all(&folder);
    let mut launch = Launch { patience: PATIENCE, ..Launch::below(&field.ordain, &folder) };
    std::fs::create_dir_all(&launch.modules)?;
    std::fs::copy(field.guests.join("bank-v1.wasm"), launch.modules.join("bank-v1.wasm"))?;
    let config = folder.join("ordain.toml");
    std::fs::write(&config, format!("partitions = {PARTITIONS}\nlanes = 4\n[log]\nkind = \"kafka\"\n{log}"))?;
    launch.flags.extend(["--config".to_owned(), config.display().to_string()]);
    Ok(launch)
}

/// Every reference of the documents leads to a part of them. Returns how many there are.
async fn documents_hold(host: SocketAddr) -> anyhow::Result<u64> {
    let mut count = 0;
    for path in ["/openapi.json", "/asyncapi.json"] {
        let document = Client::new(host).get(path).await?.json()?;
        let mut references = Vec::new();
        gather(&document, &mut references);
        for to in &references {
            let leads = to.strip_prefix('#').is_some_and(|pointer| document.pointer(pointer).is_some());
            ensure!(leads, "{path}: the reference {to} leads nowhere");
        }
        for part in ["command", "event", "rejection", "state"] {
            let schema = &document["components"]["schemas"][format!("account.{part}")];
            ensure!(schema.is_object() && *schema != json!({}), "{path} lacks the schema of {part}");
        }
        count += references.len() as u64;
    }
    Ok(count)
}

fn gather<'a>(value: &'a Value, references: &mut Vec<&'a str>) {
    match value {
        Value::Array(all) => all.iter().for_each(|one| gather(one, references)),
        Value::Object(all) => {
            references.extend(all.get("$ref").and_then(Value::as_str));
            all.values().for_each(|one| gather(one, references));
        }
        _ => {}
    }
}

fn send(brokers: &str, topic: &str) -> anyhow::Result<()> {
    let line = |(headers, body, _): &(&str, &str, &str)| format!("{headers}\t{ACCOUNT}\t{body}\n");
    send_lines(brokers, topic, None, &COMMANDS.iter().map(line).collect::<String>())
}

/// Lets the console producer send lines of headers, key and value. `settings`: a file with those of the client.
pub(super) fn send_lines(brokers: &str, topic: &str, settings: Option<&Path>, lines: &str) -> anyhow::Result<()> {
    let mut command = Tool::ConsoleProducer.command(brokers);
    command.args(["--topic", topic, "--reader-property", "parse.key=true", "--reader-property", "parse.headers=true"]);
    if let Some(settings) = settings {
        command.arg("--command-config").arg(settings);
    }
    let mut producer = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    producer.stdin.take().context("its input")?.write_all(lines.as_bytes())?;
    let ended = producer.wait_with_output()?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success() && !said.contains("Exception"), "the producer said {said}");
    Ok(())
}

/// A record as the consumer prints it.
#[derive(Debug)]
struct Record {
    headers: BTreeMap<String, String>,
    key: String,
    value: String,
}

impl Record {
    fn parse(line: &str) -> anyhow::Result<Self> {
        let mut parts = line.splitn(3, '\t');
        let (Some(headers), Some(key), Some(value)) = (parts.next(), parts.next(), parts.next()) else {
            bail!("the consumer printed {line:?}");
        };
        let pairs = headers.split(',').filter_map(|pair| pair.split_once(':'));
        let headers = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Self { headers, key: key.to_owned(), value: value.to_owned() })
    }

    /// Whether it ends the answer to a command.
    fn ends(&self) -> bool {
        let of = |name: &str| self.headers.get(name);
        of("ce_commandindex").is_some() && of("ce_commandindex") == of("ce_commandcount")
    }
}

/// A program that is killed when this is dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// Reads until so many answers are there: a consumer does not know where a topic ends.
fn read(brokers: &str, topic: &str, answers: usize) -> anyhow::Result<Vec<Record>> {
    let mut command = Tool::ConsoleConsumer.command(brokers);
    command.args(["--topic", topic, "--from-beginning", "--isolation-level", "read_committed"]);
    command.args(["--formatter-property", "print.key=true", "--formatter-property", "print.headers=true"]);
    let mut consumer = Program(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
    let lines = lines(consumer.0.stdout.take().context("its output")?);
    let mut records = Vec::new();
    let mut ended = 0;
    while ended < answers {
        let line = lines.recv_timeout(PATIENCE).with_context(|| {
            format!("{ended} of {answers} commands are answered, then the consumer printed nothing more: {records:?}")
        })?;
        let record = Record::parse(&line)?;
        ended += usize::from(record.ends());
        records.push(record);
    }
    Ok(records)
}

/// Lines of a program's output, which end with it.
fn lines(output: std::process::ChildStdout) -> Receiver<String> {
    let (to, lines) = sync_channel(1_000);
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

/// Each command has the answer it must have, in the order it was sent.
fn answered(records: &[Record], commands: &str) -> anyhow::Result<()> {
    let answers: Vec<&Record> = records.iter().filter(|record| record.ends()).collect();
    let mut version = 0;
    for (n, ((headers, _, wanted), answer)) in COMMANDS.iter().zip(answers).enumerate() {
        let of = |name: &str| answer.headers.get(name).map_or("", String::as_str);
        let value: Value = serde_json::from_str(&answer.value)?;
        version += u64::from(*wanted == "accepted");
        let told = match (of("ce_type"), value["replayed"] == true) {
            ("ordain.outcome", true) => "replayed",
            ("ordain.outcome", false) => value["outcome"].as_str().unwrap_or_default(),
            (kind, _) if kind.starts_with("account.") => "accepted",
            _ => "nothing",
        };
        ensure!(told == *wanted, "command {n} was answered {told}: {answer:?}");
        ensure!(answer.key == ACCOUNT && of("ce_subject") == ACCOUNT, "another aggregate: {answer:?}");
        ensure!(of("ce_sequence") == version.to_string(), "not at version {version}: {answer:?}");
        ensure!(of("ce_commandoffset") == n.to_string() && of("ce_logsequence") == n.to_string(), "{n}: {answer:?}");
        let id = headers.split(',').find_map(|one| one.strip_prefix("ce_id:").or(one.strip_prefix("ce_commandid:")));
        match id {
            Some(id) => ensure!(of("ce_commandid") == id, "another command than {id}: {answer:?}"),
            // The partition of the key is in the id that the host made.
            None => {
                let made = of("ce_commandid");
                ensure!(made.starts_with(&format!("{commands}-")) && made.ends_with(&format!("-{n}")), "{answer:?}");
            }
        }
        let correlation = if headers.contains("ce_correlationid:k-1") { "k-1" } else { "" };
        ensure!(of("ce_correlationid") == correlation, "{answer:?}");
    }
    Ok(())
}

/// The headers of each record are those that the document describes for its kind.
fn described(records: &[Record], asyncapi: &Value) -> anyhow::Result<()> {
    let mut kinds = BTreeSet::new();
    for record in records {
        let kind = match record.headers.get("ce_type").map(String::as_str) {
            Some("ordain.owner") => "owner",
            Some("ordain.outcome") => "account.outcome",
            _ => "account.event",
        };
        kinds.insert(kind);
        let schema = &asyncapi["components"]["messages"][kind]["headers"];
        let known = schema["properties"].as_object().context("headers")?;
        for name in record.headers.keys() {
            ensure!(known.contains_key(name), "{kind}: the header {name} is not described");
        }
        for name in schema["required"].as_array().context("required headers")? {
            let name = name.as_str().unwrap_or_default();
            ensure!(record.headers.contains_key(name), "{kind}: the header {name} did not come: {record:?}");
        }
        let named = &known["ce_type"]["enum"];
        if let (Value::Array(all), Some(kind)) = (named, record.headers.get("ce_type")) {
            ensure!(all.iter().any(|one| one == kind), "{kind} is not described");
        }
    }
    ensure!(kinds.len() == 3, "records of all kinds came: {kinds:?}");
    Ok(())
}

/// Kafka's tool for groups shows how far the answers are, though no member of that group exists.
async fn lag_is_shown(brokers: &str, prefix: &str, commands: &str) -> anyhow::Result<()> {
    let partition = ordain_checker::murmur::partition(ACCOUNT, PARTITIONS).to_string();
    let count = COMMANDS.len().to_string();
    let mut last = String::new();
    for _ in 0..10 {
        let mut tool = Tool::ConsumerGroups.command(brokers);
        last = output(tool.args(["--describe", "--group", &format!("{prefix}lag")]))?;
        // GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG …
        let lines = last.lines().map(|line| line.split_whitespace().skip(1).take(5).collect::<Vec<_>>());
        if lines.into_iter().any(|words| words == [commands, &partition, &count, &count, "0"]) {
            return Ok(());
        }
        // It is written down every few seconds.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    bail!("the group does not show that {count} commands of partition {partition} are answered:\n{last}")
}

/// What a program printed, which must have ended well.
pub(super) fn output(program: &mut Command) -> anyhow::Result<String> {
    let ended = program.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "it ended with {}: {said}", ended.status);
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
}

/// Stops a host that must still run.
pub(super) async fn stop(host: Daemon) -> anyhow::Result<()> {
    host.stop(Duration::from_secs(30)).await.map(drop)
}
