//! `ordain topics`: makes and checks the topics of a log on Kafka.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::ask::print_line;
use super::run::{self, Flags};
use super::{Ended, Exit, Output};
use crate::log::kafka::options::Options;
use crate::log::kafka::topics::layout::Layout;
use crate::log::kafka::topics::problem::{self, Problem, Severity};
use crate::log::kafka::topics::{Cluster, print, rules};
use crate::message::AggregateType;

/// Options of `ordain topics`.
#[derive(Debug, Args)]
pub struct TopicsArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make the topics that are missing, and the layout; then check everything.
    Create(CreateArgs),
    /// Check topics, layout and settings, and change nothing.
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// Aggregate types whose topics are made; without any, only the topic of lanes.
    #[arg(value_name = "TYPE")]
    types: Vec<String>,
    /// Print the commands of Kafka's tools that do it and grant the rights. A broker is asked no more than how many there
    /// are, and need not answer.
    #[arg(long)]
    print: bool,
    /// TOML file with settings; docs/config.md shows all of them.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Aggregate types that hosts are going to have modules of; those that have a topic are checked anyway.
    #[arg(value_name = "TYPE")]
    types: Vec<String>,
    /// Print only the commands that repair the problems; what takes more than a command is a comment.
    #[arg(long)]
    print: bool,
    /// TOML file with settings; docs/config.md shows all of them.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What a run of either found.
#[derive(Debug, Serialize)]
struct Report {
    cluster_id: String,
    brokers: u32,
    layout: Option<Layout>,
    /// Topics of the log that exist.
    topics: Vec<String>,
    /// Those that were made now.
    created: Vec<String>,
    problems: Vec<Problem>,
    /// Types without a place in the layout whose modules no host gets as it is.
    types_refused: Vec<String>,
    /// Whether a host would start, and get modules of these types.
    ok: bool,
}

/// Exit code 2 if a host would not start.
pub(super) fn run(args: TopicsArgs, output: Output) -> Ended {
    match args.what {
        What::Create(args) => create(args, output),
        What::Check(args) => check(args, output),
    }
}

fn options(config: Option<&PathBuf>) -> anyhow::Result<Options> {
    let config = run::settings(config.map(PathBuf::as_path), &Flags::default())?;
    config
        .kafka()
        .context("`log.kind` is \"embedded\", which has no topics: set `log.kind = \"kafka\"` and `log.brokers`")
}

fn types(names: &[String]) -> anyhow::Result<Vec<AggregateType>> {
    Ok(names.iter().map(|name| AggregateType::parse(name)).collect::<Result<Vec<_>, _>>()?)
}

fn create(args: CreateArgs, output: Output) -> Ended {
    let mut options = options(args.config.as_ref())?;
    let types = types(&args.types)?;
    if args.print {
        for line in print::commands(&options, &types, Cluster::count_brokers(&options)?) {
            print_line(line.as_bytes())?;
        }
        return Ok(Exit::Done);
    }
    // Whoever runs this wants them made; the setting is about what hosts do by themselves.
    options.create_topics = true;
    let cluster = Cluster::connect(&options)?;
    let opened = cluster.open(&types)?;
    let topics = cluster.topics()?.into_iter().map(|topic| topic.name).collect();
    let report = Report {
        cluster_id: cluster.cluster_id().to_owned(),
        brokers: cluster.brokers(),
        layout: Some(opened.layout),
        topics,
        created: opened.created,
        problems: opened.warnings,
        types_refused: Vec::new(),
        ok: true,
    };
    show(&report, output)
}

fn check(args: CheckArgs, output: Output) -> Ended {
    let options = options(args.config.as_ref())?;
    let types = types(&args.types)?;
    let cluster = Cluster::connect(&options)?;
    let (layout, topics, problems) = cluster.inspect(&types)?;
    let report = Report {
        cluster_id: cluster.cluster_id().to_owned(),
        brokers: cluster.brokers(),
        topics: topics.into_iter().map(|topic| topic.name).collect(),
        created: Vec::new(),
        ok: problems.iter().all(|problem| problem.severity == Severity::Warn),
        types_refused: types_refused(&options.prefix, layout.as_ref(), &problems),
        layout,
        problems,
    };
    if args.print {
        for line in problem::script(&report.problems) {
            print_line(line.as_bytes())?;
        }
        return Ok(exit(&report));
    }
    show(&report, output)
}

/// The types that the layout does not have and whose topics are refused.
fn types_refused(prefix: &str, layout: Option<&Layout>, problems: &[Problem]) -> Vec<String> {
    let refused = problems.iter().filter(|problem| problem.severity == Severity::Refuse);
    let types: BTreeSet<_> = refused.filter_map(|problem| rules::parse(prefix, &problem.topic)?.1).collect();
    let unknown = types.iter().filter(|name| layout.is_none_or(|layout| layout.of(name).is_none()));
    unknown.map(ToString::to_string).collect()
}

/// Whether nothing is refused but topics of these types.
fn only_types_are_refused(report: &Report) -> bool {
    let is_of =
        |topic: &str, name: &str| [".commands", ".events"].iter().any(|end| topic.ends_with(&format!("{name}{end}")));
    let mut refused = report.problems.iter().filter(|problem| problem.severity == Severity::Refuse);
    refused.all(|problem| report.types_refused.iter().any(|name| is_of(&problem.topic, name)))
}

/// Exit code 2 if a host would not start, or not with a module of each type.
fn exit(report: &Report) -> Exit {
    if report.ok { Exit::Done } else { Exit::Rejected }
}

fn show(report: &Report, output: Output) -> Ended {
    match output {
        Output::Json => print_line(&serde_json::to_vec(report)?)?,
        Output::Human => print_line(text(report).as_bytes())?,
    }
    Ok(exit(report))
}

fn text(report: &Report) -> String {
    let mut lines = vec![format!("cluster {}, {} brokers", report.cluster_id, report.brokers)];
    match &report.layout {
        Some(layout) => lines.push(format!(
            "layout: {} partitions, {} lanes, generation {}, types: {}",
            layout.partitions,
            layout.lanes,
            layout.generation,
            layout.types.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ")
        )),
        None => lines.push("no layout yet: the first start of a host, or `ordain topics create`, writes it".into()),
    }
    lines.extend(report.created.iter().map(|name| format!("created {name}")));
    for problem in &report.problems {
        let word = if problem.severity == Severity::Refuse { "refused" } else { "warning" };
        lines.push(format!("{word}: {problem}"));
    }
    lines.push(if report.ok {
        "good: hosts start".into()
    } else if only_types_are_refused(report) {
        format!("hosts do not start with a module of {} until this is repaired", report.types_refused.join(", "))
    } else {
        "hosts do not start until this is repaired".into()
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::kafka::topics::problem::Repair;

    fn layout(types: &[&str]) -> Layout {
        let empty = Layout { cluster_id: "c".into(), generation: 1, partitions: 16, lanes: 4, types: Vec::new() };
        types.iter().fold(empty, |layout, name| layout.with(&AggregateType::parse(name).unwrap(), "a", "b"))
    }

    fn report(severity: Severity, layout: Option<Layout>) -> Report {
        let text = |text: &str| text.to_owned();
        let problem = Problem {
            severity,
            topic: text("ordain.account.events"),
            setting: text("retention.ms"),
            is: text("604800000"),
            should: text("-1"),
            repair: Repair::Command(text("kafka-configs.sh …")),
        };
        Report {
            cluster_id: text("c"),
            brokers: 1,
            topics: Vec::new(),
            created: Vec::new(),
            types_refused: types_refused("ordain.", layout.as_ref(), std::slice::from_ref(&problem)),
            problems: vec![problem],
            layout,
            ok: severity == Severity::Warn,
        }
    }

    #[test]
    fn what_keeps_hosts_from_starting_is_exit_code_2_and_said_in_words() {
        let refused = report(Severity::Refuse, Some(layout(&["account"])));
        assert_eq!(exit(&refused), Exit::Rejected);
        assert!(text(&refused).contains("refused: ordain.account.events: retention.ms is 604800000, should be -1"));
        assert!(text(&refused).ends_with("hosts do not start until this is repaired"));
        let warned = report(Severity::Warn, None);
        assert_eq!(exit(&warned), Exit::Done);
        assert!(text(&warned).contains("warning: ") && text(&warned).contains("hosts start"));
        let json = serde_json::to_value(&refused).unwrap();
        assert_eq!(
            (&json["problems"][0]["severity"], &json["problems"][0]["repair"]),
            (&"refuse".into(), &"kafka-configs.sh …".into())
        );
    }

    /// Topics made beforehand for a type that no host has yet were never looked at: "good: hosts start".
    #[test]
    fn a_type_that_a_host_could_not_get_is_exit_code_2_too() {
        let early = report(Severity::Refuse, Some(layout(&["counter"])));
        assert_eq!((exit(&early), &early.types_refused[..]), (Exit::Rejected, &["account".to_owned()][..]));
        assert!(
            text(&early).ends_with("hosts do not start with a module of account until this is repaired"),
            "{}",
            text(&early)
        );
    }
}
