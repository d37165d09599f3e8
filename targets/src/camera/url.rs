//! Addresses in a network: taken apart as far as sources need, shown without passwords.

use std::fmt;

/// Longest address that is taken.
const MOST_BYTES: usize = 2048;

/// `scheme://user:password@host:port/path`. Shown with `***` in place of the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    /// As it is written, with `%` codes.
    user: Option<String>,
    password: Option<String>,
    /// With the port, if one is written.
    host: String,
    /// With the question mark and what follows; no fragment.
    path: String,
}

impl Url {
    /// Takes `text` apart; the scheme must be among `schemes`.
    pub(super) fn parse(text: &str, schemes: &[&str]) -> Result<Self, String> {
        // Complaints leave the text out: it may hold a password.
        if text.len() > MOST_BYTES {
            return Err(format!("the address has {} bytes, at most {MOST_BYTES} are taken", text.len()));
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("the address has a space or a control character: write it as %20 and so on".into());
        }
        let (scheme, rest) = text.split_once("://").ok_or("the address has no ://")?;
        let scheme = scheme.to_ascii_lowercase();
        if !schemes.contains(&scheme.as_str()) {
            return Err(format!("addresses begin with {}:// here", schemes.join(":// or ")));
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        // The last @ ends the password, as everybody does who takes passwords with an @ in them.
        let (login, host) = match authority.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, authority),
        };
        if host.is_empty() || host.starts_with(':') {
            return Err("the address names no host: write it as scheme://host/path".into());
        }
        let (user, password) = match login.map(|l| l.split_once(':').ok_or(l)) {
            None => (None, None),
            Some(Ok((user, password))) => (Some(user.to_string()), Some(password.to_string())),
            Some(Err(user)) => (Some(user.to_string()), None),
        };
        Ok(Url { scheme, user, password, host: host.into(), path: path.into() })
    }

    /// In lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// With the port, if one is written.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Without the query.
    pub fn path(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// The address as a program takes it that logs in by itself. Not for eyes.
    pub(super) fn with_password(&self) -> String {
        let login = match (&self.user, &self.password) {
            (Some(user), Some(password)) => format!("{user}:{password}@"),
            (Some(user), None) => format!("{user}@"),
            _ => String::new(),
        };
        format!("{}://{login}{}{}", self.scheme, self.host, self.path)
    }

    /// The address without user and password.
    pub(super) fn without_login(&self) -> String {
        format!("{}://{}{}", self.scheme, self.host, self.path)
    }

    /// User and password, `%` codes resolved.
    pub(super) fn login(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let user = self.user.as_deref()?;
        Some((unescape(user), unescape(self.password.as_deref().unwrap_or_default())))
    }

    /// Hides the password, however it is written, in words of other programs.
    pub(super) fn mask(&self, text: &str) -> String {
        let Some(password) = self.password.as_deref().filter(|p| !p.is_empty()) else { return text.into() };
        let plain = String::from_utf8_lossy(&unescape(password)).into_owned();
        text.replace(password, "***").replace(&plain, "***")
    }

    /// The address with another path, query included.
    pub(super) fn with_path(mut self, path: String) -> Self {
        self.path = path;
        self
    }

    /// The path with the query.
    pub(super) fn path_and_query(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        match (&self.user, &self.password) {
            (Some(user), Some(_)) => write!(f, "{user}:***@")?,
            (Some(user), None) => write!(f, "{user}@")?,
            _ => {}
        }
        write!(f, "{}{}", self.host, self.path)
    }
}

// So that no `{:?}` of something around it shows the password.
impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `%41` to `A`; what is no such code stays.
fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|&b| char::from(b).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTTP: [&str; 2] = ["http", "https"];

    #[test]
    fn addresses_are_taken_apart() {
        let url = Url::parse("HTTP://me:p%40s:s@[::1]:8080/a/b?c=d@e#f", &HTTP).unwrap();
        assert_eq!((url.scheme(), url.host(), url.path()), ("http", "[::1]:8080", "/a/b"));
        assert_eq!(url.login(), Some((b"me".to_vec(), b"p@s:s".to_vec())));
        assert_eq!(url.without_login(), "http://[::1]:8080/a/b?c=d@e");
        assert_eq!(url.with_password(), "http://me:p%40s:s@[::1]:8080/a/b?c=d@e");
        let url = Url::parse("http://me:a@b@host", &HTTP).unwrap();
        assert_eq!((url.host(), url.path()), ("host", "/"));
        assert_eq!(url.login().unwrap().1, b"a@b");
        assert_eq!(unescape("%4%zz%41%"), b"%4%zzA%");
    }

    #[test]
    fn passwords_are_not_shown() {
        let url = Url::parse("https://me:s%65cret@host/x", &HTTP).unwrap();
        for shown in [url.to_string(), format!("{url:?}"), url.mask("s%65cret and secret")] {
            assert!(!shown.contains("cret"), "{shown}");
        }
        assert_eq!(url.to_string(), "https://me:***@host/x");
        for bad in ["ftp://me:secret@host/", "me:secret@host", "http://me:secret@/x", "http://me:sec ret@h/"]
        {
            let error = Url::parse(bad, &HTTP).unwrap_err();
            assert!(!error.contains("ret"), "{error}");
        }
        assert!(Url::parse(&format!("http://{}", "x".repeat(MOST_BYTES)), &HTTP).is_err());
    }
}
