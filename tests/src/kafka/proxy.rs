//! A proxy in front of a broker. It passes everything on, and stops what a trap was set for: a request on its way to the
//! broker, or the answer on its way back.
//!
//! Each way of a connection goes by itself: a request that was stopped reaches the broker once it is let go, also when
//! its sender is dead by then, as it could in a network.

use std::collections::HashMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use super::wire::{Ask, Request, correlation, frame};

/// How long to wait for something to be caught.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long to wait for the answer to a late request.
const ANSWER: Duration = Duration::from_secs(30);

/// Which way something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the broker, which knows nothing of it yet.
    There,
    /// Back: the broker did what it was asked for.
    Back,
}

/// Where something is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// Whose request it is: the client's name.
    pub client: &'static str,
    /// What it is for.
    pub ask: Ask,
    /// The request or its answer.
    pub way: Way,
    /// Only for this lane.
    pub lane: Option<u32>,
}

impl Point {
    fn is(&self, request: &Request, way: Way) -> bool {
        self.way == way
            && self.client == request.client
            && self.ask.is(request)
            && (self.lane.is_none() || self.lane == request.lane())
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.way == Way::There { "request" } else { "answer" };
        write!(f, "the {what} {:?} of {}", self.ask, self.client)?;
        self.lane.map_or(Ok(()), |lane| write!(f, " for lane {lane}"))
    }
}

/// What becomes of something that was caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Goes,
    IsLost,
}

/// Something that was stopped on its way. It goes on when this is dropped.
#[derive(Debug)]
pub struct Caught {
    /// The request, or the one that is being answered.
    pub request: Request,
    fate: oneshot::Sender<Fate>,
}

impl Caught {
    /// Lets it go on.
    pub fn pass(self) {
        // The connection may be gone.
        let _gone = self.fate.send(Fate::Goes);
    }

    /// Loses it, and the connection with it.
    pub fn lose(self) {
        // As above.
        let _gone = self.fate.send(Fate::IsLost);
    }
}

/// A point at which the next thing is stopped.
#[derive(Debug)]
pub struct Trap {
    point: Point,
    caught: oneshot::Receiver<Caught>,
}

impl Trap {
    /// Waits until something is caught.
    ///
    /// # Errors
    /// If nothing comes for too long.
    pub async fn sprung(self) -> anyhow::Result<Caught> {
        let caught = tokio::time::timeout(PATIENCE, self.caught).await;
        let caught = caught.with_context(|| format!("{} did not come for {} s", self.point, PATIENCE.as_secs()))?;
        caught.context("the proxy has ended")
    }
}

struct Shared {
    broker: SocketAddr,
    traps: Mutex<Vec<(Point, oneshot::Sender<Caught>)>>,
}

/// A proxy that runs until it is dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Passes connections to `listener` on to a broker of this machine.
    pub fn start(listener: TcpListener, broker_port: u16) -> Self {
        let broker = SocketAddr::from((Ipv4Addr::LOCALHOST, broker_port));
        let shared = Arc::new(Shared { broker, traps: Mutex::default() });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { shared, accepting }
    }

    /// Stops the next thing that passes a point.
    pub fn trap(&self, point: Point) -> Trap {
        let (tell, caught) = oneshot::channel();
        self.shared.traps.lock().unwrap_or_else(PoisonError::into_inner).push((point, tell));
        Trap { point, caught }
    }

    /// Sends a request over a connection of its own, as a network might that had kept a copy, and returns the answer.
    ///
    /// # Errors
    /// If there is none.
    pub async fn send_late(&self, request: &Request) -> anyhow::Result<Bytes> {
        let answer = async {
            let mut broker = TcpStream::connect(self.shared.broker).await?;
            broker.write_all(&request.frame).await?;
            frame(&mut broker).await.context("the broker closed the connection")
        };
        let answer = tokio::time::timeout(ANSWER, answer).await.map_err(|_| anyhow::anyhow!("no answer"));
        answer.flatten().with_context(|| format!("a late {request}"))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    /// Stops something if there is a trap for it, and waits until its fate is known.
    async fn watch(&self, request: &Request, way: Way) -> Fate {
        let (fate, told) = oneshot::channel();
        {
            let mut traps = self.traps.lock().unwrap_or_else(PoisonError::into_inner);
            // A trap that nobody looks after any more catches nothing.
            traps.retain(|(_, tell)| !tell.is_closed());
            let Some(at) = traps.iter().position(|(point, _)| point.is(request, way)) else { return Fate::Goes };
            let (_, tell) = traps.remove(at);
            // If nobody hears of it, it goes on at once.
            let _unheard = tell.send(Caught { request: request.clone(), fate });
        }
        told.await.unwrap_or(Fate::Goes)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(pass_on(client, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

/// Requests that are not answered yet, by their number.
type Asked = Mutex<HashMap<i32, Request>>;

async fn pass_on(client: TcpStream, shared: Arc<Shared>) {
    let Ok(broker) = TcpStream::connect(shared.broker).await else { return };
    if client.set_nodelay(true).and_then(|()| broker.set_nodelay(true)).is_err() {
        return;
    }
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = broker.into_split();
    let asked = Asked::default();
    tokio::join!(there(&shared, &asked, from_client, to_broker), back(&shared, &asked, from_broker, to_client));
}

/// Passes requests on. At its end the broker is told that nothing more comes, and closes its side.
async fn there(shared: &Shared, asked: &Asked, mut client: OwnedReadHalf, mut broker: OwnedWriteHalf) {
    while let Some(request) = frame(&mut client).await.and_then(Request::read) {
        if shared.watch(&request, Way::There).await == Fate::IsLost {
            return;
        }
        let bytes = request.frame.clone();
        asked.lock().unwrap_or_else(PoisonError::into_inner).insert(request.correlation, request);
        if broker.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Passes answers on. At its end the client sees the connection closed.
async fn back(shared: &Shared, asked: &Asked, mut broker: OwnedReadHalf, mut client: OwnedWriteHalf) {
    while let Some(answer) = frame(&mut broker).await {
        let request = correlation(&answer)
            .and_then(|number| asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&number));
        if let Some(request) = request
            && shared.watch(&request, Way::Back).await == Fate::IsLost
        {
            return;
        }
        if client.write_all(&answer).await.is_err() {
            return;
        }
    }
}
