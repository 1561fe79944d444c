//! A small HTTP client over hyper: one connection, requests one after the other, and [`stream`] for bulk.

pub mod stream;

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HeaderMap;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::command::{Command, path_segment};

/// How long a request may take before its client gives up on it. Longer than the host's own limit.
const PATIENCE: Duration = Duration::from_secs(60);

/// No answer came: the connection could not be made, broke, or stayed silent. What was asked may have happened.
#[derive(Debug)]
pub struct Broken(pub String);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

fn broken(doing: &str, cause: impl std::fmt::Display) -> Broken {
    Broken(format!("{doing}: {cause}"))
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// If it is something else; the error shows it.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let text = String::from_utf8_lossy(&self.body);
            anyhow::anyhow!("status {} with a body that is not JSON ({error}): {text}", self.status)
        })
    }
}

/// One connection to a daemon, made when it is first needed and again after it broke.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    connection: Option<SendRequest<Chunks>>,
}

impl Client {
    /// A client of the daemon at an address. Nothing is sent yet.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, connection: None }
    }

    /// The daemon is at another address from now on.
    pub fn move_to(&mut self, address: SocketAddr) {
        if address != self.address {
            *self = Self::new(address);
        }
    }

    /// Sends one request and waits for the whole answer.
    ///
    /// # Errors
    /// [`Broken`] if none came; the next request makes a new connection.
    pub async fn request(&mut self, request: Request<Chunks>) -> Result<Answer, Broken> {
        // Taken out, so that a caller who gives up does not leave a connection with half an answer behind.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(self.address).await?,
        };
        if connection.ready().await.is_err() {
            // The host closed it after the last answer; nothing of this request was sent over it.
            connection = connect(self.address).await?;
        }
        let exchange = async {
            connection.ready().await.map_err(|e| broken("waiting for the connection", e))?;
            let response = connection.send_request(request).await.map_err(|e| broken("sending", e))?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(|e| broken("reading the answer", e))?.to_bytes();
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
        };
        let answer = tokio::time::timeout(PATIENCE, exchange).await;
        let answer = answer.map_err(|_| Broken(format!("no answer within {} s", PATIENCE.as_secs())))??;
        self.connection = Some(connection);
        Ok(answer)
    }

    /// `GET` of a path.
    ///
    /// # Errors
    /// [`Broken`] if no answer came.
    pub async fn get(&mut self, path: &str) -> Result<Answer, Broken> {
        self.request(self.head(Method::GET, path).body(Chunks::none()).map_err(|e| broken("GET", e))?).await
    }

    /// `POST` of a body to a path, with headers.
    ///
    /// # Errors
    /// [`Broken`] if no answer came.
    pub async fn post(&mut self, path: &str, headers: &[(&str, &str)], body: Bytes) -> Result<Answer, Broken> {
        let request =
            headers.iter().fold(self.head(Method::POST, path), |head, (name, value)| head.header(*name, *value));
        self.request(request.body(Chunks::one(body)).map_err(|e| broken("POST", e))?).await
    }

    /// Sends one command and waits for its outcome.
    ///
    /// # Errors
    /// [`Broken`] if no answer came.
    pub async fn send(&mut self, command: &Command) -> Result<Answer, Broken> {
        self.send_with(command, &[]).await
    }

    /// Sends one command with more headers.
    ///
    /// # Errors
    /// [`Broken`] if no answer came.
    pub async fn send_with(&mut self, command: &Command, more: &[(&str, &str)]) -> Result<Answer, Broken> {
        let path = format!("/v1/{}/{}/commands", command.aggregate_type, path_segment(&command.id));
        let expected = command.expected_version.map(|version| format!("\"{version}\""));
        let mut headers = vec![("content-type", "application/json"), ("idempotency-key", &*command.command_id)];
        match &expected {
            Some(_) if command.expected_version == Some(0) => headers.push(("if-none-match", "*")),
            Some(version) => headers.push(("if-match", version)),
            None => {}
        }
        headers.extend(more);
        self.post(&path, &headers, Bytes::copy_from_slice(command.command.get().as_bytes())).await
    }

    fn head(&self, method: Method, path: &str) -> hyper::http::request::Builder {
        Request::builder().method(method).uri(path).header("host", self.address.to_string())
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Chunks>, Broken> {
    let socket = TcpStream::connect(address).await.map_err(|e| broken("connecting", e))?;
    socket.set_nodelay(true).map_err(|e| broken("connecting", e))?;
    let (sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(|e| broken("connecting", e))?;
    // Ends when the connection does; what went wrong reaches the request that waits for an answer.
    tokio::spawn(connection);
    Ok(sender)
}

/// Opens a connection and begins a request whose body is written while its answer is read.
async fn begin(
    address: SocketAddr,
    head: hyper::http::request::Builder,
    body: Chunks,
) -> Result<Response<Incoming>, Broken> {
    let mut connection = connect(address).await?;
    let request = head.body(body).map_err(|e| broken("POST", e))?;
    connection.send_request(request).await.map_err(|e| broken("sending", e))
}

/// A request's body: nothing, one piece, or pieces as they come.
#[derive(Debug)]
pub struct Chunks {
    first: Option<Bytes>,
    more: Option<mpsc::Receiver<Bytes>>,
}

impl Chunks {
    /// No body.
    pub fn none() -> Self {
        Self { first: None, more: None }
    }
    /// A body of one piece.
    pub fn one(body: Bytes) -> Self {
        Self { first: Some(body), more: None }
    }
    /// A body of what is sent to the channel, until that is closed.
    pub fn of(more: mpsc::Receiver<Bytes>) -> Self {
        Self { first: None, more: Some(more) }
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        match &mut self.more {
            Some(more) => more.poll_recv(context).map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes)))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.more.is_none()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match (&self.first, &self.more) {
            (_, Some(_)) => hyper::body::SizeHint::default(),
            (first, None) => hyper::body::SizeHint::with_exact(first.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }
}
