//! Histories that look odd and are right.

use ordain_checker::Report;
use serde_json::json;

use super::builder::{Answer, Golden, V1, V2};

#[track_caller]
fn holds(golden: &Golden) -> Report {
    let report = golden.judge();
    assert!(report.holds(), "{report}");
    report
}

#[test]
fn nothing_happened() {
    let report = holds(&Golden::new());
    assert_eq!((report.commands, report.blocks), (0, 2));
}

#[test]
fn a_plain_story_with_every_outcome() {
    let mut golden = Golden::new();
    golden.open("acc-1");
    golden.deposit("acc-1", 50);
    golden.withdraw("acc-1", 150);
    golden.conflict("acc-1", 9);
    golden.add("acc-1", None, json!({"Nonsense": 1}), Answer::Failed(0, "unknown variant"));
    golden.add("acc-1", Some(3), json!({"Deposit": {"amount": 0}}), Answer::Rejected(json!("AmountOutOfRange")));
    let details = json!({"balance": -100, "limit": 100, "requested": 1});
    let answer = Answer::Rejected(json!({"InsufficientFunds": details}));
    golden.add("acc-1", None, json!({"Withdraw": {"amount": 1}}), answer);
    golden.close("acc-1");
    golden.rename_refused("acc-1");
    let report = holds(&golden);
    let count = |word: &str| report.outcomes[word];
    assert_eq!((count("accepted"), count("rejected"), count("conflict"), count("failed")), (4, 3, 1, 1));
    assert_eq!((report.lost, report.doubled, report.rename_after_close_accepted, report.cents), (0, 0, 0, -100));
}

#[test]
fn unknown_endings_may_have_happened_or_not() {
    let mut golden = Golden::new();
    golden.open("acc-1");
    let happened = golden.deposit("acc-1", 1);
    golden.unanswered(happened);
    golden.close("acc-1");
    let never = golden.rename_refused("acc-1");
    golden.unanswered(never);
    golden.steps[never].entry = None;
    assert_eq!(holds(&golden).unresolved, 2);
}

#[test]
fn a_resend_after_a_lost_answer_is_told_that_it_is_one() {
    let mut golden = Golden::new();
    let first = golden.open("acc-1");
    golden.again(first);
    golden.again(first);
    golden.unanswered(first);
    let report = holds(&golden);
    assert_eq!((report.commands, report.operations, report.unresolved), (1, 3, 0));
    assert_eq!(report.outcomes["repeated"], 2);
}

#[test]
fn a_resend_that_meets_its_first_attempt_on_the_way() {
    let mut golden = Golden::new();
    golden.lanes = 1;
    golden.open("acc-1");
    let first = golden.deposit("acc-1", 5);
    for joined in [true, false] {
        let repeat = golden.again(first);
        golden.entry(repeat).joined = joined;
        golden.entry(repeat).original = Some(u64::MAX);
    }
    holds(&golden);
}

#[test]
fn a_fee_under_the_rule_that_takes_one() {
    let mut golden = Golden::new();
    golden.open("acc-1");
    golden.withdraw("acc-1", 100);
    golden.deposit("acc-1", 350);
    golden.swap();
    golden.nemesis.iter_mut().filter(|event| event["rules"] == "v2-no-overdraft").for_each(|event| {
        event["rules"] = json!("v2-fee");
    });
    let events = vec![json!({"Withdrawn": {"amount": 200, "fee": 100}})];
    golden.add("acc-1", None, json!({"Withdraw": {"amount": 100}}), Answer::Accepted(events));
    let details = json!({"balance": 50, "limit": 100, "requested": 151});
    let answer = Answer::Rejected(json!({"InsufficientFunds": details}));
    golden.add("acc-1", None, json!({"Withdraw": {"amount": 51}}), answer);
    assert_eq!(holds(&golden).cents, 50);
}

#[test]
fn a_resend_whose_first_attempt_never_arrived() {
    let mut golden = Golden::new();
    golden.open("acc-1");
    let first = golden.deposit("acc-1", 5);
    let mut lost = golden.steps[first].operations[0].clone();
    lost["result"] = json!("unknown");
    lost.as_object_mut().unwrap().remove("answer");
    lost["invoke_ns"] = json!(1);
    lost["done_ns"] = json!(50);
    golden.steps[first].operations.insert(0, lost);
    holds(&golden);
}

#[test]
fn a_reused_id_is_refused() {
    let mut golden = Golden::new();
    golden.open("acc-1");
    let first = golden.deposit("acc-1", 5);
    golden.reuse(first);
    golden.again(first);
    let report = holds(&golden);
    assert_eq!(report.outcomes["failed"], 1);
}

#[test]
fn the_same_command_id_on_two_aggregates_is_two_commands() {
    let mut golden = Golden::new();
    golden.open("acc-1");
    let second = golden.open("acc-2");
    golden.entry(second).command_id = "c1".into();
    golden.operation_mut(second)["command_id"] = json!("c1");
    golden.operation_mut(second)["answer"]["command_id"] = json!("c1");
    assert_eq!(holds(&golden).commands, 2);
}

#[test]
fn together_in_flight_may_be_decided_in_either_order() {
    for swapped in [false, true] {
        let mut golden = Golden::new();
        golden.open("acc-1");
        // Asked for at the same time; the log has the close first although it was asked for second.
        let (first, second) = if swapped {
            (golden.close("acc-1"), golden.rename_refused("acc-1"))
        } else {
            let fields = json!({"owner": "bob"});
            let answer = Answer::Accepted(vec![json!({"Renamed": fields})]);
            (golden.add("acc-1", None, json!({"Rename": fields}), answer), golden.close("acc-1"))
        };
        for (step, invoke) in [(first, 1001), (second, 1000)] {
            golden.operation_mut(step)["invoke_ns"] = json!(invoke);
            golden.operation_mut(step)["done_ns"] = json!(2000);
        }
        holds(&golden);
    }
}

#[test]
fn during_a_swap_either_module_may_decide_each_partition_in_its_turn() {
    let mut golden = Golden::new();
    golden.open("acc-1");
    golden.open("acc-2");
    golden.swap_begin();
    golden.module = V2;
    golden.deposit("acc-1", 5);
    golden.module = V1;
    let during = golden.withdraw("acc-2", 100);
    golden.swap_end();
    // Still asked for before the swap was over.
    golden.operation_mut(during)["done_ns"] = json!(5000);
    golden.withdraw("acc-1", 5);
    let report = holds(&golden);
    assert_eq!(report.modules.len(), 2);
}

#[test]
fn back_to_the_first_module_by_a_swap_of_its_own() {
    let mut golden = Golden::new();
    golden.open("acc-1");
    golden.swap();
    golden.deposit("acc-1", 5);
    let (at, module) = (golden.now, super::builder::name(V1));
    for event in ["swap_begin", "swap_end"] {
        let rules = if event == "swap_begin" { json!("v1") } else { json!(null) };
        golden.nemesis.push(json!({"at_ns": at, "event": event, "type": "account", "module": module, "rules": rules}));
    }
    golden.now += 10;
    golden.module = V1;
    golden.withdraw("acc-1", 105);
    holds(&golden);
}

#[test]
fn many_commands_in_one_block() {
    let mut golden = Golden::new();
    golden.lanes = 1;
    golden.open("acc-1");
    for amount in 1..10 {
        let step = golden.deposit("acc-1", amount);
        golden.entry(step).joined = true;
    }
    let step = golden.open("acc-2");
    golden.entry(step).joined = true;
    let repeat = golden.again(step);
    golden.entry(repeat).joined = true;
    let report = holds(&golden);
    assert_eq!(report.blocks, 2);
}

#[test]
fn a_stream_that_is_answered_out_of_order() {
    let mut golden = Golden::new();
    golden.open("acc-1");
    let steps = [golden.deposit("acc-1", 1), golden.deposit("acc-1", 2), golden.deposit("acc-1", 3)];
    for (place, step) in steps.into_iter().enumerate() {
        let operation = golden.operation_mut(step);
        operation["stream"] = json!(7);
        operation["invoke_ns"] = json!(1000 + place);
        operation["done_ns"] = json!(3000 - place);
    }
    holds(&golden);
}

#[test]
fn reads_of_present_and_past() {
    let mut golden = Golden::new();
    golden.read("acc-1", 0, json!(null));
    golden.open("acc-1");
    golden.deposit("acc-1", 50);
    let state = |balance: i64| json!({"owner": "ann", "balance": balance, "overdraft_limit": 100, "status": "open"});
    golden.read("acc-1", 2, state(50));
    golden.read("acc-1", 1, state(0));
    golden.steps.last_mut().unwrap().operations[0]["read"]["past"] = json!(true);
    assert_eq!(holds(&golden).reads, 3);
}

#[test]
fn several_events_of_one_command_and_none() {
    // Of a type whose rules the checker does not know, so only numbers and answers count.
    let mut golden = Golden::new();
    golden.nemesis.clear();
    golden.open("acc-1");
    let two = vec![json!({"Deposited": {"amount": 1}}), json!({"Deposited": {"amount": 2}})];
    golden.add("acc-1", None, json!({"Deposit": {"amount": 3}}), Answer::Accepted(two));
    golden.add("acc-1", Some(3), json!({"Deposit": {"amount": 3}}), Answer::Accepted(vec![]));
    golden.deposit("acc-1", 5);
    let report = holds(&golden);
    assert_eq!((report.events, report.cents), (4, 8));
}
