//! What clients saw, against a log on Kafka.

use ordain_checker::Kind::{self, *};
use serde_json::json;

use super::builder::{Answer, Golden, V2, home};

#[track_caller]
fn assert_found(golden: &Golden, kinds: &[Kind]) {
    let report = golden.judge();
    assert_eq!(report.found(), kinds, "{report}");
    assert!(report.violations.iter().all(|v| !v.operations.is_empty() || !v.log.is_empty()), "no context: {report}");
}

#[test]
fn an_acknowledged_outcome_is_lost_with_its_command() {
    let mut golden = Golden::story();
    let step = golden.deposit("acc-1", 7);
    let at = golden.steps[step].clone();
    golden.commands(at.partition).records.remove(at.command);
    golden.events(at.partition).records.remove(at.answer[0]);
    assert_found(&golden, &[Lost]);
    assert_eq!(golden.judge().lost, 1);
}

#[test]
fn an_acknowledged_outcome_is_lost_and_its_command_is_there() {
    let mut golden = Golden::story();
    golden.conflict("acc-1", 9);
    golden.events(home("acc-1")).records.pop();
    let report = golden.judge();
    assert_eq!(report.found(), [Lost, Unanswered], "{report}");
}

#[test]
fn a_client_was_told_something_else() {
    let mut golden = Golden::story();
    let step = golden.deposit("acc-1", 7);
    golden.operation(step)["answer"]["events"][0]["event"] = json!({"Deposited": {"amount": 8}});
    assert_found(&golden, &[AnsweredDifferently]);
    let mut golden = Golden::story();
    let step = golden.conflict("acc-1", 9);
    golden.operation(step)["answer"]["conflict"]["actual"] = json!(1);
    assert_found(&golden, &[AnsweredDifferently]);
}

#[test]
fn a_repeat_is_told_as_the_first_answer_or_differs_from_it() {
    let mut golden = Golden::story();
    let step = golden.deposit("acc-1", 7);
    let repeat = golden.again(step);
    golden.operation(repeat)["answer"]["replayed"] = json!(false);
    assert_found(&golden, &[AnsweredTwice]);
    let mut golden = Golden::story();
    let step = golden.deposit("acc-1", 7);
    let repeat = golden.again(step);
    golden.operation(repeat)["answer"]["version"] = json!(9);
    golden.operation(repeat)["answer"]["events"][0]["version"] = json!(9);
    assert_found(&golden, &[AnsweredDifferently]);
}

#[test]
fn phantom_and_foreign_body() {
    let mut golden = Golden::story();
    golden.deposit("acc-1", 7);
    golden.operations.pop();
    assert_found(&golden, &[Phantom]);
    let mut golden = Golden::story();
    let step = golden.deposit("acc-1", 7);
    golden.operation(step)["command"] = json!({"Deposit": {"amount": 8}});
    golden.unheard(step);
    assert_found(&golden, &[ForeignBody]);
}

#[test]
fn refused_but_recorded() {
    let mut golden = Golden::story();
    let step = golden.deposit("acc-1", 7);
    golden.unheard(step);
    golden.operation(step)["result"] = json!("refused");
    assert_found(&golden, &[RefusedButRecorded]);
}

#[test]
fn reordered() {
    // The second was asked after the first was answered.
    let mut golden = Golden::story();
    let (first, second) = (golden.conflict("acc-1", 8), golden.conflict("acc-1", 9));
    let times = |golden: &mut Golden, step: usize, from: u64| {
        golden.operation(step)["invoke_ns"] = json!(from);
        golden.operation(step)["done_ns"] = json!(from + 5);
    };
    times(&mut golden, first, 2000);
    times(&mut golden, second, 1000);
    assert_found(&golden, &[OrderReversed]);
}

#[test]
fn modules_out_of_turn() {
    let mut golden = Golden::story();
    golden.module = V2;
    golden.deposit("acc-1", 7);
    assert_found(&golden, &[UnknownModule]);
    golden
        .nemesis
        .push(json!({"at_ns": 41, "event": "swap_begin", "type": "account", "module": V2, "rules": "v2-fee"}));
    let report = golden.judge();
    assert!(report.holds(), "{report}");
    golden.module = super::builder::V1;
    golden.deposit("acc-1", 7);
    assert_found(&golden, &[ModuleOrder]);
}

#[test]
fn reads_of_a_wrong_and_of_a_stale_state() {
    let mut golden = Golden::story();
    let state = |balance: i64| json!({"owner": "ann", "balance": balance, "overdraft_limit": 100, "status": "open"});
    let read = |version: u64, balance: i64| {
        json!({"seq": 900, "invoke_ns": 900, "done_ns": 905,
            "read": {"type": "account", "id": "acc-1", "version": version, "state": state(balance), "past": false}})
    };
    golden.operations.push(read(2, 50));
    assert!(golden.judge().holds(), "{}", golden.judge());
    golden.operations.push(read(2, 51));
    assert_found(&golden, &[WrongState]);
    golden.operations.pop();
    golden.operations.push(read(1, 0));
    assert_found(&golden, &[StaleRead]);
}

#[test]
fn a_resend_long_after_is_decided_again_and_no_client_is_blamed() {
    let mut golden = Golden::story();
    let first = golden.deposit("acc-1", 7);
    for _ in 0..1024 {
        golden.conflict("acc-1", 99_999);
    }
    golden.again_as(first, Answer::Accepted(vec![json!({"Deposited": {"amount": 7}})]));
    let report = golden.judge();
    assert!(report.holds(), "{report}");
}
