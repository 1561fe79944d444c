//! Any answered commands become records and come back the same; and a record that does not follow is refused.

use std::collections::BTreeMap;
use std::fmt;

use ordain_sdk::contract::{Frames, write_frame};
use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::assembler::Assembler;
use super::layout::{Layout, LayoutType};
use super::owner::Owner;
use super::writer::Writer;
use super::*;
use crate::log::{Answer, BlockBuilder, Entry, EntryHead, LogError, Lsn};
use crate::message::{AggregateId, AggregateType, Command, CommandId, Digest, FailureReason};

/// A value as a guest sees it, read by the library that guests use and not by the code under test.
#[derive(Debug, Clone, PartialEq)]
enum Tree {
    Nil,
    Bool(bool),
    Int(i128),
    Float(u64),
    Str(String),
    Bin(Vec<u8>),
    Seq(Vec<Tree>),
    Map(Vec<(Tree, Tree)>),
}

struct Grow;

impl<'de> Visitor<'de> for Grow {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Nil)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }
    fn visit_u64<E>(self, n: u64) -> Result<Tree, E> {
        Ok(Tree::Int(n.into()))
    }
    fn visit_i64<E>(self, n: i64) -> Result<Tree, E> {
        Ok(Tree::Int(n.into()))
    }
    fn visit_f64<E>(self, n: f64) -> Result<Tree, E> {
        Ok(Tree::Float(n.to_bits()))
    }
    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Str(text.into()))
    }
    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Tree, E> {
        Ok(Tree::Bin(bytes.into()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Tree, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = from.next_element()? {
            all.push(one);
        }
        Ok(Tree::Seq(all))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Tree, A::Error> {
        let mut all = Vec::new();
        while let Some(pair) = from.next_entry()? {
            all.push(pair);
        }
        Ok(Tree::Map(all))
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Grow)
    }
}

/// Whether a guest sees the same in both.
fn same(a: &[u8], b: &[u8]) -> bool {
    let tree = |bytes| rmp_serde::from_slice::<Tree>(bytes).ok();
    a == b || (tree(a).is_some() && tree(a) == tree(b))
}

fn packed(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

/// MessagePack of anything that a guest may write.
fn anything() -> impl Strategy<Value = Vec<u8>> {
    use rmp::encode::*;
    let special =
        prop::sample::select(vec![0.0, -0.0, 0.1, 1e16, f64::MIN_POSITIVE, f64::NAN, f64::INFINITY, f64::MAX]);
    let leaf = prop_oneof![
        Just(vec![0xc0]),
        any::<bool>().prop_map(|value| vec![0xc2 + u8::from(value)]),
        prop_oneof![Just(u64::MAX), any::<u64>(), 0..300_u64]
            .prop_map(|n| packed(|out| assert!(write_uint(out, n).is_ok()))),
        prop_oneof![Just(i64::MIN), any::<i64>()].prop_map(|n| packed(|out| assert!(write_sint(out, n).is_ok()))),
        any::<u64>().prop_map(|n| packed(|out| write_u64(out, n).unwrap())),
        prop_oneof![special, any::<f64>()].prop_map(|n| packed(|out| write_f64(out, n).unwrap())),
        any::<f32>().prop_map(|n| packed(|out| write_f32(out, n).unwrap())),
        ".{0,20}".prop_map(|text| packed(|out| write_str(out, &text).unwrap())),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(|bytes| packed(|out| write_bin(out, &bytes).unwrap())),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(|bytes| packed(|out| {
            write_ext_meta(out, bytes.len() as u32, 5).unwrap();
            out.extend_from_slice(&bytes);
        })),
    ];
    let plain = prop_oneof![".{0,20}", "[a-z_]{1,8}"].prop_map(|text| packed(|out| write_str(out, &text).unwrap()));
    leaf.prop_recursive(4, 40, 6, move |inner| {
        let key = prop_oneof![20 => plain.clone(), 1 => inner.clone()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|all| packed(|out| {
                write_array_len(out, all.len() as u32).unwrap();
                out.extend(all.concat());
            })),
            prop::collection::vec((key, inner), 0..20).prop_map(|all| packed(|out| {
                write_map_len(out, all.len() as u32).unwrap();
                all.iter().for_each(|(key, value)| out.extend([&key[..], value].concat()));
            })),
        ]
    })
}

/// An event: a tagged value.
fn tagged() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof!["[A-Z][a-z]{1,9}", ".{0,6}"];
    (name, prop::option::of(anything())).prop_map(|(name, content)| {
        packed(|out| {
            if content.is_some() {
                out.push(0x81);
            }
            rmp::encode::write_str(out, &name).unwrap();
            out.extend(content.unwrap_or_default());
        })
    })
}

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
        let form = if messagepack { ValueForm::MessagePack } else { ValueForm::Json };
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

fn refused(records: &[Kept]) -> String {
    restored(records, &mut assembler()).map(|block| block.count()).unwrap_err()
}

/// R4: a log with a hole, a repeat or a command cut in two is never decided on.
#[test]
fn a_record_that_does_not_follow_is_refused() {
    let story = story();
    assert_eq!(restored(&story, &mut assembler()).unwrap().count(), 5);
    for gone in 0..story.len() - 1 {
        let mut holed = story.clone();
        holed.remove(gone);
        let text = refused(&holed);
        assert!(text.contains("ce_logsequence") && text.contains("shop.account.events partition 2"), "{text}");
    }
    for twice in 0..story.len() {
        let mut repeated = story.clone();
        repeated.insert(twice, story[twice].clone());
        assert!(refused(&repeated).contains("ce_logsequence"), "{twice}");
    }
    for cut in [1, 6, 7] {
        assert!(refused(&story[..cut]).contains("is missing"), "{cut}");
    }
}

#[test]
fn a_record_that_says_another_thing_than_before_is_refused() {
    let story = story();
    let cases: [(usize, &std::ffi::CStr, &str, &str); 26] = [
        (0, name::COMMAND_INDEX, "2", "the first one comes next"),
        (0, name::COMMAND_INDEX, "0", "the first one comes next"),
        (0, name::COMMAND_COUNT, "0", "the first one comes next"),
        (0, name::SEQUENCE, "0", "version 0"),
        (1, name::COMMAND_COUNT, "3", "event 2 of 3"),
        (1, name::COMMAND_INDEX, "1", "event 1 of 2"),
        (1, name::SEQUENCE, "3", "version 3 behind version 1"),
        (1, name::SEQUENCE, "1", "version 1 behind version 1"),
        (1, name::COMMAND_ID, "c-9", "belongs to command c-9"),
        (1, name::COMMAND_OFFSET, "1", "belongs to command"),
        (1, name::COMMAND_HASH, "0000000000000abd", "belongs to command"),
        (1, name::EPOCH, "78", "belongs to command"),
        (2, name::COMMAND_OFFSET, "0", "that of 1 or later"),
        (2, name::COMMAND_INDEX, "1", "the first one comes next"),
        (2, name::SEQUENCE, "3", "with version 2 in it"),
        (2, name::CONTENT_TYPE, "text/plain", "content-type"),
        (2, name::CONTENT_TYPE, MESSAGEPACK, "cannot be read"),
        (2, name::TIME, "yesterday", "ce_time"),
        (2, name::MODULE, "sha256:12", "ce_module"),
        (2, name::COMMAND_HASH, "xyz", "ce_commandhash"),
        (2, name::COMMAND_OFFSET, "-1", "ce_commandoffset"),
        (2, name::COMMAND_OFFSET, "18446744073709551616", "ce_commandoffset"),
        (2, name::COMMAND_COUNT, "4294967296", "ce_commandcount"),
        (2, name::COMMAND_ID, "a b", "ce_commandid"),
        (4, name::COMMAND_OFFSET, "2", "that of 3 or later"),
        (5, name::COMMAND_OFFSET, "18446744073709551615", "impossible"),
    ];
    for (at, name, value, wanted) in cases {
        let mut wrong = story.clone();
        wrong[at].set(name, value);
        let text = refused(&wrong);
        assert!(text.contains(wanted) && text.contains(&format!("offset {}", 100 + at)), "{name:?} {value}: {text}");
    }
    for at in [0, 2] {
        for gone in 0..story[at].headers.len() {
            let mut wrong = story.clone();
            let (name, _) = wrong[at].headers.remove(gone);
            let free = ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_correlationid"];
            if !free.contains(&std::str::from_utf8(&name).unwrap()) {
                assert!(refused(&wrong).contains("has no header"), "{name:?}");
            }
        }
    }
}

#[test]
fn outcomes_that_say_nothing_are_refused() {
    for (value, wanted) in [
        ("{}", "no version"),
        ("[]", "not one MessagePack map"),
        ("{", "not the JSON"),
        ("{\"version\":2}", "no field"),
        ("{\"version\":2,\"outcome\":\"pardoned\"}", "pardoned"),
        ("{\"version\":2,\"outcome\":\"rejected\"}", "without a rejection"),
        ("{\"version\":2,\"outcome\":\"conflict\",\"conflict\":{\"expected\":1}}", "no actual"),
        ("{\"version\":2,\"outcome\":\"conflict\",\"conflict\":{\"expected\":1,\"actual\":3}}", "version 3"),
        ("{\"version\":2,\"outcome\":\"failed\",\"failure\":{\"reason\":\"mood\",\"message\":\"\"}}", "mood"),
        ("{\"version\":2,\"outcome\":\"failed\",\"failure\":{\"reason\":\"trap\"}}", "no message"),
    ] {
        let mut wrong = story();
        wrong[2].value = value.into();
        let text = refused(&wrong);
        assert!(text.contains(wanted), "{value}: {text}");
    }
}

#[test]
fn an_owners_record_stands_between_commands_and_in_none() {
    let owner = Owner {
        lane: 3,
        nonce: "n-1".into(),
        address: Some("http://10.0.0.7:7400".into()),
        modules: BTreeMap::from([("account".into(), Digest([7; 32]))]),
    };
    let record: Kept = owner.record("/ordain/test", 5).into();
    assert_eq!(record.header(name::TYPE), Some(OWNER));
    assert_eq!(record.key, owner::KEY.as_bytes());
    assert_eq!(seen(&record, Owner::read), Some(Ok(owner)));
    let mut records = story();
    records.insert(2, record.clone());
    records.push(record.clone());
    assert_eq!(restored(&records, &mut assembler()).unwrap().count(), 5);
    let mut torn = story();
    assert_eq!(seen(&torn[0], Owner::read), None);
    torn.insert(1, record.clone());
    assert!(refused(&torn).contains("event 2 of 2 of command c-1 is missing"));
    let mut broken = record;
    broken.value = b"{".into();
    assert!(seen(&broken, Owner::read).unwrap().is_err());
}

#[test]
fn a_layout_comes_back_and_a_wrong_one_is_refused() {
    let account = LayoutType {
        name: "account".into(),
        slot: 0,
        commands_topic_id: "AAAA".into(),
        events_topic_id: "BBBB".into(),
    };
    let layout =
        Layout { cluster_id: "c".into(), generation: 1, partitions: 8, lanes: 2, types: vec![account.clone()] };
    let read = |layout: &Layout| seen(&layout.record("/ordain/test").into(), Layout::read).unwrap();
    assert_eq!(read(&layout), Ok(layout.clone()));
    let twice = |name: &str, slot| LayoutType { name: name.into(), slot, ..account.clone() };
    for wrong in [
        Layout { partitions: 0, ..layout.clone() },
        Layout { lanes: 0, ..layout.clone() },
        Layout { types: vec![twice("Account", 0)], ..layout.clone() },
        Layout { types: vec![account.clone(), twice("account", 1)], ..layout.clone() },
        Layout { types: vec![account.clone(), twice("order", 0)], ..layout.clone() },
    ] {
        assert!(read(&wrong).is_err(), "{wrong:?}");
    }
    let mut later: Kept = layout.record("/ordain/test").into();
    later.value = String::from_utf8(later.value).unwrap().replace("\"lanes\"", "\"stripes\":1,\"lanes\"").into();
    assert!(seen(&later, Layout::read).unwrap().unwrap_err().contains("later version"));
    assert!(seen(&story()[0], Layout::read).is_none());
}

#[test]
fn a_repeat_of_a_huge_answer_does_not_become_a_huge_record() {
    let huge = rmp_serde::to_vec_named(&BTreeMap::from([("Noted", "x".repeat(60_000))])).unwrap();
    let one = |said| Asked { said, ..plain("c") };
    for (events, shown) in [(2, true), (3, false)] {
        let all = [one(Said::Accepted(vec![huge.clone(); events])), one(Said::Repeated(true))];
        for form in [ValueForm::Json, ValueForm::MessagePack] {
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
