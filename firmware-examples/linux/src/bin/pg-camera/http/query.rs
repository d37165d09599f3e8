//! The part of an address behind its question mark.

use super::Failure;
use hyper::{StatusCode, Uri};

/// Keys and values, decoded.
///
/// # Errors
/// 400 if they are not encoded as they should be.
pub(super) fn pairs(uri: &Uri) -> Result<Vec<(String, String)>, Failure> {
    let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(key)?, decode(value)?))
        })
        .collect::<Option<_>>()
        .ok_or_else(|| {
            Failure::new(StatusCode::BAD_REQUEST, "what stands behind `?` is no UTF-8 text, percent-encoded")
        })
}

/// A number.
///
/// # Errors
/// 400 if it is none.
pub(super) fn number(key: &str, value: &str) -> Result<u64, Failure> {
    value.parse().map_err(|_| Failure::bad(key, format!("{key}: {value:.40?} is no whole number from 0")))
}

/// There is no such key.
pub(super) fn unknown(key: &str, known: &str) -> Failure {
    Failure::bad(key, format!("there is no {key:.40?} here; there are {known}"))
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?].map(|d| char::from(d).to_digit(16));
                (digits[0]? * 16 + digits[1]?) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_or_refused() {
        let pairs = |text: &'static str| pairs(&Uri::from_static(text));
        let found = pairs("/x?a=1&b=%64oor+%C3%A4&&c").unwrap();
        let expected = [("a", "1"), ("b", "door ä"), ("c", "")];
        assert_eq!(found, expected.map(|(k, v)| (k.to_string(), v.to_string())));
        for bad in ["/x?a=%", "/x?a=%4", "/x?a=%zz", "/x?a=%ff"] {
            assert_eq!(pairs(bad).unwrap_err().status(), 400, "{bad}");
        }
        assert!(pairs("/x").unwrap().is_empty());
        for bad in ["", "-1", "1.5", "99999999999999999999"] {
            assert_eq!(number("since", bad).unwrap_err().status(), 400, "{bad}");
        }
    }
}
