//! Everything is bounded: queues, memory, a disk, a store.

use super::*;

#[test]
fn a_full_inbox_says_so_and_a_stopped_lane_answers_nobody_twice() {
    let inbox = Inbox::new(2, 1 << 20);
    let submission =
        |n: u32| Submission { command: command("a", &format!("c{n}"), OPEN), reply: Reply::Line(Arc::default(), 0) };
    assert!(inbox.try_push(submission(0)).is_ok());
    assert!(inbox.try_push(submission(1)).is_ok());
    assert_eq!(inbox.try_push(submission(2)), Err(crate::engine::Refused::Busy));
    assert_eq!(inbox.take(1, None).commands.len(), 1);
    assert!(inbox.try_push(submission(3)).is_ok());
    inbox.tell(Control::Stop);
    let work = inbox.take(0, None);
    assert_eq!((work.commands.len(), work.control.len()), (0, 1));
    inbox.close("stopping");
    inbox.answer_all(&Unanswered::Interrupted);
    assert!(inbox.is_empty());
    assert!(inbox.try_push(submission(4)).is_err());
}

/// A log that is refused room for a while.
struct Full(Box<dyn crate::log::LaneLog>, Arc<std::sync::atomic::AtomicBool>);

impl crate::log::LaneLog for Full {
    fn streams(&mut self) -> Result<Vec<u32>, crate::log::LogError> {
        self.0.streams()
    }
    fn take(
        &mut self,
        from: Lsn,
        replay: &mut dyn FnMut(&crate::log::Block) -> Result<(), crate::log::LogError>,
    ) -> Result<crate::log::Term, crate::log::LogError> {
        self.0.take(from, replay)
    }
    fn submit(&mut self, block: BlockBuilder) -> Result<(), crate::log::LogError> {
        if self.1.load(Ordering::Acquire) {
            return Err(crate::log::LogError::DiskFull { path: "a full disk".into() });
        }
        self.0.submit(block)
    }
}

/// What was settled and not in the store yet left memory with what was refused, and the next checkpoint said that the store
/// had it: a restart began with an older state.
#[test]
fn a_full_disk_does_not_make_the_store_say_that_it_has_what_it_never_got() {
    let dir = TempDir::new().unwrap();
    let full = Arc::<std::sync::atomic::AtomicBool>::default();
    let says_full = Arc::clone(&full);
    let rules = NativeRules::<Account>::book();
    let host = Host::start_on(&dir, settings(1), rules, move |log| Box::new(Full(log, Arc::clone(&says_full))));
    host.send(command("acc-1", "open", OPEN));
    full.store(true, Ordering::Release);
    let (reply, answer) = oneshot::channel();
    let submission = Submission { command: command("acc-1", "refused", DEPOSIT), reply: Reply::Once(reply) };
    host.engine.try_submit(submission).unwrap();
    assert!(matches!(answer.blocking_recv().unwrap(), Err(Unanswered::DiskFull(_))));
    full.store(false, Ordering::Release);
    // Nobody asks for the first one again before all is written.
    host.send(command("acc-2", "open", OPEN));
    let store = Arc::clone(&host.store);
    host.stop();
    store.flush().unwrap();
    drop(store);
    let host = Host::start(&dir, settings(1));
    assert_eq!(host.send(command("acc-1", "deposit", DEPOSIT)).entry().head.version, 2);
    host.stop();
}

/// A stream waited for ever for more room than there is.
#[test]
fn a_stream_goes_through_an_inbox_smaller_than_its_pieces() {
    let inbox = Arc::new(Inbox::new(2, 1 << 20));
    let submission = |n: u32| Submission {
        command: command("a", &format!("c{n}"), OPEN),
        reply: Reply::Line(Arc::default(), u64::from(n)),
    };
    let into = Arc::clone(&inbox);
    let pushing = std::thread::spawn(move || block_on(into.push((0..7).map(submission).collect())));
    let watch = Stopwatch::start();
    let mut taken = 0;
    while taken < 7 && watch.elapsed() < Duration::from_secs(10) {
        taken += inbox.take(128, Some(Duration::from_millis(10))).commands.len();
    }
    assert_eq!(taken, 7);
    pushing.join().unwrap().unwrap();
}

/// Each lane that a host lost took some of the room for reads with it.
#[test]
fn reads_that_nobody_answers_leave_their_room() {
    let inbox = Inbox::new(2, 1 << 20);
    for _ in 0..10_000 {
        let (reply, answer) = oneshot::channel();
        let of = AggregateType::parse("account").unwrap();
        inbox.ask(Asked { read: super::inbox::Read::Unstored(of, None, reply), since: None }).unwrap();
        inbox.answer_all(&Unanswered::Interrupted);
        assert!(answer.blocking_recv().is_err());
    }
}

/// What came in one block more than was evicted after it stayed.
#[test]
fn memory_stays_within_its_bound_whatever_comes() {
    let dir = TempDir::new().unwrap();
    let most = 500;
    let few = Settings { resident_aggregates_max: most, checkpoint_aggregates: 1_000_000, ..settings(1) };
    let host = Host::start(&dir, few.clone());
    let send = |host: &Host, from: usize| {
        let replies = Arc::<ReplyBox>::default();
        let lines = (0..1024).map(|n| Submission {
            command: command(&format!("acc-{}", from + n), "open", OPEN),
            reply: Reply::Line(Arc::clone(&replies), n as u64),
        });
        block_on(async {
            host.engine.submit(lines.collect()).await.unwrap();
            let mut left = 1024;
            while left > 0 {
                left -= replies.take().await.len();
            }
        });
    };
    (0..20).for_each(|round| send(&host, round * 1024));
    let resident = || host.lanes.ways[0].1.aggregates.load(Ordering::Relaxed) as usize;
    assert!(resident() < most + 2 * 1024, "{} are in memory", resident());
    host.stop();
    std::fs::remove_dir_all(dir.path().join("store")).unwrap();
    let host = Host::start(&dir, few);
    let resident = || host.lanes.ways[0].1.aggregates.load(Ordering::Relaxed) as usize;
    host.send(command("acc-0", "deposit", DEPOSIT));
    assert!(resident() <= most + 1, "{} are in memory after a restore", resident());
    host.stop();
}

/// A store that is so full that it refuses even a checkpoint's marks was asked again without a rest.
#[test]
fn a_lane_rests_while_the_store_is_full() {
    for changed in [false, true] {
        let dir = TempDir::new().unwrap();
        let (mut parts, _log) = parts(&dir, Fake::new(Begun::default()));
        let store = Arc::new(Arc::into_inner(parts.store).unwrap().standing_still());
        let key = Key {
            aggregate_type: AggregateType::parse("account").unwrap(),
            aggregate_id: AggregateId::parse("other").unwrap(),
        };
        store.put(vec![(key, Stored { state: vec![0; 65 << 20], ..Stored::default() })], Vec::new()).unwrap();
        parts.store = Arc::clone(&store);
        parts.settings.checkpoint_aggregates = 1;
        let mut lane = super::Lane::new(parts);
        lane.take_lane().unwrap();
        if changed {
            let (reply, _answer) = oneshot::channel();
            let submission = Submission { command: command("acc-1", "c", OPEN), reply: Reply::Once(reply) };
            lane.turn(super::Work { commands: [submission].into(), ..Default::default() }).unwrap();
            let block = BlockBuilder::new().seal(KIND_ENTRIES, 0, 1, Lsn(0), Lsn(0), 1);
            let committed = crate::log::Committed { term: crate::log::Term(1), result: Ok(Some(block)) };
            lane.turn(super::Work { control: [Control::Committed(committed)].into(), ..Default::default() }).unwrap();
        } else {
            // It changed and was written since: only the marks are left.
            lane.upkeep.dirty().push(0);
        }
        lane.turn(super::Work::default()).unwrap();
        assert_eq!(lane.patience(), Some(super::STORE_PATIENCE), "states to write: {changed}");
    }
}
