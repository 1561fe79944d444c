//! The way in over HTTP. docs/http.md describes it for its users.
//!
//! - `server`: accepts connections, within limits, and lets them end when the daemon stops; `guarded` times their bytes.
//! - `command`, [`stream`](self): one command, many commands. `reads`, `modules`, `admin`: everything else.
//! - `target`, `query`, `headers`, `body`: the parts of a request. `pages`: keeps other people's pages out.
//!   `documents`, `openapi`: what the host says of itself to programs.
//! - [`problem`], [`render`]: what is answered. [`client`]: the other side, for the command line.
//!
//! Invariants: HTTP types are known in this folder only; nothing here knows a log, a module's memory, or more of a lane than its counters; every
//! wait has an end and every buffer a limit, both in [`crate::config::Http`].

mod admin;
mod body;
pub mod client;
mod command;
mod documents;
mod elsewhere;
mod guarded;
mod headers;
mod metrics;
mod modules;
mod openapi;
mod pages;
pub mod problem;
mod query;
mod reads;
pub mod render;
mod server;
mod stream;
mod target;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware;
use axum::routing::{MethodRouter, get, post};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::Config;
use crate::engine::Engine;
use documents::Documents;
use metrics::Metrics;
use pages::Names;
use problem::{Kind, Problem};
pub use target::percent_encoded;

/// What every handler sees. Cheap to clone.
#[derive(Clone)]
struct Gateway {
    engine: Engine,
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    /// Connections to the hosts that share the log.
    peers: Arc<elsewhere::Peers>,
    documents: Arc<Documents>,
    /// Turns true when the daemon stops: streams take no further line.
    stopping: watch::Receiver<bool>,
}

/// The listeners, bound and not yet served: what comes waits in the system's backlog.
#[derive(Debug)]
pub struct Listeners {
    http: TcpListener,
    admin: TcpListener,
    /// Where the API is.
    pub address: SocketAddr,
    /// Where liveness, readiness and metrics are.
    pub admin_address: SocketAddr,
}

impl Listeners {
    /// Binds both addresses.
    ///
    /// # Errors
    /// A sentence that names the address that could not be had, and what to do.
    pub async fn bind(config: &Config) -> Result<Self, String> {
        let http = bind(config.http.listen, "--listen").await?;
        let admin = bind(config.http.admin_listen, "--admin-listen").await?;
        let local =
            |listener: &TcpListener| listener.local_addr().map_err(|e| format!("a listener has no address: {e}"));
        Ok(Self { address: local(&http)?, admin_address: local(&admin)?, http, admin })
    }

    /// Serves until `stopping` turns true (or its sender is gone) and the open requests ended or their time is over.
    pub async fn serve(self, engine: Engine, config: Arc<Config>, stopping: watch::Receiver<bool>) {
        let [of_api, of_admin] = [self.address, self.admin_address].map(|address| Names::of(address.ip(), &config));
        let gateway = Gateway {
            engine,
            config,
            metrics: Arc::default(),
            peers: Arc::default(),
            documents: Arc::default(),
            stopping: stopping.clone(),
        };
        tokio::join!(
            server::serve(self.http, gateway.clone(), guarded(api(gateway.clone()), of_api), stopping.clone()),
            server::serve(self.admin, gateway.clone(), guarded(admin::routes(gateway.clone()), of_admin), stopping),
        );
    }
}

/// Waits until the daemon stops. Cancel-safe: it takes nothing.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // A sender that is gone is a daemon that is gone.
    let _ = stopping.wait_for(|stop| *stop).await;
}

async fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|e| {
        format!("cannot listen on {address}: {e}; choose another address with {flag} (port 0 = any free one)")
    })
}

/// All paths of the API, and what is at each. `openapi` describes them; a test compares the two.
fn routes() -> [(&'static str, MethodRouter<Gateway>); 11] {
    [
        ("/v1/commands", post(stream::commands)),
        ("/v1/modules", get(modules::list).post(modules::deploy)),
        ("/v1/modules/{digest}", get(modules::one)),
        ("/v1/{type}", get(reads::list)),
        ("/v1/{type}/{id}", get(reads::state)),
        ("/v1/{type}/{id}/events", get(reads::history)),
        ("/v1/{type}/{id}/commands", post(command::submit)),
        ("/v1/{type}/{id}/commands/{command_id}", get(command::outcome)),
        ("/openapi.json", get(documents::openapi)),
        ("/asyncapi.json", get(documents::asyncapi)),
        ("/docs", get(documents::docs)),
    ]
}

fn api(gateway: Gateway) -> Router {
    routes()
        .into_iter()
        .fold(Router::new(), |router, (path, methods)| router.route(path, methods))
        .fallback(no_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(gateway.clone(), elsewhere::pass_on))
        .with_state(gateway)
}

/// Neither listener serves other people's pages.
fn guarded(routes: Router, names: Names) -> Router {
    routes
        .layer(middleware::from_fn(pages::same_origin))
        .layer(middleware::from_fn_with_state(names, pages::known_name))
}

async fn no_route(request: Request) -> Problem {
    Problem::new(
        Kind::NoRoute,
        format!("there is nothing at {}: see docs/http.md for the paths there are", request.uri().path()),
    )
}

async fn method_not_allowed(request: Request) -> Problem {
    let detail = format!("{} does not know {}: see docs/http.md", request.uri().path(), request.method());
    Problem::new(Kind::MethodNotAllowed, detail)
}

/// The answer of a future, if it comes in time.
async fn within<T>(
    limit_ms: u64,
    late: impl FnOnce() -> Problem,
    answer: impl Future<Output = T>,
) -> Result<T, Problem> {
    tokio::time::timeout(Duration::from_millis(limit_ms), answer).await.map_err(|_| late())
}

#[cfg(test)]
pub(crate) mod tests;
