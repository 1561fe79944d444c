//! A kill at the N-th call of a thread to the system: places that a kill at a random moment rarely hits, such as between
//! the write of a block and its sync, or between the making of a file and its name.

use std::time::Duration;

use anyhow::Context;

use crate::clock;
use crate::dice::Dice;
use crate::families::asking::hand;
use crate::field::{Counts, Field, has_strace, kept};
use crate::load::{Load, Shape};

/// Kills in one run.
const KILLS: u64 = 40;
/// Calls after which there is no kill: the start makes some, then there are a few per commit.
const CALLS: u64 = 300;
/// How long a daemon may live if its kill does not come.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// Calls that change something.
const CALLED: &str = "write,pwrite64,fdatasync,fsync,ftruncate,fallocate,rename,renameat,unlink,openat,mkdir";

/// Each kill is followed by a start, and by another one that is killed as well for a part of them.
pub async fn at_calls(field: &Field) -> anyhow::Result<Counts> {
    if !has_strace() {
        field.skip("no strace, so no kill comes at a chosen call: `apt-get install strace`");
        return Ok(Counts::from([("skipped_for_want_of_strace", 1)]));
    }
    let mut dice = Dice::new(field.seed, "calls");
    let mut stage = field.stage().await?;
    let config = field.folder.join("config.toml");
    std::fs::write(&config, "[state]\ncheckpoint_aggregates = 20\ncheckpoint_interval_ms = 100\n")?;
    stage.launch.flags.push(format!("--config={}", config.display()));
    let load = Load::start(&stage, "calls", field.seed, Shape::light())?;
    let (mut killed, mut at_start, mut missed) = (0, 0, 0);
    stage.stop().await?;
    while killed + at_start + missed < KILLS {
        let number = 1 + dice.below(CALLS);
        let inject = format!("inject={CALLED}:signal=KILL:when={number}");
        let words = ["strace", "-D", "-f", "-qq", "--seccomp-bpf", "-e", &inject, "-o", "/dev/null"];
        stage.launch.under = words.map(str::to_owned).to_vec();
        if stage.start().await.is_err() {
            at_start += 1;
        } else {
            let start = clock::now_ns();
            while clock::since(start) < PATIENCE && stage.daemon()?.runs()? {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if stage.daemon()?.runs()? {
                missed += 1;
                stage.kill()?;
            } else {
                killed += 1;
                drop(stage.take_daemon()?);
            }
        }
        if dice.percent(70) {
            stage.launch.under.clear();
            stage.start().await.with_context(|| format!("after a kill at call {number}"))?;
            load.hears(30).await?;
            stage.stop().await?;
        }
    }
    stage.launch.under.clear();
    stage.start().await?;
    load.finish().await?;
    hand(&stage, "calls-last")?.read_all().await?;
    stage.stop().await?;
    kept(&stage.judged()?)?;
    field.clear();
    Ok(Counts::from([("kills_at_calls", killed), ("kills_at_calls_of_a_start", at_start)]))
}
