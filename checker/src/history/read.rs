//! Reading a history back, one line at a time.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Ending, NemesisEvent};
use crate::canonical::Canonical;

/// A history's folder.
#[derive(Debug)]
pub struct History {
    clients: Vec<PathBuf>,
    nemesis: Option<PathBuf>,
}

/// One line of a client's record. Values are read as hashes: comparing is all that is done with them.
#[derive(Debug, Deserialize)]
pub struct Line<'a> {
    /// Number in the record.
    pub seq: u64,
    /// The connection, where order is promised.
    #[serde(default)]
    pub stream: Option<u64>,
    /// When it was about to be sent.
    pub invoke_ns: u64,
    /// When it was over.
    pub done_ns: u64,
    /// The aggregate's type; empty for a read.
    #[serde(rename = "type", default, borrow)]
    pub aggregate_type: Cow<'a, str>,
    /// The aggregate's id; empty for a read.
    #[serde(default, borrow)]
    pub id: Cow<'a, str>,
    /// The command's id; empty for a read.
    #[serde(default, borrow)]
    pub command_id: Cow<'a, str>,
    /// The version the client expected.
    #[serde(default)]
    pub expected_version: Option<u64>,
    /// The command.
    #[serde(default)]
    pub command: Canonical,
    /// How it ended; `None` for a read.
    #[serde(default)]
    pub result: Option<Ending>,
    /// The outcome.
    #[serde(default, borrow)]
    pub answer: Option<Outcome<'a>>,
    /// What was read.
    #[serde(default, borrow)]
    pub read: Option<State<'a>>,
}

/// An outcome as a client sees it.
#[derive(Debug, Deserialize)]
pub struct Outcome<'a> {
    /// The command it answers.
    #[serde(borrow)]
    pub command_id: Cow<'a, str>,
    /// Type of the aggregate it is about.
    #[serde(rename = "type", borrow)]
    pub aggregate_type: Cow<'a, str>,
    /// Id of the aggregate it is about.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// Which of the four.
    pub outcome: Ending,
    /// The version after the command.
    #[serde(default)]
    pub version: Option<u64>,
    /// The events.
    #[serde(default)]
    pub events: Vec<Event>,
    /// The rejection.
    #[serde(default, borrow)]
    pub rejection: Option<Rejection<'a>>,
    /// The versions that did not agree.
    #[serde(default)]
    pub conflict: Option<Conflict>,
    /// Why there was no decision.
    #[serde(default, borrow)]
    pub failure: Option<Failure<'a>>,
    /// The module that decided.
    #[serde(default, borrow)]
    pub module: Cow<'a, str>,
    /// Whether this is the answer to an earlier attempt, given again.
    #[serde(default)]
    pub replayed: bool,
}

/// An event as a client sees it.
#[derive(Debug, Deserialize)]
pub struct Event {
    /// The version it made.
    pub version: u64,
    /// What happened.
    pub event: Canonical,
}

/// A rejection as a client sees it.
#[derive(Debug, Deserialize)]
pub struct Rejection<'a> {
    /// Its name; empty if the rules gave it none.
    #[serde(default, borrow)]
    pub code: Cow<'a, str>,
    /// What is in it.
    #[serde(default = "null")]
    pub details: Canonical,
}

fn null() -> Canonical {
    crate::canonical::NULL
}

/// A conflict as a client sees it.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Conflict {
    /// The version the client expected.
    pub expected: u64,
    /// The version there was.
    pub actual: u64,
}

/// A failure as a client sees it.
#[derive(Debug, Deserialize)]
pub struct Failure<'a> {
    /// Its word.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
    /// The same for people.
    #[serde(default, borrow)]
    pub message: Cow<'a, str>,
}

/// A state that was read.
#[derive(Debug, Deserialize)]
pub struct State<'a> {
    /// The aggregate's type.
    #[serde(rename = "type", borrow)]
    pub aggregate_type: Cow<'a, str>,
    /// The aggregate's id.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// Its version.
    pub version: u64,
    /// The state.
    pub state: Canonical,
    /// Whether the past was asked for.
    pub past: bool,
}

/// A history that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the history at {place} cannot be read: {cause}")]
pub struct Unreadable {
    /// File and line.
    pub place: String,
    /// What is wrong.
    pub cause: String,
}

/// Where a line is, so that it can be shown again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Index of the client.
    pub client: u16,
    /// Byte offset of the line in its file.
    pub offset: u64,
}

impl History {
    /// Finds the files of a history.
    ///
    /// # Errors
    /// If the folder cannot be listed or holds more records than are numbered.
    pub fn open(folder: &Path) -> Result<Self, Unreadable> {
        let wrong = |cause: String| Unreadable { place: folder.display().to_string(), cause };
        let mut history = Self { clients: Vec::new(), nemesis: None };
        for file in fs::read_dir(folder).map_err(|e| wrong(e.to_string()))? {
            let path = file.map_err(|e| wrong(e.to_string()))?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if name == "nemesis.jsonl" {
                history.nemesis = Some(path);
            } else if name.starts_with("client-") && name.ends_with(".jsonl") {
                history.clients.push(path);
            }
        }
        if history.clients.len() > usize::from(u16::MAX) {
            return Err(wrong(format!("{} clients, at most {} can be told apart", history.clients.len(), u16::MAX)));
        }
        history.clients.sort();
        Ok(history)
    }

    /// The files of several folders, and single files, as one history. None at all is the history of nobody.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn gather(paths: &[PathBuf]) -> Result<Self, Unreadable> {
        let mut history = Self { clients: Vec::new(), nemesis: None };
        for path in paths {
            let mut more = Self { clients: Vec::new(), nemesis: None };
            if path.is_dir() {
                more = Self::open(path)?;
            } else if path.file_name().is_some_and(|name| name == "nemesis.jsonl") {
                more.nemesis = Some(path.clone());
            } else {
                more.clients.push(path.clone());
            }
            history.clients.append(&mut more.clients);
            if history.nemesis.is_some() && more.nemesis.is_some() {
                let cause = "a second nemesis.jsonl: what was done to the hosts belongs in one file".to_owned();
                return Err(Unreadable { place: path.display().to_string(), cause });
            }
            history.nemesis = history.nemesis.or(more.nemesis);
        }
        Ok(history)
    }

    /// Whether no client wrote anything.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Name of a client's file.
    pub fn client(&self, place: Place) -> String {
        let name = self.clients.get(usize::from(place.client)).and_then(|path| path.file_name());
        name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Hands every line of every client to `visit`.
    ///
    /// # Errors
    /// If a file or a line of it cannot be read. A last line without its end is left out: its writer was cut off.
    pub fn read(&self, visit: &mut dyn FnMut(Place, &Line<'_>)) -> Result<(), Unreadable> {
        for (client, path) in self.clients.iter().enumerate() {
            each_line(path, &mut |offset, text| {
                let line = serde_json::from_slice(text).map_err(|e| e.to_string())?;
                visit(Place { client: client as u16, offset }, &line);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// What was done to the host, by time.
    ///
    /// # Errors
    /// If the file or a line of it cannot be read.
    pub fn nemesis(&self) -> Result<Vec<NemesisEvent>, Unreadable> {
        let mut events: Vec<NemesisEvent> = Vec::new();
        if let Some(path) = &self.nemesis {
            each_line(path, &mut |_, text| {
                events.push(serde_json::from_slice(text).map_err(|e| e.to_string())?);
                Ok(())
            })?;
        }
        events.sort_by_key(|event| event.at_ns);
        Ok(events)
    }

    /// The text of a line, for showing it.
    pub fn text(&self, place: Place) -> Option<String> {
        let mut file = File::open(self.clients.get(usize::from(place.client))?).ok()?;
        file.seek(SeekFrom::Start(place.offset)).ok()?;
        let mut text = Vec::new();
        BufReader::new(file).take(1 << 16).read_until(b'\n', &mut text).ok()?;
        Some(String::from_utf8_lossy(&text).trim_end().to_owned())
    }
}

type TakeLine<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<(), String>;

fn each_line(path: &Path, take: TakeLine<'_>) -> Result<(), Unreadable> {
    let wrong = |line: u64, cause: String| Unreadable { place: format!("{}:{line}", path.display()), cause };
    let file = File::open(path).map_err(|e| wrong(0, e.to_string()))?;
    let mut from = BufReader::with_capacity(1 << 18, file);
    let (mut text, mut offset, mut number) = (Vec::new(), 0, 1);
    loop {
        text.clear();
        let read = from.read_until(b'\n', &mut text).map_err(|e| wrong(number, e.to_string()))?;
        if text.last() != Some(&b'\n') {
            return Ok(());
        }
        take(offset, &text).map_err(|cause| wrong(number, cause))?;
        offset += read as u64;
        number += 1;
    }
}
