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
    let log = fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        // What cannot be written is lost: a full disk for logs, or nobody at the other end of a pipe, ends no host. To report
        // the loss would panic, as it goes the same way.
        .log_internal_errors(false);
    // It fails only if a log was started before, which is then the one that is kept.
    let _ = match telemetry.format {
        LogFormat::Human => log.with_target(false).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process::Command;

    use super::*;

    /// Set for the process whose standard error takes nothing.
    const UNHEARD: &str = "ORDAIN_TEST_UNHEARD";

    #[test]
    fn says_something_unheard() {
        if std::env::var_os(UNHEARD).is_some() {
            start(&Telemetry::default()).unwrap();
            tracing::info!("nobody hears this");
        }
    }

    /// A disk for logs was full, and the daemon panicked at the next thing that it had to say.
    #[test]
    fn a_log_that_cannot_be_written_ends_nothing() {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "telemetry::tests::says_something_unheard", "--nocapture"])
            .env(UNHEARD, "1")
            .stderr(File::options().write(true).open("/dev/full").unwrap())
            .status();
        assert!(status.unwrap().success());
    }
}
