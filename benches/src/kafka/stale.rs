//! The stale decision of the problem: a Modify right after a Delete, and how often it is accepted.

use std::time::Duration;

use anyhow::ensure;
use ordain_tests::clock;

use super::Setting;
use super::load::Sender;
use super::rates::Answered;
use super::reader::Reader;
use super::system::Place;
use super::{PARTITIONS, System};

/// Pairs of a Close and a Rename.
const PAIRS: u64 = 1_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// Renames that were accepted although the account was closed by the command before.
///
/// # Errors
/// If a system or the broker fails.
pub fn run(setting: &Setting, system: System) -> anyhow::Result<u64> {
    let place = Place::make(setting, system, "stale")?;
    let running = place.start(setting)?;
    let brokers = &setting.brokers;
    let mut reader = Reader::from(brokers, &place.prefix, &[0; PARTITIONS as usize])?;
    let mut sender = Sender::new(brokers, &place.prefix, 0)?;
    sender.all(0..PAIRS)?;
    let mut opened = Answered::new(0, PAIRS as usize);
    all(&mut reader, &mut opened, |_, _| {})?;
    for pair in 0..PAIRS {
        sender.one(PAIRS + 2 * pair, pair, r#"{"Close":{}}"#)?;
        sender.one(PAIRS + 2 * pair + 1, pair, r#"{"Rename":{"owner":"Eve"}}"#)?;
    }
    sender.done()?;
    let mut stale = 0;
    let mut answered = Answered::new(PAIRS, 2 * PAIRS as usize);
    all(&mut reader, &mut answered, |place, kind| {
        if place % 2 == 1 && kind == b"account.Renamed" {
            stale += 1;
        }
    })?;
    running.stop(setting)?;
    Ok(stale)
}

fn all(reader: &mut Reader, answered: &mut Answered, mut each: impl FnMut(usize, &[u8])) -> anyhow::Result<()> {
    let start = clock::now_ns();
    while answered.lost() > 0 && clock::since(start) < PATIENCE {
        reader.poll(Duration::from_millis(50), |answer| {
            if let Some(place) = answered.note(answer.n) {
                each(place, answer.kind);
            }
        })?;
    }
    ensure!(answered.lost() == 0, "{} commands were not answered", answered.lost());
    Ok(())
}
