//! What strangers do to an open port (T-52 to T-54 of the reliability plan, in small).

use super::*;

const GET: &str = "GET /v1/account/a HTTP/1.1\r\nHost: localhost\r\n";

/// The status of the first response.
fn status(text: &str) -> &str {
    text.split(' ').nth(1).unwrap_or(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_too_large_are_refused() {
    let host = Host::start().await;
    let big = format!("{GET}X: {}\r\n\r\n", "x".repeat(17 * 1024));
    assert_eq!(status(&host.raw(big.as_bytes()).await), "431");
    let huge = format!("{GET}X: {}\r\n\r\n", "x".repeat(10 << 20));
    let answer = host.raw(huge.as_bytes()).await;
    assert!(answer.is_empty() || status(&answer) == "431", "{answer}");
    let many: String = (0..10_000).map(|n| format!("X{n}: 1\r\n")).collect();
    let answer = host.raw(format!("{GET}{many}\r\n").as_bytes()).await;
    assert!(answer.is_empty() || status(&answer) == "431", "{answer}");
    let some: String = (0..63).map(|n| format!("X{n}: 1\r\n")).collect();
    assert_eq!(status(&host.raw(format!("{GET}{some}\r\n").as_bytes()).await), "404");
    assert_eq!(status(&host.raw(format!("{GET}{some}Y: 1\r\n\r\n").as_bytes()).await), "431");
    let path = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(64 * 1024));
    let answer = host.raw(path.as_bytes()).await;
    assert!(["414", "431"].contains(&status(&answer)), "{answer}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_have_a_limit_to_the_byte() {
    let host = Host::with(|config| config.http.body_bytes_max = 1000).await;
    let body = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    assert_eq!(host.send("a", &[], &body(1000)).await.2["failure"]["reason"], "unreadable");
    assert_eq!(host.send("a", &[], &body(1001)).await.0, 413);
    // A length that lies is refused before anything is read of it; chunks are counted as they come.
    let head = "POST /v1/account/a/commands HTTP/1.1\r\nHost: localhost\r\n";
    assert_eq!(status(&host.raw(format!("{head}Content-Length: 99999999999\r\n\r\n").as_bytes()).await), "413");
    let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000));
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}");
    assert_eq!(status(&host.raw(chunked.as_bytes()).await), "413");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn framing_that_lies_is_refused() {
    let host = Host::start().await;
    let head = "POST /v1/account/a/commands HTTP/1.1\r\nHost: localhost\r\n";
    for lie in [
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
        "Content-Length: -1\r\n\r\n",
        "Content-Length: 99999999999999999999\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Bad Header: 1\r\n\r\n",
    ] {
        let answer = host.raw(format!("{head}{lie}").as_bytes()).await;
        assert!(answer.is_empty() || status(&answer) == "400", "{lie:?} was answered {answer}");
    }
    // Both framings at once: one of them is a smuggler's. Whatever follows is not taken for a request of its own.
    let both = format!("{head}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{GET}\r\n");
    let answer = host.raw(both.as_bytes()).await;
    assert_eq!(status(&answer), "400", "{answer}");
    for nonsense in
        ["\0\0\0\0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\x16\x03\x01\x02\0\x01\0"]
    {
        let answer = host.raw(nonsense.as_bytes()).await;
        assert!(answer.is_empty() || status(&answer) == "400", "{nonsense:?} was answered {answer}");
    }
    assert_eq!(host.metric("ordain_commands_unanswered_total").await, 0);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_lead_nowhere_else() {
    let host = Host::start().await;
    for path in [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/v1/account/%2e%2e%2fetc",
        "/v1/account/%252e%252e",
        "/v1/account/%00",
        "/v1/account/%ff%fe",
        "/v1/account/%c0%ae",
        "/v1/account/a%0d%0aX:1",
        "//v1//account//a",
        "/v1/account/",
        "/v1/modules/../../x",
        "/v1/..\\..\\x",
        "http://elsewhere.example/v1/account/a",
        "*",
        "/v1/account/a/events/../../../x",
        "/.git/config",
    ] {
        let answer =
            host.raw(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).await;
        assert!(["400", "404", "421"].contains(&status(&answer)), "{path} was answered {answer}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_one_piece_are_answered_in_their_order() {
    let host = Host::start().await;
    let post = |body: &str| {
        format!(
            "POST /v1/account/p/commands HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let text = [
        post(OPEN),
        post(DEPOSIT),
        "GET /v1/account/p HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".into(),
    ]
    .concat();
    let answer = host.raw(text.as_bytes()).await;
    let statuses: Vec<&str> = answer.match_indices("HTTP/1.1 ").map(|(at, _)| &answer[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "200", "200"], "{answer}");
    let places = ["Opened", "Deposited", "\"balance\":5"].map(|word| answer.find(word).unwrap());
    assert!(places.is_sorted());
    host.stop().await;
}

/// Drips of heads, drips of bodies and silence: all are cut off in their time, and nobody else notices.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_slow_is_cut_off() {
    let host = Host::with(|config| {
        config.http.header_timeout_ms = 300;
        config.http.body_timeout_ms = 300;
        config.http.idle_timeout_ms = 600;
    })
    .await;
    let post = "POST /v1/account/a/commands HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n";
    let stream = "POST /v1/commands HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut attackers = Vec::new();
    for n in 0..200 {
        let mut io = TcpStream::connect(host.address).await.unwrap();
        let begin = ["", "GET / HT", post, stream][n % 4];
        io.write_all(begin.as_bytes()).await.unwrap();
        attackers.push(tokio::spawn(async move {
            let (mut from, mut to) = io.into_split();
            let drip = async {
                // A byte each 50 ms is progress on the wire, and none for the host.
                while n % 4 != 0 && to.write_all(if n % 4 == 3 { b"1\r\n\n\r\n" } else { b"x" }).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                std::future::pending::<()>().await;
            };
            let mut piece = [0; 4096];
            let closed = async { while let Ok(1..) = from.read(&mut piece).await {} };
            tokio::time::timeout(Duration::from_secs(10), async {
                tokio::select! { () = closed => {}, () = drip => {} }
            })
            .await
        }));
    }
    let (status, ..) = host.send("honest", &[], OPEN).await;
    assert_eq!(status, 200);
    for (n, attacker) in attackers.into_iter().enumerate() {
        assert!(attacker.await.unwrap().is_ok(), "attacker {n} is still connected");
    }
    eventually_closed(&host).await;
    host.stop().await;
}

async fn eventually_closed(host: &Host) {
    for _ in 0..200 {
        // The one that asks is connected itself.
        if host.connections().await <= 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} connections are still open", host.connections().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_may_stay_longer_than_a_head_may_take() {
    let host = Host::with(|config| {
        config.http.header_timeout_ms = 100;
        config.http.idle_timeout_ms = 700;
    })
    .await;
    let mut io = TcpStream::connect(host.address).await.unwrap();
    let request = format!("{GET}\r\n");
    for _ in 0..2 {
        io.write_all(request.as_bytes()).await.unwrap();
        let mut piece = [0; 4096];
        assert!(io.read(&mut piece).await.unwrap() > 0);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // A head that begins after the pause has the time of a head, not that of a pause.
    io.write_all(b"GET /").await.unwrap();
    assert!(closed_within(&mut io, Duration::from_millis(350)).await);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_have_a_limit_in_all_and_by_address() {
    let host =
        Host::with(|config| (config.http.connections_max, config.http.connections_per_address_max) = (5, 3)).await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut io = TcpStream::connect(host.address).await.unwrap();
        io.write_all(format!("{GET}\r\n").as_bytes()).await.unwrap();
        let mut piece = [0; 4096];
        assert!(io.read(&mut piece).await.unwrap() > 0);
        kept.push(io);
    }
    assert_eq!(status(&host.raw(b"").await), "503");
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = other.connect(host.address).await.unwrap();
    other.write_all(format!("{GET}Connection: close\r\n\r\n").as_bytes()).await.unwrap();
    assert_eq!(status(&read_all(&mut other, Duration::from_secs(1)).await), "404");
    kept.clear();
    eventually_closed(&host).await;
    assert_eq!(host.get("/v1/account/a").await.0, 404);
    assert_eq!(host.metric("ordain_http_connections_refused_total").await, 1);
    host.stop().await;
}

/// A page whose own name suddenly stands for 127.0.0.1 is of the same origin as the host, and could command it.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_takes_this_machine_for_its_own_is_refused() {
    let host = Host::start().await;
    let post = |head: &str| format!("POST /v1/account/a/commands {head}Content-Length: {}\r\n\r\n{OPEN}", OPEN.len());
    for foreign in [
        "HTTP/1.1\r\nHost: evil.example\r\n",
        "HTTP/1.1\r\nHost: evil.example:7400\r\nOrigin: http://evil.example:7400\r\n",
        "HTTP/1.1\r\nHost: localhost.evil.example\r\n",
        "HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n",
        "HTTP/1.1\r\nHost:\r\n",
    ] {
        let answer = host.raw(post(foreign).as_bytes()).await;
        assert_eq!(status(&answer), "421", "{foreign:?} was answered {answer}");
        assert!(answer.contains("urn:ordain:problem:other-host"), "{answer}");
    }
    let target = "GET http://evil.example/v1/account/a HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(status(&host.raw(target.as_bytes()).await), "421");
    for own in
        ["HTTP/1.1\r\nHost: localhost:7400\r\n", "HTTP/1.1\r\nHost: [::1]:7400\r\n", "HTTP/1.0\r\n", "HTTP/1.1\r\n"]
    {
        let answer = host.raw(post(own).as_bytes()).await;
        assert!(["200", "422"].contains(&status(&answer)), "{own:?} was answered {answer}");
    }
    let mut admin = Client::new(&format!("http://{}", host.admin)).unwrap();
    for (name, value, refused) in [("host", "evil.example", 421), ("origin", "http://evil.example", 403)] {
        let answer = admin.request("GET", "/metrics", &[(name, value)], "").await.unwrap();
        assert_eq!(answer.status, refused, "{name}: {value}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_opens_the_host_to_others_has_it_asked_under_any_name() {
    let host = Host::with(|config| config.http.insecure = true).await;
    let get = "GET /v1/account/a HTTP/1.1\r\nHost: ordain.example\r\n\r\n";
    assert_eq!(status(&host.raw(get.as_bytes()).await), "404");
    host.stop().await;
}
