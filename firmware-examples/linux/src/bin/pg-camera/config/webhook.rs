//! `[[webhook]]`: a server that is told of events.

use super::Secret;
use crate::event::Kind;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use ureq::http::{HeaderName, HeaderValue, Uri, uri::Scheme};

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
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhook {
    /// `http://…` or `https://…`; a file or credential with it if it is a secret itself.
    pub(crate) url: Text,
    /// Kinds of events; all if left out.
    #[serde(default)]
    pub(crate) kinds: Vec<Kind>,
    /// Names of cameras; all if left out.
    #[serde(default)]
    pub(crate) cameras: Vec<String>,
    /// Further lines of the request's header, such as `Authorization`.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, Text>,
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

/// The picture of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
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

/// A text, or where it is if nobody is to read it in the configuration.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text, { file = \"…\" } or { credential = \"…\" }")]
pub(crate) enum Text {
    Plain(String),
    Secret(Secret),
}

impl Text {
    /// The text.
    ///
    /// # Errors
    /// As [`Secret::read`].
    fn read(&self) -> Result<String, String> {
        match self {
            Text::Plain(text) => Ok(text.clone()),
            Text::Secret(secret) => secret.read(),
        }
    }
}

/// Plain texts too may be meant for nobody's eyes.
impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Text::Plain(_) => f.write_str("a text"),
            Text::Secret(secret) => secret.fmt(f),
        }
    }
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
    pub(crate) fn is_secure(&self) -> bool {
        self.url.scheme() == Some(&Scheme::HTTPS)
    }

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
        let url = self.url.read().map_err(|e| format!("url: {e}"))?;
        let headers = self.headers.iter().map(|(name, value)| {
            let value = value.read().map_err(|e| format!("headers.{name}: {e}"))?;
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| format!("headers.{name}: its text has letters that no header may have"))?;
            value.set_sensitive(true);
            Ok((header_name(name)?, value))
        });
        Ok(Target { url: address(&url)?, headers: headers.collect::<Result<_, String>>()? })
    }

    /// Everything that is wrong with it, without reading files.
    pub(super) fn validate(&self) -> Result<(), String> {
        if let Text::Plain(url) = &self.url {
            address(url)?;
        }
        for name in self.headers.keys() {
            header_name(name)?;
        }
        if !(0.1..=600.0).contains(&self.timeout) {
            return Err(format!("timeout: {} is not between 0.1 and 600", self.timeout));
        }
        if !(1..=10_000).contains(&self.max_pending) {
            return Err(format!("max_pending: {} is not between 1 and 10000", self.max_pending));
        }
        Ok(())
    }
}

/// An address that can be posted to.
fn address(text: &str) -> Result<Uri, String> {
    // The text is left out of complaints: it may be a secret.
    let fail = || "url: expected http://host/path or https://host/path".to_string();
    let url: Uri = text.parse().map_err(|_| fail())?;
    let host = url.authority().ok_or_else(fail)?;
    if !matches!(url.scheme_str(), Some("http" | "https")) || host.host().is_empty() {
        return Err(fail());
    }
    if host.as_str().contains('@') {
        return Err("url: leave user and password out: put a line Authorization into headers".into());
    }
    if url.scheme() == Some(&Scheme::HTTPS) && !cfg!(feature = "tls") {
        return Err("url: this program was built without the feature tls: take http://".into());
    }
    Ok(url)
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("headers: {name:?} is no name of a header"))?;
    if OURS.contains(&parsed.as_str()) {
        return Err(format!("headers: {name} is written by this program: leave it out"));
    }
    Ok(parsed)
}

/// What is wrong with the list as a whole.
pub(super) fn validate(all: &[Webhook], cameras: &std::collections::BTreeSet<&String>) -> Vec<String> {
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
        assert!(!wrong("url = \"http://u:secret@host/\"").contains("secret"));
        assert!(wrong("url = \"http://h/\"\nheaders = { Host = \"x\" }").contains("leave it out"));
        assert!(wrong("url = \"http://h/\"\nheaders = { \"a b\" = \"x\" }").contains("no name of a header"));
        assert!(wrong("url = \"http://h/\"\ntimeout = 0.0").contains("timeout"));
        assert!(wrong("url = \"http://h/\"\nmax_pending = 0").contains("max_pending"));
        assert!(webhook("url = 7").unwrap_err().contains("expected a text, { file"));
        assert!(webhook("url = \"http://h/\"\nkinds = [\"nothing\"]").is_err());
        let shown =
            format!("{:?}", webhook("url = \"http://h/s3cret\"\nheaders = { A = \"s3cret\" }").unwrap());
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn secrets_come_from_their_files() {
        let path = std::env::temp_dir().join(format!("pg-webhook-{}", std::process::id()));
        std::fs::write(&path, "Bearer abc\n").unwrap();
        let text = format!(
            "url = \"http://h:81/x?y=1\"\nheaders = {{ Authorization = {{ file = \"{}\" }}, X-A = \"b\" }}",
            path.display()
        );
        let webhook = webhook(&text).unwrap();
        let target = webhook.target().unwrap();
        let values: Vec<&str> = target.headers.iter().map(|(_, v)| v.to_str().unwrap()).collect();
        assert_eq!((target.host(), &values[..]), ("h", &["Bearer abc", "b"][..]));
        std::fs::write(&path, "b\u{e4}d\u{7f}\n").unwrap();
        assert!(webhook.target().is_err());
        std::fs::remove_file(&path).unwrap();
        let error = webhook.target().err().unwrap();
        assert!(error.starts_with("headers.Authorization: ") && error.contains("cannot read"), "{error}");
    }
}
