//! Pages of other origins, which anybody's browser lets send requests to addresses of its own machine: none of them may
//! command this host.
//!
//! A browser says where a page is from (`Origin`). It says nothing if the page's own name suddenly stands for this
//! machine's address (DNS rebinding): such a page is of the same origin as the host. It gives itself away by that name,
//! which stands in `Host`.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::Response;

use super::problem::{Kind, Problem};
use crate::config::Config;

/// The names under which a listener may be asked, beside its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// Others are meant to reach it, under names that are not known here.
    Any,
    /// `localhost`, and the one that this host is advertised under, if it is.
    Only(Option<Arc<str>>),
}

impl Names {
    /// Those of a listener at this address.
    pub fn of(address: IpAddr, config: &Config) -> Self {
        if !address.is_loopback() || config.http.insecure {
            return Self::Any;
        }
        let advertised = config.log.advertised.split_once("://").and_then(|(_, rest)| authority(rest.as_bytes()));
        Self::Only(advertised.map(|authority| authority.host().into()))
    }

    fn knows(&self, host: &str) -> bool {
        let Self::Only(advertised) = self else { return true };
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        bare.parse::<IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || advertised.as_ref().is_some_and(|name| host.eq_ignore_ascii_case(name))
    }
}

fn authority(text: &[u8]) -> Option<Authority> {
    Authority::try_from(text.trim_ascii().strip_suffix(b"/").unwrap_or(text.trim_ascii())).ok()
}

/// Refuses what was asked under a name that is not this host's. A request without a name, as of HTTP/1.0, is no page's.
pub async fn known_name(State(names): State<Names>, request: Request, next: Next) -> Result<Response, Problem> {
    let in_target = request.uri().authority().cloned().map(Some);
    let in_headers = request.headers().get_all(header::HOST).iter().map(|host| authority(host.as_bytes()));
    let known = |name: Option<Authority>| name.is_some_and(|name| names.knows(name.host()));
    if names != Names::Any && !in_target.into_iter().chain(in_headers).all(known) {
        return Err(Problem::new(
            Kind::OtherHost,
            "this host serves its own machine only, and the Host header gives it another name: ask for 127.0.0.1 or \
             localhost, or have your proxy do so; `--insecure` (`http.insecure = true`) allows any name",
        ));
    }
    Ok(next.run(request).await)
}

/// Refuses what a page of another origin sent.
pub async fn same_origin(request: Request, next: Next) -> Result<Response, Problem> {
    let headers = request.headers();
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.as_bytes();
        let host = headers.get(header::HOST).map(|host| host.as_bytes()).unwrap_or_default();
        let same = [&b"http://"[..], b"https://"].iter().any(|scheme| origin.strip_prefix(*scheme) == Some(host));
        if !same {
            return Err(Problem::new(
                Kind::CrossOrigin,
                "the Origin header names another origin than this host: ask from a server, or through one of your own",
            ));
        }
    }
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_of_its_own_are_known() {
        let mut config = Config::default();
        let names = Names::of([127, 0, 0, 1].into(), &config);
        for own in ["127.0.0.1", "[::1]", "10.0.0.7", "localhost", "LocalHost"] {
            assert!(names.knows(own), "{own}");
        }
        for other in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "ordain.example", "x", ""] {
            assert!(!names.knows(other), "{other}");
        }
        config.log.advertised = "https://ordain.example:7400/".into();
        let advertised = Names::of([127, 0, 0, 1].into(), &config);
        assert!(advertised.knows("ordain.example") && !advertised.knows("evil.example"));
        assert_eq!(Names::of([10, 0, 0, 7].into(), &config), Names::Any);
        config.http.insecure = true;
        assert_eq!(Names::of([127, 0, 0, 1].into(), &config), Names::Any);
    }
}
