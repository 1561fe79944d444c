//! A module that answers with whatever it is told to: every answer there could be.

use std::cell::{Cell, RefCell};

use proptest::prelude::*;

use crate::decider::testing::{Wat, compile, context, honest, sandbox};
use crate::decider::{Decider, Instance, Limits, Verdict, gate, shape};
use crate::message::FailureReason;
use ordain_sdk::contract::{Frames, write_frame};

/// Its result are the command's bytes.
fn echo() -> Wat {
    honest().body(
        "ordain_decide",
        r#"(i64.or (i64.shl (i64.extend_i32_u (i32.add (i32.const 0x4000) (local.get $b))) (i64.const 32))
                   (i64.extend_i32_u (local.get $c)))"#,
    )
}

/// Its packed result is the command.
fn pointer() -> Wat {
    honest().body("ordain_decide", "(i64.load offset=0x4000 (local.get $b))")
}

/// Whatever is handed on can be read by everybody.
fn is_sound(verdict: &Verdict, out: &[u8]) {
    let readable = |bytes: &[u8]| {
        let mut json = Vec::new();
        // JSON cannot hold everything; that the value can be read to its end is what counts.
        let mut from = rmp_serde::Deserializer::new(bytes);
        serde::Deserialize::deserialize(&mut from).map(|serde::de::IgnoredAny| ()).unwrap();
        let _ = crate::json::from_messagepack(bytes, &mut json);
        assert!(shape::variant(bytes).is_some_and(|name| !name.is_empty()));
    };
    match verdict {
        Verdict::Accepted { count } => {
            assert_eq!(*count as usize, Frames(out).count());
            Frames(out).for_each(|frame| readable(frame.unwrap()));
        }
        Verdict::Rejected => readable(out),
        Verdict::Unreadable(text) => assert!(text.len() < 1100 && !text.chars().any(char::is_control)),
    }
}

fn answer(instance: &mut Instance, module: &crate::decider::Module, result: &[u8]) {
    let mut out = Vec::new();
    match instance.decide(0, &context(0), result, &mut out) {
        Ok(verdict) => is_sound(&verdict, &out),
        Err(fault) => {
            assert_ne!(fault.reason, FailureReason::Timeout, "{fault}");
            if fault.instance_lost {
                *instance = Instance::new(module).unwrap();
            }
        }
    }
}

/// Near-valid MessagePack: heads of all kinds with lengths that fit, nearly fit, or lie.
fn nearly_messagepack() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(vec![0x81, 0xa1, b'A', 0x80]),
        Just(vec![0xa2, b'N', b'o']),
        Just(vec![0xdf, 0xff, 0xff, 0xff, 0xff]),
        Just(vec![0xdb, 0, 0, 0, 1]),
        Just(vec![0x91]),
        Just(vec![0xa1, 0xff]),
        any::<u8>().prop_map(|byte| vec![byte]),
        proptest::collection::vec(any::<u8>(), 0..12),
    ];
    let good = prop_oneof![
        Just(&b"\x81\xa1A\x80"[..]),
        Just(&b"\xa2No"[..]),
        Just(&b"\x81\xa5Added\x81\xa2by\xce\x00\x01\x02\x03"[..]),
        Just(&b"\x81\xd9\x03New\x92\xc4\x02\xff\xfe\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00"[..]),
    ];
    prop_oneof![
        good.prop_map(<[u8]>::to_vec),
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    ]
}

#[test]
fn any_answer_is_sound_or_refused() {
    let sandbox = sandbox();
    let module = compile(&sandbox, &echo());
    let instance = RefCell::new(Instance::new(&module).unwrap());
    let accepted = Cell::new(0);
    let framed = (any::<bool>(), proptest::collection::vec(nearly_messagepack(), 0..4), 0_u8..6, 0_usize..3);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 40_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&framed, |(in_frames, parts, status, cut)| {
            let mut result = vec![if status == 5 { 0x80 } else { status }];
            for part in parts {
                if in_frames { write_frame(&mut result, &part) } else { result.extend_from_slice(&part) }
            }
            result.truncate(result.len().saturating_sub(cut).max(1));
            answer(&mut instance.borrow_mut(), &module, &result);
            accepted.set(
                accepted.get()
                    + u32::from(result[0] == 0 && shape::count_events(&result[1..]).is_ok_and(|count| count > 0)),
            );
            Ok(())
        })
        .unwrap();
    assert!(accepted.get() > 100, "only {accepted:?} answers were good enough to mean something");
}

#[test]
fn any_pointer_stays_inside() {
    let sandbox = sandbox();
    let module = compile(&sandbox, &pointer());
    let instance = RefCell::new(Instance::new(&module).unwrap());
    let edge =
        prop_oneof![any::<u32>(), 0_u32..0x500, 0x1fff0_u32..0x20010, Just(u32::MAX), Just(1 << 31), Just(0x350),];
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 40_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&(edge.clone(), edge), |(at, len)| {
            let packed = u64::from(at) << 32 | u64::from(len);
            answer(&mut instance.borrow_mut(), &module, &packed.to_le_bytes());
            Ok(())
        })
        .unwrap();
}

#[test]
fn any_damage_to_a_module_is_refused_or_contained() {
    let whole = honest().bytes();
    let limits =
        Limits { memory_bytes_per_instance: 4 << 20, decide_ms: 5, fold_ms: 5, init_ms: 5, ..Limits::default() };
    let sandbox = crate::decider::testing::sandbox_with(limits.clone());
    let ran = Cell::new(0);
    let damage = proptest::collection::vec((0..whole.len(), any::<u8>()), 1..4);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 3_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&damage, |damage| {
            let mut bytes = whole.clone();
            for (at, byte) in damage {
                bytes[at] = byte;
            }
            if gate::check(&bytes, &limits).is_err() {
                return Ok(());
            }
            let Ok(module) = sandbox.compile(&bytes) else { return Ok(()) };
            let Ok(mut instance) = Instance::new(&module) else { return Ok(()) };
            ran.set(ran.get() + 1);
            let mut out = Vec::new();
            let _ = instance.load(0, &[]);
            if let Ok(verdict) = instance.decide(0, &context(0), &[5], &mut out) {
                is_sound(&verdict, &out);
            }
            let _ = instance.fold(0, &crate::decider::testing::events(&[1, 2]));
            let _ = instance.snapshot(0, crate::decider::Form::Named, &mut out);
            Ok(())
        })
        .unwrap();
    assert!(ran.get() > 100, "only {ran:?} damaged modules ran");
}
