//! The N-th sync or write of a thread fails, once: after a failed sync the pages are clean and trying again proves
//! nothing (Rebello et al., ATC 2020), so the daemon must stop acknowledging at once, say so, and end.

use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::clock;
use crate::families::asking::hand;
use crate::field::{Counts, Field, has_strace, kept};
use crate::load::{Load, Shape};
use crate::stage::Stage;

/// What fails, and which one of each thread.
const FAULTS: [(&str, &[u64]); 3] = [
    ("fdatasync", &[1, 2, 3, 4, 5, 6, 7, 9, 12, 17, 25, 40, 70, 120]),
    ("pwrite64", &[1, 2, 3, 5, 8, 20, 60]),
    ("fsync", &[1, 2, 3, 5]),
];
/// How long a daemon may go on before its fault comes; some never come.
const PATIENCE: Duration = Duration::from_millis(2_500);

/// Every fault in a run of its own, over one log.
pub async fn syncs_and_writes(field: &Field) -> anyhow::Result<Counts> {
    if !has_strace() {
        field.skip("no strace, so no sync fails: `apt-get install strace`");
        return Ok(Counts::from([("skipped_for_want_of_strace", 1)]));
    }
    let mut stage = field.stage().await?;
    let load = Load::start(&stage, "failing", field.seed, Shape::light())?;
    let (mut ended, mut refused, mut unhit, mut windows) = (0, 0, 0, Vec::new());
    for (call, numbers) in FAULTS {
        for number in numbers {
            stage.stop().await?;
            match under_fault(&mut stage, field, call, *number).await? {
                Fate::Refused => refused += 1,
                Fate::Ended { from, to } => {
                    windows.push((from, to));
                    ended += 1;
                }
                Fate::WentOn => unhit += 1,
            }
            stage.launch.under.clear();
            stage.start().await.with_context(|| format!("after {call} {number} had failed"))?;
            load.hears(30).await?;
        }
    }
    load.finish().await?;
    hand(&stage, "failing-last")?.read_all().await?;
    stage.stop().await?;
    let report = stage.judged()?;
    kept(&report)?;
    nothing_acknowledged(&stage, &windows)?;
    ensure!(ended >= 10, "only {ended} daemons met their fault at work");
    field.clear();
    Ok(Counts::from([("failed_at_work", ended), ("failed_at_start", refused), ("faults_survived", unhit)]))
}

/// What became of a daemon.
enum Fate {
    /// It did not start, and said why.
    Refused,
    /// It ended by itself, and said why; between the fault and its end nothing may be acknowledged.
    Ended { from: u64, to: u64 },
    /// Its fault did not come, or was none for the log.
    WentOn,
}

async fn under_fault(stage: &mut Stage, field: &Field, call: &str, number: u64) -> anyhow::Result<Fate> {
    let trace = field.folder.join("trace");
    let _none_yet = fs::remove_file(&trace);
    let inject = format!("inject={call}:error=EIO:when={number}");
    let words =
        ["strace", "-D", "-f", "-qq", "--seccomp-bpf", "-ttt", "-e", &format!("trace={call}"), "-e", &inject, "-o"];
    stage.launch.under = words.into_iter().map(str::to_owned).chain([trace.display().to_string()]).collect();
    if let Err(error) = stage.start().await {
        let said = format!("{error:#}");
        ensure!(said.contains("ended with exit status") && said.contains("os error 5"), "{call} {number}: {said}");
        return Ok(Fate::Refused);
    }
    let start = clock::now_ns();
    while clock::since(start) < PATIENCE && stage.daemon()?.runs()? {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if stage.daemon()?.runs()? {
        stage.kill()?;
        return Ok(Fate::WentOn);
    }
    let (status, said) = stage.take_daemon()?.ends(PATIENCE).await?;
    ensure!(!status.success() && said.contains("os error 5"), "{call} {number}: ended with {status}:\n{said}");
    let from = injected_at(&fs::read_to_string(&trace)?).with_context(|| format!("{call} {number}: no fault"))?;
    Ok(Fate::Ended { from, to: clock::now_ns() })
}

/// When the first fault was injected, by the clock of the clients.
fn injected_at(trace: &str) -> Option<u64> {
    let line = trace.lines().find(|line| line.contains("(INJECTED)"))?;
    let seconds: f64 = line.split_whitespace().find(|word| word.contains('.'))?.parse().ok()?;
    let ago = clock::unix_seconds_exact() - seconds;
    Some(clock::now_ns().saturating_sub((ago * 1e9) as u64))
}

#[derive(Deserialize)]
struct Attempt {
    invoke_ns: u64,
    #[serde(default)]
    answer: Option<serde::de::IgnoredAny>,
}

/// No command that was sent after a fault has an answer of the daemon that met it.
fn nothing_acknowledged(stage: &Stage, windows: &[(u64, u64)]) -> anyhow::Result<()> {
    let mut sent = 0;
    for entry in fs::read_dir(&stage.history)? {
        let path = entry?.path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("client-failing-s")) {
            continue;
        }
        for line in fs::read_to_string(&path)?.lines() {
            let attempt: Attempt = serde_json::from_str(line)?;
            let inside = windows.iter().any(|(from, to)| (*from..*to).contains(&attempt.invoke_ns));
            ensure!(!inside || attempt.answer.is_none(), "acknowledged after a failed sync: {line}");
            sent += u64::from(inside);
        }
    }
    ensure!(sent > 0, "no command was sent between a fault and its daemon's end");
    Ok(())
}
