//! A file of commands through the stream, with a bounded number in flight. A connection that breaks is opened again,
//! and what was not answered is sent again under the same command ids, in its order, before anything new.

mod pending;
mod source;

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal as _, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;

use super::{Report, SendArgs};
use crate::cli::ask::{Problem, print_line};
use crate::cli::{Ended, Exit, Output, say};
use crate::clock::Stopwatch;
use crate::gateway::client::{Client, Unreachable, WholeLines};
use pending::Pending;
pub use source::Line;
use source::Source;

/// Bytes that are put together for one piece of the request.
const PIECE_BYTES: usize = 64 * 1024;
/// Time without any answer after which a connection is given up.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// First and longest pause before a connection is opened again; it doubles in between.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How to send.
#[derive(Debug, Clone)]
pub struct Options {
    /// The host, such as `http://127.0.0.1:7400`.
    pub url: String,
    /// Commands on their way at once.
    pub in_flight: usize,
    /// Times a connection is opened again without an answer in between.
    pub retries: u32,
}

/// Whoever watches a run: learns each answer with the number of its line, and how far the run is.
pub trait Watch {
    /// A line was answered with this text, which begins with the line's number on its connection.
    ///
    /// # Errors
    /// The run stops.
    fn answer(&mut self, line: u64, text: &[u8]) -> std::io::Result<()>;
    /// Some answers came.
    fn progress(&mut self, report: &Report);
}

/// Sends all lines and waits for all answers.
///
/// # Errors
/// The lines cannot be read, an answer cannot be kept, or the host was not reached at all. A host that is lost later
/// is no error: [`Report::unanswered`] counts what is not known.
pub async fn send(
    options: &Options,
    lines: impl Iterator<Item = std::io::Result<Line>>,
    watch: &mut impl Watch,
) -> anyhow::Result<Report> {
    let started = Stopwatch::start();
    let mut client = Client::new(&options.url).map_err(anyhow::Error::msg)?;
    let mut run =
        Run { options, lines, watch, pending: Pending::default(), report: Report::default(), exhausted: false };
    let (mut failures, mut pause, mut reached) = (0, PAUSE.0, false);
    loop {
        let answered = run.report.answered();
        match run.connection(&mut client, &mut reached).await {
            Ok(()) => break,
            Err(Stop::Hard(error)) => return Err(error),
            Err(Stop::Broken(error)) if error.unsent && !reached => return Err(error.into()),
            Err(Stop::Broken(error)) => {
                if run.report.answered() > answered {
                    (failures, pause) = (0, PAUSE.0);
                }
                failures += 1;
                if failures > options.retries {
                    say(format_args!("ordain: {error}; given up after {} tries", options.retries));
                    break;
                }
                run.report.reconnects += 1;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
    run.report.unanswered = run.pending.open() as u64 + run.rest()?;
    run.report.elapsed = started.elapsed();
    Ok(run.report)
}

/// Why a connection's work ended before all was done.
enum Stop {
    /// Another connection may go on.
    Broken(Unreachable),
    /// Nothing can.
    Hard(anyhow::Error),
}

impl From<Unreachable> for Stop {
    fn from(error: Unreachable) -> Self {
        Self::Broken(error)
    }
}

struct Run<'a, L, W> {
    options: &'a Options,
    lines: L,
    watch: &'a mut W,
    pending: Pending,
    report: Report,
    exhausted: bool,
}

/// The part of an answer that is counted.
#[derive(Deserialize)]
struct AnswerLine<'a> {
    line: u64,
    #[serde(borrow)]
    outcome: Option<OutcomeWord<'a>>,
    error: Option<ErrorStatus>,
}

#[derive(Deserialize)]
struct OutcomeWord<'a> {
    outcome: &'a str,
    #[serde(default)]
    replayed: bool,
}

#[derive(Deserialize)]
struct ErrorStatus {
    status: u16,
}

impl<L: Iterator<Item = std::io::Result<Line>>, W: Watch> Run<'_, L, W> {
    /// Sends and receives on one connection until all is answered or the connection is of no more use.
    async fn connection(&mut self, client: &mut Client, reached: &mut bool) -> Result<(), Stop> {
        let (sender, mut answers) = client.stream().await?;
        *reached = true;
        let mut sender = Some(sender);
        self.pending.send_again();
        let (mut piece, mut again) = (Vec::new(), false);
        loop {
            if sender.is_some() && piece.len() < PIECE_BYTES {
                self.fill(&mut piece)?;
            }
            if piece.is_empty() && self.exhausted && !self.pending.waits() {
                sender = None;
            }
            let sending = async {
                match &sender {
                    Some(sender) => sender.send(&mut piece).await,
                    None => std::future::pending().await,
                }
            };
            // Cancel-safe: a piece is sent as a whole or not at all; answers are given out when `next` returns.
            let arrived = tokio::select! {
                sent = sending, if self.pending.unsent() => { sent?; self.pending.sent(); continue }
                arrived = tokio::time::timeout(SILENCE_MAX, answers.next()) => {
                    arrived.map_err(|_| Unreachable::broke("the host did not answer for a minute"))??
                }
            };
            for text in arrived.iter().flat_map(WholeLines::iter) {
                again |= self.answer(text)?;
            }
            self.watch.progress(&self.report);
            if again {
                sender = None;
                piece.clear();
            }
            if arrived.is_none() {
                let done = self.exhausted && self.pending.open() == 0;
                return if done { Ok(()) } else { Err(Unreachable::broke("the host ended the stream early").into()) };
            }
        }
    }

    /// Puts lines into the piece while the window has room.
    fn fill(&mut self, piece: &mut Vec<u8>) -> Result<(), Stop> {
        while piece.len() < PIECE_BYTES && self.pending.in_flight() < self.options.in_flight {
            if self.pending.put_again(piece) {
                continue;
            }
            match self.lines.next() {
                Some(line) => self.pending.put(line.map_err(|e| Stop::Hard(e.into()))?, piece),
                None => {
                    self.exhausted = true;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Counts one answer; true if the line must be sent again on another connection.
    fn answer(&mut self, text: &[u8]) -> Result<bool, Stop> {
        let bad = |e| {
            Stop::Hard(anyhow::anyhow!("the host's answer cannot be read ({e}): {}", String::from_utf8_lossy(text)))
        };
        let answer: AnswerLine<'_> = serde_json::from_slice(text).map_err(bad)?;
        if answer.error.as_ref().is_some_and(|error| matches!(error.status, 429 | 503 | 504 | 507)) {
            return Ok(true);
        }
        let Some((line, latency)) = self.pending.take(answer.line) else { return Ok(false) };
        match &answer.outcome {
            Some(outcome) => self.report.outcome(outcome.outcome, outcome.replayed, latency),
            None => self.report.refused += 1,
        }
        self.watch.answer(line, text).map_err(|e| Stop::Hard(e.into()))?;
        Ok(false)
    }

    /// Lines that were never sent.
    fn rest(&mut self) -> anyhow::Result<u64> {
        let mut rest = 0;
        for line in &mut self.lines {
            line?;
            rest += 1;
        }
        Ok(rest)
    }
}

/// `ordain send --file`.
pub(in crate::cli) async fn send_file(file: &Path, args: &SendArgs, output: Output) -> Ended {
    let options = Options { url: args.host.url.clone(), in_flight: args.in_flight as usize, retries: args.retries };
    let bar = progress_bar(file, output)?;
    let answers = args.answers.as_deref().map(File::create).transpose().context("the answers cannot be kept")?;
    let mut watch = Terminal { bar, answers: answers.map(BufWriter::new), refusals: 0 };
    let lines = Source::new(open(file)?).map(|line| line.map_err(|e| unreadable(file, e)));
    let report = send(&options, lines, &mut watch).await?;
    watch.bar.finish_and_clear();
    watch.answers.as_mut().map(BufWriter::flush).transpose().context("the answers cannot be kept")?;
    match output {
        Output::Json => print_line(report.json().to_string().as_bytes())?,
        Output::Human => print_line(report.text().as_bytes())?,
    }
    Ok(exit(&report))
}

/// Rejections and conflicts are answers like any other; only what went wrong shows in the exit code.
fn exit(report: &Report) -> Exit {
    if report.unanswered > 0 {
        Exit::Unknown
    } else if report.refused > 0 {
        Exit::Usage
    } else if report.outcomes[3] > 0 {
        Exit::Failed
    } else {
        Exit::Done
    }
}

/// The same error with the name of what it is about.
fn unreadable(file: &Path, error: io::Error) -> io::Error {
    let named =
        if file == Path::new("-") { "standard input".to_owned() } else { format!("the file {}", file.display()) };
    io::Error::new(error.kind(), format!("{named} cannot be read: {error}"))
}

fn open(file: &Path) -> anyhow::Result<Box<dyn BufRead + Send>> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let opened = File::open(file).map_err(|e| unreadable(file, e))?;
    Ok(Box::new(BufReader::with_capacity(1 << 18, opened)))
}

/// A bar over the file's lines; for standard input, whose length is not known, a spinner.
fn progress_bar(file: &Path, output: Output) -> anyhow::Result<ProgressBar> {
    if output == Output::Json || !std::io::stderr().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    if file == Path::new("-") {
        let style = ProgressStyle::with_template("{spinner} {human_pos} commands, {per_sec}, {elapsed}")?;
        return Ok(ProgressBar::new_spinner().with_style(style));
    }
    let lines = source::count(open(file)?).map_err(|e| unreadable(file, e))?;
    let style = ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} {per_sec}, {eta} left")?;
    Ok(ProgressBar::new(lines).with_style(style))
}

struct Terminal {
    bar: ProgressBar,
    answers: Option<BufWriter<File>>,
    refusals: u32,
}

/// Refused lines that are shown; the others are only counted.
const REFUSALS_SHOWN: u32 = 5;

/// A refused line's problem in words.
fn refusal(text: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Refused {
        error: Problem,
    }
    match serde_json::from_slice(text) {
        Ok(Refused { error }) => format!("{}: {}", error.title, error.detail),
        Err(_) => String::from_utf8_lossy(text).into_owned(),
    }
}

impl Watch for Terminal {
    fn answer(&mut self, line: u64, text: &[u8]) -> std::io::Result<()> {
        // `{"line":N,` is the host's; the file's own number is put in its place.
        let rest = text.iter().position(|b| *b == b',').map_or(text, |at| &text[at..]);
        if rest.starts_with(b",\"error\"") && self.refusals < REFUSALS_SHOWN {
            self.refusals += 1;
            self.bar.suspend(|| say(format_args!("line {line}: {}", refusal(text))));
        }
        if let Some(answers) = &mut self.answers {
            write!(answers, "{{\"line\":{line}")?;
            answers.write_all(rest)?;
            answers.write_all(b"\n")?;
        }
        Ok(())
    }

    fn progress(&mut self, report: &Report) {
        self.bar.set_position(report.answered());
    }
}

#[cfg(test)]
mod tests;
