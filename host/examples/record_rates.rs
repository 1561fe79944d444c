//! How many records a core writes, reads back into a block, and takes as commands, without a broker: the share of Kafka's
//! codec in the cost of a command. The figures are in the comment of `log::kafka::records`.
//!
//! `cargo run --release --workspace --example record_rates`

use std::convert::Infallible;
use std::time::Duration;

use ordain::clock::{Stopwatch, thread_cpu};
use ordain::json;
use ordain::log::kafka::records::append::command_record;
use ordain::log::kafka::records::assembler::Assembler;
use ordain::log::kafka::records::command::{CommandReader, Limits};
use ordain::log::kafka::records::writer::Writer;
use ordain::log::kafka::records::{HeaderView, OwnedRecord, RecordView, ValueForm};
use ordain::log::test_kit::command;
use ordain::log::{Answer, BlockBuilder, EntryHead};
use ordain::message::{AggregateType, CommandId, Digest};

const COMMANDS: u64 = 1000;
const LAP: Duration = Duration::from_secs(1);

/// A lane's block: each command accepted with one event of about 120 bytes, or refused, one in ten.
fn block() -> BlockBuilder {
    let event = json::to_messagepack(
        br#"{"Deposited":{"amount":500,"balance":123456,"by":"a person with a name","note":"what one writes on a transfer, not short"}}"#,
    )
    .expect("JSON");
    let mut frames = (event.len() as u32).to_le_bytes().to_vec();
    frames.extend_from_slice(&event);
    let refusal =
        json::to_messagepack(br#"{"InsufficientFunds":{"balance":5,"limit":0,"requested":7}}"#).expect("JSON");
    let mut block = BlockBuilder::new();
    for n in 0..COMMANDS {
        let mut command = command(&format!("acc-{n}"), 4, b"");
        command.command_id = CommandId::parse(&format!("01900000-0000-7000-8000-{n:012}")).expect("an id");
        command.time_ms = 1_767_323_045_678 + n as i64 / 100;
        command.body_hash = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let head = EntryHead { sequence: n, command_offset: n, version: 1 + n % 7, module: Digest([7; 32]) };
        let accepted = Answer::Accepted { count: 1, events: &frames };
        block.push(&head, &command, &if n % 10 == 9 { Answer::Rejected(&refusal) } else { accepted });
    }
    block
}

/// Runs rounds of [`COMMANDS`] for a lap, and prints how many a second of CPU.
fn rate(what: &str, mut round: impl FnMut()) {
    let (lap, cpu) = (Stopwatch::start(), thread_cpu());
    let mut rounds = 0;
    while lap.elapsed() < LAP {
        round();
        rounds += 1;
    }
    let rate = (rounds * COMMANDS) as f64 / (thread_cpu() - cpu).as_secs_f64();
    println!("{what:24} {:>9.0} k/s {:>6.0} ns each", rate / 1e3, 1e9 / rate);
}

fn view<'a>(record: &'a OwnedRecord, headers: &'a mut Vec<HeaderView<'a>>) -> RecordView<'a> {
    headers.extend(record.headers.iter().map(|(name, value)| (name.as_bytes(), Some(&value[..]))));
    RecordView { key: Some(&record.key), value: Some(&record.value), headers, timestamp_ms: 0 }
}

fn events(form: ValueForm) {
    let block = block();
    let mut records = Vec::new();
    let mut writer = Writer::new("/ordain/bench", form);
    for (_, entry) in block.entries() {
        let Ok(()) = writer.entry(&entry, 7, None, |record| {
            let headers = record.headers.iter().map(|(name, value)| (name.to_string_lossy().into(), value.to_vec()));
            records.push(OwnedRecord {
                key: record.key.into(),
                value: record.value.into(),
                headers: headers.collect(),
            });
            Ok::<_, Infallible>(())
        });
    }
    let mut bytes = 0;
    rate(&format!("written, {form:?}"), || {
        for (_, entry) in block.entries() {
            let Ok(()) = writer.entry(&entry, 7, None, |record| {
                bytes += record.bytes();
                Ok::<_, Infallible>(())
            });
        }
    });
    let mut from = Assembler::new(AggregateType::parse("account").expect("a type"), "account.events", 0, 0);
    let mut headers: Vec<Vec<HeaderView<'_>>> = vec![Vec::new(); records.len()];
    let views: Vec<RecordView<'_>> = records.iter().zip(&mut headers).map(|(one, into)| view(one, into)).collect();
    rate(&format!("read back, {form:?}"), || {
        from.resume(0, 0);
        let mut block = BlockBuilder::new();
        for (offset, view) in (0..).zip(&views) {
            if let Some(one) = from.record(offset, view).expect("follows") {
                block.push(&one.head, one.command, &one.answer);
            }
        }
        assert_eq!(u64::from(block.count()), COMMANDS);
    });
}

fn commands(form: ValueForm) {
    let body =
        json::to_messagepack(br#"{"Deposit":{"amount":500,"by":"a person with a name","note":"what one writes"}}"#)
            .expect("JSON");
    let all: Vec<OwnedRecord> =
        (0..COMMANDS).map(|n| command_record(&command(&format!("acc-{n}"), 1, &body), form)).collect();
    let of = AggregateType::parse("account").expect("a type");
    let reader = CommandReader::new(of, "account.commands", 0, 1, 0, Limits::default());
    let mut headers: Vec<Vec<HeaderView<'_>>> = vec![Vec::new(); all.len()];
    let views: Vec<RecordView<'_>> = all.iter().zip(&mut headers).map(|(one, into)| view(one, into)).collect();
    rate(&format!("commands taken, {form:?}"), || {
        for (offset, view) in (0..).zip(&views) {
            assert!(reader.read(offset, view, 0).defect.is_none());
        }
    });
}

fn main() {
    for form in [ValueForm::Json, ValueForm::Msgpack] {
        events(form);
        commands(form);
    }
}
