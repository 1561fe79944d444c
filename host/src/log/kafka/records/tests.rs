//! Any answered commands become records and come back the same.

mod broken;
mod lane;
mod values;

use std::collections::BTreeMap;

use ordain_sdk::contract::{Frames, write_frame};
use proptest::prelude::*;

use self::values::{anything, same, tagged};
use super::assembler::Assembler;
use super::writer::Writer;
use super::*;
use crate::log::{Answer, BlockBuilder, Entry, EntryHead, LogError, Lsn};
use crate::message::{AggregateId, AggregateType, Command, CommandId, Digest, FailureReason};

#[derive(Debug, Clone)]
enum Said {
    Accepted(Vec<Vec<u8>>),
    Rejected(Vec<u8>),
    Conflict(u64),
    Failed(FailureReason, String),
    Repeated(bool),
}

#[derive(Debug, Clone)]
struct Asked {
    id: String,
    command_id: String,
    time_ms: i64,
    hash: u64,
    skipped: u64,
    version: u64,
    module: u8,
    texts: (String, String),
    said: Said,
}

fn said() -> impl Strategy<Value = Said> {
    let rejection = prop_oneof![tagged(), anything(), prop::collection::vec(any::<u8>(), 0..9)];
    prop_oneof![
        4 => prop::collection::vec(tagged(), 0..5).prop_map(Said::Accepted),
        2 => rejection.prop_map(Said::Rejected),
        1 => any::<u64>().prop_map(Said::Conflict),
        1 => (prop::sample::select(FailureReason::ALL.to_vec()), ".{0,30}").prop_map(|(why, text)| Said::Failed(why, text)),
        1 => any::<bool>().prop_map(Said::Repeated),
    ]
}

fn asked() -> impl Strategy<Value = Asked> {
    let id = prop_oneof!["[a-z0-9-]{1,20}", "[^\\p{Cc}]{1,30}"];
    let numbers = (0..=time::LAST_MS, any::<u64>(), 0..5_u64, any::<u8>());
    let version = prop_oneof![0..10_u64, any::<u32>().prop_map(u64::from), Just(u64::MAX - 9)];
    (id, "[!-~]{1,128}", numbers, version, (".{0,12}", ".{0,12}"), said()).prop_map(
        |(id, command_id, (time_ms, hash, skipped, module), version, texts, said)| Asked {
            id,
            command_id,
            time_ms,
            hash,
            skipped,
            version,
            module: module % 3,
            texts,
            said,
        },
    )
}

/// What was asked and answered, as the block of a lane that starts at the given numbers.
fn block(all: &[Asked], mut sequence: u64, mut command_offset: u64) -> BlockBuilder {
    let mut block = BlockBuilder::new();
    for one in all {
        let mut frames = Vec::new();
        let answer = match &one.said {
            Said::Accepted(events) => {
                events.iter().for_each(|event| write_frame(&mut frames, event));
                Answer::Accepted { count: events.len() as u32, events: &frames }
            }
            Said::Rejected(value) => Answer::Rejected(value),
            Said::Conflict(_) => Answer::Conflict { actual: one.version },
            Said::Failed(reason, message) => Answer::Failed { reason: *reason, message },
            Said::Repeated(_) => Answer::Repeated { original: Lsn::UNKNOWN },
        };
        let count = if let Answer::Accepted { count, .. } = answer { count } else { 0 };
        command_offset += one.skipped;
        let version = one.version + u64::from(count);
        let head = EntryHead { sequence, command_offset, version, module: Digest([one.module; 32]) };
        let command = Command {
            partition: 6,
            offset: Some(command_offset),
            defect: None,
            aggregate_type: AggregateType::parse("account").unwrap(),
            aggregate_id: AggregateId::parse(&one.id).unwrap(),
            command_id: CommandId::parse(&one.command_id).unwrap(),
            expected_version: if let Said::Conflict(expected) = one.said { Some(expected) } else { None },
            time_ms: one.time_ms,
            correlation_id: one.texts.0.as_str().into(),
            traceparent: one.texts.1.as_str().into(),
            metadata: Box::default(),
            body: Box::default(),
            body_hash: one.hash,
        };
        block.push(&head, &command, &answer);
        sequence += u64::from(count.max(1));
        command_offset += 1;
    }
    block
}

/// A record that owns its bytes, as a broker would keep it.
#[derive(Debug, Clone, PartialEq)]
struct Kept {
    key: Vec<u8>,
    value: Vec<u8>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Kept {
    fn header(&self, name: &std::ffi::CStr) -> Option<&str> {
        let found = self.headers.iter().find(|(one, _)| one == name.to_bytes())?;
        std::str::from_utf8(&found.1).ok()
    }

    fn set(&mut self, name: &std::ffi::CStr, value: &str) {
        let found = self.headers.iter_mut().find(|(one, _)| one == name.to_bytes()).unwrap();
        found.1 = value.into();
    }
}

impl From<OwnedRecord> for Kept {
    fn from(record: OwnedRecord) -> Self {
        let headers = record.headers.into_iter().map(|(name, value)| (name.as_bytes().into(), value)).collect();
        Self { key: record.key, value: record.value, headers }
    }
}

/// Calls `read` with the record as a reader sees it.
fn seen<T>(record: &Kept, read: impl FnOnce(&RecordView<'_>) -> T) -> T {
    let headers: Vec<HeaderView<'_>> =
        record.headers.iter().map(|(name, value)| (&name[..], Some(&value[..]))).collect();
    read(&RecordView { key: Some(&record.key), value: Some(&record.value), headers: &headers, timestamp_ms: 0 })
}

fn written(block: &BlockBuilder, form: ValueForm, first: impl Fn(usize) -> bool) -> Vec<Kept> {
    let mut writer = Writer::new("/ordain/test", form);
    let mut records = Vec::new();
    let firsts: Vec<Entry<'_>> = block.entries().map(|(_, entry)| entry).collect();
    for (n, (_, entry)) in block.entries().enumerate() {
        let first =
            if first(n) { firsts.iter().find(|one| !matches!(one.answer, Answer::Repeated { .. })) } else { None };
        let done: Result<(), ()> = writer.entry(&entry, 77, first, |record| {
            let headers =
                record.headers.iter().map(|(name, value)| (name.to_bytes().into(), (*value).into())).collect();
            records.push(Kept { key: record.key.into(), value: record.value.into(), headers });
            assert!(record.bytes() > record.key.len() + record.value.len());
            Ok(())
        });
        done.unwrap();
    }
    records
}

fn assembler() -> Assembler {
    Assembler::new(AggregateType::parse("account").unwrap(), "shop.account.events", 2, 6)
}

fn restored(records: &[Kept], from: &mut Assembler) -> Result<BlockBuilder, String> {
    let mut block = BlockBuilder::new();
    for (offset, record) in (100..).zip(records) {
        let read: Result<(), String> = seen(record, |view| {
            let one = from.record(offset, view).map_err(|e| e.to_string())?;
            if let Some(one) = one {
                assert_eq!(one.epoch, 77);
                block.push(&one.head, one.command, &one.answer);
            }
            Ok(())
        });
        read?;
    }
    from.end(0).map_err(|e| e.to_string())?;
    Ok(block)
}

fn same_answer(a: &Answer<'_>, b: &Answer<'_>) -> bool {
    match (*a, *b) {
        (Answer::Accepted { count: n, events: a }, Answer::Accepted { count: m, events: b }) => {
            let (a, b): (Vec<_>, Vec<_>) =
                (Frames(a).map(Result::unwrap).collect(), Frames(b).map(Result::unwrap).collect());
            n == m && a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Answer::Rejected(a), Answer::Rejected(b)) => same(a, b),
        (a, b) => a == b,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn whatever_was_answered_comes_back_the_same(
        all in prop::collection::vec(asked(), 0..12),
        messagepack in any::<bool>(),
        start in 0..u64::from(u32::MAX),
    ) {
        let form = if messagepack { ValueForm::Msgpack } else { ValueForm::Json };
        let before = block(&all, start, start / 2);
        let records = written(&before, form, |n| matches!(all[n].said, Said::Repeated(true)));
        let mut from = assembler();
        from.resume(start, start / 2);
        let after = restored(&records, &mut from).unwrap();
        prop_assert_eq!(before.count(), after.count());
        for ((_, a), (_, b)) in before.entries().zip(after.entries()) {
            prop_assert!(same_answer(&a.answer, &b.answer), "{:?} {:?}", a, b);
            prop_assert_eq!(Entry { answer: b.answer, ..a }, b);
        }
        prop_assert_eq!(from.next_sequence(), start + records.len() as u64);
    }
}

/// Six records: two events of one command, a refusal, a repeat of the first command, an event, three events.
fn story() -> Vec<Kept> {
    let event =
        |name: &str| rmp_serde::to_vec_named(&BTreeMap::from([(name, BTreeMap::from([("amount", 500)]))])).unwrap();
    let one = |command_id: &str, version, said| Asked {
        id: "acc-17".into(),
        command_id: command_id.into(),
        time_ms: 1_767_323_045_678,
        hash: 0xabc,
        skipped: 0,
        version,
        module: 7,
        texts: ("order 7".into(), String::new()),
        said,
    };
    let rejected =
        rmp_serde::to_vec_named(&BTreeMap::from([("InsufficientFunds", BTreeMap::from([("balance", 3)]))])).unwrap();
    let all = [
        one("c-1", 0, Said::Accepted(vec![event("Opened"), event("Deposited")])),
        one("c-2", 2, Said::Rejected(rejected)),
        one("c-1", 2, Said::Repeated(true)),
        one("c-3", 2, Said::Accepted(vec![event("Deposited")])),
        one("c-4", 3, Said::Accepted(vec![event("A"), event("B"), event("C")])),
    ];
    written(&block(&all, 0, 0), ValueForm::Json, |_| true)
}

#[test]
fn records_are_what_the_contract_says() {
    let records = story();
    let first: Vec<(String, String)> = records[1]
        .headers
        .iter()
        .map(|(name, value)| (String::from_utf8_lossy(name).into(), String::from_utf8_lossy(value).into()))
        .collect();
    let module = Digest([7; 32]).to_string();
    let wanted = [
        ("content-type", "application/json"),
        ("ce_specversion", "1.0"),
        ("ce_id", "account/acc-17/2"),
        ("ce_source", "/ordain/test"),
        ("ce_type", "account.Deposited"),
        ("ce_subject", "acc-17"),
        ("ce_time", "2026-01-02T03:04:05.678Z"),
        ("ce_sequence", "2"),
        ("ce_commandid", "c-1"),
        ("ce_commandhash", "0000000000000abc"),
        ("ce_commandindex", "2"),
        ("ce_commandcount", "2"),
        ("ce_commandoffset", "0"),
        ("ce_logsequence", "1"),
        ("ce_module", &module),
        ("ce_epoch", "77"),
        ("ce_correlationid", "order 7"),
    ];
    assert_eq!(first, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!((&records[1].key[..], &records[1].value[..]), (&b"acc-17"[..], &br#"{"Deposited":{"amount":500}}"#[..]));
    let refused: serde_json::Value = serde_json::from_slice(&records[2].value).unwrap();
    assert_eq!(
        refused,
        serde_json::json!({"command_id": "c-2", "type": "account", "id": "acc-17", "outcome": "rejected", "version": 2,
            "rejection": {"code": "InsufficientFunds", "details": {"balance": 3}}, "module": module})
    );
    let repeated: serde_json::Value = serde_json::from_slice(&records[3].value).unwrap();
    assert_eq!((records[3].header(name::TYPE), records[3].header(name::COMMAND_OFFSET)), (Some(OUTCOME), Some("2")));
    assert_eq!((&repeated["replayed"], &repeated["outcome"]), (&true.into(), &"accepted".into()));
    assert_eq!(repeated["events"][1]["event"]["Deposited"]["amount"], 500);
}

/// A guest's own types, with everything that JSON is known to lose.
#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
enum Hard {
    Kept {
        text: String,
        big: u64,
        low: i64,
        single: f32,
        double: f64,
        maybe: Option<Option<u8>>,
        list: Vec<Option<String>>,
    },
    ByNumber(BTreeMap<u64, String>),
    ByNothing(BTreeMap<Option<u8>, u8>),
    Wide(u128),
    Pair(i128, char),
    Unit,
}

#[test]
fn a_guests_types_come_back_as_they_were() {
    let kept = |single, double, maybe| Hard::Kept {
        text: "ä\u{0}\u{2028}\"".into(),
        big: u64::MAX,
        low: i64::MIN,
        single,
        double,
        maybe,
        list: vec![None, Some(String::new())],
    };
    let events = [
        (kept(0.1, 0.1, Some(Some(1))), JSON),
        (kept(f32::MIN_POSITIVE, 5e-324, None), JSON),
        (kept(-0.0, f64::MAX, None), JSON),
        (kept(f32::INFINITY, 1.0, None), MESSAGEPACK),
        (kept(1.0, f64::NEG_INFINITY, None), MESSAGEPACK),
        (Hard::ByNumber(BTreeMap::from([(7, "x".into()), (u64::MAX, String::new())])), MESSAGEPACK),
        (Hard::ByNumber(BTreeMap::new()), JSON),
        (Hard::ByNothing(BTreeMap::from([(None, 1)])), MESSAGEPACK),
        (Hard::Wide(u128::MAX), MESSAGEPACK),
        (Hard::Pair(-1, 'ß'), MESSAGEPACK),
        (Hard::Unit, JSON),
    ];
    let values = events.iter().map(|(event, _)| rmp_serde::to_vec_named(event).unwrap()).collect();
    let asked = Asked { said: Said::Accepted(values), ..plain("c") };
    let records = written(&block(&[asked], 0, 0), ValueForm::Json, |_| false);
    let block = restored(&records, &mut assembler()).unwrap();
    let (_, entry) = block.entries().next().unwrap();
    let Answer::Accepted { events: frames, .. } = entry.answer else { panic!() };
    for ((frame, record), (event, form)) in Frames(frames).zip(&records).zip(&events) {
        assert_eq!(record.header(name::CONTENT_TYPE), Some(*form), "{event:?}");
        assert_eq!(&rmp_serde::from_slice::<Hard>(frame.unwrap()).unwrap(), event);
    }
}

#[test]
fn a_repeat_of_a_huge_answer_does_not_become_a_huge_record() {
    let huge = rmp_serde::to_vec_named(&BTreeMap::from([("Noted", "x".repeat(60_000))])).unwrap();
    let one = |said| Asked { said, ..plain("c") };
    for (events, shown) in [(2, true), (3, false)] {
        let all = [one(Said::Accepted(vec![huge.clone(); events])), one(Said::Repeated(true))];
        for form in [ValueForm::Json, ValueForm::Msgpack] {
            let records = written(&block(&all, 0, 0), form, |_| true);
            assert_eq!(records.last().unwrap().value.len() > 100_000, shown);
            assert_eq!(restored(&records, &mut assembler()).unwrap().count(), 2);
        }
    }
}

#[test]
fn a_sinks_error_ends_the_writing() {
    let event = vec![0xa1, b'A'];
    let asked = Asked { said: Said::Accepted(vec![event; 3]), ..plain("c") };
    let block = block(&[asked], 0, 0);
    let (_, entry) = block.entries().next().unwrap();
    let mut seen = 0;
    let result = Writer::new("", ValueForm::Json).entry(&entry, 0, None, |_| {
        seen += 1;
        if seen == 2 { Err(LogError::Fenced { lane: 1 }) } else { Ok(()) }
    });
    assert!(matches!(result, Err(LogError::Fenced { lane: 1 })) && seen == 2);
}

fn plain(command_id: &str) -> Asked {
    Asked {
        id: "a".into(),
        command_id: command_id.into(),
        time_ms: 0,
        hash: 0,
        skipped: 0,
        version: 0,
        module: 0,
        texts: Default::default(),
        said: Said::Accepted(Vec::new()),
    }
}
