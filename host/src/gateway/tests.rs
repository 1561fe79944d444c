//! The whole gateway on real lanes and a real log, with native rules.

mod attacks;
mod commands;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use bank_account::Account;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::client::Client;
use super::*;
use crate::decider::native::NativeRules;
use crate::engine::{Parts, Status};
use crate::lane::Settings;
use crate::lane::supervisor::{Lanes, Shared};
use crate::log::embedded::{EmbeddedLog, Options};
use crate::store::Store;

const PARTITIONS: u32 = 16;

/// A host with its own folder, on free ports of this machine.
pub(crate) struct Host {
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    stop: watch::Sender<bool>,
    served: tokio::task::JoinHandle<()>,
    lanes: Lanes,
    _log: Arc<EmbeddedLog>,
    _folder: TempDir,
}

impl Host {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With other limits than the defaults.
    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        (config.http.listen, config.http.admin_listen) = (([127, 0, 0, 1], 0).into(), ([127, 0, 0, 1], 0).into());
        change(&mut config);
        let folder = TempDir::new().unwrap();
        let options = Options { lanes: 2, partitions: PARTITIONS, ..Options::default() };
        let log = Arc::new(EmbeddedLog::open(&folder.path().join("log"), options).unwrap());
        let store = Arc::new(Store::open(&folder.path().join("store"), log.id(), log.end(), PARTITIONS).unwrap());
        let book = NativeRules::<Account>::book();
        let maker = Arc::clone(&log);
        let lanes = Lanes::start(Shared {
            log: Box::new(move |lane, _, on_committed| Box::new(maker.lane(lane, on_committed))),
            history: log.reader(),
            store: Arc::clone(&store),
            book: Arc::clone(&book),
            settings: settings(),
            queue_commands_max: config.queue.commands_max,
            queue_bytes_max: config.queue.bytes_max,
        })
        .unwrap();
        let engine = Engine::new(Parts {
            partitions: PARTITIONS,
            lanes: lanes.ways.clone(),
            book,
            modules: None,
            history: log.reader(),
            store,
            intake: None,
            readers_max: 4,
            readers_waiting_max: 64,
        });
        let listeners = Listeners::bind(&config).await.unwrap();
        let (address, admin) = (listeners.address, listeners.admin_address);
        let (stop, stopping) = watch::channel(false);
        eventually(|| engine.status() == Status::Ready).await;
        let served = tokio::spawn(listeners.serve(engine, Arc::new(config), stopping));
        Self { address, admin, stop, served, lanes, _log: log, _folder: folder }
    }

    fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.address)).unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, HeaderMap, Value) {
        self.ask("GET", path, &[], "").await
    }

    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, HeaderMap, Value) {
        let answer = self.client().request(method, path, headers, body.as_bytes().to_vec()).await.unwrap();
        let body =
            serde_json::from_slice(&answer.body).unwrap_or(Value::String(String::from_utf8_lossy(&answer.body).into()));
        (answer.status, answer.headers, body)
    }

    /// Sends one command to an account.
    async fn send(&self, id: &str, headers: &[(&str, &str)], body: &str) -> (u16, HeaderMap, Value) {
        self.ask("POST", &format!("/v1/account/{}/commands", percent_encoded(id)), headers, body).await
    }

    /// Writes bytes to a connection of its own, and reads until the host closes it or a second has passed.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut io = TcpStream::connect(self.address).await.unwrap();
        let _ = io.write_all(bytes).await;
        read_all(&mut io, Duration::from_secs(1)).await
    }

    /// Open connections, as the metrics say.
    async fn connections(&self) -> u64 {
        self.metric("ordain_http_connections").await
    }

    async fn metric(&self, name: &str) -> u64 {
        let mut client = Client::new(&format!("http://{}", self.admin)).unwrap();
        let text = client.request("GET", "/metrics", &[], "").await.unwrap().body;
        let text = String::from_utf8(text.to_vec()).unwrap();
        let line = text.lines().find(|line| line.starts_with(name) && line[name.len()..].starts_with(' '));
        line.unwrap()[name.len() + 1..].parse().unwrap()
    }

    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        tokio::time::timeout(Duration::from_secs(20), self.served).await.expect("drained in time").unwrap();
        tokio::task::spawn_blocking(move || self.lanes.stop()).await.unwrap();
    }
}

fn settings() -> Settings {
    Settings {
        lane: 0,
        lanes: 2,
        partitions: PARTITIONS,
        batch_commands_max: 1024,
        batch_bytes_max: 4 << 20,
        resident_aggregates_max: 1_000_000,
        decider_bytes_max: usize::MAX,
        checkpoint_aggregates: 10_000,
        checkpoint_ms: 10_000,
        checkpoint_log_bytes: 64 << 20,
    }
}

const OPEN: &str = r#"{"Open":{"owner":"ann","overdraft_limit":100}}"#;
const DEPOSIT: &str = r#"{"Deposit":{"amount":5}}"#;

/// Waits until something holds, at most ten seconds.
async fn eventually(mut holds: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come about in ten seconds");
}

/// What arrives until the connection is closed or the patience ends.
async fn read_all(io: &mut TcpStream, patience: Duration) -> String {
    let mut text = Vec::new();
    let _ = tokio::time::timeout(patience, async {
        let mut piece = [0; 4096];
        while let Ok(n @ 1..) = io.read(&mut piece).await {
            text.extend_from_slice(&piece[..n]);
        }
    })
    .await;
    String::from_utf8_lossy(&text).into_owned()
}

/// Whether the host closes the connection within the time.
async fn closed_within(io: &mut TcpStream, patience: Duration) -> bool {
    let mut piece = [0; 4096];
    let until_closed = async { while let Ok(1..) = io.read(&mut piece).await {} };
    tokio::time::timeout(patience, until_closed).await.is_ok()
}
