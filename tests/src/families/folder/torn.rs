//! Files that are cut short.

use std::fs::{self, OpenOptions};
use std::io::Write;

use anyhow::ensure;

use super::Watched;
use crate::clock;
use crate::dice::Dice;

/// Cut files at a time; the listing shows the latest few dozen refusals.
const AT_A_TIME: usize = 48;
/// Files that are cut first and completed later.
const COMPLETED: u64 = 8;

/// Files cut at every section's boundary and every 4 KiB: each is refused, none decides.
pub async fn cut_everywhere(watched: &mut Watched) -> anyhow::Result<u64> {
    let bytes = watched.next.bytes.clone();
    let mut cuts = boundaries(&bytes);
    ensure!(cuts.len() > 5, "a module with {} sections", cuts.len());
    cuts.extend((0..bytes.len()).step_by(4096));
    cuts.extend([1, 4, 7, 8, 9, bytes.len() - 1]);
    cuts.sort_unstable();
    cuts.dedup();
    for cuts in cuts.chunks(AT_A_TIME) {
        let start = clock::now_ns();
        for cut in cuts {
            fs::write(watched.stage.launch.modules.join(format!("cut-{cut}.wasm")), &bytes[..*cut])?;
        }
        for cut in cuts {
            let why = watched.refused(&format!("cut-{cut}.wasm"), start, "cut").await?;
            ensure!(!why.is_empty(), "a file cut at {cut} was refused without a reason");
        }
        for cut in cuts {
            watched.remove(&format!("cut-{cut}.wasm"))?;
        }
    }
    Ok(cuts.len() as u64)
}

/// Offsets at which a section begins, the end left out.
fn boundaries(bytes: &[u8]) -> Vec<usize> {
    let (mut at, mut out) = (8, Vec::new());
    while at < bytes.len() {
        out.push(at);
        let (mut size, mut shift) = (0_usize, 0);
        at += 1;
        while let Some(&byte) = bytes.get(at) {
            size |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            at += 1;
            if byte < 0x80 {
                break;
            }
        }
        at += size;
    }
    out
}

/// Files that were cut and refused, and get the rest appended: they decide as soon as they are whole.
pub async fn completed_later(watched: &mut Watched, seed: u64) -> anyhow::Result<u64> {
    let mut dice = Dice::new(seed, "completed");
    for n in 0..COMPLETED {
        let (file, bytes) = (format!("part-{n}.wasm"), watched.next.bytes.clone());
        let path = watched.stage.launch.modules.join(&file);
        let cut = dice.between(1, bytes.len() as u64) as usize;
        let start = clock::now_ns();
        fs::write(&path, &bytes[..cut])?;
        watched.refused(&file, start, "cut").await?;
        let mut at = cut;
        if n % 2 == 0 {
            // In two steps, so that there is another torn file in between.
            let half = cut + (bytes.len() - cut) / 2;
            OpenOptions::new().append(true).open(&path)?.write_all(&bytes[cut..half])?;
            at = half;
        }
        let start = watched.begin()?;
        OpenOptions::new().append(true).open(&path)?.write_all(&bytes[at..])?;
        watched.decides(start, "completed").await?;
        ensure!(watched.refusal(&file).await.is_none(), "{file} decides, and is still said to be refused");
    }
    Ok(COMPLETED)
}
