//! What has the name of a module and is none, and what else is done to files.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::Watched;
use crate::clock;
use crate::dice::Dice;
use crate::field::Field;

/// Links, pipes, folders, empty and huge files, garbage, Wasm that is no module: each is refused by its name, the old
/// rules go on, and nothing hangs.
pub async fn no_modules(watched: &mut Watched) -> anyhow::Result<u64> {
    let folder = watched.stage.launch.modules.clone();
    let outside = folder.with_file_name("outside.wasm");
    fs::write(&outside, &watched.next.bytes)?;
    let start = clock::now_ns();
    symlink(&outside, folder.join("link.wasm"))?;
    symlink(folder.join("nowhere"), folder.join("dangling.wasm"))?;
    symlink("/dev/zero", folder.join("zero.wasm"))?;
    mknodat(CWD, folder.join("pipe.wasm"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    fs::create_dir(folder.join("folder.wasm"))?;
    fs::write(folder.join("nothing.wasm"), "")?;
    File::create(folder.join("sparse.wasm"))?.set_len(2 << 30)?;
    let mut dice = Dice::new(1, "garbage");
    let garbage: Vec<u8> = (0..100_000).map(|_| dice.roll() as u8).collect();
    fs::write(folder.join("garbage.wasm"), &garbage)?;
    fs::write(folder.join("text.wasm"), "this is no module\n")?;
    fs::write(folder.join("bare.wasm"), b"\0asm\x01\0\0\0")?;
    let mut flipped = watched.next.bytes.to_vec();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    fs::write(folder.join("flipped.wasm"), &flipped)?;
    fs::write(folder.join(".hidden.wasm"), &watched.next.bytes)?;
    fs::write(folder.join("other.wasm.part"), &watched.next.bytes)?;
    let odd = [
        ("link.wasm", "symbolic link"),
        ("dangling.wasm", "symbolic link"),
        ("zero.wasm", "symbolic link"),
        ("pipe.wasm", "no regular file"),
        ("folder.wasm", "directory"),
        ("nothing.wasm", ""),
        ("sparse.wasm", "2147483648 bytes"),
        ("garbage.wasm", ""),
        ("text.wasm", ""),
        ("bare.wasm", ""),
        ("flipped.wasm", "damaged"),
    ];
    for (file, part) in odd {
        let why = watched.refused(file, start, "odd").await?;
        ensure!(why.contains(part), "{file} was refused because {why:?}, which does not say {part:?}");
    }
    // Long enough that what is hidden would have been looked at.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    watched.is_unmoved().await?;
    for (file, _) in odd {
        let path = folder.join(file);
        if file == "folder.wasm" { fs::remove_dir(path)? } else { fs::remove_file(path)? }
    }
    Ok(odd.len() as u64 + 2)
}

/// Deleting unloads nothing; renaming over is an arrival; the same bytes again are none; an old module that comes again
/// is; a module of another type changes nothing here.
pub async fn deletes_renames_and_the_same_again(watched: &mut Watched, field: &Field) -> anyhow::Result<u64> {
    let mut done = 0;
    for _ in 0..6 {
        let start = watched.begin()?;
        watched.stage.arrive("renamed.wasm", &watched.next.bytes)?;
        watched.decides(start, "renamed").await?;
        done += 1;
    }
    let path = watched.stage.launch.modules.join("renamed.wasm");
    let since = watched.stage.listed().await["since_ms"].clone();
    watched.stage.arrive("renamed.wasm", &watched.active.bytes)?;
    watched.stage.arrive("a-copy.wasm", &watched.active.bytes)?;
    File::options().append(true).open(&path)?.set_modified(SystemTime::UNIX_EPOCH)?;
    fs::remove_file(watched.stage.launch.modules.join("over.wasm"))?;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let listed = watched.stage.listed().await;
    ensure!(listed["since_ms"] == since, "the same bytes again, a touch or a delete changed something: {listed}");
    watched.is_unmoved().await?;
    done += 4;
    let files = listed["files"].as_array().context("no files")?.len();
    ensure!(files >= 2, "the listing lacks files that hold the active module: {listed}");
    watched.remove("renamed.wasm")?;
    watched.remove("a-copy.wasm")?;
    let counter = field.module("counter.wasm", "counter")?;
    watched.stage.arrive("counter.wasm", &counter.bytes)?;
    let counting = crate::daemon::eventually("that the counter decides", super::PATIENCE, || async {
        let list = watched.stage.client().get("/v1/modules").await.ok()?.json().ok()?;
        list["types"].as_array()?.iter().any(|one| one["active"] == counter.digest.as_str()).then_some(())
    });
    counting.await?;
    watched.is_unmoved().await?;
    // The old module comes back as a new file.
    let start = watched.begin()?;
    watched.stage.arrive("back.wasm", &watched.next.bytes)?;
    watched.decides(start, "renamed").await?;
    Ok(done + 4)
}
