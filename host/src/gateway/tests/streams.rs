use super::*;

/// Sends lines as one stream and gives the answers by line.
async fn stream(host: &Host, text: &str) -> Vec<Value> {
    let (lines, mut answers) = host.client().stream().await.unwrap();
    lines.send(&mut text.as_bytes().to_vec()).await.unwrap();
    drop(lines);
    let mut all = Vec::new();
    while let Some(lines) = answers.next().await.unwrap() {
        all.extend(lines.iter().map(|line| serde_json::from_slice::<Value>(line).unwrap()));
    }
    all.sort_by_key(|answer| answer["line"].as_u64());
    all
}

fn line(id: &str, command: &str) -> String {
    format!("{{\"type\":\"account\",\"id\":\"{id}\",\"command\":{command}}}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_has_one_answer_under_its_number() {
    let host = Host::start().await;
    let text = [
        line("a", OPEN),
        "\n".into(),
        line("a", DEPOSIT),
        "not json\n".into(),
        "{\"type\":\"nothing\",\"id\":\"a\",\"command\":1}\n".into(),
        "  \r\n".into(),
        "{\"type\":\"account\",\"id\":\"a\",\"command\":{\"Close\":{}},\"expected_version\":9,\"command_id\":\"c\",\"correlation_id\":\"x\",\"metadata\":{\"k\":1}}\n".into(),
        line("", OPEN),
        // The last one has no line break.
        line("a", r#"{"Withdraw":{"amount":9999}}"#).trim_end().into(),
    ]
    .concat();
    let answers = stream(&host, &text).await;
    let numbers: Vec<u64> = answers.iter().map(|answer| answer["line"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 3, 4, 5, 7, 8, 9]);
    let words: Vec<&str> = answers.iter().filter_map(|answer| answer["outcome"]["outcome"].as_str()).collect();
    assert_eq!(words, ["accepted", "accepted", "conflict", "rejected"]);
    let problems: Vec<&str> = answers.iter().filter_map(|answer| answer["error"]["type"].as_str()).collect();
    assert_eq!(
        problems,
        ["urn:ordain:problem:not-json", "urn:ordain:problem:unknown-type", "urn:ordain:problem:bad-request"]
    );
    assert_eq!(answers[4]["outcome"]["command_id"], "c");
    host.stop().await;
}

/// Far more lines than the window holds, in pieces that end anywhere; commands of one aggregate keep their order.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_any_length_keeps_its_order() {
    let host = Host::with(|config| config.http.stream_window_lines = 64).await;
    const ACCOUNTS: usize = 7;
    const LINES: usize = 20_000;
    let mut text = Vec::new();
    for account in 0..ACCOUNTS {
        text.extend_from_slice(line(&format!("acc-{account}"), OPEN).as_bytes());
    }
    for n in 0..LINES {
        text.extend_from_slice(line(&format!("acc-{}", n % ACCOUNTS), DEPOSIT).as_bytes());
    }
    let (lines, mut answers) = host.client().stream().await.unwrap();
    let sending = tokio::spawn(async move {
        for piece in text.chunks(10_007) {
            lines.send(&mut piece.to_vec()).await.unwrap();
        }
    });
    let mut seen = vec![false; ACCOUNTS + LINES + 1];
    let mut versions = [0; ACCOUNTS];
    let mut check = |text: &[u8]| {
        let answer: Value = serde_json::from_slice(text).unwrap();
        let number = answer["line"].as_u64().unwrap() as usize;
        assert!(!std::mem::replace(&mut seen[number], true), "line {number} was answered twice");
        let version = answer["outcome"]["version"].as_u64().unwrap();
        let account = (number - 1) % ACCOUNTS;
        let expected = 1 + (number - 1) / ACCOUNTS;
        assert_eq!(version, expected as u64, "line {number} of account {account}");
        versions[account] += 1;
    };
    while let Some(lines) = answers.next().await.unwrap() {
        lines.iter().for_each(&mut check);
    }
    sending.await.unwrap();
    assert!(seen[1..].iter().all(|seen| *seen));
    host.stop().await;
}

/// A line is answered although the client keeps the stream open and sends nothing more.
#[tokio::test(flavor = "multi_thread")]
async fn answers_do_not_wait_for_the_end_of_the_stream() {
    let host = Host::start().await;
    let (lines, mut answers) = host.client().stream().await.unwrap();
    for n in 1..=3_u64 {
        lines.send(&mut line(&format!("a-{n}"), OPEN).into_bytes()).await.unwrap();
        let mut got = None;
        while got.is_none() {
            let lines = answers.next().await.unwrap().expect("the stream goes on");
            got = lines.iter().next().map(|text| serde_json::from_slice::<Value>(text).unwrap());
        }
        assert_eq!(got.unwrap()["line"], n);
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_too_long_is_refused_and_the_next_one_is_taken() {
    let host = Host::with(|config| {
        config.http.body_bytes_max = 1000;
        config.http.stream_window_bytes = 2000;
        config.http.stream_window_lines = 8;
    })
    .await;
    let owner =
        |length: usize| line("a", &format!(r#"{{"Open":{{"owner":"{}","overdraft_limit":1}}}}"#, "x".repeat(length)));
    let fits = 1000 - (owner(0).len() - 1);
    let answers = stream(&host, &[owner(fits + 1), owner(100_000), owner(fits), line("b", OPEN)].concat()).await;
    let shown: Vec<&str> = answers
        .iter()
        .map(|answer| answer["outcome"]["outcome"].as_str().or(answer["error"]["title"].as_str()).unwrap())
        .collect();
    assert_eq!(shown, ["The body is too large", "The body is too large", "accepted", "accepted"]);
    // Lines that each take half of the byte window do not block each other for ever.
    let long: String = (0..50).map(|_| line("b", &format!("{DEPOSIT}{}", " ".repeat(800)))).collect();
    assert_eq!(stream(&host, &long).await.len(), 50);
    host.stop().await;
}

/// Sends lines and reads no answer, until the host takes nothing for a second or the connection breaks; gives the number
/// of lines that went away.
async fn send_without_reading(io: &mut TcpStream) -> u64 {
    io.write_all(b"POST /v1/commands HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n").await.unwrap();
    let text = line("a", DEPOSIT).repeat(1000);
    let mut sent = 0;
    while let Ok(Ok(())) = tokio::time::timeout(Duration::from_secs(1), io.write_all(text.as_bytes())).await {
        sent += 1000;
        assert!(sent < 1_000_000, "the host reads on and on");
    }
    sent
}

/// What went away is in the buffers of the two sockets, each a few megabytes, and in the window; no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_not_read() {
    let host =
        Host::with(|config| (config.http.write_timeout_ms, config.http.stream_window_lines) = (60_000, 64)).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let mut io = socket.connect(host.address).await.unwrap();
    let sent = send_without_reading(&mut io).await;
    let taken = host.metric("ordain_http_lines_total").await;
    assert!(taken < 50_000 && taken < sent, "{taken} of {sent} lines were taken although no answer was read");
    drop(io);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_cut_off() {
    let host = Host::with(|config| config.http.write_timeout_ms = 500).await;
    let mut io = TcpStream::connect(host.address).await.unwrap();
    send_without_reading(&mut io).await;
    for _ in 0..500 {
        if host.connections().await <= 1 {
            return host.stop().await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the client that does not read is still connected");
}

/// When the host stops, a stream ends after the answers to what was taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_an_open_stream() {
    let host = Host::start().await;
    let (lines, mut answers) = host.client().stream().await.unwrap();
    lines.send(&mut line("a", OPEN).into_bytes()).await.unwrap();
    let mut count = 0;
    while count == 0 {
        count += answers.next().await.unwrap().unwrap().iter().count();
    }
    host.stop().await;
    let ended = tokio::time::timeout(Duration::from_secs(5), answers.next()).await;
    assert!(matches!(ended, Ok(Ok(None) | Err(_))) && count == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_and_a_line_without_its_end_are_ended() {
    let host = Host::with(|config| (config.http.idle_timeout_ms, config.http.body_timeout_ms) = (400, 200)).await;
    let (lines, mut answers) = host.client().stream().await.unwrap();
    lines.send(&mut b"{\"type\":".to_vec()).await.unwrap();
    let mut all = Vec::new();
    while let Ok(Some(lines)) = answers.next().await {
        all.extend(lines.iter().map(|text| serde_json::from_slice::<Value>(text).unwrap()));
    }
    assert_eq!(all[0]["error"]["type"], "urn:ordain:problem:slow-body");
    let (_lines, mut answers) = host.client().stream().await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), answers.next()).await;
    assert!(matches!(ended, Ok(Ok(None) | Err(_))));
    host.stop().await;
}

/// The host may have made the id, and says to send the command again under it.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_without_an_outcome_is_told_its_command_id() {
    let host = Host::start().await;
    tokio::task::block_in_place(|| host.lanes.stop());
    let given = r#"{"type":"account","id":"a","command":1,"command_id":"c-1"}"#;
    let answers = stream(&host, &format!("not json\n{}{given}\n", line("a", OPEN))).await;
    assert_eq!(answers.len(), 3);
    assert!(answers[0]["error"].get("command_id").is_none(), "{}", answers[0]);
    assert_eq!(answers[1]["error"]["type"], "urn:ordain:problem:unavailable");
    assert_eq!(answers[1]["error"]["command_id"].as_str().unwrap().len(), 36, "{}", answers[1]);
    assert_eq!(answers[2]["error"]["command_id"], "c-1");
    host.stop().await;
}
