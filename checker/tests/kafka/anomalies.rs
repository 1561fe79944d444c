//! One test per anomaly of a log by itself: it is named, and nothing else is.

use ordain_checker::Kind::{self, *};
use ordain_checker::murmur;
use serde_json::json;

use super::builder::{Answer, Golden, PARTITIONS, Rec, command_record, home};

/// Judged by itself, so that only the log can tell.
#[track_caller]
fn assert_found(golden: &Golden, kinds: &[Kind]) {
    let report = golden.judge_alone();
    assert_eq!(report.found(), kinds, "{report}");
}

fn deposited(amount: i64) -> Answer {
    Answer::Accepted(vec![json!({"Deposited": {"amount": amount}})])
}

/// Takes the last records of a partition's events away, as if they had never been written.
fn forget(golden: &mut Golden, id: &str, records: usize) {
    let left = golden.events(home(id)).records.len() - records;
    golden.events(home(id)).records.truncate(left);
}

#[test]
fn missing_answer() {
    let mut golden = Golden::story();
    let skipped = golden.conflict("acc-1", 9);
    golden.deposit("acc-1", 8);
    let at = golden.steps[skipped].answer[0];
    golden.events(home("acc-1")).records.remove(at);
    golden.renumber(home("acc-1"));
    assert_found(&golden, &[Unanswered]);
}

#[test]
fn missing_answer_at_the_end() {
    let mut golden = Golden::story();
    golden.deposit("acc-1", 7);
    forget(&mut golden, "acc-1", 1);
    assert_found(&golden, &[Unanswered]);
    assert_eq!(golden.judge_alone().pending, 1);
}

#[test]
fn double_answer() {
    let mut golden = Golden::story();
    let step = golden.conflict("acc-1", 9);
    let mut again = golden.event(step, 0).clone();
    let name = again.get("ce_id");
    again.set("ce_id", &format!("{name}x"));
    golden.events(home("acc-1")).push(again);
    golden.renumber(home("acc-1"));
    assert_found(&golden, &[Doubled, CommandAnsweredTwice]);
}

#[test]
fn double_decision() {
    let mut golden = Golden::story();
    let step = golden.deposit("acc-1", 7);
    golden.again_as(step, deposited(7));
    assert_found(&golden, &[Doubled]);
    assert_eq!(golden.judge_alone().doubled, 1);
}

#[test]
fn events_written_twice() {
    let mut golden = Golden::story();
    let step = golden.deposit("acc-1", 7);
    let again = golden.event(step, 0).clone();
    golden.events(home("acc-1")).push(again);
    golden.renumber(home("acc-1"));
    assert_found(&golden, &[VersionRepeated, Doubled, CommandAnsweredTwice]);
}

#[test]
fn answers_out_of_order() {
    let mut golden = Golden::story();
    let first = golden.conflict("acc-1", 9);
    let second = golden.conflict("acc-1", 8);
    let (a, b) = (golden.steps[first].answer[0], golden.steps[second].answer[0]);
    let records = &mut golden.events(home("acc-1")).records;
    records.swap(a, b);
    let times = [records[a].get("ce_time"), records[b].get("ce_time")];
    records[a].set("ce_time", &times[1]);
    records[b].set("ce_time", &times[1]);
    golden.renumber(home("acc-1"));
    assert_found(&golden, &[AnswersReordered]);
}

#[test]
fn answer_without_its_command() {
    let mut golden = Golden::story();
    let step = golden.two("acc-1");
    let step = golden.steps[step].clone();
    golden.commands(step.partition).records.remove(step.command);
    assert_found(&golden, &[AnswerWithoutCommand]);
}

#[test]
fn answer_to_another_command() {
    let mut golden = Golden::story();
    let step = golden.conflict("acc-1", 9);
    golden.event(step, 0).set("ce_commandid", "c77");
    assert_found(&golden, &[AnswerForeign]);
}

#[test]
fn answer_to_a_command_of_another_aggregate() {
    let mut golden = Golden::story();
    let other = (0..).map(|n| format!("x{n}")).find(|id| home(id) == home("acc-1")).unwrap();
    let step = golden.conflict("acc-1", 9);
    golden.command(step).key = Some(other.into());
    assert_found(&golden, &[AnswerForeign]);
}

#[test]
fn torn_events() {
    let mut golden = Golden::story();
    golden.two("acc-1");
    forget(&mut golden, "acc-1", 1);
    assert_found(&golden, &[HalfCommand]);
}

#[test]
fn torn_events_with_more_behind() {
    let mut golden = Golden::story();
    let step = golden.two("acc-1");
    golden.conflict("acc-2", 9);
    golden.conflict("acc-1", 9);
    let at = golden.steps[step].answer[0];
    golden.events(home("acc-1")).records.remove(at);
    golden.renumber(home("acc-1"));
    assert!(golden.judge_alone().found().contains(&HalfCommand));
}

#[test]
fn events_in_two_commits() {
    let mut golden = Golden::story();
    let step = golden.two("acc-1");
    golden.event(step, 1).offset += 1;
    assert_found(&golden, &[TornCommit]);
}

#[test]
fn events_of_one_command_that_disagree() {
    for (header, value) in [("ce_commandhash", "ff"), ("ce_time", "2026-01-02T00:00:00.999Z")] {
        let mut golden = Golden::story();
        let step = golden.two("acc-1");
        golden.event(step, 1).set(header, value);
        assert_found(&golden, &[RecordMalformed]);
    }
}

#[test]
fn gap_in_the_sequence() {
    let mut golden = Golden::story();
    let step = golden.deposit("acc-1", 7);
    golden.event(step, 0).set("ce_logsequence", "5");
    assert_found(&golden, &[SequenceHole]);
}

#[test]
fn sequence_repeated() {
    let mut golden = Golden::story();
    let step = golden.deposit("acc-1", 7);
    golden.event(step, 0).set("ce_logsequence", "1");
    assert_found(&golden, &[SequenceRepeated]);
}

#[test]
fn sequence_that_does_not_begin_at_zero() {
    let mut golden = Golden::new();
    let step = golden.open("acc-1");
    golden.event(step, 0).set("ce_logsequence", "1");
    assert_found(&golden, &[SequenceHole]);
}

#[test]
fn an_event_that_was_lost() {
    let mut golden = Golden::story();
    let step = golden.deposit("acc-1", 7);
    golden.deposit("acc-1", 8);
    let at = golden.steps[step].answer[0];
    golden.events(home("acc-1")).records.remove(at);
    assert_found(&golden, &[VersionGap, SequenceHole, Unanswered]);
}

#[test]
fn version_gap_and_repeat() {
    for (version, kind) in [("4", VersionGap), ("2", VersionRepeated)] {
        let mut golden = Golden::story();
        let step = golden.deposit("acc-1", 7);
        golden.event(step, 0).set("ce_sequence", version).set("ce_id", &format!("account/acc-1/{version}"));
        assert_found(&golden, &[kind]);
    }
}

#[test]
fn version_gap_inside_a_command() {
    let mut golden = Golden::story();
    let step = golden.two("acc-1");
    golden.event(step, 0).set("ce_sequence", "2").set("ce_id", "account/acc-1/2");
    assert_found(&golden, &[VersionGap]);
}

#[test]
fn records_that_contradict_themselves() {
    let bends: [&dyn Fn(&mut Rec); 13] = [
        &|r| _ = r.set("ce_id", "account/acc-1/9"),
        &|r| _ = r.set("ce_type", "account.Withdrawn"),
        &|r| _ = r.set("ce_type", "counter.Deposited"),
        &|r| _ = r.set("ce_subject", "acc-2"),
        &|r| _ = r.set("ce_commandindex", "2"),
        &|r| _ = r.set("ce_time", "yesterday"),
        &|r| _ = r.set("ce_module", "sha256:11"),
        &|r| _ = r.set("content-type", "text/plain"),
        &|r| _ = r.remove("ce_epoch"),
        &|r| _ = r.set("ce_specversion", "0.3"),
        &|r| r.key = None,
        &|r| r.value = Some(b"{".to_vec()),
        &|r| r.headers.push(("ce_commandoffset".into(), Some(b"1".to_vec()))),
    ];
    for (index, bend) in bends.iter().enumerate() {
        let mut golden = Golden::story();
        let step = golden.deposit("acc-1", 7);
        bend(golden.event(step, 0));
        let found = golden.judge_alone().found();
        // A doubled offset leaves nothing to know which command it answers.
        assert!(found.starts_with(&[RecordMalformed]) && found.len() <= 2, "bend {index}: {}", golden.judge_alone());
    }
}

#[test]
fn outcomes_that_contradict_themselves() {
    for (field, value) in [
        ("version", json!(7)),
        ("id", json!("acc-2")),
        ("command_id", json!("c1")),
        ("outcome", json!("accepted")),
        ("module", json!("sha256:00")),
        ("rejection", json!({"code": "Closed"})),
        ("events", json!([{"version": 1, "event": {"Closed": {}}}])),
        ("conflict", json!({"expected": 9, "actual": 1})),
    ] {
        let mut golden = Golden::story();
        let step = golden.conflict("acc-1", 9);
        let mut outcome = golden.event(step, 0).json();
        outcome[field] = value;
        golden.event(step, 0).set_json(&outcome);
        assert_found(&golden, &[RecordMalformed]);
    }
}

#[test]
fn two_outcomes_of_one_name() {
    let mut golden = Golden::story();
    let first = golden.conflict("acc-1", 9);
    let second = golden.conflict("acc-1", 9);
    let name = golden.event(first, 0).get("ce_id");
    golden.event(second, 0).set("ce_id", &name);
    assert_found(&golden, &[RecordMalformed]);
}

#[test]
fn a_record_that_no_host_writes() {
    let mut golden = Golden::story();
    let value = Some(b"{}".to_vec());
    golden.events(1).push(Rec { offset: 0, key: Some("acc-1".into()), value, headers: vec![] });
    assert_found(&golden, &[RecordMalformed]);
}

#[test]
fn interleaved_owners() {
    // The old owner writes once more after the new one took over, which is what a fence is for.
    let mut golden = Golden::story();
    let lane = home("acc-1") % 2;
    let old = golden.terms[&lane];
    golden.take(lane);
    golden.deposit("acc-1", 7);
    let step = golden.deposit("acc-1", 8);
    golden.event(step, 0).set("ce_epoch", &old.to_string());
    golden.deposit("acc-1", 9);
    assert_found(&golden, &[ForeignWriter]);
}

#[test]
fn a_new_owner_that_wrote_before_its_own_record() {
    let mut golden = Golden::story();
    let step = golden.deposit("acc-1", 7);
    let term = golden.take(home("acc-1") % 2);
    golden.event(step, 0).set("ce_epoch", &term.to_string());
    assert_found(&golden, &[ForeignWriter]);
}

#[test]
fn a_term_that_nobody_has() {
    let mut golden = Golden::story();
    let step = golden.deposit("acc-1", 7);
    golden.event(step, 0).set("ce_epoch", "77");
    assert_found(&golden, &[ForeignWriter]);
}

#[test]
fn a_taking_that_the_lane_does_not_know() {
    let mut golden = Golden::story();
    let lane = home("acc-1") % 2;
    golden.take(lane);
    golden.lane(lane).records.pop();
    assert!(golden.judge_alone().found() == [ForeignWriter], "{}", golden.judge_alone());
}

#[test]
fn takings_in_another_order_than_in_the_lane() {
    let mut golden = Golden::story();
    let partition = home("acc-1");
    golden.take(partition % 2);
    let records = &mut golden.events(partition).records;
    let owners: Vec<usize> = (0..records.len()).filter(|&at| records[at].get("ce_type") == "ordain.owner").collect();
    let (first, second) = (records[owners[0]].value.clone(), records[owners[1]].value.clone());
    (records[owners[0]].value, records[owners[1]].value) = (second, first);
    assert!(golden.judge_alone().found() == [ForeignWriter], "{}", golden.judge_alone());
}

#[test]
fn takings_in_another_order_where_nobody_answers() {
    let mut golden = Golden::story();
    let empty = (0..PARTITIONS).find(|&partition| golden.events(partition).records.len() == 1).unwrap();
    golden.take(empty % 2);
    golden.events(empty).records.swap(0, 1);
    golden.renumber(empty);
    assert_found(&golden, &[ForeignWriter]);
}

#[test]
fn terms_that_go_back_where_no_owner_left_a_record() {
    // As in the topics of a type that is new: its lanes were taken before it came.
    let mut golden = Golden::story();
    let partition = home("acc-1");
    let old = golden.terms[&(partition % 2)];
    golden.take(partition % 2);
    golden.deposit("acc-1", 7);
    golden.events(partition).records.retain(|record| record.get("ce_type") != "ordain.owner");
    golden.renumber(partition);
    assert_found(&golden, &[]);
    golden.deposit("acc-1", 8);
    golden.events(partition).records.last_mut().unwrap().set("ce_epoch", &old.to_string());
    assert_found(&golden, &[ForeignWriter]);
}

#[test]
fn takings_that_contradict_themselves() {
    for (field, value) in [("lane", json!(1)), ("nonce", json!("n1")), ("nonce", json!(7))] {
        let mut golden = Golden::new();
        golden.take(0);
        let taken = golden.lane(0).records.last_mut().unwrap();
        let mut owner = taken.json();
        owner[field] = value;
        taken.set_json(&owner);
        let found = golden.judge_alone().found();
        assert!(found.contains(&RecordMalformed), "{}", golden.judge_alone());
    }
}

#[test]
fn an_owner_of_another_lane() {
    let mut golden = Golden::story();
    let partition = home("acc-1");
    let other = (partition + 1) % 2;
    let taken = golden.lane(other).records.last().unwrap().clone();
    golden.events(partition).push(taken);
    assert_found(&golden, &[ForeignWriter]);
}

#[test]
fn time_that_falls() {
    let mut golden = Golden::story();
    let step = golden.deposit("acc-1", 7);
    golden.event(step, 0).set("ce_time", "2026-01-01T23:59:59.999Z");
    assert_found(&golden, &[TimeFell]);
}

#[test]
fn wrong_partition() {
    // Taken and decided where it does not belong.
    let mut golden = Golden::new();
    let elsewhere = (home("acc-1") + 2) % PARTITIONS;
    let fields = json!({"owner": "ann", "overdraft_limit": 100});
    let record = command_record("acc-1", "c1", None, &json!({"Open": fields}));
    golden.ask(record, elsewhere, "acc-1", Answer::Accepted(vec![json!({"Opened": fields})]));
    assert_found(&golden, &[WrongPartition]);
}

#[test]
fn called_misrouted_at_home() {
    let mut golden = Golden::story();
    golden.add("acc-1", None, json!({"Close": {}}), Answer::Failed("misrouted", "go away"));
    assert_found(&golden, &[MisroutedWrongly]);
}

#[test]
fn misrouted_answered_under_a_name_of_its_own_choice() {
    let mut golden = Golden::story();
    let record = command_record("acc-1", "c9", None, &json!({"Close": {}}));
    let elsewhere = (home("acc-1") + 2) % PARTITIONS;
    golden.ask(record, elsewhere, "acc-7", Answer::Failed("misrouted", "go away"));
    assert_found(&golden, &[AnswerForeign]);
}

#[test]
fn decided_although_nobody_can_read_it() {
    let mut golden = Golden::story();
    let step = golden.deposit("acc-1", 7);
    golden.command(step).value = Some(b"{\"Deposit\":".to_vec());
    assert_found(&golden, &[DecidedUnreadable]);
}

#[test]
fn expectation_ignored() {
    let mut golden = Golden::story();
    let step = golden.deposit("acc-1", 7);
    golden.command(step).set("ce_expectedversion", "1");
    assert_found(&golden, &[ExpectationIgnored]);
}

#[test]
fn conflict_without_a_difference_or_an_expectation() {
    let mut golden = Golden::story();
    golden.conflict("acc-1", 2);
    assert_found(&golden, &[ConflictNeedless]);
    let mut golden = Golden::story();
    let step = golden.conflict("acc-1", 9);
    golden.command(step).remove("ce_expectedversion");
    assert_found(&golden, &[ConflictNeedless]);
}

#[test]
fn conflict_with_another_expectation_than_the_commands() {
    let mut golden = Golden::story();
    let step = golden.conflict("acc-1", 9);
    let mut outcome = golden.event(step, 0).json();
    outcome["conflict"]["expected"] = json!(8);
    golden.event(step, 0).set_json(&outcome);
    assert_found(&golden, &[ConflictNeedless]);
}

#[test]
fn conflict_with_a_wrong_actual_version() {
    let mut golden = Golden::story();
    let step = golden.conflict("acc-1", 9);
    let mut outcome = golden.event(step, 0).json();
    (outcome["version"], outcome["conflict"]["actual"]) = (json!(1), json!(1));
    golden.event(step, 0).set("ce_sequence", "1").set_json(&outcome);
    assert_found(&golden, &[ConflictWrong]);
}

#[test]
fn repeat_of_nothing_and_of_another_answer() {
    let mut golden = Golden::story();
    let step = golden.deposit("acc-1", 7);
    let repeat = golden.again(step);
    golden.command(repeat).set("ce_id", "new");
    let mut outcome = golden.event(repeat, 0).json();
    outcome["command_id"] = json!("new");
    golden.event(repeat, 0).set("ce_commandid", "new").set_json(&outcome);
    assert_found(&golden, &[RepeatMisleads]);
    let mut golden = Golden::story();
    let step = golden.deposit("acc-1", 7);
    let repeat = golden.again(step);
    let mut outcome = golden.event(repeat, 0).json();
    outcome["events"][0]["event"]["Deposited"]["amount"] = json!(8);
    golden.event(repeat, 0).set_json(&outcome);
    assert_found(&golden, &[RepeatMisleads]);
}

#[test]
fn reused_id_taken() {
    let mut golden = Golden::story();
    let step = golden.deposit("acc-1", 7);
    golden.reuse_as(step, deposited(777));
    assert_found(&golden, &[ReusedIdTaken]);
    let mut golden = Golden::story();
    let step = golden.deposit("acc-1", 7);
    golden.reuse_as(step, Answer::Repeated(step));
    assert_found(&golden, &[ReusedIdTaken]);
}

#[test]
fn honest_resend_refused_as_reused() {
    let mut golden = Golden::story();
    let step = golden.deposit("acc-1", 7);
    golden.again_as(step, Answer::Failed("command_id_reused", "so it is"));
    assert_found(&golden, &[ReuseClaimedWrongly]);
}

#[test]
fn an_id_is_known_for_1024_commands_and_no_less() {
    let mut golden = Golden::story();
    let step = golden.deposit("acc-1", 7);
    for _ in 0..1023 {
        golden.conflict("acc-1", 99_999);
    }
    golden.again_as(step, deposited(7));
    assert_found(&golden, &[Doubled]);
}

#[test]
fn decision_on_a_stale_state() {
    // 50 in the account, 100 of overdraft: the second withdrawal was decided before the first was seen.
    let mut golden = Golden::story();
    golden.withdraw("acc-1", 120);
    golden.withdraw("acc-1", 120);
    assert_found(&golden, &[RuleBroken]);
}

#[test]
fn rename_after_close() {
    // The problem that all of this is about.
    let mut golden = Golden::story();
    golden.close("acc-1");
    let fields = json!({"owner": "bob"});
    golden.add("acc-1", None, json!({"Rename": fields}), Answer::Accepted(vec![json!({"Renamed": fields})]));
    assert_found(&golden, &[RenamedAfterClose, RuleBroken]);
    assert_eq!(golden.judge_alone().rename_after_close_accepted, 1);
}

#[test]
fn money_out_of_nowhere() {
    let mut golden = Golden::story();
    golden.add("acc-1", None, json!({"Deposit": {"amount": 7}}), deposited(70));
    assert_found(&golden, &[RuleBroken, TotalsDiffer]);
}

#[test]
fn open_transaction() {
    let mut golden = Golden::story();
    golden.events(2).open = 3;
    assert_found(&golden, &[OpenTransaction]);
}

#[test]
fn truncated_topic() {
    let mut golden = Golden::story();
    let partition = home("acc-1");
    golden.commands(partition).start = 1;
    golden.commands(partition).records.remove(0);
    assert_found(&golden, &[LogTruncated, AnswerWithoutCommand]);
}

#[test]
fn topics_that_do_not_belong_together() {
    let mut golden = Golden::new();
    golden.topics.remove(&("account.events".to_owned(), 3));
    assert_found(&golden, &[LayoutDiffers]);
    let mut golden = Golden::new();
    golden.topics.retain(|(topic, _), mem| {
        // Nor are there takings, then.
        mem.records.clear();
        topic != "lanes"
    });
    assert_found(&golden, &[LayoutDiffers]);
    let mut golden = Golden::new();
    let layout = &mut golden.lane(0).records[0];
    layout.value = Some(json!({"partitions": 8, "lanes": 2}).to_string().into());
    assert_found(&golden, &[LayoutDiffers]);
}

#[test]
fn partitions_are_those_of_kafkas_own_partitioner() {
    // What `kafka-console-producer` did with these keys and four partitions.
    assert_eq!(murmur::partition("21", 4), ((-973_932_308_i32).cast_unsigned() & 0x7fff_ffff) % 4);
}
