//! The live page: three files inside the program, which ask for nothing from elsewhere. And signing in to it.

use super::body::{self, json, typed};
use super::connection::Peer;
use super::{Context, Failure, Request, Response, security};
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use serde::Deserialize;
use serde_json::json;

const INDEX: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
const ICON: &str = include_str!("page/icon.svg");
const OPENAPI: &str = include_str!("openapi.json");

/// A file of the page by its address.
pub(super) fn file(path: &str) -> Option<Response> {
    let (kind, text) = match path {
        "/" => ("text/html; charset=utf-8", INDEX),
        "/page.css" => ("text/css; charset=utf-8", STYLE),
        "/page.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "/icon.svg" => ("image/svg+xml", ICON),
        "/openapi.json" => ("application/json", OPENAPI),
        _ => return None,
    };
    Some(typed(StatusCode::OK, kind, text))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    token: String,
}

/// Turns a token into a cookie.
pub(super) async fn login(context: &Context, peer: Peer, request: Request) -> Result<Response, Failure> {
    let token = body::receive::<Login>(context, request).await?.value.token;
    if context.access.scope_of(token.trim()).is_none() {
        return Err(Failure::new(StatusCode::UNAUTHORIZED, "this is no token of this program"));
    }
    Ok(with_cookie(&security::cookie(Some(token.trim()), peer.is_secure)))
}

/// Takes the cookie away.
pub(super) fn logout(peer: Peer) -> Response {
    with_cookie(&security::cookie(None, peer.is_secure))
}

fn with_cookie(cookie: &str) -> Response {
    let mut response = json(StatusCode::OK, &json!({ "ok": true }));
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}
