//! What every request has to pass, and what every answer carries.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

/// What the page may do: load from this server, and nothing else.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                           frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// What a file of a run may do: show itself. It is no part of the dashboard, so it cannot ask it anything.
const FILE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; \
                           media-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox allow-scripts";

/// Names under which the server may be asked. A page of somebody else that lets its own name point to this machine could
/// otherwise read what is served here only.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// `None` if the server was opened to other machines, under whatever names they know it by.
    allowed: Option<Arc<[String]>>,
}

impl Names {
    /// The names of a server on `address`, which was asked for as `host`.
    pub fn of(host: &str, address: SocketAddr) -> Self {
        let names = || ["localhost".to_owned(), host.to_lowercase()].into();
        Self { allowed: address.ip().is_loopback().then(names) }
    }

    fn allow(&self, host: Option<&str>) -> bool {
        let (Some(allowed), Some(host)) = (&self.allowed, host) else { return self.allowed.is_none() };
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
            _ => host,
        };
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        // An address in figures is nobody's name.
        bare.parse::<IpAddr>().is_ok() || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
    }
}

/// Refuses a request under a foreign name, and adds the headers of every answer.
pub(super) async fn guard(State(names): State<Names>, request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let mut response = if names.allow(host) {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "open this page as http://localhost:PORT/ or http://127.0.0.1:PORT/\n").into_response()
    };
    let headers = response.headers_mut();
    let mut add = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    add(CONTENT_SECURITY_POLICY, PAGE_POLICY);
    add(CACHE_CONTROL, "no-cache");
    add(X_CONTENT_TYPE_OPTIONS, "nosniff");
    add(REFERRER_POLICY, "no-referrer");
    add(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    response
}

/// The header of a file of a run.
pub(super) fn file_policy() -> (HeaderName, HeaderValue) {
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static(FILE_POLICY))
}
