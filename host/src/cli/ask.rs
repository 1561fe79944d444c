//! What all commands share that ask a host.

use std::io::Write as _;

use anyhow::Context as _;
use serde::Deserialize;

use super::{Exit, Host, Output, say};
use crate::gateway::client::{Answer, Client};

impl Host {
    /// A client for it.
    ///
    /// # Errors
    /// The URL is of no usable form.
    pub fn client(&self) -> anyhow::Result<Client> {
        Client::new(&self.url).map_err(anyhow::Error::msg)
    }
}

/// The part of a problem that people need.
#[derive(Debug, Deserialize)]
pub struct Problem {
    /// What happened.
    #[serde(default)]
    pub title: String,
    /// What to do.
    #[serde(default)]
    pub detail: String,
}

impl Problem {
    /// The problem of an answer that is one; whatever else came, in its own words.
    pub fn of(answer: &Answer) -> Self {
        serde_json::from_slice(&answer.body).unwrap_or_else(|_| Self {
            title: format!("the host answered with status {}", answer.status),
            detail: String::from_utf8_lossy(&answer.body).into_owned(),
        })
    }
}

/// Prints what is not there or was refused, and gives its exit code.
pub fn problem(answer: &Answer, output: Output) -> anyhow::Result<Exit> {
    if output == Output::Json {
        print_line(&answer.body)?;
    } else {
        let problem = Problem::of(answer);
        say(format_args!("ordain: {}: {}", problem.title, problem.detail));
    }
    Ok(match answer.status {
        404 | 503 | 504 | 507 | 429 => Exit::Unknown,
        _ => Exit::Usage,
    })
}

/// Writes one line to standard output. Whoever stopped reading it (`ordain … | head -1`) wants no more: that is no error.
///
/// # Errors
/// Standard output cannot be written.
pub fn print_line(line: &[u8]) -> anyhow::Result<()> {
    print_next_line(line).map(|_| ())
}

/// The same, and whether anybody reads on.
///
/// # Errors
/// Standard output cannot be written.
pub fn print_next_line(line: &[u8]) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(line).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(e).context("standard output cannot be written"),
    }
}
