//! Logs that look odd and are right.

use ordain_checker::Report;
use ordain_checker::kafka::Options;
use serde_json::json;

use super::builder::{Answer, Golden, LANES, Rec, V2, command_record, home};

/// Right both by itself and by what clients saw.
#[track_caller]
fn holds(golden: &Golden) -> Report {
    let alone = golden.judge_alone();
    assert!(alone.holds(), "alone: {alone}");
    let report = golden.judge();
    assert!(report.holds(), "{report}");
    report
}

#[test]
fn nothing_happened() {
    assert_eq!(holds(&Golden::new()).records, 8);
}

#[test]
fn a_plain_story_with_every_outcome() {
    let mut golden = Golden::story();
    golden.withdraw("acc-1", 150);
    golden.conflict("acc-1", 9);
    golden.add("acc-1", None, json!({"Nonsense": 1}), Answer::Failed("unreadable", "unknown variant"));
    golden.add("acc-1", Some(3), json!({"Deposit": {"amount": 0}}), Answer::Rejected(json!("AmountOutOfRange")));
    let details = json!({"balance": -100, "limit": 100, "requested": 1});
    golden.add(
        "acc-1",
        None,
        json!({"Withdraw": {"amount": 1}}),
        Answer::Rejected(json!({"InsufficientFunds": details})),
    );
    golden.close("acc-1");
    golden.add("acc-1", None, json!({"Rename": {"owner": "bob"}}), Answer::Rejected(json!("Closed")));
    let report = holds(&golden);
    let count = |word: &str| report.outcomes[word];
    assert_eq!((count("accepted"), count("rejected"), count("conflict"), count("failed")), (5, 3, 1, 1));
    assert_eq!((report.commands, report.events, report.cents, report.aggregates), (10, 5, -100, 2));
}

#[test]
fn several_events_of_one_command_and_none() {
    let mut golden = Golden::story();
    golden.two("acc-1");
    golden.add("acc-1", Some(4), json!({"Deposit": {"amount": 3}}), Answer::Accepted(vec![]));
    golden.deposit("acc-1", 5);
    assert_eq!(holds(&golden).cents, 58);
}

#[test]
fn repeats_and_reused_ids() {
    let mut golden = Golden::story();
    let first = golden.deposit("acc-1", 7);
    golden.again(first);
    golden.reuse_as(first, Answer::Failed("command_id_reused", "the id stands for another command"));
    golden.again(first);
    let refused = golden.conflict("acc-1", 9);
    golden.again(refused);
    assert_eq!(holds(&golden).outcomes["repeated"], 3);
}

#[test]
fn a_repeat_whose_events_are_too_many_to_show_or_that_shows_nothing() {
    let mut golden = Golden::story();
    let first = golden.deposit("acc-1", 7);
    let repeat = golden.again(first);
    let mut shown = golden.event(repeat, 0).json();
    shown.as_object_mut().unwrap().remove("events");
    golden.event(repeat, 0).set_json(&shown);
    let repeat = golden.again(first);
    shown.as_object_mut().unwrap().remove("outcome");
    golden.event(repeat, 0).set_json(&shown);
    holds(&golden);
}

#[test]
fn an_id_is_new_again_a_day_later_or_after_1024_others() {
    let mut golden = Golden::story();
    let first = golden.deposit("acc-1", 7);
    let later = golden.deposit("acc-2", 7);
    for _ in 0..1024 {
        golden.conflict("acc-1", 99_999);
    }
    golden.again_as(first, Answer::Accepted(vec![json!({"Deposited": {"amount": 7}})]));
    golden.again(later);
    let again = golden.again_as(later, Answer::Accepted(vec![json!({"Deposited": {"amount": 7}})]));
    golden.event(again, 0).set("ce_time", "2026-01-04T00:00:00.000Z");
    assert_eq!(holds(&golden).cents, 50 + 4 * 7);
}

#[test]
fn owners_that_follow_each_other_and_one_that_did_nothing() {
    let mut golden = Golden::story();
    golden.take(0);
    golden.take(0);
    golden.take(1);
    for id in ["acc-1", "acc-2", "acc-3", "acc-4"] {
        golden.add(id, Some(99), json!({"Close": {}}), Answer::Conflict);
    }
    golden.take(1);
    holds(&golden);
}

#[test]
fn offsets_with_markers_and_aborted_records_between() {
    let mut golden = Golden::new();
    let partition = home("acc-1");
    for _ in 0..3 {
        golden.commands(partition).skip();
        golden.events(partition).skip();
    }
    golden.open("acc-1");
    golden.commands(partition).skip();
    golden.deposit("acc-1", 5);
    golden.events(partition).skip();
    holds(&golden);
}

#[test]
fn commands_without_an_id_of_their_own() {
    let mut golden = Golden::new();
    golden.open("acc-1");
    let mut record = command_record("acc-1", "", None, &json!({"Deposit": {"amount": 7}}));
    record.headers.clear();
    let step = golden.ask(record, home("acc-1"), "acc-1", Answer::Accepted(vec![json!({"Deposited": {"amount": 7}})]));
    let id = golden.event(step, 0).get("ce_commandid");
    assert_eq!(id, format!("p.account.commands-{}-1", home("acc-1")));
    holds(&golden);
}

#[test]
fn an_id_in_either_header() {
    let mut golden = Golden::new();
    let step = golden.open("acc-1");
    golden.command(step).remove("ce_id").set("ce_commandid", "c0");
    let step = golden.deposit("acc-1", 1);
    golden.command(step).set("ce_commandid", "not this one");
    holds(&golden);
}

#[test]
fn values_as_messagepack() {
    let mut golden = Golden::story();
    let step = golden.deposit("acc-1", 7);
    let conflict = golden.conflict("acc-1", 9);
    let repeat = golden.again(step);
    let pack = |record: &mut Rec| {
        record.value = Some(rmp_serde::to_vec_named(&record.json()).unwrap());
        record.set("content-type", "application/msgpack");
    };
    pack(golden.command(step));
    for step in [step, conflict, repeat] {
        pack(golden.event(step, 0));
    }
    holds(&golden);
}

#[test]
fn poison_is_answered_where_it_was_read() {
    let mut golden = Golden::story();
    let body = json!({"Deposit": {"amount": 1}});
    let good = command_record("acc-1", "poison", None, &body);
    let misplaced = (home("acc-1") + 1) % 4;
    let failed = |reason| Answer::Failed(reason, "so it is");
    golden.ask(Rec { key: None, ..good.clone() }, 1, "ordain.unrouted.1", failed("unreadable"));
    golden.ask(Rec { key: Some(vec![0xff]), ..good.clone() }, 2, "ordain.unrouted.2", failed("unreadable"));
    golden.ask(
        Rec { key: Some("ordain.unrouted.2".into()), ..good.clone() },
        3,
        "ordain.unrouted.3",
        failed("unreadable"),
    );
    // Sent twice: the second time it is known.
    let subject = format!("ordain.unrouted.{misplaced}");
    let lost = command_record("acc-1", "lost", None, &body);
    let first = golden.ask(lost.clone(), misplaced, &subject, failed("misrouted"));
    golden.ask(lost, misplaced, &subject, Answer::Repeated(first));
    let here = home("acc-1");
    for (id, value) in [("v1", None), ("v2", Some(b"{".to_vec())), ("v3", Some(vec![]))] {
        let record = Rec { value, ..command_record("acc-1", id, None, &body) };
        golden.ask(record, here, "acc-1", failed("unreadable"));
    }
    let mut record = good;
    record.set("content-type", "text/plain").set("ce_id", "v4");
    golden.ask(record.clone(), here, "acc-1", failed("unreadable"));
    record.set("content-type", "application/json").set("ce_id", "v5").set("ce_expectedversion", "two");
    golden.ask(record, here, "acc-1", failed("unreadable"));
    // No client of ours sent those.
    golden.operations.truncate(3);
    assert!(golden.judge_alone().holds(), "{}", golden.judge_alone());
    let report = golden.judge_with(&Options { strangers: true, ..Options::default() });
    assert!(report.holds(), "{report}");
    assert_eq!(report.outcomes["failed"], 9);
}

#[test]
fn two_types_have_numbers_of_their_own() {
    let mut golden = Golden::new();
    golden.add_type("counter");
    for lane in 0..LANES {
        golden.take(lane);
    }
    golden.open("acc-1");
    golden.of = "counter";
    golden.versions.clear();
    let step = golden.add("acc-1", None, json!({"Add": {"n": 1}}), Answer::Accepted(vec![json!({"Added": {"n": 1}})]));
    golden.event(step, 0).set("ce_module", V2);
    golden.operation(step)["answer"]["module"] = json!(V2);
    let report = holds(&golden);
    assert_eq!((report.aggregates, report.events), (2, 2));
}

#[test]
fn commands_at_the_end_that_nobody_came_to() {
    let mut golden = Golden::story();
    let step = golden.deposit("acc-1", 7);
    golden.unheard(step);
    golden.events(home("acc-1")).records.pop();
    let report = golden.judge_with(&Options { pending: true, ..Options::default() });
    assert!(report.holds(), "{report}");
    assert_eq!(report.pending, 1);
}

#[test]
fn commands_of_strangers_beside_those_of_clients() {
    let mut golden = Golden::story();
    golden.deposit("acc-1", 7);
    golden.operations.pop();
    let report = golden.judge_with(&Options { strangers: true, ..Options::default() });
    assert!(report.holds(), "{report}");
}

#[test]
fn a_lane_record_that_was_compacted_away_while_nobody_answered_under_it() {
    let mut golden = Golden::story();
    let lanes = golden.lane(0);
    lanes.records.remove(0);
    lanes.start = 1;
    holds(&golden);
}
