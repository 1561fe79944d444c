//! A process is killed while it writes, again and again.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::child::{AGGREGATES, DIR, last_touched, mark_at};
use super::*;

const KILLS: u64 = 25;

/// Runs the child until it said a few times that something is durable, kills it, and returns what it said last.
fn run_and_kill(dir: &Path, lines: u64, pause: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::child::writes_until_killed", "--nocapture", "--test-threads", "1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let durable = |line: String| line.strip_prefix("durable ").map(|number| number.parse().unwrap());
    let mut last: u64 = (0..lines).map(|_| said.find_map(|line| durable(line.unwrap())).unwrap()).last().unwrap();
    #[allow(clippy::disallowed_methods, reason = "the moment of the kill is to be anywhere in the loop")]
    std::thread::sleep(pause);
    child.kill().unwrap();
    child.wait().unwrap();
    last = said.map_while(Result::ok).filter_map(durable).last().unwrap_or(last);
    last
}

#[test]
fn after_a_kill_the_marks_are_true() {
    let dir = tempfile::tempdir().unwrap();
    for kill in 0..KILLS {
        let lines = 1 + kill % 4;
        let said = run_and_kill(dir.path(), lines, Duration::from_micros(kill * 1_700 % 23_000));
        let store = open(dir.path());
        assert_eq!(*store.found(), Found::Whole);
        let end = store.marks()[1].position.0 / 100;
        assert_eq!(store.marks()[1], mark_at(end));
        assert!(end >= said, "{said} was said to be durable, {end} is");
        for number in 0..AGGREGATES {
            let expected = last_touched(number, end).map(|round| stored(number, round));
            assert_eq!(store.get("account", &id(number)).unwrap(), expected, "aggregate {number} before round {end}");
        }
    }
}
