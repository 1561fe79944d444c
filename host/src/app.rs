//! The composition root: the only file in which log, store, modules, lanes and gateway meet.

mod kafka;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde::Serialize;
use tokio::sync::watch;

use crate::config::Config;
use crate::decider::modules::{self, Modules};
use crate::decider::{RuleBook, Sandbox};
use crate::engine::{self, Engine};
use crate::gateway::Listeners;
use crate::lane::cases;
use crate::lane::inbox::Control;
use crate::lane::supervisor::{EVERY, Lanes, Shared};
use crate::lane::{Ended, Settings};
use crate::log::embedded::{self, EmbeddedLog};
use crate::log::{History, segment};
use crate::store::Store;
use kafka::Kafka;

/// How often the starting daemon looks whether its lanes are restored.
const LOOK_MS: u64 = 5;

/// Where a running daemon can be reached: written to `DATA/run.json` when it is ready, removed when it stops.
#[derive(Debug, Serialize)]
struct RunFile {
    http: String,
    admin: String,
    pid: u32,
}

/// What runs, and is taken down in the opposite order.
struct Running {
    engine: Engine,
    lanes: Arc<Lanes>,
    store: Arc<Store>,
    log: Log,
    modules: Arc<Modules>,
}

/// Where answered commands live.
enum Log {
    Embedded(Arc<EmbeddedLog>),
    Kafka(Arc<Kafka>),
}

/// Runs the daemon until `stopping` turns true and everything that was taken is answered.
///
/// # Errors
/// What kept it from starting or going on, with what to do.
pub async fn run(config: Config, mut stopping: watch::Receiver<bool>) -> anyhow::Result<()> {
    let config = Arc::new(config);
    let listeners = Listeners::bind(&config).await.map_err(anyhow::Error::msg)?;
    let (http, admin) = (listeners.address, listeners.admin_address);
    let opening = Arc::clone(&config);
    let starting = tokio::task::spawn_blocking(move || match opening.kafka() {
        None => start(&opening),
        Some(options) => kafka::start(&opening, options, http),
    });
    let running = starting.await.context("the start was interrupted")??;
    let (close, closing) = watch::channel(false);
    let serving = tokio::spawn(listeners.serve(running.engine.clone(), Arc::clone(&config), closing));
    let ended = match until_ready(&running, &config, &mut stopping).await {
        Ok(true) => {
            write_run_file(
                &config.data,
                &RunFile { http: http.to_string(), admin: admin.to_string(), pid: std::process::id() },
            )?;
            tracing::info!(
                "ready: http://{http}, administration on http://{admin}, modules from {}",
                config.modules.display()
            );
            until_ended(&running, &mut stopping).await
        }
        Ok(false) => Ok(()),
        Err(error) => Err(error),
    };
    running.lanes.start_no_more();
    match &ended {
        Ok(()) => running.engine.stop(),
        Err(error) => running.engine.fail(&error.to_string()),
    }
    // Nobody may think that the daemon can still be reached.
    let _ = fs::remove_file(config.data.join("run.json"));
    close.send_replace(true);
    // Other hosts get the lanes at once: requests that are open here ask them for their outcomes.
    let kafka = if let Log::Kafka(kafka) = &running.log { Some(Arc::clone(kafka)) } else { None };
    let leaving = tokio::task::spawn_blocking(move || kafka.iter().for_each(|kafka| kafka.leave()));
    serving.await.context("the HTTP server ended badly")?;
    leaving.await.context("the host could not leave the group")?;
    tokio::task::spawn_blocking(move || stop(running)).await.context("the stop was interrupted")?;
    ended
}

/// Opens log, store and modules, and starts the lanes.
fn start(config: &Config) -> anyhow::Result<Running> {
    let make =
        |path: &Path| fs::create_dir_all(path).with_context(|| format!("cannot make the folder {}", path.display()));
    make(&config.data)?;
    make(&config.modules)?;
    refuse_other(&config.data, "kafka", "was used with `log.kind = \"kafka\"`: name that configuration with --config")?;
    let lanes = config.lanes_effective();
    let options = embedded::Options {
        lanes,
        partitions: config.partitions,
        segment: segment::Options { segment_bytes: config.log.segment_bytes, ..segment::Options::default() },
    };
    let log = Arc::new(EmbeddedLog::open(&config.data.join("log"), options)?);
    let store = Arc::new(Store::open(&config.data.join("store"), log.id(), log.end(), config.partitions)?);
    let sandbox = Sandbox::new(config.limits.clone(), Some(&config.data.join("compiled")))?;
    let modules = Modules::open(modules::Options { store_dir: config.data.join("modules"), sandbox })?;
    let modules = Arc::new(modules);
    let maker = Arc::clone(&log);
    let shared = Shared {
        log: Box::new(move |lane, _, on_committed| Box::new(maker.lane(lane, on_committed))),
        history: log.reader(),
        store: Arc::clone(&store),
        book: Arc::clone(&modules) as Arc<dyn RuleBook>,
        settings: settings(config, lanes, config.partitions),
        queue_commands_max: config.queue.commands_max,
        queue_bytes_max: config.queue.bytes_max,
    };
    let lanes = Arc::new(Lanes::start(shared)?);
    let engine = engine(config, &lanes, &modules, &store, log.reader(), (config.partitions, None));
    Ok(Running { engine, lanes, store, log: Log::Embedded(log), modules })
}

/// A data folder belongs to one kind of log: with another one a host would begin an empty log in it, as if nothing had been.
fn refuse_other(data: &Path, of_other: &str, how: &str) -> anyhow::Result<()> {
    let other = data.join(of_other);
    if other.exists() {
        anyhow::bail!("the data folder {} {how}, or name another folder with --data", data.display());
    }
    Ok(())
}

/// The engine over the lanes, and what modules have to do with both.
fn engine(
    config: &Config,
    lanes: &Lanes,
    modules: &Arc<Modules>,
    store: &Arc<Store>,
    history: Arc<dyn History>,
    (partitions, intake): (u32, Option<Arc<dyn engine::Take>>),
) -> Engine {
    let engine = Engine::new(engine::Parts {
        partitions,
        lanes: lanes.ways.clone(),
        book: Arc::clone(modules) as Arc<dyn RuleBook>,
        modules: Some(Arc::clone(modules)),
        history: Arc::clone(&history),
        store: Arc::clone(store),
        intake,
        readers_max: config.history.readers as usize,
        readers_waiting_max: config.history.queue_max,
    });
    engine.wait_for(Some("what lies in the modules folder"));
    let inboxes: Vec<_> = lanes.ways.iter().map(|(inbox, _)| Arc::clone(inbox)).collect();
    modules.subscribe(Arc::new(move |_| inboxes.iter().for_each(|inbox| inbox.tell(Control::Modules))));
    let (seen_by, store) = (lanes.ways.clone(), Arc::clone(store));
    modules.check_with(Arc::new(move |of| {
        cases::sample(seen_by.iter().map(|(_, board)| &**board), &*history, &store, of)
    }));
    engine
}

fn settings(config: &Config, lanes: u32, partitions: u32) -> Settings {
    Settings {
        lane: 0,
        lanes,
        partitions,
        batch_commands_max: config.batch.commands_max,
        batch_bytes_max: config.batch.bytes_max,
        resident_aggregates_max: config.state.resident_states_max,
        decider_bytes_max: config.state.resident_bytes_max,
        checkpoint_aggregates: config.state.checkpoint_aggregates,
        checkpoint_ms: config.state.checkpoint_interval_ms,
        checkpoint_log_bytes: config.state.checkpoint_log_bytes,
    }
}

/// Waits until every lane is restored and what lies in the modules folder is in service: what is there at the start is
/// what a host starts with. Returns whether it is so: a stop may come first.
async fn until_ready(running: &Running, config: &Config, stopping: &mut watch::Receiver<bool>) -> anyhow::Result<bool> {
    let Running { engine, modules, .. } = running;
    let folder = || modules.watch(config.modules.clone());
    let restored = || engine.is_restored();
    let looked = || modules.has_looked();
    if let Log::Kafka(kafka) = &running.log {
        // A host that has no rules for them takes no lanes, in which nobody would decide.
        folder()?;
        if !until(running, stopping, looked).await?
            || !until(running, stopping, || kafka.has_rules(engine, modules)).await?
        {
            return Ok(false);
        }
        kafka.join()?;
        engine.wait_for(None);
        return until(running, stopping, restored).await;
    }
    // New rules are tried on what happened last, which restored lanes know.
    if !until(running, stopping, restored).await? {
        return Ok(false);
    }
    folder()?;
    let ready = until(running, stopping, looked).await?;
    engine.wait_for(None);
    Ok(ready)
}

/// Waits until something is so; `false` if a stop comes first.
async fn until(
    running: &Running,
    stopping: &mut watch::Receiver<bool>,
    is_so: impl Fn() -> bool,
) -> anyhow::Result<bool> {
    let mut look = tokio::time::interval(Duration::from_millis(LOOK_MS));
    while !is_so() {
        // Both are cancel-safe: a tick or a change that is not seen now is seen at the next turn.
        tokio::select! {
            _ = look.tick() => {}
            _ = stopping.changed() => {}
        }
        if let Some((lane, Ended::Failed(reason))) = running.lanes.wait(Duration::ZERO) {
            return Err(failed(lane, "could not be restored", &reason));
        }
        if *stopping.borrow() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Waits until a stop is asked for or a lane cannot go on.
async fn until_ended(running: &Running, stopping: &mut watch::Receiver<bool>) -> anyhow::Result<()> {
    let mut look = tokio::time::interval(Duration::from_millis(20 * LOOK_MS));
    while !*stopping.borrow() {
        // Both are cancel-safe, as above.
        tokio::select! {
            _ = look.tick() => {}
            changed = stopping.changed() => if changed.is_err() { return Ok(()) },
        }
        if let Some((lane, Ended::Failed(reason))) = running.lanes.wait(Duration::ZERO) {
            return Err(failed(lane, "stopped", &reason));
        }
    }
    Ok(())
}

fn failed(lane: u32, what: &str, reason: &str) -> anyhow::Error {
    if lane == EVERY { anyhow!("{reason}") } else { anyhow!("lane {lane} {what}: {reason}") }
}

fn stop(running: Running) {
    let Running { engine, lanes, store, log, modules } = running;
    lanes.stop();
    if let Err(error) = store.flush() {
        tracing::warn!("the state store is not up to date, the next start reads more of the log: {error}");
    }
    match log {
        Log::Embedded(log) => log.close(),
        Log::Kafka(kafka) => kafka.close(),
    }
    drop((engine, modules));
}

/// Written beside and renamed, so that a reader never sees half of it.
fn write_run_file(data: &Path, file: &RunFile) -> anyhow::Result<()> {
    let (beside, path) = (data.join("run.json.new"), data.join("run.json"));
    let text = serde_json::to_vec(file)?;
    fs::write(&beside, text)
        .and_then(|()| fs::rename(&beside, &path))
        .with_context(|| format!("cannot write {}", path.display()))
}
