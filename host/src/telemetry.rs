//! What the daemon says of itself, on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;

use crate::config::{LogFormat, Telemetry};

/// Starts the log of this process. A second call changes nothing.
///
/// # Errors
/// The filter cannot be read; the message shows one that can.
pub fn start(telemetry: &Telemetry) -> Result<(), String> {
    let filter = filter(&telemetry.filter)?;
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

/// A part without a level is taken for the name of a crate by the parser, and all others fall silent: a mistyped level.
fn filter(text: &str) -> Result<EnvFilter, String> {
    let bad = |why: String| {
        format!(
            "the log filter {text:?} is not valid ({why}): write a level (error, warn, info, debug, trace, off), and parts with \
             levels of their own where you like, such as warn,ordain::gateway=debug"
        )
    };
    let is_level = |part: &str| part.parse::<LevelFilter>().is_ok();
    let vague =
        text.split(',').map(str::trim).find(|part| !part.is_empty() && !part.contains(['=', ']']) && !is_level(part));
    match vague {
        Some(part) if !text.contains('[') => Err(bad(format!("{part:?} is no level"))),
        _ => EnvFilter::builder().parse(text).map_err(|e| bad(e.to_string())),
    }
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

    /// `--log verbose` made the daemon say nothing at all.
    #[test]
    fn a_filter_that_would_silence_everything_by_mistake_is_refused() {
        for good in ["info", "warn,ordain::gateway=debug", "WARN,ordain=info", "off", "", "info,[request{id=7}]=trace"]
        {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["nonsense!!", "verbose", "inof,ordain=debug", "warn,ordain::gateway", "ordain=loud"] {
            assert!(filter(bad).unwrap_err().contains("warn,ordain::gateway=debug"), "{bad}");
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
