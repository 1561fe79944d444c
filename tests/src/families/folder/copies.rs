//! Files that are written in place, slowly or over others.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{Seek, Write};
use std::time::Duration;

use anyhow::ensure;

use super::Watched;
use crate::clock;
use crate::dice::Dice;

/// Slow copies in one run.
const SLOW: u64 = 6;

/// A copy that takes its time, with pauses longer than any that the watcher waits for: nothing of it decides before its
/// end, and a pause long enough shows it as what it is.
pub async fn slowly_in_place(watched: &mut Watched, seed: u64) -> anyhow::Result<u64> {
    let mut dice = Dice::new(seed, "slow");
    for n in 0..SLOW {
        let (name, bytes) = (format!("slow-{n}.wasm"), watched.next.bytes.clone());
        let mut file = File::create(watched.stage.launch.modules.join(&name))?;
        // 64 KB/s and faster; one pause of more than a second in each.
        let piece = dice.between(3_000, 30_000) as usize;
        let (pieces, pause_at) = (bytes.len().div_ceil(piece), dice.below((bytes.len() / piece) as u64) as usize);
        let mut start = clock::now_ns();
        for (number, part) in bytes.chunks(piece).enumerate() {
            if number + 1 == pieces {
                start = watched.begin()?;
            }
            file.write_all(part)?;
            if number == pause_at && number + 1 < pieces {
                let start = clock::now_ns();
                let why = watched.refused(&name, start, "paused").await?;
                ensure!(!why.is_empty(), "{name} was refused without a reason");
                tokio::time::sleep(Duration::from_millis(1_200)).await;
            }
            if number + 1 < pieces {
                watched.is_unmoved().await?;
                tokio::time::sleep(Duration::from_millis(piece as u64 / 64 / 4)).await;
            }
        }
        // Some copies are closed at once, some are held open by whoever wrote them.
        if n % 2 == 0 {
            drop(file);
            watched.decides(start, "slow").await?;
        } else {
            watched.decides(start, "slow, held open").await?;
            drop(file);
        }
    }
    Ok(SLOW)
}

/// The file that is active is overwritten by the next one: cut to nothing first, or over the old bytes, with or without
/// its time set back, in one piece or in many.
pub async fn overwritten_in_place(watched: &mut Watched) -> anyhow::Result<u64> {
    let path = watched.stage.launch.modules.join("over.wasm");
    let start = watched.begin()?;
    fs::write(&path, &watched.next.bytes)?;
    watched.decides(start, "written").await?;
    let mut done = 1;
    for cut_first in [true, false] {
        for time_kept in [true, false] {
            for piece in [usize::MAX, 50_000] {
                let times = fs::metadata(&path)?.modified()?;
                let bytes = watched.next.bytes.clone();
                let start = watched.begin()?;
                let mut file = OpenOptions::new().write(true).truncate(cut_first).open(&path)?;
                for part in bytes.chunks(piece) {
                    file.write_all(part)?;
                    if part.len() < bytes.len() {
                        tokio::time::sleep(Duration::from_millis(30)).await;
                    }
                }
                let end = file.stream_position()?;
                file.set_len(end)?;
                if time_kept {
                    file.set_times(FileTimes::new().set_modified(times))?;
                }
                drop(file);
                watched.decides(start, "overwritten").await?;
                done += 1;
            }
        }
    }
    Ok(done)
}
