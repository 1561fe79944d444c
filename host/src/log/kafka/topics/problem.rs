//! What is not as it should be: one line that says where, what, and how to repair it.

use std::fmt;

use serde::Serialize;

/// What a problem means for a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// No host starts.
    Refuse,
    /// Hosts start and say so.
    Warn,
}

/// What repairs a problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Repair {
    /// A command to be run as it stands.
    Command(String),
    /// What else to do, in words.
    Words(String),
    /// Nothing does any more: what that means. The next check does not show it again.
    Late(String),
}

impl Repair {
    fn text(&self) -> &str {
        let (Self::Command(text) | Self::Words(text) | Self::Late(text)) = self;
        text
    }
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What it means for a start.
    pub severity: Severity,
    /// The topic.
    pub topic: String,
    /// What of it.
    pub setting: String,
    /// How it is.
    pub is: String,
    /// How it should be.
    pub should: String,
    /// The command, or what else to do.
    pub repair: Repair,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, setting, is, should, repair, .. } = self;
        write!(f, "{topic}: {setting} is {is}, should be {should}: {repair}")
    }
}

/// What repairs the problems, for a shell: commands, each once, and words as comments.
pub fn script(problems: &[Problem]) -> Vec<String> {
    let mut lines = Vec::new();
    for one in problems {
        let line = match &one.repair {
            Repair::Command(command) => command.clone(),
            Repair::Words(_) | Repair::Late(_) => format!("# {one}"),
        };
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// The problems that keep a host from starting, one per line; `None` if there are none.
pub fn refusal(problems: &[Problem]) -> Option<String> {
    let lines: Vec<String> =
        problems.iter().filter(|one| one.severity == Severity::Refuse).map(ToString::to_string).collect();
    (!lines.is_empty()).then(|| format!("the topics cannot be used:\n  {}", lines.join("\n  ")))
}

/// What hosts start with nevertheless, for a log: alike ones in one line, with the topics that they are about.
pub fn warnings(problems: &[Problem]) -> Vec<String> {
    let mut alike: Vec<(&Problem, Vec<&str>)> = Vec::new();
    for one in problems.iter().filter(|one| one.severity == Severity::Warn) {
        let same = |other: &Problem| (&other.setting, &other.is, &other.should) == (&one.setting, &one.is, &one.should);
        match alike.iter_mut().find(|(other, _)| same(other)) {
            Some((_, topics)) => topics.push(&one.topic),
            None => alike.push((one, vec![&one.topic])),
        }
    }
    let line = |(one, topics): (&Problem, Vec<&str>)| {
        let (setting, is, should, topics) = (&one.setting, &one.is, &one.should, topics.join(", "));
        let hint = match &one.repair {
            Repair::Late(text) => text,
            Repair::Command(_) | Repair::Words(_) => "`ordain topics check` says how to repair it",
        };
        format!("{setting} is {is}, should be {should} ({hint}): {topics}")
    };
    alike.into_iter().map(line).collect()
}
