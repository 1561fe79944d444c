//! What stands behind the `?` of a path. A key that a path does not know is refused everywhere: whoever wrote it would
//! take what is ignored for done.

use axum::extract::Query;
use axum::http::Uri;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The query of a path.
pub trait Asked: DeserializeOwned {
    /// What can be written, for whoever wrote something else.
    const FORM: &'static str;
}

/// Reads it.
///
/// # Errors
/// A bad-request problem that says what can be written.
pub fn query<T: Asked>(uri: &Uri) -> Result<T, Problem> {
    Query::try_from_uri(uri).map(|Query(asked)| asked).map_err(|_| not_valid(uri, T::FORM))
}

/// For a path that takes none.
///
/// # Errors
/// A bad-request problem that says where else it belongs.
pub fn no_query(uri: &Uri, instead: &str) -> Result<(), Problem> {
    if uri.query().is_none_or(str::is_empty) { Ok(()) } else { Err(not_valid(uri, instead)) }
}

fn not_valid(uri: &Uri, instead: &str) -> Problem {
    Problem::bad_request(format!("the query ?{} is not valid: {instead}", uri.query().unwrap_or_default()))
}
