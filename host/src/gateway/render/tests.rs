use serde::Serialize;

use super::*;
use crate::engine::{Answered, HistoryEvent};
use crate::log::{BlockBuilder, EntryHead, Lsn};
use crate::message::{AggregateId, AggregateType, Command, CommandId};

fn command() -> Command {
    Command {
        partition: 3,
        aggregate_type: AggregateType::parse("account").unwrap(),
        aggregate_id: AggregateId::parse("ann \"1\"").unwrap(),
        command_id: CommandId::parse("c-1").unwrap(),
        expected_version: Some(4),
        time_ms: 1_700_000_000_123,
        correlation_id: "".into(),
        traceparent: "".into(),
        metadata: [].into(),
        body: [0xc0].into(),
        offset: None,
        defect: None,
        body_hash: 0,
    }
}

fn answered(answer: &Answer<'_>, version: u64, repeated: bool) -> Answered {
    let mut block = BlockBuilder::new();
    let head = EntryHead { sequence: 0, command_offset: 0, version, module: Digest([0xab; 32]) };
    let offset = block.push(&head, &command(), answer);
    Answered { block: block.seal(1, 0, 1, Lsn(0), Lsn(0), 0), offset, repeated }
}

fn shown(answer: &Answer<'_>, version: u64, repeated: bool) -> String {
    let mut out = Vec::new();
    write_outcome(&answered(answer, version, repeated).entry(), repeated, &mut out);
    String::from_utf8(out).unwrap()
}

fn messagepack(value: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap()
}

fn frames(events: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for event in events {
        ordain_sdk::contract::write_frame(&mut out, &json::to_messagepack(event.as_bytes()).unwrap());
    }
    out
}

const HEAD: &str = r#"{"command_id":"c-1","type":"account","id":"ann \"1\"","outcome":"#;

fn module() -> String {
    format!(r#""module":"sha256:{}""#, "ab".repeat(32))
}

#[test]
fn accepted_shows_each_event_with_its_version() {
    let events = frames(&[r#"{"Opened":{"owner":"ann"}}"#, r#"{"Deposited":{"amount":-5}}"#]);
    let answer = Answer::Accepted { count: 2, events: &events };
    let module = module();
    assert_eq!(
        shown(&answer, 6, false),
        format!(
            r#"{HEAD}"accepted","version":6,"events":[{{"version":5,"event":{{"Opened":{{"owner":"ann"}}}}}},{{"version":6,"event":{{"Deposited":{{"amount":-5}}}}}}],{module}}}"#
        )
    );
    assert_eq!(
        shown(&Answer::Accepted { count: 0, events: &[] }, 4, false),
        format!(r#"{HEAD}"accepted","version":4,"events":[],{module}}}"#)
    );
}

#[test]
fn a_rejection_has_a_code_and_details_if_it_has_fields() {
    #[derive(Serialize)]
    enum No {
        Closed,
        InsufficientFunds { balance: i64 },
    }
    let module = module();
    assert_eq!(
        shown(&Answer::Rejected(&messagepack(&No::Closed)), 4, true),
        format!(r#"{HEAD}"rejected","version":4,"rejection":{{"code":"Closed"}},{module},"replayed":true}}"#)
    );
    assert_eq!(
        shown(&Answer::Rejected(&messagepack(&No::InsufficientFunds { balance: -3 })), 4, false),
        format!(
            r#"{HEAD}"rejected","version":4,"rejection":{{"code":"InsufficientFunds","details":{{"balance":-3}}}},{module}}}"#
        )
    );
    assert_eq!(
        shown(&Answer::Rejected(&messagepack(&[1, 2])), 4, false),
        format!(r#"{HEAD}"rejected","version":4,"rejection":{{"details":[1,2]}},{module}}}"#)
    );
}

#[test]
fn a_conflict_names_both_versions() {
    assert_eq!(
        shown(&Answer::Conflict { actual: 7 }, 7, false),
        format!(r#"{HEAD}"conflict","version":7,"conflict":{{"expected":4,"actual":7}},{}}}"#, module())
    );
}

#[test]
fn a_failure_gives_its_reason_and_escapes_what_the_module_said() {
    let answer = Answer::Failed { reason: FailureReason::CommandIdReused, message: "a \"b\"\n\u{1}\\ä" };
    assert_eq!(
        shown(&answer, 4, false),
        format!(
            r#"{HEAD}"failed","version":4,"failure":{{"reason":"command_id_reused","message":"a \"b\"\n\u0001\\ä"}},{}}}"#,
            module()
        )
    );
}

#[test]
fn each_answer_has_its_status() {
    let failed = |reason| status(&Answer::Failed { reason, message: "" });
    assert_eq!(status(&Answer::Accepted { count: 0, events: &[] }), 200);
    assert_eq!((status(&Answer::Rejected(&[])), status(&Answer::Conflict { actual: 0 })), (422, 409));
    assert_eq!((failed(FailureReason::Unreadable), failed(FailureReason::CommandIdReused)), (400, 422));
    for reason in [FailureReason::Trap, FailureReason::Timeout, FailureReason::Quarantined] {
        assert_eq!(failed(reason), 500);
    }
}

#[test]
fn what_json_cannot_hold_is_given_as_it_is() {
    let mut out = b"x".to_vec();
    // A map with an array as its key.
    write_value(&[0x81, 0x91, 0x01, 0x02], &mut out);
    assert_eq!(out, br#"x{"$messagepack":"81910102"}"#);
}

#[test]
fn strings_and_numbers_are_what_serde_would_write() {
    for text in ["", "plain", "ä\u{7f}\u{2028}😀", "\"\\/\u{8}\u{c}\n\r\t\u{0}\u{1f}"] {
        let mut out = Vec::new();
        write_string(text, &mut out);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    }
    for number in [0, 9, 10, 1_234_567_890, u64::MAX] {
        let mut out = Vec::new();
        write_number(number, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
    }
}

#[test]
fn a_history_shows_events_and_where_to_go_on() {
    let events = frames(&[r#"{"Opened":{}}"#, r#"{"Closed":{}}"#]);
    let answered = answered(&Answer::Accepted { count: 2, events: &events }, 6, false);
    let event =
        |index: u32| HistoryEvent { version: 4 + u64::from(index), answered: answered.clone(), index, count: 2 };
    let mut out = Vec::new();
    let history = History { head: 9, events: vec![event(1), event(2)], next: Some(7) };
    write_history("account", "a", &history, &mut out);
    let module = module();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        format!(
            r#"{{"type":"account","id":"a","version":9,"events":[{{"type":"account","id":"a","version":5,"event":{{"Opened":{{}}}},"time":"2023-11-14T22:13:20.123Z","command_id":"c-1","index":1,"count":2,{module}}},{{"type":"account","id":"a","version":6,"event":{{"Closed":{{}}}},"time":"2023-11-14T22:13:20.123Z","command_id":"c-1","index":2,"count":2,{module}}}],"next":7}}"#
        )
    );
}

#[test]
fn a_state_and_a_list_are_whole_values() {
    let view = StateView {
        version: 2,
        state: json::to_messagepack(br#"{"balance":5}"#).unwrap(),
        module: Digest([0xab; 32]),
        age: std::time::Duration::ZERO,
    };
    let mut out = Vec::new();
    write_state("account", "a", &view, &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        format!(r#"{{"type":"account","id":"a","version":2,"state":{{"balance":5}},{}}}"#, module())
    );
    let mut out = Vec::new();
    write_list("account", &[("a".into(), 1), ("b".into(), 2)], Some("b"), &mut out);
    assert_eq!(out, br#"{"type":"account","aggregates":[{"id":"a","version":1},{"id":"b","version":2}],"next":"b"}"#);
}
