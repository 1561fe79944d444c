//! Modules for tests, written as text: a small honest one, and ways to spoil it one function at a time.

use std::collections::BTreeMap;
use std::fmt::Write;

use ordain_sdk::contract::{CONTRACT_VERSION, Context, Manifest, SECTION_CONTRACT, SECTION_SCHEMAS, write_frame};

use super::{Limits, Module, Sandbox};

/// The honest functions. A state is a number; a command's last byte is added to it, `nil` is rejected as `"No"`.
///
/// Memory: results at 0x2c0, description at 0x400, states at 0x1000 (`[loaded, sum]`), log 0x2800, input from 0x4000.
const FUNCTIONS: [(&str, &str); 11] = [
    ("memory", r#"(memory (export "memory") 2)"#),
    ("ordain_init", r#"(func (export "ordain_init"))"#),
    ("ordain_describe", r#"(func (export "ordain_describe") (result i64) (i64.const MANIFEST))"#),
    (
        "ordain_buf",
        r#"(func (export "ordain_buf") (param $n i32) (result i32)
            (drop (memory.grow (i32.shr_u (local.get $n) (i32.const 16))))
            (i32.const 0x4000))"#,
    ),
    (
        "ordain_load",
        r#"(func (export "ordain_load") (param $slot i32) (param $n i32) (result i64)
            (if (i32.and (i32.ne (local.get $n) (i32.const 0)) (i32.ne (local.get $n) (i32.const 6)))
                (then (return (i64.const 0x3c000000004))))
            (i32.store (call $state (local.get $slot)) (i32.const 1))
            (i32.store offset=4 (call $state (local.get $slot))
                (if (result i32) (local.get $n) (then (call $swap (i32.load (i32.const 0x4002)))) (else (i32.const 0))))
            (i64.const 0x35000000001))"#,
    ),
    (
        "ordain_decide",
        r#"(func (export "ordain_decide") (param $slot i32) (param $context i32) (param $command i32) (result i64)
            (local $last i32)
            (if (i32.eqz (i32.load (call $state (local.get $slot)))) (then (return (i64.const 0x36000000008))))
            (local.set $last (i32.load8_u offset=0x3fff (i32.add (local.get $context) (local.get $command))))
            (if (i32.eq (local.get $last) (i32.const 0xc0)) (then (return (i64.const 0x34000000004))))
            (if (i32.eq (local.get $last) (i32.const 0xc1)) (then (return (i64.const 0x3c000000004))))
            (i32.store8 (i32.const 0x30f) (local.get $last))
            (call $add (local.get $slot) (local.get $last))
            (i64.const 0x2ff00000011))"#,
    ),
    (
        "ordain_fold",
        r#"(func (export "ordain_fold") (param $slot i32) (param $n i32) (result i64)
            (local $at i32)
            (if (i32.eqz (i32.load (call $state (local.get $slot)))) (then (return (i64.const 0x36000000008))))
            (block $end (loop $next
                (br_if $end (i32.ge_u (local.get $at) (local.get $n)))
                (if (i32.ne (i32.load offset=0x4000 (local.get $at)) (i32.const 12)) (then (return (i64.const 0x3a000000004))))
                (local.set $at (i32.add (local.get $at) (i32.const 16)))
                (call $add (local.get $slot) (i32.load8_u offset=0x3fff (local.get $at)))
                (br $next)))
            (i64.const 0x35000000001))"#,
    ),
    (
        "ordain_snapshot",
        r#"(func (export "ordain_snapshot") (param $slot i32) (param $form i32) (result i64)
            (local $sum i32)
            (if (i32.eqz (i32.load (call $state (local.get $slot)))) (then (return (i64.const 0x36000000008))))
            (local.set $sum (call $swap (i32.load offset=4 (call $state (local.get $slot)))))
            (i32.store (i32.const 0x383) (local.get $sum))
            (i32.store (i32.const 0x397) (local.get $sum))
            (if (result i64) (local.get $form)
                (then (i64.const 0x3900000000b)) (else (i64.const 0x38000000007))))"#,
    ),
    (
        "ordain_drop",
        r#"(func (export "ordain_drop") (param $slot i32) (i32.store (call $state (local.get $slot)) (i32.const 0)))"#,
    ),
    ("ordain_log", r#"(func (export "ordain_log") (result i64) (i64.const 0x280000000000))"#),
    ("ordain_panic", r#"(func (export "ordain_panic") (result i64) (i64.const 0))"#),
];

const HELPERS: &str = r#"
    (func $state (param $slot i32) (result i32)
        (i32.add (i32.const 0x1000) (i32.shl (i32.and (local.get $slot) (i32.const 255)) (i32.const 3))))
    (func $add (param $slot i32) (param $n i32)
        (i32.store offset=4 (call $state (local.get $slot))
            (i32.add (local.get $n) (i32.load offset=4 (call $state (local.get $slot))))))
    (func $swap (param $n i32) (result i32)
        (i32.or (i32.or (i32.shl (local.get $n) (i32.const 24))
                (i32.shl (i32.and (local.get $n) (i32.const 0xff00)) (i32.const 8)))
            (i32.or (i32.and (i32.shr_u (local.get $n) (i32.const 8)) (i32.const 0xff00))
                (i32.shr_u (local.get $n) (i32.const 24)))))
    (data (i32.const 0x2ff) "\00\0c\00\00\00\81\a5Added\81\a2by\00")
    (data (i32.const 0x340) "\01\a2No")
    (data (i32.const 0x350) "\00")
    (data (i32.const 0x360) "\04no slot")
    (data (i32.const 0x380) "\00\91\ce\00\00\00\00")
    (data (i32.const 0x390) "\00\81\a3sum\ce\00\00\00\00")
    (data (i32.const 0x3a0) "\03bad")
    (data (i32.const 0x3c0) "\02bad")
"#;

/// A module as text, spoiled or not.
#[derive(Debug, Clone)]
pub struct Wat {
    /// Functions and memory by name.
    pub parts: BTreeMap<&'static str, String>,
    /// Before the memory: imports, types.
    pub head: String,
    /// At the end: more functions, data.
    pub tail: String,
    /// What it says of itself.
    pub manifest: Manifest,
    /// Content of the contract section; none leaves it out.
    pub contract: Option<Vec<u8>>,
    /// Content of the schemas section.
    pub schemas: Option<Vec<u8>>,
}

/// The honest module.
pub fn honest() -> Wat {
    Wat {
        parts: FUNCTIONS.into_iter().map(|(name, text)| (name, text.to_owned())).collect(),
        head: String::new(),
        tail: String::new(),
        manifest: Manifest {
            contract: CONTRACT_VERSION,
            sdk: "0.1.0".to_owned(),
            aggregate_type: "sum".to_owned(),
            state_version: 1,
            samples: vec![vec![1], vec![0xc0], vec![7]],
        },
        contract: Some([&CONTRACT_VERSION.to_le_bytes()[..], b"0.1.0"].concat()),
        schemas: None,
    }
}

impl Wat {
    /// The honest module with one part replaced.
    pub fn with(mut self, part: &'static str, text: &str) -> Self {
        assert!(self.parts.insert(part, text.to_owned()).is_some(), "no part {part}");
        self
    }

    /// The honest module with the body of one exported function replaced; parameters are `$a $b $c`.
    pub fn body(self, part: &'static str, body: &str) -> Self {
        let (parameters, result) = match part {
            "ordain_init" => ("", ""),
            "ordain_describe" | "ordain_log" | "ordain_panic" => ("", "(result i64)"),
            "ordain_buf" => ("(param $a i32)", "(result i32)"),
            "ordain_drop" => ("(param $a i32)", ""),
            "ordain_decide" => ("(param $a i32) (param $b i32) (param $c i32)", "(result i64)"),
            _ => ("(param $a i32) (param $b i32)", "(result i64)"),
        };
        self.with(part, &format!(r#"(func (export "{part}") {parameters} {result} {body})"#))
    }

    /// With something added at the end.
    pub fn tail(mut self, text: &str) -> Self {
        self.tail.push_str(text);
        self
    }

    /// With something added at the start.
    pub fn head(mut self, text: &str) -> Self {
        self.head.push_str(text);
        self
    }

    /// The text.
    pub fn text(&self) -> String {
        let mut description = vec![0];
        rmp_serde::encode::write_named(&mut description, &self.manifest).unwrap();
        let packed = (0x400_u64 << 32) | description.len() as u64;
        let parts: String = self.parts.values().map(|part| format!("{part}\n")).collect();
        let mut text = format!("(module {}\n{parts}\n{HELPERS}\n{}", self.head, self.tail);
        let _ = writeln!(text, "(data (i32.const 0x400) \"{}\")", escaped(&description));
        for (name, content) in [(SECTION_CONTRACT, &self.contract), (SECTION_SCHEMAS, &self.schemas)] {
            if let Some(content) = content {
                let _ = writeln!(text, "(@custom \"{name}\" \"{}\")", escaped(content));
            }
        }
        text.push(')');
        text.replace("MANIFEST", &packed.to_string())
    }

    /// The module's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let text = self.text();
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("\\{b:02x}")).collect()
}

/// A sandbox without a cache, with limits small enough for quick tests.
pub fn sandbox() -> Sandbox {
    sandbox_with(Limits {
        decide_ms: 20,
        fold_ms: 50,
        init_ms: 50,
        memory_bytes_per_instance: 4 << 20,
        ..Limits::default()
    })
}

/// A sandbox without a cache.
pub fn sandbox_with(limits: Limits) -> Sandbox {
    Sandbox::new(limits, None).unwrap()
}

/// Compiles a module that must be fine.
pub fn compile(sandbox: &Sandbox, wat: &Wat) -> Module {
    sandbox.compile(&wat.bytes()).unwrap()
}

/// A context like those of real commands.
pub fn context(version: u64) -> Context<'static> {
    Context {
        time_ms: 1_700_000_000_000,
        version,
        aggregate_id: "sum-1",
        command_id: "c-1",
        correlation_id: "",
        metadata: &[],
    }
}

/// The honest module's events for commands that end with these bytes, as frames.
pub fn events(last: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    for &n in last {
        write_frame(&mut frames, &[b"\x81\xa5Added\x81\xa2by", &[n][..]].concat());
    }
    frames
}
