use crate::prelude::*;
use serde::{Deserializer, Serializer};
use std::collections::BTreeMap;

/// A state whose rules can be made to break each promise of the kit.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
struct Box_ {
    kept: Vec<String>,
    #[serde(skip)]
    forgotten: u32,
    #[serde(default, skip_serializing_if = "is_seven")]
    shifting: u32,
    last: u32,
}

fn is_seven(number: &u32) -> bool {
    *number == 7
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
enum Command {
    Keep { what: String },
    Remember {},
    Nest { value: Option<Option<u32>> },
    Tell {},
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
enum Event {
    Kept { what: String },
    Remembered {},
    Shifted {},
    Odd { by_number: BTreeMap<u8, u8>, wide: u128, ratio: f64, raw: Raw, nested: Vec<BTreeMap<String, f32>> },
    OneWay(OneWay),
}

#[derive(Debug, PartialEq, Serialize, JsonSchema)]
enum Rejection {
    Full,
    Remembers { times: u32 },
}

#[derive(Debug, PartialEq, JsonSchema)]
struct Raw(Vec<u8>);
impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}
impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl serde::de::Visitor<'_> for Bytes {
            type Value = Raw;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Raw, E> {
                Ok(Raw(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct OneWay {
    #[serde(skip_serializing)]
    needed: u8,
}

impl Decider for Box_ {
    const TYPE: &'static str = "box";
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command, context: &Context) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::Keep { .. } if self.kept.len() == 2 => Err(Rejection::Full),
            Command::Keep { what } if what.is_empty() => Ok(vec![]),
            Command::Keep { what } => Ok(vec![Event::Kept { what }]),
            Command::Remember {} if self.forgotten > 0 => Err(Rejection::Remembers { times: self.forgotten }),
            Command::Remember {} => Ok(vec![Event::Remembered {}]),
            Command::Nest { .. } => Ok(vec![]),
            Command::Tell {} => Ok(vec![Event::Kept {
                what: format!(
                    "{} {} {} {} {} {:?}",
                    context.aggregate_id,
                    context.version,
                    context.time_ms,
                    context.command_id,
                    context.correlation_id,
                    context.metadata_as::<BTreeMap<String, u8>>()
                ),
            }]),
        }
    }

    fn evolve(&mut self, event: Event) {
        match event {
            Event::Kept { what } => self.kept.push(what),
            Event::Remembered {} => self.forgotten += 1,
            Event::Shifted {} => self.shifting = 7,
            Event::Odd { .. } | Event::OneWay(_) => {}
        }
    }
}

fn kept(what: &str) -> Event {
    Event::Kept { what: what.to_owned() }
}

/// Runs sentences that should fail and returns what the author reads.
fn failure(run: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let panic = std::panic::catch_unwind(run).expect_err("the sentence should fail");
    panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string())).unwrap()
}

#[test]
fn sentences_follow_one_another() {
    given::<Box_>([kept("a")])
        .when(Command::Keep { what: "b".into() })
        .then([kept("b")])
        .then_state(|state| assert_eq!(state.kept, ["a", "b"]))
        .when(Command::Keep { what: "c".into() })
        .then_rejected(Rejection::Full);
    given::<Box_>([]).when(Command::Keep { what: String::new() }).then_nothing();
}

#[test]
fn the_context_is_what_the_sentence_says() {
    given::<Box_>([kept("a")])
        .id("box-9")
        .at(-5)
        .command_id("c-1")
        .correlation_id("trace")
        .metadata(&BTreeMap::from([("n", 3)]))
        .when(Command::Tell {})
        .then([kept("box-9 1 -5 c-1 trace Some({\"n\": 3})")]);
    given::<Box_>([]).when(Command::Tell {}).then([kept("box-1 0 0 command-1  None")]);
}

#[test]
fn a_wrong_expectation_fails() {
    let keep = || given::<Box_>([]).when(Command::Keep { what: "a".into() });
    assert!(failure(move || drop(keep().then([kept("b")]))).contains("other events"));
    assert!(failure(move || drop(keep().then_nothing())).contains("other events"));
    assert!(failure(move || drop(keep().then_rejected(Rejection::Full))).contains("was accepted"));
    let full = || given::<Box_>([kept("a"), kept("b")]).when(Command::Keep { what: "c".into() });
    assert!(failure(move || drop(full().then_nothing())).contains("was rejected with Full"));
    assert!(failure(move || drop(full().then_rejected(Rejection::Remembers { times: 1 }))).contains("otherwise"));
}

#[test]
fn a_field_kept_out_of_the_state_is_found_by_the_decision() {
    let text = failure(|| drop(given::<Box_>([Event::Remembered {}]).when(Command::Remember {})));
    assert!(text.contains("decides differently") && text.contains("Remembers.times = 1"), "{text}");
}

#[test]
fn a_state_that_does_not_fit_an_array_is_found_by_the_snapshot() {
    // `skip_serializing_if` leaves the array one short, so that `last` would be read as `shifting`.
    let text = failure(|| drop(given::<Box_>([Event::Shifted {}])));
    assert!(text.contains("snapshot"), "{text}");
}

#[test]
fn an_event_that_does_not_read_itself_fails() {
    let text = failure(|| drop(given::<Box_>([Event::OneWay(OneWay { needed: 1 })])));
    assert!(text.contains("the event does not survive MessagePack: missing field `needed`"), "{text}");
}

#[test]
fn none_inside_some_does_not_survive() {
    given::<Box_>([]).when(Command::Nest { value: Some(Some(1)) }).then_nothing();
    let text = failure(|| drop(given::<Box_>([]).when(Command::Nest { value: Some(None) })));
    assert!(text.contains("the command comes back from MessagePack as another one"), "{text}");
    assert!(text.contains("Nest.value: Some") && text.contains("Nest.value = None"), "{text}");
}

#[test]
fn what_json_cannot_carry_is_named_and_passes() {
    let odd = Event::Odd {
        by_number: BTreeMap::from([(1, 2)]),
        wide: 1 << 100,
        ratio: f64::NAN,
        raw: Raw(vec![1]),
        nested: vec![BTreeMap::from([("x".to_owned(), f32::INFINITY)])],
    };
    let given = given::<Box_>([odd]);
    let lost = |path: &str| given.warnings().iter().filter(|line| line.starts_with(path)).count();
    assert_eq!(lost("event Odd.by_number (map keys that are not text)"), 1);
    assert_eq!(lost("event Odd.wide (a 128-bit integer)"), 1);
    assert_eq!(lost("event Odd.ratio (a number that is not finite)"), 1);
    assert_eq!(lost("event Odd.raw (bytes)"), 1);
    assert_eq!(lost("event Odd.nested.0.x (a number that is not finite)"), 1);
    assert_eq!(given.warnings().len(), 5, "{:?}", given.warnings());
}

#[test]
fn plain_values_are_not_warned_about() {
    let given = given::<Box_>([kept("a")]);
    assert!(given.warnings().is_empty(), "{:?}", given.warnings());
}
