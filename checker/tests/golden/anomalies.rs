//! One test per anomaly: it is named, and nothing else is.

use ordain_checker::Kind::{self, *};
use serde_json::json;

use super::builder::{Answer, Entry, Golden, V1, V2, name};

/// Two accounts with some life in them.
fn story() -> Golden {
    let mut golden = Golden::new();
    golden.open("acc-1");
    golden.deposit("acc-1", 50);
    golden.open("acc-2");
    golden
}

#[track_caller]
fn assert_found(golden: &Golden, kinds: &[Kind]) {
    let report = golden.judge();
    assert_eq!(report.found(), kinds, "{report}");
    assert!(report.violations.iter().all(|v| !v.operations.is_empty() || !v.log.is_empty()), "no context: {report}");
}

#[test]
fn lost() {
    let mut golden = story();
    let step = golden.deposit("acc-1", 7);
    golden.steps[step].entry = None;
    assert_found(&golden, &[Lost]);
    assert_eq!(golden.judge().lost, 1);
}

#[test]
fn lost_refusal() {
    let mut golden = story();
    let step = golden.conflict("acc-1", 9);
    golden.steps[step].entry = None;
    assert_found(&golden, &[Lost]);
}

#[test]
fn answered_with_another_version() {
    let mut golden = story();
    let step = golden.deposit("acc-1", 7);
    golden.operation_mut(step)["answer"]["version"] = json!(4);
    golden.operation_mut(step)["answer"]["events"][0]["version"] = json!(4);
    assert_found(&golden, &[AnsweredDifferently]);
}

#[test]
fn answered_with_another_event() {
    let mut golden = story();
    let step = golden.deposit("acc-1", 7);
    golden.operation_mut(step)["answer"]["events"][0]["event"] = json!({"Deposited": {"amount": 8}});
    assert_found(&golden, &[AnsweredDifferently]);
}

#[test]
fn answered_with_another_module() {
    let mut golden = story();
    let step = golden.deposit("acc-1", 7);
    golden.operation_mut(step)["answer"]["module"] = json!(name(V2));
    assert_found(&golden, &[AnsweredDifferently]);
}

#[test]
fn answered_with_another_rejection() {
    let mut golden = story();
    golden.close("acc-1");
    let step = golden.rename_refused("acc-1");
    golden.operation_mut(step)["answer"]["rejection"] = json!({"code": "NotOpen"});
    assert_found(&golden, &[AnsweredDifferently]);
}

#[test]
fn answer_about_another_command() {
    let mut golden = story();
    let step = golden.deposit("acc-1", 7);
    golden.operation_mut(step)["answer"]["command_id"] = json!("c1");
    assert_found(&golden, &[AnswerForeign]);
}

#[test]
fn answer_that_contradicts_itself() {
    let mut golden = story();
    let step = golden.deposit("acc-1", 7);
    golden.operation_mut(step)["answer"]["events"][0]["version"] = json!(9);
    assert_found(&golden, &[AnswerForeign]);
}

#[test]
fn refusal_that_left_events() {
    let mut golden = story();
    let step = golden.deposit("acc-1", 7);
    let operation = golden.operation_mut(step);
    operation["result"] = json!("rejected");
    let answer = operation["answer"].as_object_mut().unwrap();
    answer.insert("outcome".into(), json!("rejected"));
    answer.insert("rejection".into(), json!({"code": "Closed"}));
    answer.insert("version".into(), json!(2));
    answer.remove("events");
    assert_found(&golden, &[RefusalHasEvents]);
}

#[test]
fn recorded_although_nothing_should_be() {
    let mut golden = story();
    let step = golden.deposit("acc-1", 7);
    golden.unanswered(step);
    golden.operation_mut(step)["result"] = json!("refused");
    assert_found(&golden, &[RefusedButRecorded]);
}

#[test]
fn half_command() {
    let mut golden = story();
    let step = golden.deposit("acc-1", 7);
    golden.unanswered(step);
    golden.entry(step).count = Some(2);
    assert_found(&golden, &[HalfCommand]);
}

#[test]
fn phantom() {
    let mut golden = story();
    let step = golden.deposit("acc-1", 7);
    golden.steps[step].operations.clear();
    assert_found(&golden, &[Phantom]);
}

#[test]
fn foreign_body() {
    let mut golden = story();
    let step = golden.deposit("acc-1", 7);
    golden.operation_mut(step)["command"] = json!({"Deposit": {"amount": 8}});
    golden.unanswered(step);
    assert_found(&golden, &[ForeignBody]);
}

#[test]
fn foreign_expectation() {
    let mut golden = story();
    let step = golden.deposit("acc-1", 7);
    golden.operation_mut(step)["expected_version"] = json!(2);
    golden.unanswered(step);
    assert_found(&golden, &[ForeignBody]);
}

#[test]
fn version_gap() {
    let mut golden = story();
    let step = golden.deposit("acc-1", 7);
    golden.unanswered(step);
    golden.entry(step).version = Some(4);
    assert_found(&golden, &[VersionGap]);
}

#[test]
fn version_repeated() {
    let mut golden = story();
    let step = golden.deposit("acc-1", 7);
    golden.unanswered(step);
    golden.entry(step).version = Some(2);
    assert_found(&golden, &[VersionRepeated]);
}

#[test]
fn wrong_partition() {
    // The same lane, so that only the partition is wrong.
    let mut golden = story();
    let right = ordain_checker::murmur::partition("acc-3", 16);
    let step = golden.open("acc-3");
    golden.entry(step).partition = Some((right + 2) % 16);
    assert_found(&golden, &[WrongPartition]);
}

#[test]
fn foreign_lane() {
    let mut golden = story();
    let lane = |id: &str| ordain_checker::murmur::partition(id, 2);
    let other = (0..).map(|n| format!("other-{n}")).find(|id| lane(id) != lane("acc-2")).unwrap();
    let step = golden.open(&other);
    golden.entry(step).joined = true;
    assert_found(&golden, &[ForeignWriter]);
}

#[test]
fn sequence_hole() {
    let mut golden = story();
    let step = golden.deposit("acc-1", 7);
    golden.entry(step).sequence = Some(5);
    assert_found(&golden, &[SequenceHole]);
}

#[test]
fn sequence_repeated() {
    let mut golden = story();
    let step = golden.deposit("acc-1", 7);
    golden.entry(step).sequence = Some(1);
    assert_found(&golden, &[SequenceRepeated]);
}

#[test]
fn offset_hole() {
    let mut golden = story();
    let step = golden.deposit("acc-1", 7);
    golden.entry(step).offset = Some(3);
    assert_found(&golden, &[OffsetHole]);
}

#[test]
fn offset_repeated() {
    let mut golden = story();
    let step = golden.deposit("acc-1", 7);
    golden.entry(step).offset = Some(1);
    assert_found(&golden, &[OffsetRepeated]);
}

#[test]
fn expectation_ignored() {
    let mut golden = story();
    let step = golden.deposit("acc-1", 7);
    golden.entry(step).expected = Some(1);
    golden.operation_mut(step)["expected_version"] = json!(1);
    assert_found(&golden, &[ExpectationIgnored]);
}

#[test]
fn conflict_with_a_wrong_actual_version() {
    let mut golden = story();
    let step = golden.conflict("acc-1", 9);
    golden.entry(step).version = Some(1);
    golden.unanswered(step);
    assert_found(&golden, &[ConflictWrong]);
}

#[test]
fn conflict_without_a_difference() {
    let mut golden = story();
    golden.conflict("acc-1", 2);
    assert_found(&golden, &[ConflictNeedless]);
}

#[test]
fn conflict_without_an_expectation() {
    let mut golden = story();
    let step = golden.conflict("acc-1", 9);
    golden.entry(step).expected = None;
    golden.operation_mut(step)["expected_version"] = json!(null);
    golden.unanswered(step);
    assert_found(&golden, &[ConflictNeedless]);
}

#[test]
fn reordered() {
    let mut golden = story();
    let first = golden.deposit("acc-1", 7);
    let second = golden.deposit("acc-1", 8);
    golden.unanswered(second);
    golden.operation_mut(first)["answer"]["version"] = json!(4);
    golden.operation_mut(first)["answer"]["events"][0]["version"] = json!(4);
    golden.steps.swap(first, second);
    assert_found(&golden, &[OrderReversed]);
}

#[test]
fn reordered_within_a_stream() {
    let mut golden = story();
    let first = golden.deposit("acc-1", 7);
    let second = golden.deposit("acc-1", 8);
    for step in [first, second] {
        golden.unanswered(step);
        golden.operation_mut(step)["stream"] = json!(1);
    }
    golden.steps.swap(first, second);
    assert_found(&golden, &[StreamReordered]);
}

#[test]
fn writer_that_lost_its_lane() {
    let mut golden = story();
    let step = golden.deposit("acc-1", 7);
    golden.entry(step).term = Some(1);
    assert_found(&golden, &[ForeignWriter]);
}

#[test]
fn doubled() {
    let mut golden = story();
    let first = golden.deposit("acc-1", 7);
    golden.unanswered(first);
    let entry = golden.steps[first].entry.clone().unwrap();
    let second = golden.push(entry);
    golden.unanswered(second);
    assert_found(&golden, &[Doubled]);
    assert_eq!(golden.judge().doubled, 1);
}

#[test]
fn two_first_answers() {
    let mut golden = story();
    let first = golden.deposit("acc-1", 7);
    let second = golden.again(first);
    golden.operation_mut(second)["answer"]["replayed"] = json!(false);
    assert_found(&golden, &[AnsweredTwice]);
}

#[test]
fn repeat_that_points_elsewhere() {
    let mut golden = story();
    let first = golden.deposit("acc-1", 7);
    let second = golden.again(first);
    golden.entry(second).original = Some(0);
    assert_found(&golden, &[RepeatMisleads]);
}

#[test]
fn repeat_that_says_on_its_way_long_after() {
    let mut golden = story();
    let first = golden.deposit("acc-1", 7);
    golden.deposit("acc-1", 8);
    golden.deposit("acc-1", 9);
    let second = golden.again(first);
    golden.entry(second).original = Some(u64::MAX);
    assert_found(&golden, &[RepeatMisleads]);
}

#[test]
fn repeat_without_a_first_answer() {
    let mut golden = story();
    let first = golden.deposit("acc-1", 7);
    let second = golden.again(first);
    golden.unanswered(first);
    golden.unanswered(second);
    golden.steps[first].entry = None;
    assert_found(&golden, &[RepeatMisleads]);
}

#[test]
fn repeat_that_is_not_in_the_log() {
    let mut golden = story();
    let first = golden.deposit("acc-1", 7);
    let second = golden.again(first);
    golden.steps[second].entry = None;
    assert_found(&golden, &[RepeatMisleads]);
}

#[test]
fn repeat_with_another_answer() {
    let mut golden = story();
    let first = golden.deposit("acc-1", 7);
    let second = golden.again(first);
    golden.operation_mut(second)["answer"]["events"][0]["event"] = json!({"Deposited": {"amount": 8}});
    assert_found(&golden, &[AnsweredDifferently]);
}

#[test]
fn reused_id_decided() {
    let mut golden = story();
    let first = golden.deposit("acc-1", 7);
    let other = golden.steps[first].entry.clone().unwrap();
    let fields = json!({"amount": 8});
    let answer = Answer::Accepted(vec![json!({"Deposited": fields})]);
    let second = golden.push(Entry { body: json!({"Deposit": fields}), answer, ..other });
    golden.unanswered(second);
    assert_found(&golden, &[ReusedIdTaken]);
}

#[test]
fn reused_id_answered_with_the_first_ones_outcome() {
    let mut golden = story();
    let first = golden.deposit("acc-1", 7);
    let second = golden.again(first);
    golden.entry(second).body = json!({"Deposit": {"amount": 8}});
    golden.operation_mut(second)["command"] = json!({"Deposit": {"amount": 8}});
    golden.unanswered(second);
    assert_found(&golden, &[ReusedIdTaken]);
}

#[test]
fn honest_resend_refused_as_reused() {
    let mut golden = story();
    let first = golden.deposit("acc-1", 7);
    let second = golden.reuse(first);
    golden.entry(second).body = json!({"Deposit": {"amount": 7}});
    golden.operation_mut(second)["command"] = json!({"Deposit": {"amount": 7}});
    golden.unanswered(second);
    assert_found(&golden, &[ReuseClaimedWrongly]);
}

#[test]
fn unknown_module() {
    let mut golden = story();
    golden.module = V2;
    golden.deposit("acc-1", 7);
    assert_found(&golden, &[UnknownModule]);
}

#[test]
fn old_module_after_the_new_one() {
    let mut golden = story();
    golden.swap_begin();
    golden.module = V2;
    golden.deposit("acc-1", 7);
    golden.module = V1;
    golden.deposit("acc-1", 7);
    assert_found(&golden, &[ModuleOrder]);
}

#[test]
fn old_module_after_the_swap_was_over() {
    let mut golden = story();
    golden.swap();
    golden.module = V1;
    golden.deposit("acc-1", 7);
    assert_found(&golden, &[ModuleTime]);
}

#[test]
fn new_module_before_the_swap() {
    let mut golden = story();
    golden.module = V2;
    golden.deposit("acc-1", 7);
    golden.swap();
    assert_found(&golden, &[ModuleTime]);
}

#[test]
fn rename_after_close() {
    let mut golden = story();
    golden.close("acc-1");
    let fields = json!({"owner": "bob"});
    golden.add("acc-1", None, json!({"Rename": fields}), Answer::Accepted(vec![json!({"Renamed": fields})]));
    assert_found(&golden, &[RenamedAfterClose, RuleBroken]);
    assert_eq!(golden.judge().rename_after_close_accepted, 1);
}

#[test]
fn decision_on_a_stale_state() {
    // 50 in the account, 100 of overdraft: the second withdrawal was decided before the first was seen.
    let mut golden = story();
    golden.withdraw("acc-1", 120);
    golden.withdraw("acc-1", 120);
    assert_found(&golden, &[RuleBroken]);
}

#[test]
fn refused_although_the_rules_accept() {
    let mut golden = story();
    let details = json!({"balance": 50, "limit": 100, "requested": 120});
    let answer = Answer::Rejected(json!({"InsufficientFunds": details}));
    golden.add("acc-1", None, json!({"Withdraw": {"amount": 120}}), answer);
    assert_found(&golden, &[RuleBroken]);
}

#[test]
fn refused_with_another_balance() {
    let mut golden = story();
    let details = json!({"balance": 51, "limit": 100, "requested": 500});
    let answer = Answer::Rejected(json!({"InsufficientFunds": details}));
    golden.add("acc-1", None, json!({"Withdraw": {"amount": 500}}), answer);
    assert_found(&golden, &[RuleBroken]);
}

#[test]
fn old_rule_under_the_new_modules_name() {
    let mut golden = story();
    golden.swap();
    golden.withdraw("acc-1", 120);
    assert_found(&golden, &[RuleBroken]);
}

#[test]
fn money_out_of_nowhere() {
    let mut golden = story();
    let answer = Answer::Accepted(vec![json!({"Deposited": {"amount": 70}})]);
    golden.add("acc-1", None, json!({"Deposit": {"amount": 7}}), answer);
    let report = golden.judge();
    assert_eq!(report.found(), [RuleBroken, TotalsDiffer], "{report}");
    assert_eq!(report.cents, 120);
}

#[test]
fn stale_read() {
    let mut golden = story();
    let state = json!({"owner": "ann", "balance": 0, "overdraft_limit": 100, "status": "open"});
    golden.read("acc-1", 1, state);
    assert_found(&golden, &[StaleRead]);
}

#[test]
fn wrong_state() {
    let mut golden = story();
    let state = json!({"owner": "ann", "balance": 51, "overdraft_limit": 100, "status": "open"});
    golden.read("acc-1", 2, state);
    assert_found(&golden, &[WrongState]);
}

#[test]
fn state_of_a_version_that_never_was() {
    let mut golden = story();
    let state = json!({"owner": "ann", "balance": 50, "overdraft_limit": 100, "status": "open"});
    golden.read("acc-1", 3, state);
    assert_found(&golden, &[WrongState]);
}
