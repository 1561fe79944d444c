//! The stream against a server that answers out of order, in part, or not at all.

use std::path::Path;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::witness::Known;

/// What the server made of one connection.
#[derive(Debug, Default)]
struct Served {
    /// Ids in the order in which they came.
    ids: Vec<String>,
    unanswered_max: usize,
}

/// Serves one connection: answers lines in groups, last first, and closes after `answers_max` answers.
async fn serve(socket: TcpStream, group: usize, answers_max: usize) -> Served {
    let mut socket = BufReader::new(socket);
    let mut text = String::new();
    while text != "\r\n" {
        text.clear();
        socket.read_line(&mut text).await.unwrap();
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let (mut served, mut pending, mut body) = (Served::default(), Vec::new(), Vec::new());
    let mut answered = 0;
    loop {
        text.clear();
        socket.read_line(&mut text).await.unwrap();
        let size = usize::from_str_radix(text.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        socket.read_exact(&mut chunk).await.unwrap();
        body.extend_from_slice(&chunk[..size]);
        while let Some(end) = body.iter().position(|&byte| byte == b'\n') {
            let command: Command = serde_json::from_slice(&body.drain(..=end).collect::<Vec<_>>()).unwrap();
            served.ids.push(command.command_id.to_string());
            pending.push((served.ids.len(), command));
        }
        served.unanswered_max = served.unanswered_max.max(served.ids.len() - answered);
        // What does not fill a group is answered when nothing more comes at once.
        let idle = socket.buffer().is_empty();
        while pending.len() >= group || (idle && !pending.is_empty()) {
            for (line, command) in pending.drain(..group.min(pending.len())).rev() {
                if answered == answers_max {
                    return served;
                }
                answered += 1;
                let answer = format!(
                    "{{\"line\":{line},\"outcome\":{{\"command_id\":\"{}\",\"type\":\"t\",\"id\":\"{}\",\"outcome\":\"accepted\",\"version\":0}}}}\n",
                    command.command_id, command.id
                );
                socket.write_all(format!("{:x}\r\n{answer}\r\n", answer.len()).as_bytes()).await.unwrap();
            }
        }
        if size == 0 {
            socket.write_all(b"0\r\n\r\n").await.unwrap();
            return served;
        }
    }
}

fn commands(count: usize) -> impl Iterator<Item = Command> {
    (0..count).map(|n| Command::new("t", &format!("id-{}", n % 7), &format!("c{n}"), &serde_json::json!({"Do": n})))
}

async fn connection(
    listener: &TcpListener,
    stream: u64,
    feed: &mut Feed,
    history: &Path,
    answers: usize,
) -> (Served, Result<(), Broken>, Witness) {
    let streaming = Streaming { address: listener.local_addr().unwrap(), stream, in_flight: 16, per_second: None };
    let mut witness = Witness::new(history, &format!("{stream}")).unwrap();
    let serving = async { serve(listener.accept().await.unwrap().0, 4, answers).await };
    let mut heard = |_: &Command, _: &Known| {};
    let (served, ended) = tokio::join!(serving, streaming.run(feed, &mut witness, &mut heard));
    witness.flush().unwrap();
    (served, ended, witness)
}

#[tokio::test]
async fn everything_is_answered_within_the_window() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut feed = Feed::new(commands(1_000));
    let (served, ended, witness) = connection(&listener, 0, &mut feed, folder.path(), usize::MAX).await;
    ended.unwrap();
    let sent: Vec<_> = commands(1_000).map(|command| command.command_id.to_string()).collect();
    assert_eq!(served.ids, sent);
    assert!((4..=16).contains(&served.unanswered_max), "{}", served.unanswered_max);
    assert_eq!((witness.tally.answered(), witness.tally.unknown), (1_000, 0));
}

/// Ids of the commands that the record holds an answer to, and the number of attempts in it.
fn recorded(folder: &Path) -> (Vec<String>, usize) {
    let history = ordain_checker::history::read::History::open(folder).unwrap();
    let (mut answered, mut attempts) = (Vec::new(), 0);
    let mut take = |_, line: &ordain_checker::history::read::Line<'_>| {
        attempts += 1;
        answered.extend(line.answer.is_some().then(|| line.command_id.to_string()));
    };
    history.read(&mut take).unwrap();
    (answered, attempts)
}

#[tokio::test]
async fn what_has_no_answer_is_sent_again_first_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let all: Vec<_> = commands(2_000).map(|command| command.command_id.to_string()).collect();
    let mut feed = Feed::new(commands(2_000));
    // The connection breaks in the middle of a group; what was on its way to the client is lost with it.
    let (first, ended, witness) = connection(&listener, 0, &mut feed, folder.path(), 1_002).await;
    ended.unwrap_err();
    let (heard, attempts) = recorded(folder.path());
    assert!((1..=1_002).contains(&heard.len()), "{}", heard.len());
    assert_eq!((witness.tally.answered(), witness.tally.unknown), (heard.len() as u64, feed.again() as u64));
    assert_eq!(attempts, heard.len() + feed.again());
    assert!(feed.again() > 0);
    assert_eq!(first.ids, all[..first.ids.len()]);
    let (second, ended, _) = connection(&listener, 1, &mut feed, folder.path(), usize::MAX).await;
    ended.unwrap();
    let rest: Vec<_> = all.iter().filter(|id| !heard.contains(id)).cloned().collect();
    assert_eq!(second.ids, rest);
    let (mut answered, _) = recorded(folder.path());
    answered.sort();
    answered.dedup();
    assert_eq!(answered.len(), 2_000);
}
