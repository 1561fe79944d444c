//! Keeps an exact number of commands in flight in a host.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure};
use ordain::clock::Stopwatch;
use ordain::engine::{Reply, ReplyBox, Submission};
use ordain::log::Answer;
use ordain::message::Command;

use crate::host::Host;

/// One answer of so many is looked at; that there is one is counted for all.
const LOOKED_AT: u64 = 64;

/// Sends all the commands, with `in_flight` of them unanswered at any time, and returns how long it took.
///
/// # Errors
/// If a command is not accepted.
pub fn drive(host: &Host, commands: Vec<Command>, in_flight: usize) -> anyhow::Result<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let total = commands.len() as u64;
    let replies = Arc::new(ReplyBox::default());
    let mut submissions = commands
        .into_iter()
        .zip(0..)
        .map(|(command, line)| Submission { command, reply: Reply::Line(Arc::clone(&replies), line) });
    runtime.block_on(async {
        let watch = Stopwatch::start();
        host.engine.submit(submissions.by_ref().take(in_flight).collect()).await?;
        let mut answered = 0;
        while answered < total {
            let answers = replies.take().await;
            answered += answers.len() as u64;
            let next: Vec<Submission> = submissions.by_ref().take(answers.len()).collect();
            if !next.is_empty() {
                host.engine.submit(next).await?;
            }
            for (line, answer) in answers {
                let answer = match answer {
                    Ok(answer) => answer,
                    Err(unanswered) => bail!("command {line} got no answer: {unanswered}"),
                };
                if line % LOOKED_AT == 0 {
                    let entry = answer.entry();
                    ensure!(matches!(entry.answer, Answer::Accepted { count: 1, .. }), "not accepted: {entry:?}");
                }
            }
        }
        Ok(watch.elapsed())
    })
}
