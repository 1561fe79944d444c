//! `ordain run`: the daemon.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::ask::print_line;
use super::{Ended, Exit};
use crate::config::{self, Config};
use crate::{app, telemetry};

/// Options of `ordain run`. Each wins over the environment, and that over the file.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// TOML file with settings; docs/config.md shows all of them.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the settings in effect as TOML, and stop.
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    flags: Flags,
}

/// The flags that are settings, in the shape of the tree.
#[derive(Debug, Clone, Default, Args, Serialize)]
pub struct Flags {
    /// Folder of the log, the store and the archive of modules.
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// Folder that is watched for modules.
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modules: Option<PathBuf>,
    /// Number of partitions; fixed for ever at the first start.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
    /// Number of lanes; 0 = one per core.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lanes: Option<u32>,
    #[command(flatten)]
    http: HttpFlags,
    #[command(flatten)]
    telemetry: TelemetryFlags,
}

#[derive(Debug, Clone, Default, Args, Serialize)]
struct HttpFlags {
    /// Address of the API; port 0 = any free one.
    #[arg(long, value_name = "ADDR", value_parser = address)]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
    /// Address of /livez, /readyz and /metrics.
    #[arg(long, value_name = "ADDR", value_parser = address)]
    #[serde(skip_serializing_if = "Option::is_none")]
    admin_listen: Option<SocketAddr>,
    /// Allow addresses that others can reach, although nobody has to prove who they are.
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    insecure: bool,
}

#[derive(Debug, Clone, Default, Args, Serialize)]
struct TelemetryFlags {
    /// Which parts speak, and how much: info, or warn,ordain::gateway=debug.
    #[arg(long = "log", value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<String>,
    /// How they speak on standard error.
    #[arg(long = "log-format", value_name = "FORMAT", value_parser = ["human", "json"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<String>,
}

/// An address to listen at. A name could stand for several, some of which others may reach.
fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "write an IP address and a port, such as 127.0.0.1:7400 or [::1]:7400")
}

/// The settings in effect.
///
/// # Errors
/// [`config::BadConfig`].
pub(super) fn settings(file: Option<&Path>, flags: &Flags) -> Result<Config, config::BadConfig> {
    // A variable that is not UTF-8 cannot be one of ours.
    let variables = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    config::load(file, variables, flags)
}

/// Runs the daemon until a signal asks it to stop.
pub fn run(args: RunArgs) -> Ended {
    let config = settings(args.config.as_deref(), &args.flags)?;
    if args.print_config {
        print_line(config.without_secrets().to_toml().trim_end().as_bytes())?;
        return Ok(Exit::Done);
    }
    telemetry::start(&config.telemetry).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads for HTTP")?;
    runtime.block_on(async {
        let (stop, stopping) = watch::channel(false);
        let signals = tokio::spawn(stop_on_signal(stop));
        let ended = app::run(config, stopping).await;
        signals.abort();
        ended
    })?;
    Ok(Exit::Done)
}

/// The first signal asks for a clean stop; the second ends the process at once, which is safe at any moment.
pub(super) async fn stop_on_signal(stop: watch::Sender<bool>) -> std::io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut asked = false;
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if asked {
            tracing::warn!("stopped at once: the log is complete up to the last answer");
            std::process::exit(130);
        }
        asked = true;
        tracing::info!("stopping; a second signal stops at once");
        stop.send_replace(true);
    }
}
