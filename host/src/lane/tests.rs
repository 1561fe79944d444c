//! Whole lanes on a real embedded log, with native rules.

mod cases;
mod former;
mod limits;

use std::sync::Arc;
use std::time::Duration;

use bank_account::Account;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::inbox::{Asked, Control};
use super::supervisor::{Lanes, Shared};
use super::*;
use crate::clock::Stopwatch;
use crate::decider::native::NativeRules;
use crate::engine::{Answered, Engine, ReplyBox};
use crate::log::Answer;
use crate::log::embedded::{EmbeddedLog, Options};
use crate::log::segment::format::KIND_ENTRIES;
use crate::message::{AggregateId, AggregateType, CommandId, partition_of};
use crate::store::{Key, Stored};

const PARTITIONS: u32 = 16;

struct Host {
    lanes: Lanes,
    engine: Engine,
    log: Arc<EmbeddedLog>,
    store: Arc<Store>,
}

fn settings(lanes: u32) -> Settings {
    Settings {
        lane: 0,
        lanes,
        partitions: PARTITIONS,
        batch_commands_max: 1024,
        batch_bytes_max: 4 << 20,
        resident_aggregates_max: 1_000_000,
        decider_bytes_max: usize::MAX,
        checkpoint_aggregates: 10_000,
        checkpoint_ms: 10_000,
        checkpoint_log_bytes: 64 << 20,
    }
}

impl Host {
    fn start(dir: &TempDir, settings: Settings) -> Self {
        Self::start_on(dir, settings, NativeRules::<Account>::book(), |log| log)
    }

    /// The same with rules, and with something between lanes and their log.
    fn start_on(
        dir: &TempDir,
        settings: Settings,
        book: Arc<dyn RuleBook>,
        between: impl Fn(Box<dyn crate::log::LaneLog>) -> Box<dyn crate::log::LaneLog> + Send + Sync + 'static,
    ) -> Self {
        let options = Options { lanes: settings.lanes, partitions: PARTITIONS, ..Options::default() };
        let log = EmbeddedLog::open(&dir.path().join("log"), options).unwrap();
        let store = Arc::new(Store::open(&dir.path().join("store"), log.id(), log.end(), PARTITIONS).unwrap());
        let log = Arc::new(log);
        let maker = Arc::clone(&log);
        let shared = Shared {
            log: Box::new(move |lane, _, on_committed| between(Box::new(maker.lane(lane, on_committed)))),
            history: log.reader(),
            store: Arc::clone(&store),
            book: Arc::clone(&book),
            settings,
            queue_commands_max: 8192,
            queue_bytes_max: 64 << 20,
        };
        let lanes = Lanes::start(shared).unwrap();
        let engine = Engine::new(crate::engine::Parts {
            partitions: PARTITIONS,
            lanes: lanes.ways.clone(),
            book,
            modules: None,
            history: log.reader(),
            store: Arc::clone(&store),
            intake: None,
            readers_max: 4,
            readers_waiting_max: 64,
        });
        let host = Self { lanes, engine, log, store };
        host.until_ready();
        host
    }

    fn until_ready(&self) {
        let watch = Stopwatch::start();
        while self.engine.status() != crate::engine::Status::Ready {
            assert!(watch.elapsed() < Duration::from_secs(10), "{:?}", self.engine.status());
            assert_eq!(self.lanes.wait(Duration::from_millis(1)), None);
        }
    }

    fn send(&self, command: Command) -> Answered {
        let (reply, answer) = oneshot::channel();
        self.engine.try_submit(Submission { command, reply: Reply::Once(reply) }).unwrap();
        answer.blocking_recv().unwrap().unwrap()
    }

    fn stop(self) {
        self.lanes.stop();
        self.log.close();
    }
}

fn command(id: &str, command_id: &str, json: &str) -> Command {
    let body = crate::json::to_messagepack(json.as_bytes()).unwrap();
    Command {
        partition: partition_of(id, PARTITIONS),
        aggregate_type: AggregateType::parse("account").unwrap(),
        aggregate_id: AggregateId::parse(id).unwrap(),
        command_id: CommandId::parse(command_id).unwrap(),
        expected_version: None,
        time_ms: 1000,
        correlation_id: "".into(),
        traceparent: "".into(),
        metadata: [].into(),
        offset: None,
        defect: None,
        body_hash: crate::json::body_hash(&body),
        body: body.into(),
    }
}

const OPEN: &str = r#"{"Open":{"owner":"ann","overdraft_limit":100}}"#;
const DEPOSIT: &str = r#"{"Deposit":{"amount":5}}"#;

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(future)
}

#[test]
fn commands_are_answered_and_everything_is_there_after_a_restart() {
    let dir = TempDir::new().unwrap();
    for lanes in [1, 2, 3] {
        let host = Host::start(&dir, settings(lanes));
        let n = u64::from(lanes) - 1;
        for account in 0..10 {
            let id = format!("acc-{account}");
            if n == 0 {
                assert!(matches!(
                    host.send(command(&id, "open", OPEN)).entry().answer,
                    Answer::Accepted { count: 1, .. }
                ));
            }
            let answered = host.send(command(&id, &format!("deposit-{n}"), DEPOSIT));
            assert_eq!(answered.entry().head.version, 2 + n, "{lanes} lanes");
            let again = host.send(command(&id, &format!("deposit-{n}"), DEPOSIT));
            assert!(again.repeated);
            assert_eq!(again.entry().head.version, 2 + n);
        }
        let (of, id) = (AggregateType::parse("account").unwrap(), AggregateId::parse("acc-3").unwrap());
        block_on(async {
            let state = host.engine.state(&of, &id).await.unwrap().unwrap();
            assert_eq!(state.version, 2 + n);
            let past = host.engine.state_at(&of, &id, 1).await.unwrap().unwrap();
            assert_eq!(past.version, 1);
            let history = host.engine.history(&of, &id, 1, 100).await.unwrap().unwrap();
            assert_eq!(
                history.events.iter().map(|event| event.version).collect::<Vec<_>>(),
                (1..=2 + n).collect::<Vec<_>>()
            );
            let first = host.engine.outcome(&of, &id, &CommandId::parse("open").unwrap()).await.unwrap().unwrap();
            assert_eq!(first.entry().head.version, 1);
            let list = host.engine.list(&of, Some("acc-7"), 2).await.unwrap();
            assert_eq!(list, vec![("acc-8".to_owned(), 2 + n), ("acc-9".to_owned(), 2 + n)]);
        });
        host.stop();
    }
}

/// A repeat that arrives while the first one is still on its way gets the first one's answer, and is decided once.
#[test]
fn repeats_in_one_batch_get_the_first_answer() {
    let dir = TempDir::new().unwrap();
    let host = Host::start(&dir, settings(1));
    let replies = Arc::new(ReplyBox::default());
    let submissions = (0..100).map(|line| Submission {
        command: command("acc", if line == 0 { "open" } else { "same" }, if line == 0 { OPEN } else { DEPOSIT }),
        reply: Reply::Line(Arc::clone(&replies), line),
    });
    let answers = block_on(async {
        host.engine.submit(submissions.collect()).await.unwrap();
        let mut answers = Vec::new();
        while answers.len() < 100 {
            answers.extend(replies.take().await);
        }
        answers
    });
    for (line, answer) in answers {
        let answer = answer.unwrap();
        assert_eq!((answer.repeated, answer.entry().head.version), (line > 1, if line == 0 { 1 } else { 2 }));
    }
    host.stop();
}

/// Not a timed test: prints how fast the loop is, for whoever looks.
#[test]
fn a_flood_is_answered_whole_and_in_order_per_aggregate() {
    let dir = TempDir::new().unwrap();
    let mut small = settings(2);
    small.resident_aggregates_max = 500;
    small.checkpoint_aggregates = 300;
    let host = Host::start(&dir, small);
    let replies = Arc::new(ReplyBox::default());
    let count = 200_000_u64;
    let watch = Stopwatch::start();
    let versions = block_on(async {
        let engine = host.engine.clone();
        let to = Arc::clone(&replies);
        let feeding = tokio::spawn(async move {
            for start in (0..count).step_by(500) {
                let piece = (start..start + 500).map(|n| Submission {
                    command: command(
                        &format!("acc-{}", n % 2000),
                        &format!("c-{n}"),
                        if n < 2000 { OPEN } else { DEPOSIT },
                    ),
                    reply: Reply::Line(Arc::clone(&to), n),
                });
                engine.submit(piece.collect()).await.unwrap();
            }
        });
        let mut versions = std::collections::HashMap::new();
        let mut seen = 0;
        while seen < count {
            for (line, answer) in replies.take().await {
                let answer = answer.unwrap();
                assert!(matches!(answer.entry().answer, Answer::Accepted { .. }), "{:?}", answer.entry());
                let version = versions.entry(line % 2000).or_insert(0);
                *version += 1;
                assert_eq!(answer.entry().head.version, *version);
                seen += 1;
            }
        }
        feeding.await.unwrap();
        versions
    });
    println!("{:.0} commands/s", count as f64 / watch.elapsed().as_secs_f64());
    assert!(versions.values().all(|version| *version == 100));
    host.stop();
    let host = Host::start(&dir, settings(3));
    for account in (0..2000).step_by(97) {
        let answered = host.send(command(&format!("acc-{account}"), "last", DEPOSIT));
        assert_eq!(answered.entry().head.version, 101);
    }
    host.stop();
}

/// A lane that was restored without a store, and that nobody sent anything, kept all of it to itself for the whole
/// interval between two checkpoints: a crash within it had everything read again.
#[test]
fn an_idle_lane_writes_what_is_due() {
    let dir = TempDir::new().unwrap();
    let host = Host::start(&dir, settings(1));
    for n in 0..20 {
        host.send(command(&format!("acc-{n}"), "open", OPEN));
    }
    let end = host.log.end();
    host.stop();
    std::fs::remove_dir_all(dir.path().join("store")).unwrap();
    let host = Host::start(&dir, Settings { checkpoint_aggregates: 10, checkpoint_ms: 3_600_000, ..settings(1) });
    let watch = Stopwatch::start();
    while host.store.marks().iter().any(|mark| mark.position < end) {
        assert!(watch.elapsed() < Duration::from_secs(30), "nothing was written: {:?}", host.store.marks());
        assert_eq!(host.lanes.wait(Duration::from_millis(1)), None);
    }
    host.stop();
}

/// From where each feed of commands was asked for: stream and offset.
type Begun = Arc<std::sync::Mutex<Vec<Vec<(u32, u64)>>>>;

/// A log that commits nothing by itself, and notes from where commands are asked for.
struct Fake {
    begun: Begun,
    panics: bool,
    /// When the ownership was proved, and how often that was asked for; always if not given.
    proofs: Option<Proofs>,
}

/// On the clock of proofs, and how many were asked for.
type Proofs = Arc<std::sync::Mutex<(Duration, u32)>>;

impl Fake {
    fn new(begun: Begun) -> Self {
        Self { begun, panics: false, proofs: None }
    }

    fn panicking() -> Self {
        Self { panics: true, ..Self::new(Begun::default()) }
    }
}

impl crate::log::LaneLog for Fake {
    fn streams(&mut self) -> Result<Vec<u32>, crate::log::LogError> {
        assert!(!self.panics, "a planted panic");
        Ok((0..PARTITIONS).collect())
    }
    fn offsets(&self) -> crate::log::Offsets {
        crate::log::Offsets::Rising
    }
    fn take(
        &mut self,
        _: crate::log::Lsn,
        _: &mut dyn FnMut(&crate::log::Block) -> Result<(), crate::log::LogError>,
    ) -> Result<crate::log::Term, crate::log::LogError> {
        Ok(crate::log::Term(1))
    }
    fn begin(&mut self, next: &[(u32, u64)]) -> Result<(), crate::log::LogError> {
        self.begun.lock().unwrap().push(next.to_vec());
        Ok(())
    }
    fn submit(&mut self, _: crate::log::BlockBuilder) -> Result<(), crate::log::LogError> {
        Ok(())
    }
    fn proved_at(&self) -> Duration {
        self.proofs.as_ref().map_or_else(crate::clock::boot_time, |proofs| proofs.lock().unwrap().0)
    }
    fn proof_age_max(&self) -> Duration {
        Duration::from_secs(3600)
    }
    fn prove(&mut self) -> Result<(), crate::log::LogError> {
        self.proofs.as_ref().unwrap().lock().unwrap().1 += 1;
        Ok(())
    }
}

/// R8: a lane that may have lost its ownership without hearing of it says nothing before it has proved it.
#[test]
fn a_read_waits_until_the_ownership_is_proved() {
    let dir = TempDir::new().unwrap();
    let proofs = Proofs::default();
    let now = crate::clock::boot_time();
    proofs.lock().unwrap().0 = now;
    let (parts, _log) = parts(&dir, Fake { proofs: Some(Arc::clone(&proofs)), ..Fake::new(Begun::default()) });
    let mut lane = super::Lane::new(parts);
    lane.take_lane().unwrap();
    let ask = |lane: &mut super::Lane, since: Option<Duration>| {
        let (reply, answer) = oneshot::channel();
        let (of, id) = (AggregateType::parse("account").unwrap(), AggregateId::parse("acc-1").unwrap());
        let asked = Asked { read: super::inbox::Read::State(of, id, reply), since };
        lane.turn(super::Work { control: [Control::Read(asked)].into(), ..Default::default() }).unwrap();
        answer
    };
    let proved = |at: Duration| {
        proofs.lock().unwrap().0 = at;
        Control::Committed(crate::log::Committed { term: crate::log::Term(1), result: Ok(None) })
    };
    assert!(ask(&mut lane, None).try_recv().is_ok(), "a recent proof will do");
    assert_eq!(proofs.lock().unwrap().1, 0, "nothing is proved that nobody asks for");
    let later = now + Duration::from_secs(1);
    let mut current = ask(&mut lane, Some(later));
    let mut another = ask(&mut lane, Some(later + Duration::from_secs(1)));
    assert!(current.try_recv().is_err() && another.try_recv().is_err(), "answered without a proof");
    assert_eq!(proofs.lock().unwrap().1, 1, "one proof is on its way at a time");
    lane.turn(super::Work { control: [proved(later)].into(), ..Default::default() }).unwrap();
    assert!(current.try_recv().is_ok() && another.try_recv().is_err(), "a proof that began before the question");
    assert_eq!(proofs.lock().unwrap().1, 2);
    lane.turn(super::Work { control: [proved(later + Duration::from_secs(1))].into(), ..Default::default() }).unwrap();
    assert!(another.try_recv().is_ok());
    proofs.lock().unwrap().0 = Duration::ZERO;
    let waits = crate::clock::boot_time() > Duration::from_secs(3600);
    assert_eq!(ask(&mut lane, None).try_recv().is_err(), waits, "an old proof is none");
}

fn parts(dir: &TempDir, log: Fake) -> (super::Parts, EmbeddedLog) {
    let embedded = EmbeddedLog::open(&dir.path().join("log"), Options { partitions: PARTITIONS, ..Options::default() });
    let embedded = embedded.unwrap();
    let store = Store::open(&dir.path().join("store"), embedded.id(), embedded.end(), PARTITIONS).unwrap();
    let parts = super::Parts {
        settings: settings(1),
        inbox: Arc::new(Inbox::new(64, 1 << 20)),
        board: Arc::default(),
        log: Box::new(log),
        history: embedded.reader(),
        store: Arc::new(store),
        book: NativeRules::<Account>::book(),
    };
    (parts, embedded)
}

/// A commit fails while the commands behind it are being handed over. They come again after the lane was taken anew, so
/// what was handed over with the bad news must not be decided: it would be decided before the commands that the failed
/// commit took with it, and the log would have a hole that the next restore refuses.
#[test]
fn commands_of_an_earlier_feed_are_not_decided_after_a_take() {
    let dir = TempDir::new().unwrap();
    let begun = Begun::default();
    let (parts, _log) = parts(&dir, Fake::new(Arc::clone(&begun)));
    let mut lane = super::Lane::new(parts);
    lane.take_lane().unwrap();
    let fed = |offset: u64| {
        let command = Command { offset: Some(offset), ..command("acc-1", &format!("c-{offset}"), OPEN) };
        let stream = command.partition;
        Submission { command, reply: Reply::Fed(Arc::default(), stream, offset) }
    };
    let stream = fed(0).command.partition as usize;
    lane.turn(super::Work { commands: [fed(0)].into(), ..Default::default() }).unwrap();
    let lost = crate::log::LogError::Ambiguous { lane: 0, cause: "a planted doubt".into() };
    let lost = crate::log::Committed { term: crate::log::Term(1), result: Err(lost) };
    let control = [super::Control::Committed(lost)].into();
    lane.turn(super::Work { commands: [fed(1)].into(), control }).unwrap();
    assert_eq!(begun.lock().unwrap().last().unwrap()[stream].1, 0, "the feed begins again at the lost command");
    assert!(lane.in_flight.is_none(), "what an earlier feed brought was decided");
    lane.turn(super::Work { commands: [fed(0), fed(1)].into(), ..Default::default() }).unwrap();
    assert!(lane.in_flight.is_some());
}

#[test]
fn a_command_of_another_shape_is_told_which_it_must_have() {
    let dir = TempDir::new().unwrap();
    let host = Host::start(&dir, settings(1));
    for (n, (body, told)) in [("{}", true), ("[1]", true), (r#"{"Nonsense":{}}"#, false)].into_iter().enumerate() {
        let answered = host.send(command("acc-1", &format!("c-{n}"), body));
        let Answer::Failed { reason: FailureReason::Unreadable, message } = answered.entry().answer else {
            panic!("{body}")
        };
        assert_eq!(message.contains("one name with its fields"), told, "{message}");
    }
    host.stop();
}

/// An aggregate that always has something staged was not shown before the next checkpoint.
#[test]
fn a_read_of_what_changes_all_the_time_waits_for_two_commits_at_most() {
    let dir = TempDir::new().unwrap();
    let (parts, _log) = parts(&dir, Fake::new(Begun::default()));
    let mut lane = super::Lane::new(parts);
    lane.take_lane().unwrap();
    let (reply, mut answer) = oneshot::channel();
    let (of, id) = (AggregateType::parse("account").unwrap(), AggregateId::parse("acc-1").unwrap());
    let mut asked = Some(Asked { read: super::inbox::Read::State(of, id, reply), since: None });
    let mut next = 0;
    for commit in 0..4 {
        // Each time around somebody has sent more.
        let most = lane.appetite();
        let more = (0..most.min(3)).map(|_| {
            next += 1;
            let (reply, _) = oneshot::channel();
            let body = if next == 1 { OPEN } else { DEPOSIT };
            Submission { command: command("acc-1", &format!("c-{next}"), body), reply: Reply::Once(reply) }
        });
        lane.turn(super::Work { commands: more.collect(), ..Default::default() }).unwrap();
        if commit == 0 {
            let control = asked.take().map(Control::Read).into_iter().collect();
            lane.turn(super::Work { control, ..Default::default() }).unwrap();
            continue;
        }
        let block = BlockBuilder::new().seal(KIND_ENTRIES, 0, 1, Lsn(0), Lsn(0), 1);
        let committed = crate::log::Committed { term: crate::log::Term(1), result: Ok(Some(block)) };
        lane.turn(super::Work { control: [Control::Committed(committed)].into(), ..Default::default() }).unwrap();
    }
    let shown = answer.try_recv().expect("is answered").expect("is known").expect("is there");
    assert!(shown.version >= 1);
    assert!(lane.appetite() > 0, "and commands go on");
}

#[test]
fn a_lane_that_panics_is_heard_of() {
    let dir = TempDir::new().unwrap();
    let (parts, _log) = parts(&dir, Fake::panicking());
    let super::Parts { settings, history, store, book, .. } = parts;
    let lanes = Lanes::start(Shared {
        log: Box::new(|_, _, _| Box::new(Fake::panicking())),
        history,
        store,
        book,
        settings,
        queue_commands_max: 64,
        queue_bytes_max: 1 << 20,
    });
    let ended = lanes.unwrap().wait(Duration::from_secs(10));
    assert!(matches!(&ended, Some((0, super::Ended::Failed(why))) if why.contains("without a word")), "{ended:?}");
}
