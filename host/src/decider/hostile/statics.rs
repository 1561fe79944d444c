//! Refused before they run: by the gate, the compiler, or their first instance.

use std::time::Duration;

use crate::clock::thread_cpu;
use crate::decider::refused::Rule;
use crate::decider::testing::{Wat, context, events, honest, sandbox};
use crate::decider::{Decider, Instance, Verdict};
use crate::message::Digest;

/// Refused with this rule, by a message that holds these words.
fn refused(name: &str, bytes: &[u8], rule: Rule, words: &str) {
    let refused = sandbox().compile(bytes).map(|module| module.digest() == Digest([0; 32])).expect_err(name);
    assert_eq!(refused.rule, rule, "{name}: {refused}");
    assert!(refused.message.contains(words), "{name}: {words:?} is not in {refused}");
}

fn table(rows: &[(&str, Wat, Rule, &str)]) {
    for (name, wat, rule, words) in rows {
        refused(name, &wat.bytes(), *rule, words);
    }
}

#[test]
fn features_that_are_switched_off() {
    table(&[
        ("threads", honest().with("memory", r#"(memory (export "memory") 2 4 shared)"#), Rule::Feature, "threads"),
        ("memory64", honest().tail(r#"(memory i64 1)"#), Rule::Memory, "memories"),
        ("memory64 alone", honest().tail("(table i64 1 funcref)"), Rule::Feature, "memory64"),
        ("two memories", honest().tail("(memory 1)"), Rule::Memory, "2 memories"),
        ("exceptions", honest().tail("(tag)"), Rule::Feature, "exceptions"),
        ("garbage collection", honest().head("(type (struct (field i32)))"), Rule::Feature, ""),
        ("typed references", honest().tail("(func (param (ref func)))"), Rule::Feature, ""),
        ("tail call", honest().tail("(func $self return_call $self)"), Rule::Feature, "tail calls"),
        (
            "relaxed SIMD",
            honest().tail("(func (param v128) (result v128) (i32x4.relaxed_trunc_f32x4_s (local.get 0)))"),
            Rule::Feature,
            "relaxed",
        ),
        ("wide arithmetic", honest().tail("(func (param i64 i64 i64 i64) (result i64 i64) (i64.add128 (local.get 0) (local.get 1) (local.get 2) (local.get 3)))"), Rule::Feature, ""),
    ]);
    refused("component", b"\0asm\x0d\0\x01\0", Rule::Feature, "component");
    let simd = honest().tail("(func (param v128) (result v128) (f32x4.add (local.get 0) (local.get 0)))");
    sandbox().compile(&simd.bytes()).expect("plain SIMD is deterministic");
}

#[test]
fn imports_of_any_kind() {
    table(&[
        ("a function", honest().head(r#"(import "env" "now" (func (result i64)))"#), Rule::Imports, "env.now"),
        (
            "WASI",
            honest()
                .head(r#"(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))"#),
            Rule::Imports,
            "not for WASI",
        ),
        ("a global", honest().head(r#"(import "env" "g" (global i32))"#), Rule::Imports, "env.g"),
        ("a table", honest().head(r#"(import "env" "t" (table 1 funcref))"#), Rule::Imports, "env.t"),
        (
            "the memory",
            honest().with("memory", r#"(import "env" "m" (memory 2)) (export "memory" (memory 0))"#),
            Rule::Imports,
            "env.m",
        ),
        ("an acting name", honest().head("(import \"\\1b[2J\" \"x\" (func))"), Rule::Imports, r"\u{1b}[2J"),
    ]);
}

#[test]
fn exports_that_are_missing_or_other() {
    for name in [
        "ordain_init",
        "ordain_describe",
        "ordain_buf",
        "ordain_load",
        "ordain_decide",
        "ordain_fold",
        "ordain_snapshot",
        "ordain_drop",
        "ordain_log",
        "ordain_panic",
    ] {
        refused(name, &honest().with(name, "").bytes(), Rule::Exports, name);
        let other = format!(r#"(func (export "{name}") (param f64) (result f32) unreachable)"#);
        refused(name, &honest().with(name, &other).bytes(), Rule::Exports, name);
        let global = format!(r#"(global (export "{name}") i32 (i32.const 0))"#);
        refused(name, &honest().with(name, &global).bytes(), Rule::Exports, name);
    }
    table(&[
        ("no memory exported", honest().with("memory", "(memory 2)"), Rule::Exports, "memory"),
        (
            "memory is a function",
            honest().with("memory", r#"(memory 2) (func (export "memory"))"#),
            Rule::Exports,
            "memory",
        ),
        ("start", honest().tail("(func $go) (start $go)"), Rule::Start, "start function"),
        ("spin in start", honest().tail("(func $go (loop (br 0))) (start $go)"), Rule::Start, "start function"),
    ]);
}

#[test]
fn contracts_that_are_not_this_one() {
    let contract = |content: Option<&[u8]>| Wat { contract: content.map(<[u8]>::to_vec), ..honest() };
    table(&[
        ("none", contract(None), Rule::Contract, "ordain-sdk"),
        ("a later one", contract(Some(b"\x02\0\0\09.9.9")), Rule::Contract, "contract 2 (SDK 9.9.9)"),
        ("cut short", contract(Some(b"\x01\0")), Rule::Contract, "cut short"),
        ("two", honest().tail(r#"(@custom "ordain.contract" "\01\00\00\00")"#), Rule::Contract, "twice"),
        ("schemas are no JSON", Wat { schemas: Some(b"{".to_vec()), ..honest() }, Rule::Schemas, "unreadable"),
        (
            "schemas are of something else",
            Wat { schemas: Some(b"{\"a\":1}".to_vec()), ..honest() },
            Rule::Schemas,
            "`a`",
        ),
        ("schemas are deep", Wat { schemas: Some(vec![b'['; 100_000]), ..honest() }, Rule::Schemas, "unreadable"),
        ("schemas are large", Wat { schemas: Some(vec![b' '; 2 << 20]), ..honest() }, Rule::Schemas, "1 MiB"),
    ]);
}

#[test]
fn sizes_that_cost_too_much() {
    let many = |piece: &str, times: usize| honest().tail(&piece.repeat(times));
    let deep = |depth: usize| honest().tail(&format!("(func {} {})", "block ".repeat(depth), "end ".repeat(depth)));
    table(&[
        ("4 GiB of memory", honest().with("memory", r#"(memory (export "memory") 65536)"#), Rule::Memory, "4294967296"),
        (
            "no memory",
            honest().with("memory", r#"(global (export "memory") i32 (i32.const 0))"#),
            Rule::Invalid,
            "memory",
        ),
        ("a large table", honest().tail("(table 1000000 funcref)"), Rule::Tables, "1000000"),
        ("two tables", honest().tail("(table 1 funcref) (table 1 funcref)"), Rule::Tables, "2 tables"),
        ("50,000 functions", many("(func)", 50_000), Rule::Code, "functions"),
        ("30,000 globals", many("(global i32 (i32.const 0))", 30_000), Rule::Code, "globals"),
        ("30,000 data segments", many("(data \"x\")", 30_000), Rule::Code, "data segments"),
        (
            "49,000 locals",
            honest().tail(&format!("(func (local {}))", "i64 ".repeat(49_000))),
            Rule::Code,
            "49000 locals",
        ),
        ("blocks 6,000 deep", deep(6_000), Rule::Code, "nests"),
        ("blocks 100,000 deep", deep(100_000), Rule::Code, "nests"),
        (
            "a function of 2 MiB",
            honest().tail(&format!("(func {})", "nop ".repeat(2 << 20))),
            Rule::Code,
            "bytes of code",
        ),
    ]);
    // A million locals are one declaration of five bytes; text would spell them out.
    let locals = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x08\x01\x06\x01\xc0\x84\x3d\x7f\x0b";
    refused("a million locals", locals, Rule::Invalid, "too many locals");
    let fat = honest().tail(&format!("(data \"{}\")", "x".repeat(9 << 20))).bytes();
    refused("9 MiB", &fat, Rule::Size, "module_bytes_max");
}

/// A function whose locals all live through all of its blocks, written and left at every one.
fn broad(blocks: usize, locals: usize) -> Wat {
    let leave: String = (0..blocks)
        .map(|n| {
            let (read, write) = (n % locals, n * 7 % locals);
            format!("(br_if {n} (i32.wrap_i64 (local.get {read}))) (local.set {write} (i64.const {n}))")
        })
        .collect();
    let read: String = (0..locals).map(|n| format!("(i64.xor (local.get {n}))")).collect();
    let (open, close) = ("(block ".repeat(blocks), ")".repeat(blocks));
    let declared = "i64 ".repeat(locals);
    honest().tail(&format!("(func (result i64) (local {declared}) {open} {leave} {close} (i64.const 0) {read})"))
}

#[test]
fn code_that_takes_for_ever_to_compile_well_is_compiled_fast() {
    let sandbox = sandbox();
    let started = thread_cpu();
    // Half a minute for the good register allocator; for two hundred such functions it is hours.
    let module = sandbox.compile(&broad(500, 500).bytes()).unwrap();
    assert!(module.warnings().iter().any(|warning| warning.contains("compiled fast")), "{:?}", module.warnings());
    let took = thread_cpu() - started;
    assert!(took < Duration::from_secs(5), "{took:?}");
    let mut instance = Instance::new(&module).unwrap();
    instance.load(0, &[]).unwrap();
    let mut out = Vec::new();
    assert_eq!(instance.decide(0, &context(0), &[5], &mut out), Ok(Verdict::Accepted { count: 1 }));
    assert_eq!(out, events(&[5]));
    refused("too much of it", &broad(2000, 3000).bytes(), Rule::Code, "too many local values");
    assert!(sandbox.compile(&broad(50, 50).bytes()).unwrap().warnings().is_empty());
}

#[test]
fn hashing_with_random_keys_is_named() {
    let hashes = honest().tail("(func $_ZN3std4hash6random11RandomState3new17h0123456789abcdefE)");
    let module = sandbox().compile(&hashes.bytes()).unwrap();
    assert!(module.warnings()[0].contains("BTreeMap"), "{:?}", module.warnings());
    assert!(sandbox().compile(&honest().bytes()).unwrap().warnings().is_empty());
}

#[test]
fn bytes_that_are_no_module() {
    let whole = honest().bytes();
    refused("nothing", &[], Rule::Invalid, "");
    refused("text", b"hello, this is text", Rule::Invalid, "");
    refused("an ELF file", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0", Rule::Invalid, "");
    refused("wrong magic", &[b"\0msa", &whole[4..]].concat(), Rule::Invalid, "");
    refused("a later version", &[b"\0asm\x02\0\0\0", &whole[8..]].concat(), Rule::Invalid, "");
    refused("something follows", &[&whole[..], b"\xff"].concat(), Rule::Invalid, "");
    refused("twice", &[&whole[..], &whole[..]].concat(), Rule::Invalid, "");
    let invalid = [
        "(func (result i32))",
        "(func (drop))",
        "(func (local.get 7) (drop))",
        "(func (call 9999))",
        "(func (br 5))",
        r#"(func (export "ordain_init"))"#,
        "(elem (i32.const 0) func 0)",
        "(global i32 (i32.const 0) (i32.const 1))",
    ];
    for code in invalid {
        refused(code, &honest().tail(code).bytes(), Rule::Invalid, "");
    }
}

#[test]
fn first_steps_that_go_wrong() {
    let manifest = |change: fn(&mut ordain_sdk::contract::Manifest)| {
        let mut wat = honest();
        change(&mut wat.manifest);
        wat
    };
    let spin = "(loop (br 0)) unreachable";
    table(&[
        ("spin in init", honest().body("ordain_init", spin), Rule::Compile, "longer than its limit"),
        ("trap in init", honest().body("ordain_init", "unreachable"), Rule::Compile, "unreachable"),
        (
            "recursion in init",
            honest().body("ordain_init", "(call $down)").tail("(func $down (call $down))"),
            Rule::Compile,
            "stack",
        ),
        (
            "much memory in init",
            honest().body("ordain_init", "(drop (memory.grow (i32.const 1000)))"),
            Rule::Compile,
            "bytes of memory",
        ),
        ("data outside", honest().tail(r#"(data (i32.const 0x1ffff) "xx")"#), Rule::Compile, "out of bounds"),
        ("spin in describe", honest().body("ordain_describe", spin), Rule::Describe, "longer than its limit"),
        ("trap in describe", honest().body("ordain_describe", "unreachable"), Rule::Describe, "unreachable"),
        ("nothing in describe", honest().body("ordain_describe", "(i64.const 0x40000000000)"), Rule::Describe, "empty"),
        ("outside", honest().body("ordain_describe", "(i64.const 0x7fffffff00000010)"), Rule::Describe, "outside"),
        ("garbage", honest().body("ordain_describe", "(i64.const 0x35000000001)"), Rule::Describe, "describe itself"),
        (
            "a large one",
            honest()
                .with("memory", r#"(memory (export "memory") 40)"#)
                .body("ordain_describe", "(i64.const 0x0000100000200000)"),
            Rule::Describe,
            "bytes",
        ),
        ("an error", honest().body("ordain_describe", "(i64.const 0x36000000008)"), Rule::Describe, "status 4"),
        (
            "a type that may not be",
            manifest(|m| m.aggregate_type = "../../etc".into()),
            Rule::Describe,
            "aggregate type",
        ),
        ("a reserved type", manifest(|m| m.aggregate_type = "modules".into()), Rule::Describe, "reserved"),
        ("an acting type", manifest(|m| m.aggregate_type = "\u{1b}[2J".into()), Rule::Describe, "aggregate type"),
        ("another contract inside", manifest(|m| m.contract = 7), Rule::Describe, "contract 7"),
        (
            "many samples",
            manifest(|m| m.samples = vec![vec![]; 2000]).with("memory", r#"(memory (export "memory") 9)"#),
            Rule::Describe,
            "2000 samples",
        ),
    ]);
}
