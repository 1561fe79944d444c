//! How many durable commands a second this disk takes: raw append and fdatasync, with and without space prepared, and
//! the embedded log with one file for all lanes or one for each. docs/adr/0003-one-log-file-for-all-lanes.md has figures.
//!
//! `cargo run --release -p ordain --example log_rates -- [FOLDER] [ROUNDS]`

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use ordain::clock::Stopwatch;

use ordain::log::embedded::{EmbeddedLog, Options};
use ordain::log::test_kit::push;
use ordain::log::{BlockBuilder, Committed, LaneLog, Lsn, segment};

const LAP: Duration = Duration::from_millis(150);
const SEGMENT_BYTES: u64 = 64 << 20;
const CHUNK_BYTES: u64 = 8 << 20;
/// With what the format adds, about 300 bytes an entry.
const BODY_BYTES: usize = 150;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Space {
    Grown,
    Reserved,
    Zeroed,
}

/// Appends for a lap and returns commands per second.
fn raw(folder: &Path, name: &str, batch: usize, space: Space) -> f64 {
    let block = block(batch, 0);
    let bytes = vec![1u8; block.len()];
    let (mut file, mut at, mut ready, mut files) = (open(folder, name), 0, 0, 0u64);
    let start = Stopwatch::start();
    let mut commits = 0;
    while start.elapsed() < LAP {
        let end = at + bytes.len() as u64;
        if end > SEGMENT_BYTES {
            files += 1;
            (file, at, ready) = (open(folder, &format!("{name}-{files}")), 0, 0);
            continue;
        }
        if end > ready && space != Space::Grown {
            match space {
                Space::Reserved => {
                    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), ready, CHUNK_BYTES)
                        .expect("space");
                }
                _ => file.write_all_at(&vec![0; CHUNK_BYTES as usize], ready).expect("is written"),
            }
            file.sync_data().expect("is synced");
            ready += CHUNK_BYTES;
        }
        file.write_all_at(&bytes, at).expect("is written");
        file.sync_data().expect("is synced");
        at = end;
        commits += 1;
    }
    (commits * batch) as f64 / start.elapsed().as_secs_f64()
}

fn open(folder: &Path, name: &str) -> File {
    let path = folder.join(name);
    OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).expect("a file")
}

fn block(batch: usize, round: u64) -> BlockBuilder {
    let mut block = BlockBuilder::new();
    for n in 0..batch as u64 {
        push(&mut block, &format!("account-{}", (round * 7919 + n * 31) % 10_000), round + 1, &[1; BODY_BYTES]);
    }
    block
}

/// Runs a lane for a lap and returns commands per second.
fn lane(log: &EmbeddedLog, lane: u32, batch: usize) -> f64 {
    let (to, answers) = sync_channel::<Committed>(1);
    let mut lane = log.lane(lane, Box::new(move |committed| to.send(committed).expect("it is waited for")));
    lane.take(log.end(), &mut |_| Ok(())).expect("is had");
    let start = Stopwatch::start();
    let mut commits = 0;
    // The next block is put together while one is on its way, as the lane loop does.
    let mut next = block(batch, 0);
    while start.elapsed() < LAP {
        lane.submit(next).expect("is accepted");
        commits += 1;
        next = block(batch, commits as u64);
        answers.recv().expect("an answer").result.expect("is committed");
    }
    (commits * batch) as f64 / start.elapsed().as_secs_f64()
}

fn logs(folder: &Path, files: u32, lanes: u32, batch: usize, allocate_bytes: u64) -> f64 {
    let segment = segment::Options { segment_bytes: SEGMENT_BYTES, allocate_bytes };
    let open = |n: u32| {
        let options = Options { lanes: lanes / files, partitions: 16, segment };
        Arc::new(EmbeddedLog::open(&folder.join(format!("log-{n}")), options).expect("opens"))
    };
    let logs: Vec<_> = (0..files).map(open).collect();
    std::thread::scope(|scope| {
        let run = |n: u32| {
            let log = Arc::clone(&logs[(n % files) as usize]);
            scope.spawn(move || lane(&log, n / files, batch))
        };
        let threads: Vec<_> = (0..lanes).map(run).collect();
        threads.into_iter().map(|thread| thread.join().expect("a lane")).sum()
    })
}

fn two_raw(folder: &Path, batch: usize, space: Space) -> f64 {
    std::thread::scope(|scope| {
        let threads = ["left", "right"].map(|name| scope.spawn(move || raw(folder, name, batch, space)));
        threads.into_iter().map(|thread| thread.join().expect("a writer")).sum()
    })
}

/// Reads and checks everything a log holds; bytes per second.
fn walk(folder: &Path) -> f64 {
    let log = EmbeddedLog::open(&folder.join("log-0"), Options::default()).expect("opens");
    let reader = log.reader();
    let best = |_| {
        let start = Stopwatch::start();
        let bytes: u64 = reader.iterate(Lsn(0), reader.end()).map(|b| b.expect("is whole").bytes().len() as u64).sum();
        bytes as f64 / start.elapsed().as_secs_f64()
    };
    (0..3).map(best).fold(0.0, f64::max)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().unwrap_or_else(|| ".".to_owned());
    let rounds: usize = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(5);
    type Case = (&'static str, Box<dyn Fn(&Path, usize) -> f64>);
    let cases: Vec<Case> = vec![
        ("raw, grown", Box::new(|f, b| raw(f, "raw", b, Space::Grown))),
        ("raw, reserved", Box::new(|f, b| raw(f, "raw", b, Space::Reserved))),
        ("raw, zeroed", Box::new(|f, b| raw(f, "raw", b, Space::Zeroed))),
        ("raw, grown, two files", Box::new(|f, b| two_raw(f, b, Space::Grown))),
        ("raw, reserved, two files", Box::new(|f, b| two_raw(f, b, Space::Reserved))),
        ("log, grown, one lane", Box::new(|f, b| logs(f, 1, 1, b, 0))),
        ("log, reserved, one lane", Box::new(|f, b| logs(f, 1, 1, b, CHUNK_BYTES))),
        ("log, grown, two lanes, one file", Box::new(|f, b| logs(f, 1, 2, b, 0))),
        ("log, grown, two lanes, two files", Box::new(|f, b| logs(f, 2, 2, b, 0))),
        ("log, reserved, two lanes, one file", Box::new(|f, b| logs(f, 1, 2, b, CHUNK_BYTES))),
        ("log, reserved, two lanes, two files", Box::new(|f, b| logs(f, 2, 2, b, CHUNK_BYTES))),
    ];
    println!("commands/s, median and best of {rounds}");
    println!("{:36} {:>19} {:>19} {:>19}", "commands in a block", 1, 16, 256);
    let batches = [1, 16, 256];
    let mut seen = vec![vec![Vec::new(); batches.len()]; cases.len()];
    for _ in 0..rounds {
        for (column, batch) in batches.into_iter().enumerate() {
            for (row, (_, run)) in cases.iter().enumerate() {
                let folder = tempfile::tempdir_in(&parent).expect("a folder");
                seen[row][column].push(run(folder.path(), batch));
            }
        }
    }
    for ((name, _), row) in cases.iter().zip(&mut seen) {
        print!("{name:36}");
        for rates in row {
            rates.sort_by(f64::total_cmp);
            print!(" {:>9.0} {:>9.0}", rates[rates.len() / 2], rates[rates.len() - 1]);
        }
        println!();
    }
    let folder = tempfile::tempdir_in(&parent).expect("a folder");
    for batch in [1, 16, 256] {
        let folder = folder.path().join(batch.to_string());
        std::fs::create_dir(&folder).expect("a folder");
        for _ in 0..4 {
            logs(&folder, 1, 1, batch, CHUNK_BYTES);
        }
        println!("walk and check, {batch} in a block: {:.2} GB/s", walk(&folder) / 1e9);
    }
}
