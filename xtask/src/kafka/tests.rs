use std::collections::BTreeSet;
use std::path::Path;

use super::cluster::remembered;
use super::command::spec;
use super::plan::{CONTROLLER, Plan, Spec};

fn planned(spec: &Spec) -> Plan {
    let folder = std::env::temp_dir().join(format!("ordain-plan-{}-{}", std::process::id(), spec.name));
    let (plan, new) = Plan::of(&folder, spec).expect("a plan");
    assert!(new, "nothing was there");
    let (again, new) = Plan::of(&folder, spec).expect("the plan");
    assert!(!new && again == plan, "a cluster that is started again has its ids and ports");
    std::fs::remove_dir_all(&folder).expect("the folder goes");
    plan
}

fn property(text: &str, key: &str) -> String {
    let found: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect();
    assert_eq!(found.len(), 1, "{key} stands once in:\n{text}");
    found[0].to_owned()
}

#[test]
fn ports_are_free_and_different() {
    let plan = planned(&Spec { brokers: 3, ..Spec::named("ports") });
    let ports: BTreeSet<u16> =
        plan.nodes.iter().flat_map(|node| [node.client, node.internal, node.controller, node.secure]).collect();
    assert_eq!(ports.len(), 12);
    assert_eq!(plan.id.len(), 22);
}

#[test]
fn three_brokers_keep_three_copies_and_one_keeps_one() {
    for (brokers, copies, min) in [(1, "1", "1"), (3, "3", "2")] {
        let spec = Spec { brokers, ..Spec::named(&format!("copies-{brokers}")) };
        let plan = planned(&spec);
        let text = plan.properties(&plan.nodes[0], &spec, Path::new("f"));
        assert_eq!(property(&text, "transaction.state.log.replication.factor"), copies);
        assert_eq!(property(&text, "min.insync.replicas"), min);
        assert_eq!(property(&text, "process.roles"), "broker,controller");
        assert_eq!(property(&text, "controller.quorum.voters").split(',').count(), usize::from(brokers));
    }
}

#[test]
fn what_is_set_wins_and_a_proxy_is_what_clients_are_told() {
    let asked = ["--name", "told", "--set", "num.io.threads=9", "--advertise=1234", "--set=a=b=c"];
    let spec = spec(&asked).expect("flags");
    let plan = planned(&spec);
    let text = plan.properties(&plan.nodes[0], &spec, Path::new("f"));
    assert_eq!(property(&text, "num.io.threads"), "9");
    assert_eq!(property(&text, "a"), "b=c");
    assert!(property(&text, "advertised.listeners").starts_with("PLAINTEXT://127.0.0.1:1234,INTERNAL://127.0.0.1:"));
    assert!(!property(&text, "listeners").contains("1234"));
}

#[test]
fn a_controller_of_its_own_serves_no_clients() {
    let spec = Spec { separate_controller: true, controller_advertised: Some(4321), ..Spec::named("alone") };
    let plan = planned(&spec);
    let of = |at: usize| plan.properties(&plan.nodes[at], &spec, Path::new("f"));
    let (broker, controller) = (of(0), of(1));
    assert_eq!((plan.nodes[1].id, property(&controller, "process.roles").as_str()), (CONTROLLER, "controller"));
    assert_eq!(property(&broker, "process.roles"), "broker");
    assert_eq!(property(&broker, "controller.quorum.voters"), "100@127.0.0.1:4321");
    assert_eq!(property(&controller, "advertised.listeners"), "CONTROLLER://127.0.0.1:4321");
    assert!(!property(&controller, "listeners").contains("PLAINTEXT"));
}

/// A cluster was started with a secure listener, taken down with its data kept, and started again without the flag: its
/// clients found nobody at the address that they had been told.
#[test]
fn a_secure_listener_stays_when_a_cluster_is_started_again() {
    let folder = std::env::temp_dir().join(format!("ordain-secure-{}", std::process::id()));
    let plain = Spec::named("again");
    let secure = Spec { secure: true, ..plain.clone() };
    assert!(!remembered(&folder, &plain).expect("a spec").secure);
    assert!(remembered(&folder, &secure).is_err(), "its users cannot be made any more");
    std::fs::create_dir_all(super::secure::folder_in(&folder)).expect("a folder");
    let plan = planned(&secure);
    for asked in [&plain, &secure] {
        let spec = remembered(&folder, asked).expect("a spec");
        let text = plan.properties(&plan.nodes[0], &spec, &folder);
        assert!(property(&text, "listeners").contains("SECURE://"));
        assert!(text.contains("listener.name.secure.sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN"));
    }
    std::fs::remove_dir_all(&folder).expect("the folder goes");
}

#[test]
fn the_compose_file_starts_the_same_release_with_the_same_care() {
    let compose = include_str!("../../../compose.yaml");
    assert!(compose.contains(&format!("image: apache/kafka:{}\n", super::jars::VERSION)));
    let one = planned(&Spec::named("compose"));
    let ours = one.properties(&one.nodes[0], &Spec::named("compose"), Path::new("f"));
    // What a small broker must be told is told in both ways.
    for key in [
        "process.roles",
        "default.replication.factor",
        "min.insync.replicas",
        "offsets.topic.replication.factor",
        "transaction.state.log.replication.factor",
        "transaction.state.log.min.isr",
        "auto.create.topics.enable",
        "group.initial.rebalance.delay.ms",
    ] {
        let variable = format!("KAFKA_{}", key.to_uppercase().replace('.', "_"));
        let line = format!("      {variable}: \"{}\"\n", property(&ours, key));
        assert!(compose.contains(&line), "compose.yaml lacks {line}");
    }
}

/// What the image does with the variables before it starts the broker is in Kafka's own jars: it makes properties of them,
/// checks those and formats the data folder.
#[test]
fn the_image_understands_the_compose_file() {
    if std::env::var_os("ORDAIN_TEST_KAFKA").is_none() {
        return eprintln!("skipped: the jars may be missing, `cargo xtask kafka up` fetches them");
    }
    let home = std::env::temp_dir().join(format!("ordain-compose-{}", std::process::id()));
    let folder = |name: &str| {
        let folder = home.join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    };
    let (defaults, mounted, last) = (folder("defaults"), folder("mounted"), folder("last"));
    std::fs::write(defaults.join("server.properties"), "").expect("is written");
    for log in ["log4j2.yaml", "tools-log4j2.yaml"] {
        std::fs::write(defaults.join(log), "Configuration:\n").expect("is written");
    }
    let mut setup = super::tool::java(64, "kafka.docker.KafkaDockerWrapper");
    setup.arg("setup").arg("--default-configs-dir").arg(defaults);
    setup.arg("--mounted-configs-dir").arg(mounted).arg("--final-configs-dir").arg(&last);
    let compose = include_str!("../../../compose.yaml");
    let variables = compose.lines().filter_map(|line| line.trim().strip_suffix('"')?.split_once(": \""));
    let variables: Vec<(&str, &str)> = variables.filter(|(name, _)| name.starts_with("KAFKA_")).collect();
    assert!(variables.len() > 15, "{variables:?}");
    setup.envs(variables.iter().copied()).env("CLUSTER_ID", "5L6g3nShT-eMCtK--X86sw");
    setup.env("KAFKA_LOG_DIRS", folder("data"));
    let done = setup.output().expect("java runs");
    assert!(
        done.status.success(),
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    let text = std::fs::read_to_string(last.join("server.properties")).expect("properties");
    for (name, value) in variables.iter().filter(|(name, _)| *name != "KAFKA_LOG_DIRS") {
        let key = name.trim_start_matches("KAFKA_").to_lowercase().replace('_', ".");
        assert_eq!(property(&text, &key), *value);
    }
    assert!(home.join("data/meta.properties").is_file(), "the data folder is formatted");
    std::fs::remove_dir_all(&home).expect("the folder goes");
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    for flags in [
        &["--brokers", "many"][..],
        &["--brokers"],
        &["--brokers", "0"],
        &["--name", "../x"],
        &["--name", "libs"],
        &["--set", "novalue"],
        &["--advertise", "1,2"],
        &["--colour"],
    ] {
        assert!(spec(flags).is_err(), "{flags:?}");
    }
}
