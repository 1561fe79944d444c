//! A file system that is full for a while: commands get 507, reads go on, and so do commands when there is space.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::clock;
use crate::command::Command;
use crate::families::asking::{deposit, hand, open, problem, with_status};
use crate::field::{Counts, Field, kept};
use crate::hand::Hand;
use crate::load::{Load, Shape};
use crate::stage::Stage;

/// Size of the file system.
const DISK: u64 = 64 << 20;
/// How much of it is left when it gets tight.
const LEFT: u64 = 3 << 20;
/// Times it fills up while the daemon runs.
const ROUNDS: u64 = 3;
/// How long filling it may take, and how soon commands must be decided when there is space again.
const PATIENCE: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(10);

/// A small file system in memory; unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    /// Nothing if this process may not mount.
    fn mount(at: &Path) -> anyhow::Result<Option<Self>> {
        fs::create_dir_all(at)?;
        let size = format!("size={DISK}");
        let mounted = process::Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        Ok(mounted.is_ok_and(|mounted| mounted.status.success()).then(|| Self(at.to_owned())))
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Takes all but a little.
    fn tighten(&self) -> anyhow::Result<()> {
        let about = rustix::fs::statvfs(&self.0)?;
        let free = about.f_bavail * about.f_frsize;
        let mut file = File::create(self.ballast())?;
        for _ in 0..free.saturating_sub(LEFT) / 4096 {
            file.write_all(&[1; 4096])?;
        }
        Ok(())
    }

    fn relieve(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.ballast())?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a daemon that was killed a moment ago may still hold it.
        let _stays_mounted = process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Full while it runs, several times, and full when it comes back from a kill.
pub async fn for_a_while(field: &Field) -> anyhow::Result<Counts> {
    let mut stage = field.empty_stage()?;
    let Some(disk) = Disk::mount(&field.folder.join("small"))? else {
        field.skip("no file system could be mounted, so no disk is full: run the tests as root");
        return Ok(Counts::from([("skipped_for_want_of_mount", 1)]));
    };
    stage.launch.data = disk.0.join("data");
    let config = field.folder.join("config.toml");
    fs::write(&config, "[log]\nsegment_bytes = 1048576\n[state]\ncheckpoint_interval_ms = 200\n")?;
    stage.launch.flags.push(format!("--config={}", config.display()));
    stage.start().await?;
    stage.swap(&field.rules("v1")?).await?;
    let mut one = hand(&stage, "full")?;
    one.decided(&open("full")).await?;
    let mut refusals = 0;
    for round in 0..=ROUNDS {
        let load = Load::start(&stage, &format!("full-{round}"), field.seed, Shape::default())?;
        disk.tighten()?;
        let unanswered = is_full(&mut one, round).await?;
        if round == ROUNDS {
            killed_while_full(&mut stage, &disk).await?;
        } else {
            ensure!(stage.daemon()?.runs()?, "the daemon ended on a full disk");
            disk.relieve()?;
        }
        let start = clock::now_ns();
        refusals += unanswered.len() as u64;
        for command in unanswered {
            one.decided(&command).await?;
        }
        ensure!(clock::since(start) < SOON, "commands were decided {:?} after there was space", clock::since(start));
        load.hears(200).await?;
        load.finish().await?;
    }
    one.witness.flush()?;
    hand(&stage, "full-last")?.read_all().await?;
    stage.stop().await?;
    let report = stage.judged()?;
    kept(&report)?;
    drop(disk);
    field.clear();
    Ok(Counts::from([("times_full", ROUNDS + 1), ("answered_507", refusals)]))
}

/// Waits until a command is refused for want of space, and looks at everything else meanwhile. Returns the commands
/// that got no answer.
async fn is_full(one: &mut Hand, round: u64) -> anyhow::Result<Vec<Command>> {
    let (mut number, start) = (0, clock::now_ns());
    let mut unanswered = Vec::new();
    while unanswered.len() < 5 {
        number += 1;
        let command = deposit("full", &format!("full-{round}-{number}"), 1);
        let answer = one.attempt(&command).await.0?;
        if answer.status != 200 {
            let said = problem(&answer, 507, "disk-full")?;
            ensure!(said["command_id"] == *command.command_id, "{said}");
            unanswered.push(command);
        }
        ensure!(clock::since(start) < PATIENCE, "the disk does not fill up");
    }
    // Reads go on, and show what was acknowledged.
    one.state("full").await?.context("it never existed")?;
    with_status(&one.client().get("/v1/account/full/events?limit=1").await?, 200)?;
    // A stream tells it line by line.
    let lines: Vec<_> = (0..20).map(|n| deposit("full", &format!("full-{round}-line-{n}"), 1)).collect();
    for (command, answer) in one.lines(&lines).await? {
        if answer.get("error").is_some() {
            ensure!(answer["error"]["status"] == 507, "a line on a full disk: {answer}");
            unanswered.push(command);
        }
    }
    Ok(unanswered)
}

/// A kill while there is no space: the daemon comes back, or says that it cannot for want of space and does when there
/// is.
async fn killed_while_full(stage: &mut Stage, disk: &Disk) -> anyhow::Result<()> {
    stage.kill()?;
    if let Err(error) = stage.start().await {
        let said = format!("{error:#}");
        ensure!(said.contains("disk is full") || said.contains("No space left"), "on a full disk:\n{said}");
        disk.relieve()?;
        stage.start().await?;
    } else {
        disk.relieve()?;
    }
    Ok(())
}
