//! Accepts connections within limits, serves them, and lets them end when the daemon stops.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::body::Held;
use super::guarded::{Guarded, Phase, Times};
use super::{Gateway, stopped};
use crate::config::Http;

/// What a client gets that comes when there is no room.
const NO_ROOM: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// Pause after a failed accept: the usual cause is that the process has no free file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stopping` turns true, then waits for open requests, at most the drain time.
pub async fn serve(listener: TcpListener, gateway: Gateway, routes: Router, mut stopping: watch::Receiver<bool>) {
    let http = gateway.config.http.clone();
    let room = Arc::new(Room { http: http.clone(), taken: Mutex::default() });
    let drain = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        // Cancel-safe: an accept that is dropped has taken no connection; a join that is dropped has reaped no task.
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((io, from)) => admit(io, from, &room, &gateway, &routes, &drain, &mut connections),
                Err(e) => pause(e).await,
            },
            Some(_) = connections.join_next() => {}
            () = stopped(&mut stopping) => break,
        }
    }
    drop(listener);
    let limit = Duration::from_millis(http.drain_timeout_ms);
    if tokio::time::timeout(limit, drain.shutdown()).await.is_err() {
        tracing::warn!(limit_ms = http.drain_timeout_ms, "requests that did not end in time were cut off");
    }
}

async fn pause(error: std::io::Error) {
    tracing::warn!(%error, "a connection could not be accepted; raise the limit of open files if this goes on");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Starts serving a connection if there is room for it.
fn admit(
    io: TcpStream,
    from: SocketAddr,
    room: &Arc<Room>,
    gateway: &Gateway,
    routes: &Router,
    drain: &GracefulShutdown,
    connections: &mut JoinSet<()>,
) {
    let Some(seat) = Room::take(room, from.ip()) else {
        gateway.metrics.connection_refused();
        // One try: whoever floods the host gets no more of its time.
        let _ = io.try_write(NO_ROOM);
        return;
    };
    // Without it, an answer may wait for the acknowledgement of the one before.
    let _ = io.set_nodelay(true);
    let (gateway, routes, watcher) = (gateway.clone(), routes.clone(), drain.watcher());
    connections.spawn(async move {
        let _seat = seat;
        let _open = gateway.metrics.connection();
        if let Err(error) = serve_connection(io, &gateway, routes, watcher).await {
            tracing::debug!(%error, %from, "a connection ended early");
        }
    });
}

/// Serves one connection's requests until it is closed or the drain asks it to end.
async fn serve_connection(
    io: TcpStream,
    gateway: &Gateway,
    routes: Router,
    watcher: Watcher,
) -> Result<(), hyper::Error> {
    let http = &gateway.config.http;
    let phase = Arc::new(Phase::default());
    let io = Guarded::new(io, Arc::clone(&phase), times(http));
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |request: Request<Incoming>| {
        let busy = phase.begin();
        let answer = routes.call(request);
        async move {
            let response = answer.await?;
            gateway.metrics.response(response.status().as_u16());
            Ok::<_, Infallible>(response.map(|body| Body::new(Held::new(body, busy))))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Guarded does it, and tells a slow head from an idle connection.
        .header_read_timeout(None)
        .max_headers(http.headers_max)
        .max_header_size(http.header_bytes_max)
        .serve_connection(TokioIo::new(io), service);
    watcher.watch(connection).await
}

fn times(http: &Http) -> Times {
    Times {
        header: Duration::from_millis(http.header_timeout_ms),
        idle: Duration::from_millis(http.idle_timeout_ms),
        write: Duration::from_millis(http.write_timeout_ms),
    }
}

/// Counts the connections of a listener, in all and by address.
struct Room {
    http: Http,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: u32,
    by_address: HashMap<IpAddr, u32>,
}

/// A connection's place; given back when dropped.
struct Seat {
    room: Arc<Room>,
    address: IpAddr,
}

impl Room {
    fn take(this: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let mut taken = this.taken.lock().expect("no panic while held");
        let of_address = taken.by_address.get(&address).copied().unwrap_or(0);
        if taken.all >= this.http.connections_max || of_address >= this.http.connections_per_address_max {
            return None;
        }
        taken.all += 1;
        taken.by_address.insert(address, of_address + 1);
        Some(Seat { room: Arc::clone(this), address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.room.taken.lock().expect("no panic while held");
        taken.all -= 1;
        if let Some(count) = taken.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}
