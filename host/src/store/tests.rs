mod child;
mod damage;
mod kill;

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::*;

const LOG: u128 = 0x1234_5678_9abc_def0;
const END: Lsn = Lsn(1 << 40);

impl Store {
    /// This store as it is on a disk that stands still: what is put is taken, as far as there is room, and never written.
    pub fn standing_still(self) -> Self {
        let queue = Queue::new(self.marks().len() as u32, codec::Progress::default());
        Self { queue: Arc::new(queue), ..self }
    }
}

fn open(dir: &Path) -> Store {
    Store::open(dir, LOG, END, 4).unwrap()
}

fn key(id: &str) -> Key {
    Key { aggregate_type: AggregateType::parse("account").unwrap(), aggregate_id: AggregateId::parse(id).unwrap() }
}

/// A state whose every field follows from the aggregate's number and version.
fn stored(number: u64, version: u64) -> Stored {
    let mix = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ version;
    let recent = (0..mix % 5).map(|i| Recent {
        id: u128::from(mix) << 17 | u128::from(i),
        body_hash: mix.rotate_left(i as u32),
        at: Lsn(version * 100 + i),
        time_ms: 1_700_000_000_000 + (version * 7) as i64 - i as i64,
    });
    Stored {
        version,
        last: Lsn(version * 100 + 9),
        state_tag: mix,
        state: mix.to_le_bytes().repeat((mix % 40) as usize),
        recent: recent.collect(),
    }
}

fn id(number: u64) -> String {
    format!("a-{number:05}")
}

fn put(store: &Store, numbers: impl Iterator<Item = u64>, version: u64, marks: Vec<Mark>) {
    let batch = numbers.map(|number| (key(&id(number)), stored(number, version))).collect();
    store.put(batch, marks).unwrap();
}

fn mark(partition: u32, position: u64) -> Mark {
    Mark {
        partition,
        position: Lsn(position),
        next_sequence: position * 2,
        next_command_offset: position * 3,
        log_time_ms: position as i64 - 5,
    }
}

#[test]
fn what_is_queued_and_what_is_written_is_seen_alike() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(*store.found(), Found::Nothing);
    put(&store, 0..100, 1, vec![mark(1, 150)]);
    assert_eq!(store.get("account", &id(7)).unwrap(), Some(stored(7, 1)));
    assert_eq!(store.marks()[1].position, Lsn(0), "a mark counts when it is durable");
    store.flush().unwrap();
    put(&store, 50..150, 2, vec![]);
    for number in 0..150 {
        let version = if number < 50 { 1 } else { 2 };
        assert_eq!(store.get("account", &id(number)).unwrap(), Some(stored(number, version)));
    }
    assert_eq!(store.get("account", "a-99999").unwrap(), None);
    assert_eq!(store.get("accoun", "t").unwrap(), None);
    assert_eq!(store.marks()[1], mark(1, 150));
    store.flush().unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(*store.found(), Found::Whole);
    assert_eq!(store.get("account", &id(149)).unwrap(), Some(stored(149, 2)));
    // A partition that was never marked is at the beginning in every respect.
    let unmarked = |partition| Mark { partition, ..Mark::default() };
    assert_eq!(store.marks(), vec![unmarked(0), mark(1, 150), unmarked(2), unmarked(3)]);
}

#[test]
fn a_list_merges_queued_and_written_in_byte_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let ids = ["b", "a", "ä", "Z", "a b", "a\u{10ffff}", "aa", "~"];
    for (i, id) in ids.iter().enumerate() {
        let other = Key { aggregate_type: AggregateType::parse("accoun").unwrap(), ..key(id) };
        store.put(vec![(key(id), stored(0, i as u64 + 1)), (other, stored(1, 99))], vec![]).unwrap();
        if i % 3 == 0 {
            store.flush().unwrap();
        }
    }
    // Written and newer in the queue: listed once, with the newer version.
    store.put(vec![(key("b"), stored(0, 50))], vec![]).unwrap();
    let mut sorted: Vec<(String, u64)> =
        ids.iter().enumerate().map(|(i, id)| ((*id).to_owned(), i as u64 + 1)).collect();
    sorted.iter_mut().find(|(id, _)| id == "b").unwrap().1 = 50;
    sorted.sort();
    assert_eq!(store.list("account", None, 100).unwrap(), sorted);
    let mut paged = Vec::new();
    while let Some(page) = Some(store.list("account", paged.last().map(|(id, _): &(String, u64)| &**id), 2).unwrap())
        && !page.is_empty()
    {
        paged.extend(page);
    }
    assert_eq!(paged, sorted);
    assert!(store.list("account", Some("~\u{10ffff}"), 100).unwrap().iter().all(|(id, _)| id.as_str() > "~\u{10ffff}"));
    assert!(store.list("accou", None, 100).unwrap().is_empty());
}

#[test]
fn a_mark_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.put(vec![], vec![mark(2, 500)]).unwrap();
    store.flush().unwrap();
    store.put(vec![], vec![mark(2, 400), mark(9, 1)]).unwrap();
    store.flush().unwrap();
    assert_eq!(store.marks()[2], mark(2, 500));
    assert_eq!(store.marks().len(), 4);
}

/// The library numbers what is written; a store that forgot the numbers after a restart would merge old over new.
#[test]
fn newer_states_win_through_merges_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut version = 0;
    for _ in 0..4 {
        let store = open(dir.path());
        for _ in 0..20 {
            version += 1;
            put(&store, (0..300).filter(|n| (n + version) % 3 != 0), version, vec![mark(0, version * 100)]);
            store.flush().unwrap();
        }
        for _ in 0..100 {
            if !store.tree.wants_merge() {
                break;
            }
            #[allow(clippy::disallowed_methods, reason = "the merging thread has no other sign of life")]
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!store.tree.wants_merge(), "it is merged in the background");
        for number in 0..300 {
            let newest = (0..3).map(|back| version - back).find(|v| (number + v) % 3 != 0).unwrap();
            assert_eq!(store.get("account", &id(number)).unwrap(), Some(stored(number, newest)));
        }
        assert_eq!(store.marks()[0].position, Lsn(version * 100));
    }
}

#[test]
fn a_full_queue_hands_the_batch_back() {
    let queue = Queue::new(1, codec::Progress::default());
    let big = |i: u64| vec![(key(&id(i)), Stored { state: vec![7; 1 << 20], ..stored(i, 1) })];
    let mut taken = 0;
    let full = loop {
        match queue.put(big(taken), vec![mark(0, taken + 1)]) {
            Ok(()) => taken += 1,
            Err(full) => break full,
        }
    };
    assert!((60..64).contains(&taken), "{taken} batches of 1 MiB");
    assert_eq!((full.batch, full.marks), (big(taken), vec![mark(0, taken + 1)]));
    // What replaces a queued state takes no more room; what is being written still takes its own.
    queue.put(vec![(key(&id(0)), stored(0, 2))], vec![]).unwrap();
    let queue::Task::Write(_) = queue.next_task(Duration::ZERO) else { panic!("something is queued") };
    queue.put(big(100), vec![]).unwrap();
    queue.put(big(101), vec![]).unwrap_err();
    queue.written(None);
    queue.put(big(101), vec![]).unwrap();
    assert_eq!(queue.marks()[0], mark(0, taken));
}

#[test]
fn a_store_ahead_of_the_log_is_refused_at_every_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, 0..10, 7, vec![mark(0, 300)]);
    store.flush().unwrap();
    drop(store);
    // The marks are within the log, but a state was taken from block 709, which the log has lost.
    for end in [299, 709] {
        for _ in 0..6 {
            let error = Store::open(dir.path(), LOG, Lsn(end), 4).unwrap_err();
            assert!(
                matches!(&error, StoreError::Ahead(text) if text.contains("ends at byte") && text.contains("delete"))
            );
        }
    }
    let store = Store::open(dir.path(), LOG, Lsn(710), 4).unwrap();
    assert_eq!(store.marks()[0], mark(0, 300));
}

#[test]
fn what_is_not_this_logs_store_is_wiped() {
    type Spoil = fn(&Path);
    let spoils: [(&str, u128, u32, Spoil); 7] = [
        ("another log", LOG + 1, 4, |_| {}),
        ("another log", LOG, 8, |_| {}),
        ("Unrecoverable", LOG, 4, |dir| fs::remove_dir_all(dir.join("tree/tables")).unwrap()),
        ("whose it is", LOG, 4, |dir| fs::remove_file(dir.join("tree/current")).unwrap()),
        ("proved itself", LOG, 4, |dir| fs::write(dir.join("unproven"), "...").unwrap()),
        ("a read failed", LOG, 4, |dir| fs::write(dir.join("suspect"), "a read failed").unwrap()),
        ("Not a directory", LOG, 4, |dir| {
            fs::remove_dir_all(dir.join("tree")).unwrap();
            fs::write(dir.join("tree"), "a file").unwrap();
        }),
    ];
    for (why, log, partitions, spoil) in spoils {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        put(&store, 0..10, 7, vec![mark(0, 300)]);
        store.flush().unwrap();
        drop(store);
        spoil(dir.path());
        let store = Store::open(dir.path(), log, END, partitions).unwrap();
        assert!(matches!(store.found(), Found::Wiped(reason) if reason.contains(why)), "{why}: {:?}", store.found());
        assert_eq!(store.get("account", &id(1)).unwrap(), None);
        assert!(store.marks().iter().all(|mark| mark.position == Lsn(0)));
        put(&store, 0..10, 8, vec![mark(0, 400)]);
        store.flush().unwrap();
        drop(store);
        let store = Store::open(dir.path(), log, END, partitions).unwrap();
        assert_eq!((store.found(), store.marks()[0]), (&Found::Whole, mark(0, 400)), "{why}");
    }
}

#[test]
fn a_deleted_store_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, 0..10, 7, vec![mark(0, 300)]);
    store.flush().unwrap();
    drop(store);
    fs::remove_dir_all(dir.path().join("tree")).unwrap();
    let store = open(dir.path());
    assert_eq!((store.found(), store.marks()[0].position), (&Found::Nothing, Lsn(0)));
}

/// Once the store stopped, an old state on disk must not pass for the current one.
#[test]
fn a_stopped_store_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, 0..10, 1, vec![mark(0, 100)]);
    store.flush().unwrap();
    // Its tables cannot be created any more.
    fs::remove_dir_all(dir.path().join("tree")).unwrap();
    put(&store, 0..10, 2, vec![mark(0, 200)]);
    assert!(matches!(store.flush(), Err(StoreError::Stopped(_))));
    assert!(matches!(store.get("account", &id(1)), Err(StoreError::Corrupt(_))));
    assert!(matches!(store.list("account", None, 9), Err(StoreError::Corrupt(_))));
    assert_eq!(store.marks()[0], mark(0, 100));
    put(&store, 0..10, 3, vec![]);
    drop(store);
    assert!(matches!(open(dir.path()).found(), Found::Wiped(_)));
}

#[test]
fn every_flipped_bit_of_a_value_is_seen() {
    let key = codec::key("account", "a");
    for version in 0..40 {
        let state = stored(3, version);
        let value = codec::encode(&key, &state);
        assert_eq!(codec::decode(&key, &value), Ok(state));
        assert_eq!(codec::version(&key, &value), Ok(version));
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(codec::decode(&key, &flipped).is_err() && codec::version(&key, &flipped).is_err(), "bit {bit}");
        }
        for cut in 0..value.len() {
            assert!(codec::decode(&key, &value[..cut]).is_err());
        }
        assert!(codec::decode(&codec::key("account", "b"), &value).is_err(), "a value under another key is no value");
    }
}

#[test]
fn a_value_carries_extremes() {
    let key = codec::key("t", "i");
    let recent = |id, at, time_ms| Recent { id, body_hash: id as u64, at: Lsn(at), time_ms };
    let state = Stored {
        version: u64::MAX,
        last: Lsn(u64::MAX),
        state_tag: u64::MAX,
        state: vec![0xff; 70_000],
        recent: vec![recent(u128::MAX, u64::MAX, i64::MIN), recent(0, 0, i64::MAX), recent(1, 1, -1)],
    };
    assert_eq!(codec::decode(&key, &codec::encode(&key, &state)), Ok(state));
    let many = Stored { recent: (0..2_000).map(|i| recent(i, i as u64, 0)).collect(), ..Stored::default() };
    let kept = codec::decode(&key, &codec::encode(&key, &many)).unwrap().recent;
    assert_eq!((kept.len(), kept[0].id), (RECENT_MAX, 2_000 - RECENT_MAX as u128), "the newest are kept");
}
