//! The other side of the API: one connection, requests one after another, or a stream of commands.

use axum::http::{HeaderMap, HeaderValue, Request, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::body::Pieces;

/// Pieces of a stream that wait for the connection.
const PIECES_WAITING: usize = 4;

/// The host could not be asked, or its answer is lost.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Unreachable {
    /// What happened, and what to do.
    pub text: String,
    /// The request was not sent, or nobody serves this API at the address: no command was taken. Otherwise it is not known.
    pub unsent: bool,
}

impl Unreachable {
    /// The connection is of no more use; another one may be.
    pub fn broke(text: impl Into<String>) -> Self {
        Self { text: text.into(), unsent: false }
    }

    fn unsent(text: impl std::fmt::Display) -> Self {
        Self { text: text.to_string(), unsent: true }
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
}

/// A client of one host. Connects when needed, and again when the connection is gone.
#[derive(Debug)]
pub struct Client {
    authority: String,
    connection: Option<SendRequest<Either<Full<Bytes>, Pieces>>>,
}

impl Client {
    /// A client for a URL such as `http://127.0.0.1:7400`.
    ///
    /// # Errors
    /// A sentence, if the URL is of another form.
    pub fn new(url: &str) -> Result<Self, String> {
        let bad =
            || format!("{url:?} is not a URL of a host: write http://ADDRESS:PORT, for example http://127.0.0.1:7400");
        let authority = url.strip_prefix("http://").ok_or_else(bad)?.trim_end_matches('/');
        let parsed: axum::http::uri::Authority = authority.parse().map_err(|_| bad())?;
        let port = parsed.port_u16().unwrap_or(80);
        if parsed.host().is_empty() || authority.contains('@') {
            return Err(bad());
        }
        Ok(Self { authority: format!("{}:{port}", parsed.host()), connection: None })
    }

    /// Asks once. A connection that was closed since the last request is opened again first.
    ///
    /// # Errors
    /// [`Unreachable`] if the connection cannot be had or breaks; in the latter case the host may have taken the request.
    pub async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, Unreachable> {
        let request = self
            .head(method, path, headers)?
            .body(Either::Left(Full::new(body.into())))
            .map_err(Unreachable::unsent)?;
        let response = self.send(request).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|e| self.broken(e))?.to_bytes();
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    /// Opens the stream of commands on a connection of its own.
    ///
    /// # Errors
    /// [`Unreachable`], also if the host answers with a problem.
    pub async fn stream(&mut self) -> Result<(Lines, Answers), Unreachable> {
        self.connection = None;
        let (pieces, body) = mpsc::channel(PIECES_WAITING);
        let content = [("content-type", "application/x-ndjson")];
        let request = self
            .head("POST", "/v1/commands", &content)?
            .body(Either::Right(Pieces(body)))
            .map_err(Unreachable::unsent)?;
        let response = self.send(request).await?;
        // The stream owns the connection from here on; the next request opens another one.
        self.connection = None;
        if !response.status().is_success() {
            let status = response.status();
            let body = response.into_body().collect().await.map_err(Unreachable::unsent)?.to_bytes();
            return Err(Unreachable::unsent(format!("{status}: {}", String::from_utf8_lossy(&body))));
        }
        Ok((Lines { pieces }, Answers { body: response.into_body(), begun: Vec::new() }))
    }

    fn head(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<axum::http::request::Builder, Unreachable> {
        let mut head = Request::builder().method(method).uri(path).header(header::HOST, &self.authority);
        for (name, value) in headers {
            let value = HeaderValue::from_str(value)
                .map_err(|e| Unreachable::unsent(format!("the header {name} cannot hold {value:?}: {e}")))?;
            head = head.header(*name, value);
        }
        Ok(head)
    }

    async fn send(
        &mut self,
        request: Request<Either<Full<Bytes>, Pieces>>,
    ) -> Result<axum::http::Response<Incoming>, Unreachable> {
        let mut kept = self.connection.take();
        let usable = match &mut kept {
            Some(connection) => connection.ready().await.is_ok(),
            None => false,
        };
        let mut connection = match kept {
            Some(connection) if usable => connection,
            _ => self.connect().await?,
        };
        let response = connection.send_request(request).await.map_err(|e| self.broken(e))?;
        self.connection = Some(connection);
        Ok(response)
    }

    async fn connect(&self) -> Result<SendRequest<Either<Full<Bytes>, Pieces>>, Unreachable> {
        let io = TcpStream::connect(&self.authority).await.map_err(|e| {
            Unreachable::unsent(format!(
                "no host answers at http://{} ({e}): start one with `ordain run`, or name another with --url",
                self.authority
            ))
        })?;
        // Without it, a small request may wait for the acknowledgement of the one before.
        let _ = io.set_nodelay(true);
        let (connection, driver) = handshake(TokioIo::new(io)).await.map_err(Unreachable::unsent)?;
        // What goes wrong on the connection is told to whoever waits for its answer.
        tokio::spawn(driver);
        Ok(connection)
    }

    fn broken(&self, error: impl std::error::Error) -> Unreachable {
        let cause = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        Unreachable::broke(format!(
            "the connection to http://{} broke ({error}{cause}); it is not known whether the host took the request",
            self.authority
        ))
    }
}

/// The sending side of a stream. The stream's input ends when it is dropped.
#[derive(Debug, Clone)]
pub struct Lines {
    pieces: mpsc::Sender<Bytes>,
}

impl Lines {
    /// Sends whole lines, each with its line break. Waits for room; cancel-safe: then nothing was sent.
    ///
    /// # Errors
    /// [`Unreachable`] if the connection is gone.
    pub async fn send(&self, piece: &mut Vec<u8>) -> Result<(), Unreachable> {
        let room = self.pieces.reserve().await.map_err(|_| Unreachable::broke("the stream broke"))?;
        room.send(std::mem::take(piece).into());
        Ok(())
    }
}

/// The receiving side of a stream.
#[derive(Debug)]
pub struct Answers {
    body: Incoming,
    begun: Vec<u8>,
}

impl Answers {
    /// Waits for answers and gives the whole lines that arrived, maybe none; `None` at the end of the stream. Cancel-safe.
    ///
    /// # Errors
    /// [`Unreachable`] if the connection broke.
    pub async fn next(&mut self) -> Result<Option<WholeLines>, Unreachable> {
        let Some(frame) = self.body.frame().await else { return Ok(None) };
        let frame = frame.map_err(|e| Unreachable::broke(format!("the stream broke: {e}")))?;
        let piece = frame.into_data().unwrap_or_default();
        let Some(end) = piece.iter().rposition(|byte| *byte == b'\n') else {
            self.begun.extend_from_slice(&piece);
            return Ok(Some(WholeLines::default()));
        };
        let mut begun = std::mem::take(&mut self.begun);
        self.begun.extend_from_slice(&piece[end + 1..]);
        if begun.is_empty() {
            return Ok(Some(WholeLines(piece.slice(..end))));
        }
        begun.extend_from_slice(&piece[..end]);
        Ok(Some(WholeLines(begun.into())))
    }
}

/// Some whole lines, in the order in which they arrived.
#[derive(Debug, Default)]
pub struct WholeLines(Bytes);

impl WholeLines {
    /// Each without its line break.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_host() {
        assert_eq!(Client::new("http://127.0.0.1:7400").unwrap().authority, "127.0.0.1:7400");
        assert_eq!(Client::new("http://[::1]:7400/").unwrap().authority, "[::1]:7400");
        assert_eq!(Client::new("http://ordain").unwrap().authority, "ordain:80");
        for bad in ["127.0.0.1:7400", "https://x", "http://", "http://a/b", "http://me@host"] {
            assert!(Client::new(bad).unwrap_err().contains("http://ADDRESS:PORT"), "{bad}");
        }
    }
}
