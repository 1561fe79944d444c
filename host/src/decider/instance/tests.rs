use super::*;
use crate::decider::testing::{compile, context, events, honest, sandbox};

fn start() -> Instance {
    let sandbox = sandbox();
    let module = compile(&sandbox, &honest());
    Instance::new(&module).unwrap()
}

#[test]
fn the_whole_life_of_a_state() {
    let mut instance = start();
    let mut out = vec![9];
    instance.load(3, &[]).unwrap();
    assert_eq!(instance.decide(3, &context(0), &[0x05], &mut out), Ok(Verdict::Accepted { count: 1 }));
    assert_eq!(out, events(&[5]));
    assert_eq!(instance.decide(3, &context(1), &[0xc0], &mut out), Ok(Verdict::Rejected));
    assert_eq!(out, b"\xa2No");
    assert_eq!(instance.decide(3, &context(1), &[0xc1], &mut out), Ok(Verdict::Unreadable("bad".to_owned())));
    instance.fold(3, &events(&[7, 8])).unwrap();
    instance.snapshot(3, Form::Compact, &mut out).unwrap();
    assert_eq!(out, [0x91, 0xce, 0, 0, 0, 20]);
    let snapshot = out.clone();
    instance.snapshot(3, Form::Named, &mut out).unwrap();
    assert_eq!(out, b"\x81\xa3sum\xce\x00\x00\x00\x14");

    instance.release(3);
    let empty = instance.snapshot(3, Form::Compact, &mut out).unwrap_err();
    assert!(!empty.instance_lost && empty.message.contains("no slot"), "{empty}");
    instance.load(4, &snapshot).unwrap();
    instance.fold(4, &events(&[1])).unwrap();
    instance.snapshot(4, Form::Compact, &mut out).unwrap();
    assert_eq!(out, [0x91, 0xce, 0, 0, 0, 21]);
}

#[test]
fn what_does_not_decode_harms_one_slot_and_says_so() {
    let mut instance = start();
    let bad = instance.load(0, b"no snapshot").unwrap_err();
    assert_eq!((bad.reason, bad.instance_lost), (FailureReason::Unreadable, false));
    instance.load(0, &[]).unwrap();
    let bad = instance.fold(0, &[1, 0, 0, 0, 0xc0]).unwrap_err();
    assert_eq!((bad.reason, bad.instance_lost), (FailureReason::Unreadable, false));
    instance.load(1, &[]).unwrap();
    instance.fold(1, &events(&[1])).unwrap();
}

#[test]
fn input_of_any_size_finds_room_or_a_limit() {
    let mut instance = start();
    instance.load(0, &[]).unwrap();
    let mut out = Vec::new();
    for size in [1, 4096, 100_000, 1 << 20] {
        let command = vec![1; size];
        assert_eq!(instance.decide(0, &context(0), &command, &mut out), Ok(Verdict::Accepted { count: 1 }), "{size}");
    }
    let fault = instance.decide(0, &context(0), &vec![1; 8 << 20], &mut out).unwrap_err();
    assert_eq!((fault.reason, fault.instance_lost), (FailureReason::Memory, true));
}
