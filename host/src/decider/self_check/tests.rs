use super::*;
use crate::decider::testing::{Wat, compile, context, events, honest, sandbox};

fn verdict(wat: &Wat, active: Option<&Wat>, cases: &[Case]) -> Result<Report, Refused> {
    let sandbox = sandbox();
    let active = active.map(|wat| compile(&sandbox, wat));
    check(&compile(&sandbox, wat), active.as_ref(), cases)
}

fn case(history: &[u8], command: u8) -> Case {
    let context = context(0);
    Case {
        aggregate_id: "sum-1".into(),
        history: events(history),
        version: history.len() as u64,
        command: Some(CaseCommand {
            time_ms: context.time_ms,
            command_id: "c-9".into(),
            correlation_id: "".into(),
            metadata: Vec::new(),
            body: vec![command],
        }),
    }
}

/// A schema, so that two modules can have the same state tag.
fn with_schemas(mut wat: Wat) -> Wat {
    wat.schemas = Some(br#"{"command":{},"event":{},"rejection":{},"state":{"type":"integer"}}"#.to_vec());
    wat
}

#[test]
fn an_honest_module_passes_whatever_happened() {
    let cases = [case(&[], 5), case(&[1, 2, 3], 0xc0), case(&[9; 300], 7), Case { command: None, ..case(&[1], 0) }];
    let report = verdict(&honest(), Some(&honest()), &cases).unwrap();
    assert_eq!(report, Report { histories: 4, commands: 6, warnings: Vec::new() });
}

#[test]
fn a_static_that_leaks_from_one_decision_into_the_next_is_seen() {
    // Each decision adds what a static counted so far.
    let decide = r#"
        (i32.store8 (i32.const 0x30f) (i32.load (i32.const 0x900)))
        (call $add (local.get $a) (i32.load (i32.const 0x900)))
        (i32.store (i32.const 0x900) (i32.add (i32.const 1) (i32.load (i32.const 0x900))))
        (i64.const 0x2ff00000011)"#;
    let refused = verdict(&honest().body("ordain_decide", decide), None, &[]).unwrap_err();
    assert_eq!(refused.rule, Rule::Disagrees, "{refused}");
}

#[test]
fn a_field_that_does_not_survive_the_snapshot_is_seen() {
    // The snapshot says nothing, so a loaded state begins at zero again.
    let load = r#"(i32.store (call $state (local.get $a)) (i32.const 1))
        (i32.store offset=4 (call $state (local.get $a)) (i32.const 0)) (i64.const 0x35000000001)"#;
    let refused = verdict(&honest().body("ordain_load", load), None, &[case(&[4], 5)]).unwrap_err();
    assert_eq!(refused.rule, Rule::Disagrees, "{refused}");
    assert!(refused.message.contains("after a snapshot"), "{refused}");
}

#[test]
fn evolving_in_decide_must_be_evolving_from_the_events() {
    // Adds one more than the event says.
    let decide = r#"
        (i32.store8 (i32.const 0x30f) (i32.const 5))
        (call $add (local.get $a) (i32.const 6))
        (i64.const 0x2ff00000011)"#;
    let refused = verdict(&honest().body("ordain_decide", decide), None, &[]).unwrap_err();
    assert_eq!(refused.rule, Rule::Disagrees, "{refused}");
    assert!(refused.message.contains("folding the events"), "{refused}");
}

#[test]
fn old_events_must_be_read_and_the_unread_one_is_named() {
    let mut cases = [case(&[1, 2], 3)];
    let mut odd = Vec::new();
    ordain_sdk::contract::write_frame(&mut odd, b"\x81\xa7Doubled\x80");
    cases[0].history.extend_from_slice(&odd);
    let refused = verdict(&honest(), None, &cases).unwrap_err();
    assert_eq!(refused.rule, Rule::History);
    assert!(refused.message.contains("event 3 (Doubled)") && refused.message.contains("sum-1"), "{refused}");
    // The same if it traps on it.
    let traps = honest().body("ordain_fold", "unreachable");
    let refused = verdict(&traps, None, &cases).unwrap_err();
    assert_eq!(refused.rule, Rule::History);
    assert!(refused.message.contains("event 1 (Added)"), "{refused}");
}

#[test]
fn a_changed_evolve_needs_another_state_version() {
    let doubles = honest().with(
        "ordain_fold",
        r#"(func (export "ordain_fold") (param $slot i32) (param $n i32) (result i64)
            (local $at i32)
            (block $end (loop $next
                (br_if $end (i32.ge_u (local.get $at) (local.get $n)))
                (local.set $at (i32.add (local.get $at) (i32.const 16)))
                (call $add (local.get $slot) (i32.shl (i32.load8_u offset=0x3fff (local.get $at)) (i32.const 1)))
                (br $next)))
            (i64.const 0x35000000001))"#,
    );
    let mut doubles = with_schemas(doubles);
    doubles.manifest.samples.clear();
    let cases = [Case { command: None, ..case(&[1, 2], 0) }];
    let refused = verdict(&doubles, Some(&with_schemas(honest())), &cases).unwrap_err();
    assert_eq!(refused.rule, Rule::StateVersion, "{refused}");
    doubles.manifest.state_version = 2;
    verdict(&doubles, Some(&with_schemas(honest())), &cases).unwrap();
}

#[test]
fn failing_on_its_own_sample_refuses_and_on_a_real_command_warns() {
    let poison = honest().with(
        "ordain_decide",
        r#"(func (export "ordain_decide") (param $slot i32) (param $context i32) (param $command i32) (result i64)
            (if (i32.eq (i32.const 13) (i32.load8_u offset=0x3fff (i32.add (local.get $context) (local.get $command))))
                (then unreachable))
            (i64.const 0x34000000004))"#,
    );
    let report = verdict(&poison, None, &[case(&[1], 13), case(&[2], 1)]).unwrap();
    assert_eq!(report.warnings.len(), 1);
    assert!(report.warnings[0].contains("c-9") && report.warnings[0].contains("fails"), "{:?}", report.warnings);
    let mut own = poison;
    own.manifest.samples.push(vec![13]);
    let refused = verdict(&own, None, &[]).unwrap_err();
    assert_eq!(refused.rule, Rule::OwnWords);
    assert!(refused.message.contains("sample 3"), "{refused}");
    let mut unread = honest();
    unread.manifest.samples.push(vec![0xc1]);
    assert_eq!(verdict(&unread, None, &[]).unwrap_err().rule, Rule::OwnWords);
}
