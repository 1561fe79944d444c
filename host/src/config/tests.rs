use super::*;

#[derive(Serialize)]
struct NoFlags {}

/// As the flags of `ordain run` are when none is given: groups of nothing.
#[derive(Default, Serialize)]
struct NoneGiven {
    http: std::collections::BTreeMap<String, String>,
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect()
}

fn with_file(text: &str, pairs: &[(&str, &str)], flags: &impl Serialize) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ordain.toml");
    std::fs::write(&path, text).unwrap();
    load(Some(&path), variables(pairs), flags).map_err(|e| e.to_string())
}

#[test]
fn later_layers_win() {
    #[derive(Serialize)]
    struct Flags {
        http: Part,
    }
    #[derive(Serialize)]
    struct Part {
        listen: &'static str,
    }
    let file = "lanes = 1\n[http]\nlisten = \"127.0.0.1:1\"\nheaders_max = 32\n[batch]\ncommands_max = 7\n";
    let vars =
        [("ORDAIN_HTTP__LISTEN", "127.0.0.1:2"), ("ORDAIN_BATCH__COMMANDS_MAX", "9"), ("ORDAIN_URL", "http://x")];
    let config = with_file(file, &vars, &Flags { http: Part { listen: "127.0.0.1:3" } }).unwrap();
    assert_eq!(config.http.listen, ([127, 0, 0, 1], 3).into());
    assert_eq!((config.lanes, config.http.headers_max, config.batch.commands_max), (1, 32, 9));
    assert_eq!(config.queue, Queue::default());
}

#[test]
fn without_layers_the_defaults_hold() {
    assert_eq!(load(None, variables(&[("HOME", "/")]), &NoFlags {}).unwrap(), Config::default());
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let vars = [("ORDAIN_DATA", ""), ("ORDAIN_HTTP__LISTEN", ""), ("ORDAIN_LANES", "2")];
    let config = with_file("data = \"here\"", &vars, &NoFlags {}).unwrap();
    assert_eq!((config.data, config.http, config.lanes), ("here".into(), Http::default(), 2));
}

#[test]
fn what_is_printed_can_be_read_back() {
    let text = Config::default().to_toml();
    assert_eq!(with_file(&text, &[], &NoFlags {}).unwrap(), Config::default());
}

#[test]
fn mistakes_name_the_key_and_where_it_was_set() {
    type Mistake = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);
    let mistakes: [Mistake; 11] = [
        ("[http]\nlissten = 1", &[], &["`lissten` in [http] (", "ordain.toml", "listen"]),
        ("lissten = 1", &[], &["`lissten` at the top level", "ordain.toml"]),
        ("", &[("ORDAIN_HTTP", "x")], &["`http`", "variable ORDAIN_HTTP)", "set one of them"]),
        ("http = 7", &[], &["`http`", "ordain.toml", "set one of them"]),
        (
            "[telemetry]\nformat = \"xml\"",
            &[],
            &["`telemetry.format`", "\"xml\" is not known, write one of human, json"],
        ),
        ("[http]\nheaders_max = \"many\"", &[], &["http.headers_max", "ordain.toml"]),
        ("", &[("ORDAIN_HTTP__HEADERS_MAX", "many")], &["http.headers_max", "ORDAIN_HTTP__HEADERS_MAX"]),
        ("", &[("ORDAIN_LANEZ", "1")], &["lanez", "ORDAIN_LANEZ"]),
        ("partitions = 0", &[], &["partitions", "1 to"]),
        ("lanes = 17", &[], &["lanes", "0 to 16"]),
        ("not toml", &[], &["ordain.toml", "not TOML"]),
    ];
    for (file, vars, words) in mistakes {
        let error = with_file(file, vars, &NoneGiven::default()).unwrap_err();
        for word in words {
            assert!(error.contains(word), "{word:?} is not in: {error}");
        }
    }
}

#[test]
fn an_open_address_needs_to_be_accepted() {
    let open = "[http]\nlisten = \"0.0.0.0:7400\"\n";
    assert!(with_file(open, &[], &NoFlags {}).unwrap_err().contains("--insecure"));
    assert!(with_file(&format!("{open}insecure = true\n"), &[], &NoFlags {}).is_ok());
    let admin = "[http]\nadmin_listen = \"0.0.0.0:7401\"\n";
    let error = with_file(admin, &[], &NoFlags {}).unwrap_err();
    assert!(
        error.contains("--insecure") && error.contains("0.0.0.0:7401") && !error.contains("127.0.0.1:7400"),
        "{error}"
    );
}

/// The page shows each key once, with its default and a sentence above it.
#[test]
fn the_page_shows_every_key_with_its_default() {
    let page = include_str!("../../../docs/config.md");
    let block = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(toml::from_str::<Config>(block).unwrap(), Config::default());
    let defaults: toml::Table = Config::default().to_toml().parse().unwrap();
    let shown: toml::Table = block.parse().unwrap();
    assert_eq!(shown, defaults);
    let lines: Vec<&str> = block.lines().collect();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.contains(" = ") && !line.starts_with('#')) {
        assert!(at > 0 && lines[at - 1].starts_with("# "), "no sentence above `{line}`");
    }
}

/// `[log]` with Kafka, and one line more.
fn on_kafka(line: &str) -> String {
    format!("[log]\nkind = \"kafka\"\nbrokers = \"a:9092,[::1]:9093\"\n{line}\n")
}

#[test]
fn settings_of_kafka_become_its_options() {
    let options = |file: &str, vars: &[(&str, &str)]| with_file(file, vars, &NoFlags {}).unwrap().kafka();
    assert_eq!(options("", &[]), None);
    let usual = options(&on_kafka(""), &[]).unwrap();
    assert_eq!(
        (usual.brokers.as_str(), usual.prefix.as_str(), usual.group.as_str()),
        ("a:9092,[::1]:9093", "ordain.", "ordain.hosts")
    );
    // The usual number of partitions of a log of one's own says nothing about this one.
    assert_eq!((usual.partitions, usual.lanes, usual.advertised), (None, None, None));
    let insisting = options(&format!("partitions = 16\nlanes = 4\n{}", on_kafka("group = \"g\"")), &[]).unwrap();
    assert_eq!((insisting.partitions, insisting.lanes, insisting.group.as_str()), (Some(16), Some(4), "g"));
    assert_eq!(options(&on_kafka(""), &[("ORDAIN_PARTITIONS", "8")]).unwrap().partitions, Some(8));
    assert_eq!((usual.instance, insisting.instance), (None, None));
    assert_eq!(options(&on_kafka("instance = \"a.1\""), &[]).unwrap().instance.as_deref(), Some("a.1"));
    let advertised = options(&on_kafka("advertised = \"http://10.0.0.7:7400/\""), &[]).unwrap().advertised;
    assert_eq!(advertised.as_deref(), Some("http://10.0.0.7:7400"));
}

#[test]
fn properties_come_from_the_file_and_from_variables_and_passwords_stay_hidden() {
    let file =
        on_kafka("[log.properties]\n\"linger.ms\" = 5\n\"sasl.username\" = \"me\"\n\"socket.keepalive.enable\" = true");
    let vars = [("ORDAIN_LOG__PROPERTIES__SASL__PASSWORD", "007"), ("ORDAIN_LOG__PROPERTIES__LINGER__MS", "6")];
    let config = with_file(&file, &vars, &NoFlags {}).unwrap();
    let expected =
        [("linger.ms", "6"), ("sasl.password", "007"), ("sasl.username", "me"), ("socket.keepalive.enable", "true")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(config.kafka().unwrap().properties, expected.into());
    assert!(!format!("{config:?}").contains("007"));
    let shown = config.without_secrets().to_toml();
    assert!(!shown.contains("007") && shown.contains("(hidden)"), "{shown}");
    assert_eq!(with_file(&config.to_toml(), &[], &NoFlags {}).unwrap(), config);
}

#[test]
fn what_cannot_be_on_kafka_says_what_to_write() {
    let mistakes: [(String, &[&str]); 17] = [
        ("[log]\nkind = \"kafka\"".into(), &["log.brokers", "host:9092"]),
        ("[log]\nbrokers = \"a:1\"".into(), &["log.brokers", "log.kind", "kafka"]),
        ("[log]\nproduction = true".into(), &["log.production", "log.kind"]),
        ("[log.properties]\n\"linger.ms\" = 5".into(), &["log.properties", "log.kind"]),
        ("[log]\nkind = \"kafka\"\nbrokers = \"a\"".into(), &["log.brokers", "host:port"]),
        ("[log]\nkind = \"rabbit\"".into(), &["log.kind", "rabbit", "kafka"]),
        (on_kafka("prefix = \"shop\""), &["log.prefix", "dot", "ordain."]),
        (on_kafka("prefix = \"\""), &["log.prefix"]),
        (on_kafka("session_timeout_ms = 10"), &["log.session_timeout_ms", "1000 to"]),
        (on_kafka("commits_per_second_max = 0"), &["log.commits_per_second_max", "1 to"]),
        (on_kafka("instance = \"a b\""), &["log.instance", "a-z"]),
        (on_kafka("advertised = \"10.0.0.7\""), &["log.advertised", "http://"]),
        (on_kafka("[log.properties]\nacks = 1"), &["acks", "log.properties", "replicas"]),
        (on_kafka("[log.properties]\n\"transactional.id\" = \"x\""), &["transactional.id", "fence"]),
        (on_kafka("[log.properties]\n\"linger.mss\" = 1"), &["linger.mss", "No such configuration property"]),
        (on_kafka("[log.properties]\nlinger.ms = 1"), &["log.properties", "quotation marks"]),
        (format!("partitions = 4\nlanes = 8\n{}", on_kafka("")), &["lanes", "0 to 4"]),
    ];
    for (file, words) in mistakes {
        let error = with_file(&file, &[], &NoFlags {}).unwrap_err();
        for word in words {
            assert!(error.contains(word), "{word:?} is not in: {error}");
        }
    }
}
