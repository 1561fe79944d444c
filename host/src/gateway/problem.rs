//! What the API says when there is no outcome: `application/problem+json` (RFC 9457) with a stable `type`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::render::{write_number, write_string};
use crate::engine::{ReadError, Refused, Unanswered};
use crate::message::CommandId;

/// What kind of problem it is. Clients may rely on its name; docs/http.md lists all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The body or line is not the JSON it must be. Nothing was recorded.
    NotJson,
    /// A header, a path segment or a query parameter is not what it must be. Nothing was recorded.
    BadRequest,
    /// A page of another origin asked through somebody's browser.
    CrossOrigin,
    /// No module is active for the type.
    UnknownType,
    /// The aggregate never existed.
    UnknownAggregate,
    /// The aggregate has no such version (yet).
    UnknownVersion,
    /// The aggregate never answered a command of this id.
    UnknownCommand,
    /// No module of this digest was ever seen.
    UnknownModule,
    /// The API has no such path.
    NoRoute,
    /// The path exists, but not for this method.
    MethodNotAllowed,
    /// The body did not arrive in time.
    SlowBody,
    /// The body or line is larger than its limit.
    TooLarge,
    /// It was asked for under a name that is not this host's.
    OtherHost,
    /// The module was checked and refused.
    ModuleRefused,
    /// A queue is full.
    Busy,
    /// A part of the host failed, or what is on disk cannot be trusted.
    Broken,
    /// The host is starting, stopping, or its log failed.
    Unavailable,
    /// The outcome is not known yet.
    NotKnownYet,
    /// The version that was waited for was not reached in time.
    VersionNotReached,
    /// The disk is full.
    DiskFull,
}

impl Kind {
    /// All kinds, in the order of their status.
    pub const ALL: [Self; 20] = [
        Self::NotJson,
        Self::BadRequest,
        Self::CrossOrigin,
        Self::UnknownType,
        Self::UnknownAggregate,
        Self::UnknownVersion,
        Self::UnknownCommand,
        Self::UnknownModule,
        Self::NoRoute,
        Self::MethodNotAllowed,
        Self::SlowBody,
        Self::TooLarge,
        Self::OtherHost,
        Self::ModuleRefused,
        Self::Busy,
        Self::Broken,
        Self::Unavailable,
        Self::NotKnownYet,
        Self::VersionNotReached,
        Self::DiskFull,
    ];

    /// HTTP status, last part of the `type`, and title.
    const fn parts(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::NotJson => (400, "not-json", "This is not the JSON that is expected"),
            Self::BadRequest => (400, "bad-request", "A part of the request is not valid"),
            Self::CrossOrigin => (403, "cross-origin", "Pages of other origins may not use this API"),
            Self::UnknownType => (404, "unknown-type", "No module is active for this aggregate type"),
            Self::UnknownAggregate => (404, "unknown-aggregate", "This aggregate never existed"),
            Self::UnknownVersion => (404, "unknown-version", "The aggregate has no such version"),
            Self::UnknownCommand => (404, "unknown-command", "No outcome is known for this command"),
            Self::UnknownModule => (404, "unknown-module", "No module has this digest"),
            Self::NoRoute => (404, "no-route", "There is nothing at this path"),
            Self::MethodNotAllowed => (405, "method-not-allowed", "This path does not know this method"),
            Self::SlowBody => (408, "slow-body", "The body did not arrive in time"),
            Self::TooLarge => (413, "too-large", "The body is too large"),
            Self::OtherHost => (421, "other-host", "This host is not asked under this name"),
            Self::ModuleRefused => (422, "module-refused", "The module was refused"),
            Self::Busy => (429, "busy", "Too much is waiting already"),
            Self::Broken => (500, "broken", "The host could not do its part"),
            Self::Unavailable => (503, "unavailable", "The host does not serve now"),
            Self::NotKnownYet => (504, "not-known-yet", "The outcome is not known yet"),
            Self::VersionNotReached => (504, "version-not-reached", "The version was not reached in time"),
            Self::DiskFull => (507, "disk-full", "The disk is full"),
        }
    }

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        self.parts().0
    }

    /// The last part of the `type`.
    pub const fn name(self) -> &'static str {
        self.parts().1
    }
}

/// One problem, for one request or one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its kind.
    pub kind: Kind,
    /// What happened, and what to do.
    pub detail: String,
    /// The command it is about, if it got an id: the caller asks again under it.
    pub command_id: Option<CommandId>,
}

impl Problem {
    /// A problem of a kind.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), command_id: None }
    }

    /// A part of the request is not valid.
    pub fn bad_request(detail: impl ToString) -> Self {
        Self::new(Kind::BadRequest, detail.to_string())
    }

    /// The same problem, about a command.
    pub fn about(mut self, command_id: CommandId) -> Self {
        self.command_id = Some(command_id);
        self
    }

    /// Appends the JSON object.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (status, name, title) = self.kind.parts();
        out.extend_from_slice(b"{\"type\":\"urn:ordain:problem:");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\",\"title\":");
        write_string(title, out);
        out.extend_from_slice(b",\"status\":");
        write_number(u64::from(status), out);
        out.extend_from_slice(b",\"detail\":");
        write_string(&self.detail, out);
        if let Some(id) = &self.command_id {
            out.extend_from_slice(b",\"command_id\":");
            write_string(id.as_str(), out);
        }
        out.push(b'}');
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = Vec::with_capacity(256);
        self.write(&mut body);
        let status = StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if matches!(self.kind, Kind::Busy | Kind::Unavailable) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        // The rest of the body is not read, so nothing can follow it: a client that is not told would send its next
        // request into the closing connection, and not know what became of it.
        if matches!(self.kind, Kind::TooLarge | Kind::SlowBody) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let kind = match refused {
            Refused::UnknownType(_) => Kind::UnknownType,
            Refused::Busy => Kind::Busy,
            Refused::Unavailable(_) => Kind::Unavailable,
        };
        Self::new(kind, refused.to_string())
    }
}

impl From<Unanswered> for Problem {
    fn from(unanswered: Unanswered) -> Self {
        let kind = match unanswered {
            Unanswered::TooLarge(_) => Kind::TooLarge,
            Unanswered::DiskFull(_) => Kind::DiskFull,
            Unanswered::Elsewhere { .. } => Kind::NotKnownYet,
            Unanswered::Interrupted | Unanswered::LogFailed(_) => Kind::Unavailable,
        };
        Self::new(kind, unanswered.to_string())
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let kind = match error {
            ReadError::UnknownType(_) => Kind::UnknownType,
            ReadError::Unavailable(_) => Kind::Unavailable,
            ReadError::Busy => Kind::Busy,
            ReadError::Quarantined(_) | ReadError::Broken(_) => Kind::Broken,
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_written_as_rfc_9457_says() {
        let mut out = Vec::new();
        Problem::new(Kind::Busy, "say \"again\"").about(CommandId::parse("c-1").unwrap()).write(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"type\":\"urn:ordain:problem:busy\",\"title\":\"Too much is waiting already\",\"status\":429,\
             \"detail\":\"say \\\"again\\\"\",\"command_id\":\"c-1\"}"
        );
    }

    #[test]
    fn every_kind_has_a_name_of_its_own_and_is_in_the_docs() {
        let page = include_str!("../../../docs/http.md");
        let mut names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        for kind in Kind::ALL {
            let row = format!("| `{}` | {} |", kind.name(), kind.status());
            assert!(page.contains(&row), "docs/http.md lacks the row {row}");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Kind::ALL.len());
    }

    #[test]
    fn busy_says_when_to_come_back() {
        let response = Problem::from(Refused::Busy).into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
}
