//! `ordain dev`: builds a module, runs it, watches its sources, and swaps it on save.

mod watch;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use tokio::sync::watch::{Receiver, channel};

use super::build::{Built, Options, build_module};
use super::run::{Flags, settings, stop_on_signal};
use super::{Ended, Exit, say};
use crate::clock::Stopwatch;
use crate::decider::describe::describe;
use crate::{app, json, telemetry};
use watch::Sources;

/// Where the daemon of `ordain dev` keeps its data, in the crate's folder.
const FOLDER: &str = "target/ordain-dev";

/// Options of `ordain dev`.
#[derive(Debug, Clone, Args)]
pub struct DevArgs {
    /// Folder of the module's crate.
    #[arg(long, value_name = "DIR", default_value = ".")]
    path: PathBuf,
    /// Features of the crate, separated by commas.
    #[arg(long, value_name = "FEATURES", value_delimiter = ',')]
    features: Vec<String>,
    /// Forget what earlier runs decided: begin with an empty data folder.
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Runs the daemon and the builds until a signal asks to stop.
pub(super) fn run(mut args: DevArgs) -> Ended {
    let home = args.path.join(FOLDER);
    if args.fresh && args.flags.data.is_none() {
        remove(&home.join("data"))?;
    }
    args.flags.data.get_or_insert_with(|| home.join("data"));
    let modules = args.flags.modules.get_or_insert_with(|| home.join("modules")).clone();
    let config = settings(None, &args.flags)?;
    telemetry::start(&config.telemetry).map_err(anyhow::Error::msg)?;
    let sources = Sources::watch(&args.path)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads")?;
    let ended = runtime.block_on(async {
        let (stop, stopping) = channel(false);
        let signals = tokio::spawn(stop_on_signal(stop));
        let builds = tokio::spawn(build_on_save(args, modules, sources, stopping.clone()));
        let ended = app::run(config, stopping).await;
        builds.abort();
        signals.abort();
        ended
    });
    // A compiler that is still at work is nobody's answer.
    runtime.shutdown_background();
    ended.map(|()| Exit::Done)
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("the folder {} cannot be removed", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Builds at once and after each save. A build that fails is shown, and what runs goes on.
async fn build_on_save(args: DevArgs, modules: PathBuf, mut sources: Sources, mut stopping: Receiver<bool>) {
    let mut first = true;
    loop {
        let (args, modules) = (args.clone(), modules.clone());
        let built = tokio::task::spawn_blocking(move || build(&args, &modules)).await;
        match built {
            Ok(Ok(built)) if std::mem::take(&mut first) => welcome(&built),
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(error)) => {
                say(format_args!("ordain: {error:#}\nThe rules that run go on; save again when it is mended."));
            }
        }
        // Cancel-safe: a save that is not returned is seen at the next turn.
        tokio::select! {
            () = sources.saved() => say("saved: building"),
            _ = stopping.changed() => return,
        }
    }
}

/// Builds the module into the watched folder, where the daemon finds it.
fn build(args: &DevArgs, modules: &Path) -> anyhow::Result<Built> {
    let started = Stopwatch::start();
    let out = modules.join("dev.wasm");
    let options =
        Options { path: args.path.clone(), features: args.features.clone(), out: Some(out), ..Options::default() };
    let built = build_module(&options, &describe)?;
    let seconds = started.elapsed().as_secs_f64();
    say(format_args!("built {} in {seconds:.1} s: {}", built.aggregate_type, built.digest));
    Ok(built)
}

/// Says how to send the first command: one of the author's own samples.
fn welcome(built: &Built) {
    let sample = std::fs::read(&built.path).ok().and_then(|wasm| describe(&wasm).ok());
    let sample = sample.and_then(|described| described.manifest.samples.into_iter().next());
    let command = sample.and_then(|sample| {
        let mut text = Vec::new();
        json::from_messagepack(&sample, &mut text).ok()?;
        String::from_utf8(text).ok()
    });
    let command = command.unwrap_or_else(|| "{\"Name\":{}}".into());
    say(format_args!("try: ordain send {} first '{command}'", built.aggregate_type));
}
