//! Request bodies taken whole, and response bodies that come in pieces.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;

use super::problem::{Kind, Problem};

/// The whole body.
///
/// # Errors
/// [`Kind::TooLarge`], before anything is read if its length is known; [`Kind::SlowBody`];
/// [`Kind::BadRequest`] if the connection broke or its framing lied.
pub async fn whole(body: Body, bytes_max: usize, timeout_ms: u64) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(
            Kind::TooLarge,
            format!("the body has more than {bytes_max} bytes: send less, or raise the limit in the config"),
        )
    };
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large());
    }
    let collected = tokio::time::timeout(Duration::from_millis(timeout_ms), Limited::new(body, bytes_max).collect());
    match collected.await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(e)) if e.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Ok(Err(e)) => Err(Problem::bad_request(format!("the body could not be read: {e}"))),
        Err(_) => {
            Err(Problem::new(Kind::SlowBody, format!("the body did not arrive within {timeout_ms} ms: send it faster")))
        }
    }
}

/// A JSON response.
pub fn json(status: u16, body: impl Into<Body>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, body.into()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A body whose pieces come through a channel. It ends when all senders are gone.
#[derive(Debug)]
pub struct Pieces(pub mpsc::Receiver<Bytes>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// A body with something that is dropped with it: at its end, or when the client is gone.
pub struct Held<H> {
    body: Body,
    _held: H,
}

impl<H> Held<H> {
    /// Ties `held` to the body.
    pub fn new(body: Body, held: H) -> Self {
        Self { body, _held: held }
    }
}

impl<H: Unpin> HttpBody for Held<H> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
