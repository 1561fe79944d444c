//! What the daemon says of itself, on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::{LogFormat, Telemetry};

/// Starts the log of this process. A second call changes nothing.
///
/// # Errors
/// The filter cannot be read; the message shows one that can.
pub fn start(telemetry: &Telemetry) -> Result<(), String> {
    let filter = EnvFilter::builder().parse(&telemetry.filter).map_err(|e| {
        format!(
            "the log filter {:?} is not valid ({e}): write a level or parts with levels, such as warn,ordain::gateway=debug",
            telemetry.filter
        )
    })?;
    let log = fmt().with_env_filter(filter).with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    // It fails only if a log was started before, which is then the one that is kept.
    let _ = match telemetry.format {
        LogFormat::Human => log.with_target(false).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    Ok(())
}
