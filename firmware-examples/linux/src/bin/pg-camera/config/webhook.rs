//! `[[webhook]]`: a server that is told of events.

use super::Secret;
use crate::event::Kind;
use pg_targets::http_client::{self, AddressError};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt;
use ureq::http::{HeaderName, HeaderValue, Uri};

/// More than this are a mistake; each has a thread.
const MAX_WEBHOOKS: usize = 8;
/// Lines of a request that this program writes itself.
const OURS: [&str; 7] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "idempotency-key",
    "transfer-encoding",
];

/// A server that is told of events by POST.
#[derive(Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhook {
    /// `http://…` or `https://…`.
    pub(crate) url: Option<String>,
    /// A file with the address instead, if that is a secret.
    pub(crate) secret_url: Option<Secret>,
    /// Kinds of events: `motion`, `detect`, `caption`, `answer`, `unchanged`, `error`; all if left out.
    #[serde(default)]
    pub(crate) kinds: Vec<String>,
    /// Names of cameras; all if left out.
    #[serde(default)]
    pub(crate) cameras: Vec<String>,
    /// Further lines of the request's header, each `Name: text`.
    #[serde(default)]
    pub(crate) headers: Vec<String>,
    /// A file with such a line that is a secret, such as `Authorization: Bearer …`.
    pub(crate) secret_header: Option<Secret>,
    /// Seconds for a request.
    #[serde(default = "ten_seconds")]
    pub(crate) timeout: f64,
    /// The picture that goes along.
    #[serde(default)]
    pub(crate) snapshot: Snapshot,
    /// Events kept while the server is away or slow; the oldest are lost first.
    #[serde(default = "thirty_two")]
    pub(crate) max_pending: usize,
}

/// Without address and header: what is not marked as a secret may be one.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("kinds", &self.kinds).finish_non_exhaustive()
    }
}

/// The picture of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum Snapshot {
    /// Without.
    #[default]
    None,
    /// The best object alone, or what moved; all of it where there is neither.
    Crop,
    /// All of it.
    Full,
}

fn ten_seconds() -> f64 {
    10.0
}

fn thirty_two() -> usize {
    32
}

/// Where to, and the lines of the header.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) url: Uri,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

impl Target {
    /// The part of the address that is no secret.
    pub(crate) fn host(&self) -> &str {
        self.url.host().unwrap_or_default()
    }
}

impl Webhook {
    /// Reads what is in files.
    ///
    /// # Errors
    /// Which key cannot be used; never what it holds.
    pub(crate) fn target(&self) -> Result<Target, String> {
        let url = match (&self.url, &self.secret_url) {
            (Some(url), _) => address(url).map_err(|e| format!("url: {e}"))?,
            (None, secret) => {
                let read = secret.as_ref().map_or_else(|| Err("missing".into()), Secret::read);
                read.and_then(|url| address(&url)).map_err(|e| format!("secret_url: {e}"))?
            }
        };
        let mut headers = self.plain_headers()?;
        if let Some(secret) = &self.secret_header {
            let read = secret.read().and_then(|text| line(&text));
            headers.push(read.map_err(|e| format!("secret_header: {e}"))?);
        }
        Ok(Target { url, headers })
    }

    /// Everything that is wrong with it, without reading files.
    pub(super) fn validate(&self) -> Result<(), String> {
        match &self.url {
            Some(url) if self.secret_url.is_none() => drop(address(url).map_err(|e| format!("url: {e}"))?),
            None if self.secret_url.is_some() => {}
            _ => return Err("write either url or secret_url".into()),
        }
        self.plain_headers()?;
        if let Some(kind) = self.kinds.iter().find(|kind| Kind::ALL.iter().all(|k| k.name() != *kind)) {
            let known = Kind::ALL.map(Kind::name).join(", ");
            return Err(format!("kinds: {kind:?} is none of {known}"));
        }
        if !(0.1..=600.0).contains(&self.timeout) {
            return Err(format!("timeout: {} is not between 0.1 and 600", self.timeout));
        }
        if !(1..=10_000).contains(&self.max_pending) {
            return Err(format!("max_pending: {} is not between 1 and 10000", self.max_pending));
        }
        Ok(())
    }

    fn plain_headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
        self.headers.iter().map(|text| line(text).map_err(|e| format!("headers: {e}"))).collect()
    }
}

/// An address that can be posted to.
fn address(text: &str) -> Result<Uri, String> {
    let url = http_client::address(text).map_err(|e| match e {
        AddressError::NotHttp => "expected http://host/path or https://host/path",
        AddressError::HasUser => "leave user and password out: write a line Authorization as secret_header",
    })?;
    if http_client::is_secure(&url) && !cfg!(feature = "tls") {
        return Err("this program was built without the feature tls: take http://".into());
    }
    Ok(url)
}

/// A line of a header.
fn line(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let fail = || "expected a line such as \"X-Place: door\"".to_string();
    let (name, value) = text.split_once(':').ok_or_else(fail)?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| fail())?;
    if OURS.contains(&name.as_str()) {
        return Err(format!("{name} is written by this program: leave it out"));
    }
    let mut value = HeaderValue::from_str(value.trim()).map_err(|_| fail())?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// What is wrong with the list as a whole.
pub(super) fn validate(all: &[Webhook], cameras: &BTreeSet<&String>) -> Vec<String> {
    let mut problems = Vec::new();
    if all.len() > MAX_WEBHOOKS {
        problems.push(format!("{} webhooks: at most {MAX_WEBHOOKS} are possible", all.len()));
    }
    for (i, webhook) in all.iter().enumerate() {
        let n = i + 1;
        if let Err(e) = webhook.validate() {
            problems.push(format!("webhook {n}: {e}"));
        }
        for name in webhook.cameras.iter().filter(|name| !cameras.contains(name)) {
            problems.push(format!("webhook {n}: cameras: no camera is called {name:?}"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(text: &str) -> Result<Webhook, String> {
        toml::from_str(text).map_err(|e| e.message().to_string())
    }

    #[test]
    fn what_is_wrong_is_told_without_what_is_secret() {
        let wrong = |text: &str| webhook(text).unwrap().validate().unwrap_err();
        assert!(wrong("url = \"ftp://x/secret\"").starts_with("url: expected http://"));
        assert!(wrong("url = \"secret\"").starts_with("url: expected http://"));
        assert!(!wrong("url = \"http://u:secret@host/\"").contains("u:secret"));
        assert!(wrong("").contains("either url or secret_url"));
        assert!(wrong("url = \"http://h/\"\nsecret_url = { file = \"x\" }").contains("either"));
        assert!(wrong("url = \"http://h/\"\nheaders = [\"Host: x\"]").contains("leave it out"));
        assert!(
            wrong("url = \"http://h/\"\nheaders = [\"a b: s3cret\"]").starts_with("headers: expected a line")
        );
        assert!(wrong("url = \"http://h/\"\ntimeout = 0.0").contains("timeout"));
        assert!(wrong("url = \"http://h/\"\nmax_pending = 0").contains("max_pending"));
        assert!(wrong("url = \"http://h/\"\nkinds = [\"nothing\"]").contains("none of motion, detect"));
        let shown = format!("{:?}", webhook("url = \"http://h/s3cret\"\nheaders = [\"A: s3cret\"]").unwrap());
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn secrets_come_from_their_files() {
        let path =
            |what: &str| std::env::temp_dir().join(format!("pg-webhook-{what}-{}", std::process::id()));
        let (header, url) = (path("header"), path("url"));
        std::fs::write(&header, "Authorization: Bearer abc\n").unwrap();
        std::fs::write(&url, "http://h:81/x?y=1\n").unwrap();
        let (at_header, at_url) = (header.display(), url.display());
        let text = format!(
            "secret_url = {{ file = \"{at_url}\" }}\nsecret_header = {{ file = \"{at_header}\" }}\nheaders = [\"X-A: b\"]"
        );
        let webhook = webhook(&text).unwrap();
        webhook.validate().unwrap();
        let target = webhook.target().unwrap();
        let values: Vec<&str> = target.headers.iter().map(|(_, v)| v.to_str().unwrap()).collect();
        assert_eq!((target.host(), &values[..]), ("h", &["b", "Bearer abc"][..]));
        std::fs::write(&header, "Bearer s3cret\n").unwrap();
        let error = webhook.target().err().unwrap();
        assert!(error.starts_with("secret_header: expected a line") && !error.contains("s3cret"), "{error}");
        std::fs::remove_file(&url).unwrap();
        let error = webhook.target().err().unwrap();
        assert!(error.starts_with("secret_url: ") && error.contains("cannot read"), "{error}");
        std::fs::remove_file(&header).unwrap();
    }
}
