//! Taken into service, and then they show what they are.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{decide, others_go_on};
use crate::clock::{Stopwatch, thread_cpu};
use crate::decider::testing::{Wat, compile, context, events, honest, sandbox, sandbox_with};
use crate::decider::{Decider, Fault, Form, Instance, Limits, Verdict};
use crate::message::FailureReason::{self, Memory, Timeout, TooLarge, Trap, Unreadable};

/// An endless loop, for any type of result.
const SPIN: &str = "(loop (br 0)) unreachable";

#[test]
fn a_decision_that_goes_wrong_is_named_and_stays_alone() {
    let d = |body: &str| honest().body("ordain_decide", body);
    let with_table =
        |body: &str| d(body).head("(type $f (func (param f64)))").tail("(table 1 funcref) (elem (i32.const 0) $state)");
    let rows: Vec<(&str, Wat, FailureReason, &str)> = vec![
        ("spin", d(SPIN), Timeout, "longer"),
        ("spin without loops", d("(call $a) unreachable").tail(&ladder()), Timeout, "longer"),
        ("recursion", d("(call $down) unreachable").tail("(func $down (call $down))"), Trap, "stack"),
        (
            "recursion by turns",
            d("(call $a) unreachable").tail("(func $a (call $b)) (func $b (call $a))"),
            Trap,
            "stack",
        ),
        ("grow", d("(loop (drop (memory.grow (i32.const 1))) (br 0)) unreachable"), Memory, "bytes of memory"),
        ("grow at once", d("(drop (memory.grow (i32.const 65000))) (i64.const 0)"), Memory, "bytes of memory"),
        (
            "grow beyond its own maximum",
            d("(drop (memory.grow (i32.const 9))) (i64.const 0)").with("memory", r#"(memory (export "memory") 2 4)"#),
            Memory,
            "bytes of memory",
        ),
        (
            "grow a table",
            with_table("(loop (drop (table.grow 0 (ref.null func) (i32.const 1000))) (br 0)) unreachable"),
            Memory,
            "table elements",
        ),
        ("unreachable", d("unreachable"), Trap, "unreachable"),
        ("read outside", d("(i64.load (i32.const -8))"), Trap, "out of bounds"),
        (
            "write outside",
            d("(i32.store offset=0xffffffff (i32.const -8) (i32.const 1)) (i64.const 0)"),
            Trap,
            "out of bounds",
        ),
        (
            "copy outside",
            d("(memory.copy (i32.const 0) (i32.const 1) (i32.const -1)) (i64.const 0)"),
            Trap,
            "out of bounds",
        ),
        ("division by zero", d("(i64.div_s (i64.const 1) (i64.const 0))"), Trap, "divide by zero"),
        ("division overflow", d("(i64.div_s (i64.const 0x8000000000000000) (i64.const -1))"), Trap, "overflow"),
        ("float to integer", d("(i64.trunc_f64_s (f64.const nan))"), Trap, "conversion"),
        (
            "call of nothing",
            with_table("(call_indirect (type $f) (f64.const 0) (i32.const 7)) (i64.const 0)"),
            Trap,
            "table",
        ),
        (
            "call of another type",
            with_table("(call_indirect (type $f) (f64.const 0) (i32.const 0)) (i64.const 0)"),
            Trap,
            "indirect call type",
        ),
        ("a result outside", d("(i64.const 0x7fffffff00000010)"), Trap, "outside its memory"),
        ("a result of 2 GiB", d("(i64.const 0x0000010080000000)"), Trap, "outside its memory"),
        ("a result that wraps", d("(i64.const -1)"), Trap, "outside its memory"),
        ("a result just outside", d("(i64.const 0x0001ffff00000002)"), Trap, "outside its memory"),
        ("an empty result", d("(i64.const 0x35000000000)"), Trap, "empty"),
        ("no result at all", d("(i64.const 0)"), Trap, "empty"),
        (
            "an unknown status",
            d(r#"(i64.const 0x80000000001)"#).tail(r#"(data (i32.const 0x800) "\63")"#),
            Trap,
            "status 99",
        ),
        ("its own code as a result", d("(i64.const 0x0000000000001000)"), Trap, ""),
        ("a torn frame", d("(i64.const 0x2ff00000010)"), Trap, "cut short"),
        (
            "a frame of 4 GiB",
            d("(i64.const 0x80000000006)").tail(r#"(data (i32.const 0x800) "\00\ff\ff\ff\ffx")"#),
            Trap,
            "cut short",
        ),
        (
            "an event that is none",
            d("(i64.const 0x80000000006)").tail(r#"(data (i32.const 0x800) "\00\01\00\00\00\c0")"#),
            Trap,
            "event 0",
        ),
        (
            "a rejection that is none",
            d("(i64.const 0x80000000002)").tail(r#"(data (i32.const 0x800) "\01\c0")"#),
            Trap,
            "rejection",
        ),
        ("no buffer", honest().body("ordain_buf", "(i32.const 0)"), Trap, "buffer"),
        ("a buffer outside", honest().body("ordain_buf", "(i32.const 0x1fff0)"), Trap, "buffer"),
        ("a buffer at the end", honest().body("ordain_buf", "(i32.const -1)"), Trap, "buffer"),
        ("spin in the buffer", honest().body("ordain_buf", SPIN), Timeout, "longer"),
        (
            "spin in the log",
            d("(i64.const 0x80000000001)").tail(r#"(data (i32.const 0x800) "\80")"#).body("ordain_log", SPIN),
            Timeout,
            "longer",
        ),
        (
            "a log outside",
            d("(i64.const 0x80000000001)")
                .tail(r#"(data (i32.const 0x800) "\80")"#)
                .body("ordain_log", "(i64.const -1)"),
            Trap,
            "outside",
        ),
    ];
    let sandbox = sandbox();
    for (name, wat, reason, words) in rows {
        let started = thread_cpu();
        let fault = decide(&sandbox, &wat).expect_err(name);
        assert_eq!((fault.reason, fault.instance_lost), (reason, true), "{name}: {fault}");
        assert!(fault.message.contains(words), "{name}: {words:?} is not in {fault}");
        let took = thread_cpu() - started;
        assert!(took < Duration::from_millis(500), "{name}: cut after {took:?}, compiling included");
    }
    others_go_on(&sandbox);
}

/// Functions that call the next one twice, twenty deep: a million calls and no loop, then from the start again.
fn ladder() -> String {
    let names: Vec<char> = ('a'..='z').collect();
    let rung = |pair: &[char]| format!("(func ${0} (call ${1}) (call ${1}))", pair[0], pair[1]);
    names.windows(2).map(rung).collect::<String>() + "(func $z)"
}

#[test]
fn too_much_of_an_answer_costs_the_slot_and_not_the_instance() {
    let sandbox = sandbox_with(Limits::default());
    let empty_events = |count: u32| {
        // `count` frames of the event "A".
        let bytes = 1 + count * 6;
        let frames = "\\02\\00\\00\\00\\a1A".repeat(count as usize);
        honest()
            .with("memory", r#"(memory (export "memory") 40)"#)
            .body("ordain_decide", &format!("(i64.const {})", (0x20000_u64 << 32) | u64::from(bytes)))
            .tail(&format!(r#"(data (i32.const 0x20000) "\00{frames}")"#))
    };
    assert_eq!(decide(&sandbox, &empty_events(1000)).unwrap().0, Verdict::Accepted { count: 1000 });
    let large = honest()
        .with("memory", r#"(memory (export "memory") 1040)"#)
        .body("ordain_decide", &format!("(i64.const {})", (0x20000_u64 << 32) | (64 << 20)));
    let rows = [
        ("1,001 events", empty_events(1001), "1001 events"),
        ("100,000 events", empty_events(100_000), "100000 events"),
        ("64 MiB", large, "67108863 bytes"),
    ];
    for (name, wat, words) in rows {
        let module = compile(&sandbox, &wat);
        let mut instance = Instance::new(&module).unwrap();
        let mut out = Vec::new();
        instance.load(0, &[]).unwrap();
        let fault = instance.decide(0, &context(0), &[1], &mut out).unwrap_err();
        assert_eq!((fault.reason, fault.instance_lost), (TooLarge, false), "{name}: {fault}");
        assert!(fault.message.contains(words), "{name}: {fault}");
        assert!(out.is_empty(), "{name}: nothing of it is handed on");
        instance.load(1, &[]).unwrap();
    }
    let snapshot = honest()
        .with("memory", r#"(memory (export "memory") 1040)"#)
        .body("ordain_snapshot", &format!("(i64.const {})", (0x20000_u64 << 32) | (9 << 20)));
    let mut instance = Instance::new(&compile(&sandbox, &snapshot)).unwrap();
    let fault = instance.snapshot(0, Form::Compact, &mut Vec::new()).unwrap_err();
    assert_eq!((fault.reason, fault.instance_lost), (TooLarge, false), "{fault}");
}

#[test]
fn every_other_call_is_cut_too() {
    let sandbox = sandbox();
    type Call = fn(&mut Instance) -> Result<(), Fault>;
    let calls: [(&str, Call); 3] = [
        ("ordain_load", |instance| instance.load(0, &[])),
        ("ordain_fold", |instance| instance.fold(0, &events(&[1]))),
        ("ordain_snapshot", |instance| instance.snapshot(0, Form::Compact, &mut Vec::new())),
    ];
    for (name, call) in calls {
        for (body, reason) in
            [(SPIN, Timeout), ("unreachable", Trap), ("(i64.const -1)", Trap), ("(i64.const 0)", Trap)]
        {
            let mut instance = Instance::new(&compile(&sandbox, &honest().body(name, body))).unwrap();
            let fault = call(&mut instance).unwrap_err();
            assert_eq!((fault.reason, fault.instance_lost), (reason, true), "{name} {body}: {fault}");
            assert_eq!(call(&mut instance), Err(fault), "lost is lost");
            assert_eq!(instance.memory_bytes(), 0, "and its memory is given back");
        }
    }
    let mut instance = Instance::new(&compile(&sandbox, &honest().body("ordain_drop", SPIN))).unwrap();
    instance.load(0, &[]).unwrap();
    instance.release(0);
    assert_eq!(instance.load(0, &[]).unwrap_err().reason, Timeout, "found out at the next call");
    let unread = honest().body("ordain_load", "(i64.const 0x3c000000004)");
    let fault = Instance::new(&compile(&sandbox, &unread)).unwrap().load(0, b"x").unwrap_err();
    assert_eq!((fault.reason, fault.instance_lost), (Unreadable, false));
    others_go_on(&sandbox);
}

#[test]
fn the_last_words_are_read_and_never_act() {
    let says = |text: &str| {
        let packed = (0x900_u64 << 32) | text.len() as u64;
        let escaped: String = text.bytes().map(|b| format!("\\{b:02x}")).collect();
        honest()
            .with("memory", r#"(memory (export "memory") 3)"#)
            .body("ordain_decide", "unreachable")
            .body("ordain_panic", &format!("(i64.const {packed})"))
            .tail(&format!(r#"(data (i32.const 0x900) "{escaped}")"#))
    };
    let sandbox = sandbox();
    let message = |wat: &Wat| decide(&sandbox, wat).unwrap_err().message;
    assert_eq!(message(&says("panicked at rules.rs:7: no rule")), "panicked at rules.rs:7: no rule");
    assert_eq!(message(&says("\u{1b}[2J\nroot# ")), r"\u{1b}[2J\nroot# ");
    assert!(message(&says(&"x".repeat(1500))).len() <= 1024 + 3);
    let silent = |body: &str| honest().body("ordain_decide", "unreachable").body("ordain_panic", body);
    for body in [SPIN, "unreachable", "(i64.const -1)", "(i64.const 0)", "(i64.const 0x0000000180000000)"] {
        assert!(message(&silent(body)).contains("unreachable"), "{body}");
    }
    let bad_text = honest()
        .body("ordain_decide", "(i64.const 0xa0000000006)")
        .tail(r#"(data (i32.const 0xa00) "\02\ff\fe\1b[m")"#);
    assert_eq!(decide(&sandbox, &bad_text).unwrap().0, Verdict::Unreadable("\u{fffd}\u{fffd}\\u{1b}[m".to_owned()));
}

#[test]
fn good_a_thousand_times_and_then_bad() {
    let turns = honest().body(
        "ordain_decide",
        r#"(i32.store (i32.const 0x900) (i32.add (i32.const 1) (i32.load (i32.const 0x900))))
           (if (i32.gt_u (i32.load (i32.const 0x900)) (i32.const 1000)) (then unreachable))
           (i64.const 0x34000000004)"#,
    );
    let sandbox = sandbox();
    let module = compile(&sandbox, &turns);
    let mut instance = Instance::new(&module).unwrap();
    let mut out = Vec::new();
    for _ in 0..1000 {
        assert_eq!(instance.decide(0, &context(0), &[1], &mut out), Ok(Verdict::Rejected));
    }
    assert!(instance.decide(0, &context(0), &[1], &mut out).unwrap_err().instance_lost);
    assert_eq!(Instance::new(&module).unwrap().decide(0, &context(0), &[1], &mut out), Ok(Verdict::Rejected));
}

#[test]
fn not_a_number_is_one_number() {
    // The hardware's own answer has its sign bit set.
    let nan = honest().body(
        "ordain_decide",
        r#"(i32.store8 (i32.const 0x30f)
             (i32.shr_u (i32.reinterpret_f32 (f32.div (f32.convert_i32_s (i32.sub (local.get $c) (local.get $c)))
                (f32.convert_i32_s (i32.sub (local.get $b) (local.get $b))))) (i32.const 24)))
           (i64.const 0x2ff00000011)"#,
    );
    let (_, out) = decide(&sandbox(), &nan).unwrap();
    assert_eq!(out, events(&[0x7f]));
}

/// Counts down from what is a fitting number of steps for `cpu` on this machine.
fn works_for(cpu: Duration) -> Wat {
    let steps = |n: u64| {
        honest().body(
            "ordain_decide",
            &format!(
                r#"(local $n i64) (local.set $n (i64.const {n}))
                   (loop (local.set $n (i64.sub (local.get $n) (i64.const 1))) (br_if 0 (i64.ne (local.get $n) (i64.const 0))))
                   (i64.const 0x34000000004)"#
            ),
        )
    };
    let sandbox = sandbox_with(Limits { decide_ms: 60_000, ..Limits::default() });
    let mut instance = Instance::new(&compile(&sandbox, &steps(20_000_000))).unwrap();
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let started = thread_cpu();
        instance.decide(0, &context(0), &[1], &mut Vec::new()).unwrap();
        best = best.min(thread_cpu() - started);
    }
    steps((20_000_000.0 * cpu.as_secs_f64() / best.as_secs_f64()) as u64)
}

#[test]
fn a_busy_machine_never_fails_an_honest_command() {
    let limit = 40;
    let wat = works_for(Duration::from_millis(limit / 3));
    let sandbox = sandbox_with(Limits { decide_ms: limit, ..Limits::default() });
    let mut instance = Instance::new(&compile(&sandbox, &wat)).unwrap();
    let stop = AtomicBool::new(false);
    let (mut late, mut out) = (0, Vec::new());
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        for _ in 0..6 * cores {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        for _ in 0..10 {
            let watch = Stopwatch::start();
            let verdict = instance.decide(0, &context(0), &[1], &mut out);
            late += u32::from(watch.elapsed() > Duration::from_millis(limit));
            if verdict != Ok(Verdict::Rejected) {
                stop.store(true, Ordering::Relaxed);
            }
            assert_eq!(verdict, Ok(Verdict::Rejected));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(late > 0, "the machine was not busy enough to show anything");
}

#[test]
fn slow_every_time_is_slow_and_endless_is_cut_in_time() {
    let limit = Duration::from_millis(100);
    let sandbox = sandbox_with(Limits { decide_ms: 100, ..Limits::default() });
    let mut out = Vec::new();
    let mut slow = Instance::new(&compile(&sandbox, &works_for(limit / 4))).unwrap();
    for _ in 0..20 {
        assert_eq!(slow.decide(0, &context(0), &[1], &mut out), Ok(Verdict::Rejected), "a budget is one call's");
    }
    let endless = compile(&sandbox, &honest().body("ordain_decide", SPIN));
    for _ in 0..10 {
        let mut instance = Instance::new(&endless).unwrap();
        let started = thread_cpu();
        assert_eq!(instance.decide(0, &context(0), &[1], &mut out).unwrap_err().reason, Timeout);
        let took = thread_cpu() - started;
        // The tick that cuts may come late on a busy machine; what must not happen is that it does not come.
        assert!(took >= limit && took < 2 * limit, "cut after {took:?}");
    }
}

#[test]
fn a_call_that_begins_while_the_clock_rests_is_cut_too() {
    let sandbox = sandbox_with(Limits { decide_ms: 20, ..Limits::default() });
    let endless = compile(&sandbox, &honest().body("ordain_decide", SPIN));
    for _ in 0..3 {
        let mut instance = Instance::new(&endless).unwrap();
        std::thread::park_timeout(Duration::from_millis(300));
        let started = thread_cpu();
        assert_eq!(instance.decide(0, &context(0), &[1], &mut Vec::new()).unwrap_err().reason, Timeout);
        let took = thread_cpu() - started;
        assert!(took >= Duration::from_millis(20) && took < Duration::from_millis(60), "cut after {took:?}");
    }
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>, Arc<AtomicU32>);

impl tracing::Subscriber for Heard {
    fn enabled(&self, about: &tracing::Metadata<'_>) -> bool {
        about.target() == "ordain::module" && *about.level() <= tracing::Level::INFO
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Fields(String);
        impl tracing::field::Visit for Fields {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!("{field}={value:?} ");
            }
        }
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.lock().unwrap().push(fields.0);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// Decides with a line (or more) of log each time, and gives what was heard.
fn heard(text: &str, times: u32) -> Vec<String> {
    let packed = (0x20000_u64 << 32) | text.len() as u64;
    let escaped: String = text.bytes().map(|b| format!("\\{b:02x}")).collect();
    let chatty = honest()
        .with("memory", r#"(memory (export "memory") 40)"#)
        .body("ordain_decide", "(i64.const 0x80000000004)")
        .body("ordain_log", &format!("(i64.const {packed})"))
        .tail(&format!(r#"(data (i32.const 0x800) "\81\a2No") (data (i32.const 0x20000) "{escaped}")"#));
    let sandbox = sandbox();
    let mut instance = Instance::new(&compile(&sandbox, &chatty)).unwrap();
    let heard = Heard::default();
    tracing::subscriber::with_default(heard.clone(), || {
        for _ in 0..times {
            assert_eq!(instance.decide(0, &context(0), &[1], &mut Vec::new()), Ok(Verdict::Rejected));
        }
    });
    let lines = heard.0.lock().unwrap();
    lines.clone()
}

#[test]
fn logs_are_named_bounded_and_escaped() {
    let lines = heard("first\nsecond \u{1b}[2J\r\n", 1);
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains("first") && lines[0].contains("sum-1") && lines[0].contains("sha256:"), "{lines:?}");
    assert!(lines[0].contains(r#"aggregate_type="sum""#), "{lines:?}");
    assert!(lines[1].contains(r"second \u{1b}[2J\r"), "{lines:?}");
    assert!(heard(&"x".repeat(1 << 20), 1)[0].len() < 1200, "a long line is cut");
    let flood = heard(&"line\n".repeat(100_000), 10);
    assert!(flood.len() <= 200, "a million lines became {}", flood.len());
}
