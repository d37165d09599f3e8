//! The hosts that pictures may be fetched from, as the configuration names them.

use std::net::IpAddr;
use std::str::FromStr;

/// `host`, `host:port`, or either with `=address`: then names are not looked up, and the address may be one of the own
/// network. A host that is an address stands for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    /// In small letters, an address without brackets.
    name: String,
    /// That of `http://` or `https://` if none is written.
    port: Option<u16>,
    /// Where it is, if that was said.
    address: Option<IpAddr>,
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fail = || {
            format!(
                "{text:?} is no host: write \"pictures.example\", \"pictures.example:8080\" or \"nas.lan=192.168.1.5\""
            )
        };
        let (host, address) = match text.split_once('=') {
            Some((host, address)) => (host, Some(address.parse::<IpAddr>().map_err(|_| fail())?)),
            None => (text, None),
        };
        let (name, port) = split_port(host).ok_or_else(fail)?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let itself = name.parse::<IpAddr>().ok();
        if itself.is_none() && (name.is_empty() || !name.chars().all(is_plain)) {
            return Err(fail());
        }
        Ok(Host { name: name.to_ascii_lowercase(), port, address: address.or(itself) })
    }
}

impl Host {
    /// Whether this entry allows a host at this port.
    pub(super) fn allows(&self, name: &str, port: u16, usual_port: u16) -> bool {
        let name = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
        self.name.eq_ignore_ascii_case(name) && self.port.unwrap_or(usual_port) == port
    }

    /// Where it is, if the configuration says so.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.address
    }
}

/// A host without brackets, and its port.
fn split_port(host: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = host.strip_prefix('[') {
        let (name, port) = rest.split_once(']')?;
        return match port.strip_prefix(':') {
            Some(port) => Some((name, Some(port.parse().ok()?))),
            None => port.is_empty().then_some((name, None)),
        };
    }
    match host.split_once(':') {
        // More than one: an address without brackets.
        Some((_, rest)) if rest.contains(':') => Some((host, None)),
        Some((name, port)) => Some((name, Some(port.parse().ok()?))),
        None => Some((host, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        text.parse().unwrap()
    }

    #[test]
    fn entries_allow_what_they_name() {
        for (entry, name, port, expected) in [
            ("pictures.example", "pictures.example", 80, true),
            ("Pictures.Example", "PICTURES.example", 443, true),
            ("pictures.example", "pictures.example", 8080, false),
            ("pictures.example:8080", "pictures.example", 8080, true),
            ("pictures.example:8080", "pictures.example", 80, false),
            ("pictures.example", "pictures.example.", 80, false),
            ("pictures.example", "x.pictures.example", 80, false),
            ("192.168.1.5", "192.168.1.5", 80, true),
            ("[fd00::1]:81", "[fd00::1]", 81, true),
            ("fd00::1", "[fd00::1]", 80, true),
            ("nas.lan:81=192.168.1.5", "nas.lan", 81, true),
        ] {
            let usual = if port == 443 { 443 } else { 80 };
            assert_eq!(host(entry).allows(name, port, usual), expected, "{entry} {name} {port}");
        }
        assert_eq!(host("nas.lan=192.168.1.5").address(), Some([192, 168, 1, 5].into()));
        assert_eq!(host("127.0.0.1:8080").address(), Some([127, 0, 0, 1].into()));
        assert_eq!(host("pictures.example").address(), None);
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in ["", ":80", "http://x", "x/y", "x:99999", "x:", "a b", "x=nas", "[::1", "[::1]x", "*"] {
            assert!(text.parse::<Host>().unwrap_err().contains("is no host"), "{text}");
        }
    }
}
