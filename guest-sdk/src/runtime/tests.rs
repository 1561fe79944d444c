use super::*;
use crate::prelude::*;
use crate::{contract, log};

#[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Tally {
    total: i64,
    notes: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
enum Command {
    Add { amounts: Vec<i64> },
    Note { text: String },
    Loses {},
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
enum Event {
    Added { amount: i64 },
    Noted { text: String },
    Lost(OneWay),
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct OneWay {
    #[serde(skip_serializing)]
    needed: u8,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
enum Rejection {
    Negative { amount: i64 },
}

impl Decider for Tally {
    const TYPE: &'static str = "tally";
    const STATE_VERSION: u32 = 3;
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command, context: &Context) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::Add { amounts } => match amounts.iter().find(|amount| **amount < 0) {
                Some(&amount) => Err(Rejection::Negative { amount }),
                None => Ok(amounts.into_iter().map(|amount| Event::Added { amount }).collect()),
            },
            Command::Note { text } => {
                log!("note for {} at {}", context.aggregate_id, context.time_ms);
                Ok(vec![Event::Noted { text }])
            }
            Command::Loses {} => Ok(vec![Event::Lost(OneWay { needed: 1 })]),
        }
    }

    fn evolve(&mut self, event: Event) {
        match event {
            Event::Added { amount } => self.total += amount,
            Event::Noted { text } => self.notes.push(text),
            Event::Lost(_) => {}
        }
    }

    fn samples() -> Vec<Command> {
        vec![Command::Add { amounts: vec![1] }]
    }
}

fn named<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode_named(value, &mut bytes).unwrap();
    bytes
}

fn context() -> Vec<u8> {
    let mut bytes = Vec::new();
    let context =
        Context { time_ms: 5, version: 0, aggregate_id: "t-1", command_id: "c", correlation_id: "", metadata: &[] };
    context.write(&mut bytes);
    bytes
}

fn decide(runtime: &mut Runtime<Tally>, slot: usize, command: &[u8]) -> Vec<u8> {
    let context = context();
    let bytes = [&context[..], command].concat();
    runtime.buffer(bytes.len())[..bytes.len()].copy_from_slice(&bytes);
    runtime.decide(slot, context.len(), command.len()).to_vec()
}

fn load(runtime: &mut Runtime<Tally>, slot: usize, snapshot: &[u8]) -> Vec<u8> {
    runtime.buffer(snapshot.len())[..snapshot.len()].copy_from_slice(snapshot);
    runtime.load(slot, snapshot.len()).to_vec()
}

fn fold(runtime: &mut Runtime<Tally>, slot: usize, frames: &[u8]) -> Vec<u8> {
    runtime.buffer(frames.len())[..frames.len()].copy_from_slice(frames);
    runtime.fold(slot, frames.len()).to_vec()
}

fn state(runtime: &mut Runtime<Tally>, slot: usize) -> Tally {
    let result = runtime.snapshot(slot, FORM_COMPACT).to_vec();
    assert_eq!(result[0], STATUS_OK);
    codec::decode_compact(&result[1..]).unwrap()
}

#[test]
fn a_decision_records_its_events_and_folds_them() {
    let mut runtime = Runtime::new();
    assert_eq!(load(&mut runtime, 4, &[]), [STATUS_OK]);
    let result = decide(&mut runtime, 4, &named(&Command::Add { amounts: vec![1, 2] }));
    assert_eq!(result[0], STATUS_OK);
    let events: Vec<Event> = Frames(&result[1..]).map(|frame| codec::decode(frame.unwrap()).unwrap()).collect();
    assert_eq!(events, [Event::Added { amount: 1 }, Event::Added { amount: 2 }]);
    assert_eq!(state(&mut runtime, 4), Tally { total: 3, notes: vec![] });
    // The event's first bytes are its name, so that it can be read without decoding the rest.
    assert_eq!(result[5..12], *b"\x81\xa5Added");
}

#[test]
fn nothing_to_do_is_a_bare_status() {
    let mut runtime = Runtime::new();
    load(&mut runtime, 0, &[]);
    assert_eq!(decide(&mut runtime, 0, &named(&Command::Add { amounts: vec![] })), [STATUS_OK]);
}

#[test]
fn a_rejection_leaves_the_state_alone() {
    let mut runtime = Runtime::new();
    load(&mut runtime, 0, &[]);
    let result = decide(&mut runtime, 0, &named(&Command::Add { amounts: vec![1, -2] }));
    assert_eq!(result[0], STATUS_REJECTED);
    assert_eq!(codec::decode::<Rejection>(&result[1..]).unwrap(), Rejection::Negative { amount: -2 });
    assert_eq!(state(&mut runtime, 0), Tally::default());
}

#[test]
fn folding_the_frames_of_decisions_gives_their_state() {
    let mut runtime = Runtime::new();
    load(&mut runtime, 0, &[]);
    let mut frames = decide(&mut runtime, 0, &named(&Command::Add { amounts: vec![1, 2] }))[1..].to_vec();
    frames.extend_from_slice(&decide(&mut runtime, 0, &named(&Command::Note { text: "x".into() }))[1..]);
    load(&mut runtime, 1, &[]);
    assert_eq!(fold(&mut runtime, 1, &frames), [STATUS_OK]);
    assert_eq!(state(&mut runtime, 0), state(&mut runtime, 1));
}

#[test]
fn a_snapshot_comes_back() {
    let mut runtime = Runtime::new();
    load(&mut runtime, 0, &[]);
    decide(&mut runtime, 0, &named(&Command::Note { text: "x".into() }));
    let snapshot = runtime.snapshot(0, FORM_COMPACT).to_vec();
    assert_eq!(snapshot[0] & !STATUS_LOGGED, STATUS_OK);
    assert_eq!(load(&mut runtime, 9, &snapshot[1..]), [STATUS_OK]);
    assert_eq!(state(&mut runtime, 9), Tally { total: 0, notes: vec!["x".into()] });
    let people = runtime.snapshot(9, FORM_NAMED).to_vec();
    assert_eq!(people[1..8], *b"\x82\xa5total");
    assert_eq!(runtime.snapshot(9, 7)[0], STATUS_BAD_INPUT);
}

#[test]
fn bad_input_changes_nothing() {
    let mut runtime = Runtime::new();
    load(&mut runtime, 0, &[]);
    decide(&mut runtime, 0, &named(&Command::Add { amounts: vec![1] }));
    let good = named(&Command::Add { amounts: vec![1] });
    let followed = [&good[..], &[0xc0]].concat();
    for bad in [&b""[..], b"\xc1", &good[..good.len() - 1], &followed] {
        let result = decide(&mut runtime, 0, bad);
        assert_eq!(result[0], STATUS_BAD_INPUT, "{}", String::from_utf8_lossy(&result));
        assert!(result.len() > 1);
    }
    assert_eq!(runtime.decide(0, 3, 0)[0], STATUS_BAD_INPUT);
    assert_eq!(runtime.decide(0, usize::MAX, usize::MAX)[0], STATUS_BAD_INPUT);
    assert_eq!(runtime.load(0, usize::MAX)[0], STATUS_BAD_INPUT);
    assert_eq!(load(&mut runtime, 0, b"\xc1")[0], STATUS_BAD_INPUT);
    assert_eq!(state(&mut runtime, 0).total, 1);
}

#[test]
fn bad_events_are_told_apart_from_bad_input() {
    let mut runtime = Runtime::new();
    load(&mut runtime, 0, &[]);
    let mut frames = Vec::new();
    contract::write_frame(&mut frames, &named(&Event::Added { amount: 1 }));
    assert_eq!(fold(&mut runtime, 0, &frames[..frames.len() - 1])[0], STATUS_BAD_EVENT);
    contract::write_frame(&mut frames, b"\xc1");
    let result = fold(&mut runtime, 0, &frames);
    assert_eq!(result[0], STATUS_BAD_EVENT);
    assert!(String::from_utf8_lossy(&result[1..]).starts_with("frame 1: "));
}

#[test]
fn an_event_that_does_not_read_itself_never_reaches_the_log() {
    let mut runtime = Runtime::new();
    load(&mut runtime, 0, &[]);
    let result = decide(&mut runtime, 0, &named(&Command::Loses {}));
    assert_eq!(result[0], STATUS_BAD_EVENT);
    assert!(String::from_utf8_lossy(&result[1..]).contains("missing field `needed`"));
}

#[test]
fn slots_have_to_be_loaded_and_can_be_forgotten() {
    let mut runtime = Runtime::new();
    let add = named(&Command::Add { amounts: vec![1] });
    assert_eq!(decide(&mut runtime, 2, &add)[0], STATUS_NO_SLOT);
    load(&mut runtime, 2, &[]);
    assert_eq!(decide(&mut runtime, 1, &add)[0], STATUS_NO_SLOT);
    assert_eq!(decide(&mut runtime, 2, &add)[0], STATUS_OK);
    runtime.drop_slot(2);
    runtime.drop_slot(77);
    assert_eq!(fold(&mut runtime, 2, &[])[0], STATUS_NO_SLOT);
    assert_eq!(runtime.snapshot(2, FORM_COMPACT)[0], STATUS_NO_SLOT);
}

#[test]
fn the_status_says_that_something_was_logged() {
    let mut runtime = Runtime::new();
    log::take();
    load(&mut runtime, 0, &[]);
    let note = named(&Command::Note { text: "x".into() });
    assert_eq!(decide(&mut runtime, 0, &note)[0], STATUS_OK | STATUS_LOGGED);
    assert_eq!(decide(&mut runtime, 0, &named(&Command::Add { amounts: vec![] })), [STATUS_OK]);
    assert_eq!(log::take(), "note for t-1 at 5\n");
}

#[test]
fn it_describes_itself() {
    let mut runtime = Runtime::<Tally>::new();
    let result = runtime.describe().to_vec();
    assert_eq!(result[0], STATUS_OK);
    let manifest: Manifest = codec::decode(&result[1..]).unwrap();
    assert_eq!(manifest.aggregate_type, "tally");
    assert_eq!((manifest.contract, manifest.state_version), (CONTRACT_VERSION, 3));
    assert_eq!(manifest.sdk, crate::VERSION);
    assert!(matches!(codec::decode(&manifest.samples[0]).unwrap(), Command::Add { amounts } if amounts == [1]));
}

#[test]
fn buffers_are_used_again() {
    let mut runtime = Runtime::new();
    load(&mut runtime, 0, &[]);
    decide(&mut runtime, 0, &named(&Command::Note { text: "x".repeat(1000) }));
    let (input, output) = (runtime.input.as_ptr(), runtime.output.as_ptr());
    for _ in 0..100 {
        decide(&mut runtime, 0, &named(&Command::Add { amounts: vec![1] }));
    }
    assert_eq!((input, output), (runtime.input.as_ptr(), runtime.output.as_ptr()));
}
