use super::*;

/// The whole table of one command: each way it can end, with its status.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_ends_as_the_table_says() {
    let host = Host::start().await;
    let (status, _, outcome) = host.send("acc-1", &[("idempotency-key", "open")], OPEN).await;
    assert_eq!((status, &outcome["outcome"], &outcome["version"]), (200, &"accepted".into(), &1.into()), "{outcome}");
    assert_eq!(outcome["events"][0]["event"]["Opened"]["owner"], "ann");
    assert!(outcome.get("replayed").is_none());

    let (status, _, again) = host.send("acc-1", &[("idempotency-key", "open")], OPEN).await;
    assert_eq!((status, &again["replayed"], &again["version"]), (200, &true.into(), &1.into()));
    let (status, _, reused) = host.send("acc-1", &[("idempotency-key", "open")], DEPOSIT).await;
    assert_eq!((status, reused["failure"]["reason"].as_str()), (422, Some("command_id_reused")));

    let (status, _, rejected) = host.send("acc-1", &[], r#"{"Withdraw":{"amount":500}}"#).await;
    assert_eq!((status, rejected["rejection"]["code"].as_str()), (422, Some("InsufficientFunds")), "{rejected}");
    assert_eq!(rejected["rejection"]["details"]["requested"], 500);

    let (status, _, conflict) = host.send("acc-1", &[("if-match", "\"7\"")], DEPOSIT).await;
    assert_eq!((status, &conflict["conflict"]), (409, &serde_json::json!({"expected": 7, "actual": 1})));
    assert_eq!(host.send("acc-1", &[("if-none-match", "*")], DEPOSIT).await.0, 409);
    assert_eq!(host.send("acc-1", &[("if-match", "\"1\"")], DEPOSIT).await.0, 200);

    let (status, _, unreadable) = host.send("acc-1", &[], r#"{"Fly":{}}"#).await;
    assert_eq!((status, unreadable["failure"]["reason"].as_str()), (400, Some("unreadable")));
    assert_eq!(host.metric("ordain_commands_replayed_total").await, 1);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_recorded_is_a_problem() {
    let host = Host::start().await;
    let cases: [(u16, &str, (u16, HeaderMap, Value)); 17] = [
        (400, "not-json", host.send("a", &[], "{").await),
        (400, "not-json", host.send("a", &[], "").await),
        (400, "not-json", host.send("a", &[], "1 2").await),
        (400, "bad-request", host.send("a", &[("if-match", "3")], OPEN).await),
        (400, "bad-request", host.send(&"x".repeat(257), &[], OPEN).await),
        (400, "bad-request", host.send("a\u{0}b", &[], OPEN).await),
        (400, "bad-request", host.ask("POST", "/v1/account/a/commands?expected_version=3", &[], OPEN).await),
        (400, "bad-request", host.ask("POST", "/v1/commands?type=account", &[], "").await),
        (400, "bad-request", host.ask("POST", "/v1/modules?type=account", &[], "").await),
        (400, "bad-request", host.ask("GET", "/v1/modules?type=account", &[], "").await),
        (400, "bad-request", host.get("/v1/account/a?version=x").await),
        (404, "unknown-type", host.ask("POST", "/v1/nothing/a/commands", &[], OPEN).await),
        (404, "unknown-type", host.ask("POST", "/v1/Account/a/commands", &[], OPEN).await),
        (404, "unknown-aggregate", host.get("/v1/account/never").await),
        (404, "no-route", host.get("/v2").await),
        (405, "method-not-allowed", host.ask("DELETE", "/v1/account/a", &[], "").await),
        (403, "cross-origin", host.send("a", &[("origin", "http://evil.example")], OPEN).await),
    ];
    for (status, name, (got, headers, problem)) in cases {
        assert_eq!((got, &problem["type"]), (status, &format!("urn:ordain:problem:{name}").into()), "{problem}");
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().unwrap().len() > 10, "{problem}");
    }
    assert_eq!(host.metric("ordain_commands_unanswered_total").await, 0);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_what_the_path_says_once_decoded() {
    let host = Host::start().await;
    for id in ["a/b", "ä ö", "a%2Fb", "..", "commands", "\u{1F600}", "a?b#c", "a.b"] {
        let (status, _, outcome) = host.send(id, &[], OPEN).await;
        assert_eq!((status, outcome["id"].as_str()), (200, Some(id)), "{outcome}");
        let (_, _, state) = host.get(&format!("/v1/account/{}", percent_encoded(id))).await;
        assert_eq!(state["id"].as_str(), Some(id));
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn respond_async_gives_a_place_to_ask_later() {
    let host = Host::start().await;
    let headers = [("prefer", "respond-async"), ("idempotency-key", "c/1")];
    let (status, headers, _) = host.send("a b", &headers, OPEN).await;
    assert_eq!((status, &headers["location"]), (202, &"/v1/account/a%20b/commands/c%2F1".parse().unwrap()));
    let (status, _, outcome) = host.get(headers["location"].to_str().unwrap()).await;
    assert_eq!((status, outcome["outcome"].as_str()), (200, Some("accepted")));
    assert_eq!(host.get("/v1/account/a%20b/commands/never").await.0, 404);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn states_and_history_can_be_read() {
    let host = Host::start().await;
    host.send("a", &[], OPEN).await;
    for _ in 0..3 {
        host.send("a", &[], DEPOSIT).await;
    }
    let (status, headers, state) = host.get("/v1/account/a").await;
    assert_eq!((status, &headers["etag"], &state["state"]["balance"]), (200, &"\"4\"".parse().unwrap(), &15.into()));
    assert_eq!(host.ask("GET", "/v1/account/a", &[("if-none-match", "\"4\"")], "").await.0, 304);
    let (status, headers, past) = host.get("/v1/account/a?version=2").await;
    assert_eq!((status, &headers["etag"], &past["state"]["balance"]), (200, &"\"2\"".parse().unwrap(), &5.into()));
    assert_eq!(host.get("/v1/account/a?version=5").await.0, 404);
    for bad in ["?version=x", "?version=1&min_version=1", "?versoin=1", "?version=-1"] {
        let (status, _, problem) = host.get(&format!("/v1/account/a{bad}")).await;
        assert_eq!(status, 400, "{bad}");
        assert!(problem["detail"].as_str().unwrap().contains("min_version"), "{problem}");
    }

    let (status, _, page) = host.get("/v1/account/a/events?from=2&limit=2").await;
    assert_eq!((status, &page["version"], &page["next"]), (200, &4.into(), &4.into()), "{page}");
    assert_eq!(
        page["events"].as_array().unwrap().iter().map(|e| e["version"].as_u64().unwrap()).collect::<Vec<_>>(),
        [2, 3]
    );
    let (_, _, rest) = host.get("/v1/account/a/events?from=4").await;
    assert!(rest.get("next").is_none() && rest["events"].as_array().unwrap().len() == 1);
    for bad in ["?from=0", "?limit=0", "?limit=1001", "?after=1"] {
        assert_eq!(host.get(&format!("/v1/account/a/events{bad}")).await.0, 400, "{bad}");
    }
    assert_eq!(host.get("/v1/account/never/events").await.0, 404);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_can_be_waited_for() {
    let host = Host::with(|config| config.http.state_wait_ms = 300).await;
    host.send("a", &[], OPEN).await;
    assert_eq!(host.get("/v1/account/a?min_version=1").await.0, 200);
    let (status, _, problem) = host.get("/v1/account/a?min_version=2").await;
    assert_eq!((status, problem["type"].as_str()), (504, Some("urn:ordain:problem:version-not-reached")));
    let (waited, _) = tokio::join!(host.get("/v1/account/a?min_version=2"), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        host.send("a", &[], DEPOSIT).await
    });
    assert_eq!((waited.0, &waited.2["version"]), (200, &2.into()));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregates_are_listed_in_pages() {
    let host = Host::start().await;
    for id in ["c", "a", "b"] {
        host.send(id, &[], OPEN).await;
    }
    let (_, _, page) = host.get("/v1/account?limit=2").await;
    assert_eq!(
        page,
        serde_json::json!({"type": "account", "aggregates": [{"id": "a", "version": 1}, {"id": "b", "version": 1}], "next": "b"})
    );
    let (_, _, rest) = host.get("/v1/account?after=b").await;
    assert_eq!(rest, serde_json::json!({"type": "account", "aggregates": [{"id": "c", "version": 1}]}));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_whether_it_serves() {
    let host = Host::start().await;
    let mut admin = Client::new(&format!("http://{}", host.admin)).unwrap();
    for path in ["/livez", "/readyz"] {
        let answer = admin.request("GET", path, &[], "").await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (200, &br#"{"status":"ready"}"#[..]));
    }
    host.send("a", &[], OPEN).await;
    let lanes = host.metric("ordain_lane_commands_total{lane=\"0\"}").await
        + host.metric("ordain_lane_commands_total{lane=\"1\"}").await;
    assert_eq!(lanes, 1);
    assert_eq!(host.get("/metrics").await.0, 404, "the API's listener has no metrics");
    host.stop().await;
}

/// A stop lets a request end that is on its way, and closes idle connections at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_idle_connections() {
    let host = Host::start().await;
    let mut idle = host.client();
    idle.request("GET", "/v1/account/x", &[], "").await.unwrap();
    let started = crate::clock::Stopwatch::start();
    host.stop().await;
    assert!(started.elapsed() < Duration::from_secs(5));
}
