use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::gateway::tests::Host;

#[derive(Default)]
struct Seen(Vec<(u64, serde_json::Value)>);

impl Watch for Seen {
    fn answer(&mut self, line: u64, text: &[u8]) -> std::io::Result<()> {
        self.0.push((line, serde_json::from_slice(text)?));
        Ok(())
    }

    fn progress(&mut self, _: &Report) {}
}

fn options(address: SocketAddr) -> Options {
    Options { url: format!("http://{address}"), in_flight: 50, retries: 3 }
}

fn lines(text: &str) -> Source<&[u8]> {
    Source::new(text.as_bytes())
}

/// A wire between client and host that is cut again and again: each time after a while, with answers lost on the way.
async fn bad_wire(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for cut_after_ms in [0, 5, 10, 15, 20, 25, 30, 40, 50, 60_000] {
            let (mut from, _) = listener.accept().await.unwrap();
            let mut host = TcpStream::connect(to).await.unwrap();
            let wire = copy_bidirectional(&mut from, &mut host);
            let _ = tokio::time::timeout(Duration::from_millis(cut_after_ms), wire).await;
        }
    });
    address
}

/// What was lost with a connection is sent again, and decided once.
#[tokio::test(flavor = "multi_thread")]
async fn a_wire_that_breaks_loses_and_doubles_nothing() {
    const ACCOUNTS: usize = 5;
    const LINES: usize = 20_000;
    let host = Host::start().await;
    let mut text = String::new();
    for n in 0..LINES {
        let command = if n < ACCOUNTS {
            r#"{"Open":{"owner":"ann","overdraft_limit":0}}"#
        } else {
            r#"{"Deposit":{"amount":1}}"#
        };
        text.push_str(&format!("{{\"type\":\"account\",\"id\":\"a-{}\",\"command\":{command}}}\n", n % ACCOUNTS));
    }
    let mut seen = Seen::default();
    let options = Options { retries: 20, ..options(bad_wire(host.address).await) };
    let report = send(&options, lines(&text), &mut seen).await.unwrap();
    assert!(report.reconnects > 0, "the wire was never cut: {report:?}");
    assert_eq!((report.outcomes, report.unanswered), ([LINES as u64, 0, 0, 0], 0));
    let mut numbers: Vec<u64> = seen.0.iter().map(|(line, _)| *line).collect();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(1..=LINES as u64), "each line has one answer");
    for account in 0..ACCOUNTS {
        let (_, _, state) = host.get(&format!("/v1/account/a-{account}")).await;
        assert_eq!(state["version"], LINES / ACCOUNTS, "{state}");
        assert_eq!(state["state"]["balance"], LINES / ACCOUNTS - 1);
    }
    host.stop().await;
}

/// A host that plays its part: for each connection, what it answers to each line.
async fn scripted(connections: &'static [&'static [&'static str]]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for answers in connections {
            let (mut io, _) = listener.accept().await.unwrap();
            io.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
            let (mut read, mut piece) = (String::new(), [0; 4096]);
            while read.matches("\"command_id\"").count() < answers.len() {
                let n = io.read(&mut piece).await.unwrap();
                assert!(n > 0, "the client left early: {read}");
                read.push_str(&String::from_utf8_lossy(&piece[..n]));
            }
            for answer in *answers {
                io.write_all(format!("{:x}\r\n{answer}\n\r\n", answer.len() + 1).as_bytes()).await.unwrap();
            }
            io.write_all(b"0\r\n\r\n").await.unwrap();
        }
    });
    address
}

const THREE: &str = "{\"id\":\"a\",\"command_id\":\"1\"}\n\n{\"id\":\"b\",\"command_id\":\"2\"}\n{\"id\":\"c\"}\n";

#[tokio::test]
async fn what_the_host_could_not_answer_is_sent_again() {
    let host = scripted(&[
        &[
            r#"{"line":2,"error":{"status":503,"detail":"stopping"}}"#,
            r#"{"line":1,"outcome":{"outcome":"rejected"}}"#,
            r#"{"line":3,"error":{"status":400}}"#,
        ],
        &[r#"{"line":1,"outcome":{"outcome":"accepted","replayed":true}}"#],
    ])
    .await;
    let mut seen = Seen::default();
    let report = send(&options(host), lines(THREE), &mut seen).await.unwrap();
    assert_eq!((report.outcomes, report.replayed, report.refused), ([1, 1, 0, 0], 1, 1));
    assert_eq!((report.unanswered, report.reconnects), (0, 1));
    assert_eq!(seen.0.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 4, 3], "numbers of the file");
    assert_eq!(exit(&report), Exit::Usage);
}

#[tokio::test]
async fn what_is_never_answered_is_counted() {
    let host = scripted(&[&[r#"{"line":1,"outcome":{"outcome":"failed"}}"#]]).await;
    let report = send(&Options { retries: 0, ..options(host) }, lines(THREE), &mut Seen::default()).await.unwrap();
    assert_eq!((report.outcomes, report.unanswered), ([0, 0, 0, 1], 2));
    assert_eq!(exit(&report), Exit::Unknown);
}

#[tokio::test]
async fn a_host_that_was_never_there_is_an_error() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = send(&options(nobody), lines(THREE), &mut Seen::default()).await.unwrap_err();
    assert!(error.to_string().contains("ordain run"), "{error}");
}

#[test]
fn a_refused_line_is_shown_in_words() {
    let text = br#"{"line":1,"error":{"type":"urn:ordain:problem:unknown-type","title":"No module","status":404,"detail":"deploy one"}}"#;
    assert_eq!(refusal(text), "No module: deploy one");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines =
        Source::new(open(folder.path()).unwrap()).map(|line| line.map_err(|e| unreadable(folder.path(), e)));
    let error = lines.next().unwrap().unwrap_err().to_string();
    assert!(error.contains(&folder.path().display().to_string()), "{error}");
}
