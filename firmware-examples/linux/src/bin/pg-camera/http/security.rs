//! Who may ask for what.
//!
//! With tokens in the configuration every request needs one, from wherever it comes, over the Unix socket too; only the
//! page's own files, signing in and the three health checks are for everybody. Programs send the token as `Authorization: Bearer`
//! (moondream's client as `X-Moondream-Auth`); the page sends it once and gets it back as a cookie that scripts cannot
//! read. Without tokens everybody who reaches the program may do everything, which is why it then serves on loopback only.
//!
//! A page of another site must not get at the cameras through the browser of somebody at home. So the `Host` must be one of
//! ours (against names that are made to point here), and `Origin` or `Sec-Fetch-Site`, where sent, must say that the
//! request comes from our own page. A Unix socket, which no browser reaches, is spared that.

use super::Response;
use super::connection::Peer;
use super::failure::Failure;
use crate::config;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use std::net::{IpAddr, SocketAddr};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// Name of the cookie.
const COOKIE: &str = "pg_camera_token";
/// Seconds that the cookie stays.
const COOKIE_AGE: u32 = 30 * 86_400;
/// A shorter token could be guessed.
const MIN_TOKEN: usize = 16;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const MOONDREAM_AUTH: HeaderName = HeaderName::from_static("x-moondream-auth");

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    /// See the page's own files and whether the program is well.
    Anybody,
    /// See pictures and events, and ask questions.
    Viewer,
    /// Change something.
    Admin,
}

/// The rules of a configuration.
pub(super) struct Access {
    tokens: RwLock<Tokens>,
    listen: IpAddr,
    hosts: Vec<String>,
}

struct Tokens {
    admin: Option<String>,
    viewer: Option<String>,
}

impl Tokens {
    fn read(settings: &config::Http) -> Result<Self, String> {
        let read = |key: &str, secret: &Option<config::Secret>| -> Result<Option<String>, String> {
            let Some(secret) = secret else { return Ok(None) };
            let token = secret.read().map_err(|e| format!("http.{key}: {e}"))?;
            if token.len() < MIN_TOKEN {
                return Err(format!(
                    "http.{key}: {secret:?}: fewer than {MIN_TOKEN} letters can be guessed; make one with `openssl rand -hex 32`"
                ));
            }
            Ok(Some(token))
        };
        Ok(Tokens {
            admin: read("admin_token", &settings.admin_token)?,
            viewer: read("viewer_token", &settings.viewer_token)?,
        })
    }
}

/// Without the tokens.
impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("listen", &self.listen)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

impl Access {
    /// Reads the tokens.
    ///
    /// # Errors
    /// If a token cannot be read or is too short.
    pub(super) fn new(settings: &config::Http, listen: SocketAddr) -> Result<Self, String> {
        Ok(Access {
            tokens: RwLock::new(Tokens::read(settings)?),
            listen: listen.ip(),
            hosts: settings.allowed_hosts.iter().map(|h| h.to_ascii_lowercase()).collect(),
        })
    }

    /// Reads the tokens again; bad ones change nothing. What has begun to be answered goes on.
    pub(super) fn read_again(&self, settings: &config::Http) {
        if !self.has_tokens() {
            return;
        }
        match Tokens::read(settings) {
            Ok(tokens) => {
                *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = tokens;
                ::log::info!("http: tokens read again");
            }
            Err(e) => ::log::error!("{e}; the old tokens stay"),
        }
    }

    fn tokens(&self) -> RwLockReadGuard<'_, Tokens> {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a request pass, and says what its sender may do.
    ///
    /// # Errors
    /// 400 or 403 if it does not come from our own page or a program, 401 without a token that fits, 403 if more is needed.
    pub(super) fn check<B>(&self, request: &Request<B>, peer: Peer) -> Result<Scope, Failure> {
        if let Some(local) = peer.local {
            self.check_host(request, local)?;
            check_origin(request.headers())?;
        }
        let needed = needed(request.method(), request.uri().path());
        let Some(scope) = self.scope(request.headers()) else {
            return if needed == Scope::Anybody { Ok(Scope::Anybody) } else { Err(unknown()) };
        };
        if scope < needed {
            return Err(Failure::new(StatusCode::FORBIDDEN, "this changes something: use http.admin_token"));
        }
        Ok(scope)
    }

    /// What this token allows.
    pub(super) fn scope_of(&self, token: &str) -> Option<Scope> {
        let is =
            |own: &Option<String>| own.as_ref().is_some_and(|own| same(own.as_bytes(), token.as_bytes()));
        // Both are always compared: how long that takes says nothing.
        let tokens = self.tokens();
        let (admin, viewer) = (is(&tokens.admin), is(&tokens.viewer));
        if admin { Some(Scope::Admin) } else { viewer.then_some(Scope::Viewer) }
    }

    /// Whether tokens are needed at all.
    pub(super) fn has_tokens(&self) -> bool {
        let tokens = self.tokens();
        tokens.admin.is_some() || tokens.viewer.is_some()
    }

    fn scope(&self, headers: &HeaderMap) -> Option<Scope> {
        if !self.has_tokens() {
            return Some(Scope::Admin);
        }
        let text = |name: &HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
        let bearer = text(&header::AUTHORIZATION).and_then(|v| {
            let (scheme, token) = v.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        match bearer.or_else(|| text(&MOONDREAM_AUTH)) {
            Some(token) => self.scope_of(token),
            None => self.scope_of(&from_cookie(headers)?),
        }
    }

    fn check_host<B>(&self, request: &Request<B>, local: IpAddr) -> Result<(), Failure> {
        let named = request.headers().get(header::HOST).map(HeaderValue::to_str);
        let Some(Ok(named)) = named else {
            return Err(Failure::new(StatusCode::BAD_REQUEST, "a request needs a Host line"));
        };
        let in_address = request.uri().authority().map(hyper::http::uri::Authority::as_str);
        for host in std::iter::once(named).chain(in_address) {
            if !self.is_ours(host_name(host), local) {
                return Err(Failure::new(
                    StatusCode::FORBIDDEN,
                    format!("{host:?} is no name of this program: add it to http.allowed_hosts"),
                ));
            }
        }
        Ok(())
    }

    fn is_ours(&self, name: &str, local: IpAddr) -> bool {
        let name = name.to_ascii_lowercase();
        let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(&name);
        if let Ok(address) = bare.parse::<IpAddr>() {
            let address = address.to_canonical();
            return address.is_loopback()
                || address == local
                || (address == self.listen && !address.is_unspecified())
                || self.hosts.iter().any(|h| h == bare);
        }
        name == "localhost" || name.ends_with(".localhost") || self.hosts.contains(&name)
    }
}

fn unknown() -> Failure {
    let message = "a token is needed: send `Authorization: Bearer …` or sign in on the page";
    Failure::new(StatusCode::UNAUTHORIZED, message)
}

/// What a request needs. What is not named here needs a viewer's token at least, even if there is nothing there.
fn needed(method: &Method, path: &str) -> Scope {
    match path {
        "/" | "/page.css" | "/page.js" | "/icon.svg" | "/health" | "/livez" | "/readyz" | "/login"
        | "/logout" => Scope::Anybody,
        _ if method == Method::PUT || method == Method::DELETE || method == Method::PATCH => Scope::Admin,
        _ if method == Method::POST && path.starts_with("/api/") && changes(path) => Scope::Admin,
        _ => Scope::Viewer,
    }
}

/// Whether what is sent to this address changes what a camera sees or does.
fn changes(path: &str) -> bool {
    path.ends_with("/run") || path.ends_with("/picture")
}

/// Refuses what a page of another site makes a browser send.
fn check_origin(headers: &HeaderMap) -> Result<(), Failure> {
    let foreign = || Failure::new(StatusCode::FORBIDDEN, "requests from pages of other sites are refused");
    let text = |name: HeaderName| headers.get(name).map(|v| v.to_str().unwrap_or_default());
    if let Some(origin) = text(header::ORIGIN) {
        let host = text(header::HOST).unwrap_or_default();
        let site = origin.split_once("://").map(|(_, site)| site);
        return if site.is_some_and(|site| site.eq_ignore_ascii_case(host)) {
            Ok(())
        } else {
            Err(foreign())
        };
    }
    let is_foreign = matches!(text(SEC_FETCH_SITE), Some("cross-site" | "same-site"));
    // A link from elsewhere to the page may be followed.
    if is_foreign && text(SEC_FETCH_MODE) != Some("navigate") { Err(foreign()) } else { Ok(()) }
}

/// A host without its port.
fn host_name(host: &str) -> &str {
    if host.starts_with('[') {
        return host.split_inclusive(']').next().unwrap_or(host);
    }
    host.split(':').next().unwrap_or(host)
}

/// Compares in a time that depends only on the lengths.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differing = a.iter().zip(b).fold(0, |all, (x, y)| std::hint::black_box(all | (x ^ y)));
    a.len() == b.len() && std::hint::black_box(differing) == 0
}

fn from_cookie(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|v| v.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == COOKIE)?;
    String::from_utf8(URL_SAFE_NO_PAD.decode(value).ok()?).ok()
}

/// The cookie that holds a token; without one it takes the cookie away.
pub(super) fn cookie(token: Option<&str>, is_secure: bool) -> String {
    let (value, age) = token.map_or((String::new(), 0), |t| (URL_SAFE_NO_PAD.encode(t), COOKIE_AGE));
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{COOKIE}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}")
}

/// Tells browsers to keep what is ours to ourselves.
pub(super) fn harden(response: &mut Response) {
    let lines: [(HeaderName, &str); 6] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in lines {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADMIN: &str = "0123456789abcdef";
    const VIEWER: &str = "fedcba9876543210";

    fn access(tokens: bool) -> Access {
        Access {
            tokens: RwLock::new(Tokens {
                admin: tokens.then(|| ADMIN.to_string()),
                viewer: tokens.then(|| VIEWER.to_string()),
            }),
            listen: "192.168.1.5".parse().unwrap(),
            hosts: vec!["cam.example".into()],
        }
    }

    fn status(tokens: bool, method: &str, path: &str, lines: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().method(method).uri(path);
        if !lines.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "localhost:8080");
        }
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let peer = Peer { local: Some("10.0.0.7".parse().unwrap()), is_secure: false };
        match access(tokens).check(&request.body(()).unwrap(), peer) {
            Ok(_) => 200,
            Err(failure) => failure.status().as_u16(),
        }
    }

    #[test]
    fn everything_needs_a_token_once_there_is_one() {
        let bearer = format!("Bearer {VIEWER}");
        let admin = format!("bearer {ADMIN}");
        for path in ["/api/cameras", "/events", "/metrics", "/v1/models", "/door/stream.mjpeg", "/nothing"] {
            assert_eq!(status(true, "GET", path, &[]), 401, "{path}");
            assert_eq!(status(true, "GET", path, &[("authorization", &bearer)]), 200, "{path}");
            assert_eq!(status(true, "GET", path, &[("authorization", "Bearer 0123456789abcdeF")]), 401);
            assert_eq!(status(true, "GET", path, &[("authorization", "Bearer ")]), 401);
            assert_eq!(status(false, "GET", path, &[]), 200, "{path}");
        }
        for (method, path) in [
            ("PUT", "/api/cameras/door/config"),
            ("POST", "/api/cameras/door/run"),
            ("POST", "/api/cameras/door/picture"),
        ] {
            assert_eq!(status(true, method, path, &[("authorization", &bearer)]), 403);
            assert_eq!(status(true, method, path, &[("authorization", &admin)]), 200);
        }
        assert_eq!(status(true, "POST", "/v1/caption", &[("x-moondream-auth", VIEWER)]), 200);
        for path in ["/", "/page.js", "/health", "/livez", "/readyz", "/login"] {
            assert_eq!(status(true, "GET", path, &[]), 200, "{path}");
        }
    }

    #[test]
    fn a_cookie_holds_the_token() {
        let line = cookie(Some(ADMIN), true);
        assert!(line.ends_with("; HttpOnly; SameSite=Strict; Secure"), "{line}");
        let sent = line.split(';').next().unwrap();
        assert_eq!(status(true, "PUT", "/api/x", &[("cookie", &format!("a=b; {sent}"))]), 200);
        assert_eq!(status(true, "PUT", "/api/x", &[("cookie", &format!("{COOKIE}=!!"))]), 401);
        assert!(cookie(None, false).starts_with(&format!("{COOKIE}=; Path=/; Max-Age=0")));
    }

    #[test]
    fn only_our_own_names_are_answered() {
        let ours = [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]:8080",
            "10.0.0.7",
            "192.168.1.5:1",
            "cam.example",
            "Cam.Example:443",
            "x.localhost",
        ];
        for host in ours {
            assert_eq!(status(false, "GET", "/", &[("host", host)]), 200, "{host}");
        }
        for host in ["evil.example", "10.0.0.8", "localhost.evil.example", "", "127.0.0.1.nip.io", "[::2]"] {
            assert_eq!(status(false, "GET", "/", &[("host", host)]), 403, "{host}");
        }
        assert_eq!(status(false, "GET", "http://evil.example/", &[]), 403);
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let with = |origin: &str| status(false, "POST", "/api/cameras/door/run", &[("origin", origin)]);
        assert_eq!(with("http://localhost:8080"), 200);
        for origin in ["http://evil.example", "null", "http://localhost", "http://localhost:8081", ""] {
            assert_eq!(with(origin), 403, "{origin}");
        }
        let fetch = |site, mode| {
            status(false, "GET", "/door/stream.mjpeg", &[("sec-fetch-site", site), ("sec-fetch-mode", mode)])
        };
        assert_eq!(fetch("cross-site", "no-cors"), 403);
        assert_eq!(fetch("same-site", "cors"), 403);
        assert_eq!(fetch("same-origin", "cors"), 200);
        assert_eq!(fetch("cross-site", "navigate"), 200);
    }

    #[test]
    fn tokens_are_compared_whole() {
        assert!(same(b"abc", b"abc"));
        for other in [&b"abd"[..], b"ab", b"abcd", b""] {
            assert!(!same(b"abc", other));
        }
    }
}
