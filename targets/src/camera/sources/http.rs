//! Pictures of HTTP servers: one endless answer full of them, or one that is asked for again and again.
//!
//! The server has a limit on everything: connecting, silence, headers, bytes of a picture.

use super::feed::{self, Feed, Keep, Outlet};
use crate::camera::formats::{Cutter, Encoding, JpegStream, Limits, Multipart, boundary};
use crate::camera::url::Url;
use crate::camera::{ErrorKind, Options, Source, SourceError};
use crate::http_client;
use std::io::Read;
use std::time::{Duration, Instant, SystemTime};
use ureq::http::{HeaderMap, Response, StatusCode, header};
use ureq::{Agent, Body};

const CONNECT: Duration = Duration::from_secs(5);

/// A stream of JPEG pictures in one answer.
pub(super) fn stream(url: &Url, place: String, options: &Options) -> Result<Box<dyn Source>, SourceError> {
    let client = Client::new(url, place, options)?;
    let (outlet, limits) = (Outlet::new(Keep::Newest), Limits::of(options));
    let feed = client.feed(&outlet, options).paced(options.max_fps);
    feed::start("camera-http", move || {
        let end = client.get(&[]).and_then(|answer| {
            let mut cutter = client.cutter(answer, &limits)?;
            let cut = outlet.run(&mut *cutter);
            Err(client.lost(cut.err().unwrap_or_else(|| "the server has ended the stream".into())))
        });
        outlet.end(end);
    })?;
    Ok(Box::new(feed))
}

/// A single picture, asked for again and again; the same one twice is no news.
pub(super) fn snapshot(
    url: &Url,
    every: Duration,
    place: String,
    options: &Options,
) -> Result<Box<dyn Source>, SourceError> {
    let client = Client::new(url, place, options)?;
    let most_bytes = options.max_bytes;
    let outlet = Outlet::new(Keep::Newest);
    let every = every.max(options.max_fps.map_or(Duration::ZERO, |fps| Duration::from_secs_f32(1.0 / fps)));
    // Between two pictures nothing is to be heard.
    let feed = client.feed(&outlet, options).stalls_after(options.stall + every);
    feed::start("camera-http", move || {
        let mut seen = Seen::default();
        let mut due = Instant::now();
        while outlet.sleep_until(due) {
            // From when it was due; late ones are left out.
            due = (due + every).max(Instant::now());
            if let Err(error) = client.ask_again(&mut seen, &outlet, most_bytes) {
                return outlet.end(Err(error));
            }
        }
    })?;
    Ok(Box::new(feed))
}

/// What the server says identifies the last picture.
#[derive(Default)]
struct Seen {
    etag: Option<String>,
    modified: Option<String>,
}

struct Client {
    agent: Agent,
    url: String,
    authorization: Option<String>,
    place: String,
}

impl Client {
    fn new(url: &Url, place: String, options: &Options) -> Result<Self, SourceError> {
        let config = http_client::config(url.scheme() == "https")
            .map_err(|e| SourceError::new(ErrorKind::Permanent, &place, e))?
            .accept("image/jpeg, image/png, multipart/x-mixed-replace, */*;q=0.5")
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(options.stall))
            .timeout_per_read(Some(options.stall))
            .timeout_per_write(Some(options.stall));
        let login = url
            .login()
            .map(|(user, password)| format!("Basic {}", base64(&[&user[..], b":", &password].concat())));
        Ok(Client { agent: config.build().into(), url: url.without_login(), authorization: login, place })
    }

    fn feed(&self, outlet: &Outlet, options: &Options) -> Feed {
        let agent = self.agent.clone();
        let feed = Feed::new(outlet, self.place.clone(), options).stalls_after(options.stall);
        feed.stopped_by(move || agent.shutdown())
    }

    fn lost(&self, what: impl std::fmt::Display) -> SourceError {
        SourceError::new(ErrorKind::Lost, &self.place, what)
    }

    /// An answer that has what was asked for, or says that it has nothing new.
    fn get(&self, conditions: &[(header::HeaderName, &str)]) -> Result<Response<Body>, SourceError> {
        let mut request = self.agent.get(&self.url);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        for (name, value) in conditions {
            request = request.header(name, *value);
        }
        // The address that the client knows has no password, and so have its words.
        let answer = request.call().map_err(|e| self.lost(format!("cannot be asked: {e}")))?;
        self.check(answer.status(), answer.headers())?;
        Ok(answer)
    }

    fn check(&self, status: StatusCode, headers: &HeaderMap) -> Result<(), SourceError> {
        let permanent = |what: String| Err(SourceError::new(ErrorKind::Permanent, &self.place, what));
        let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        match status.as_u16() {
            200 | 304 => Ok(()),
            401 if !text(header::WWW_AUTHENTICATE).to_ascii_lowercase().contains("basic") => permanent(
                "the server wants a login of another kind than Basic, which is all there is; take its RTSP address".into(),
            ),
            401 if self.authorization.is_some() => permanent("the server does not accept user and password".into()),
            401 => permanent("the server wants a login: write …://user:password@host/…".into()),
            301 | 302 | 303 | 307 | 308 => {
                let to: String = text(header::LOCATION).chars().filter(|c| !c.is_control()).take(200).collect();
                permanent(format!("the server sends us to another address, which is not followed: name that one ({to})"))
            }
            code @ (400..=499) if ![408, 425, 429].contains(&code) => {
                permanent(format!("the server says {status}: check the address"))
            }
            _ => Err(self.lost(format!("the server says {status}"))),
        }
    }

    /// What cuts pictures out of an endless answer.
    fn cutter(&self, answer: Response<Body>, limits: &Limits) -> Result<Box<dyn Cutter>, SourceError> {
        let fail = |what: String| SourceError::new(ErrorKind::Permanent, &self.place, what);
        let kind =
            answer.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let boundary = boundary(kind).transpose().map_err(fail)?;
        if boundary.is_none() && kind.starts_with("text/") {
            return Err(fail("the server answers with a text, not with pictures: check the address".into()));
        }
        let body = answer.into_body().into_reader();
        Ok(match boundary {
            Some(boundary) => Box::new(Multipart::new(body, boundary, limits)),
            // Pictures with nothing in between.
            None => Box::new(JpegStream::new(body, limits)),
        })
    }

    /// Asks for the picture, and hands it over if it is another one than last time.
    fn ask_again(&self, seen: &mut Seen, outlet: &Outlet, most_bytes: usize) -> Result<(), SourceError> {
        let mut conditions = Vec::new();
        conditions.extend(seen.etag.as_deref().map(|etag| (header::IF_NONE_MATCH, etag)));
        conditions.extend(seen.modified.as_deref().map(|time| (header::IF_MODIFIED_SINCE, time)));
        let answer = self.get(&conditions)?;
        let (captured, wall) = (Instant::now(), SystemTime::now());
        if answer.status() == StatusCode::NOT_MODIFIED {
            outlet.heard();
            return Ok(());
        }
        let text = |name| answer.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_string);
        *seen = Seen { etag: text(header::ETAG), modified: text(header::LAST_MODIFIED) };
        let mut bytes = outlet.spare();
        bytes.clear();
        let body = answer.into_body().into_reader().take(most_bytes as u64 + 1).read_to_end(&mut bytes);
        body.map_err(|e| self.lost(format!("the picture breaks off: {e}")))?;
        outlet.put(Encoding::File, bytes, captured, wall);
        Ok(())
    }
}

/// Bytes as letters (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            match place <= three.len() {
                true => text.push(char::from(LETTERS[(bits >> (18 - 6 * place) & 63) as usize])),
                false => text.push('='),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_those_of_the_standard() {
        let words = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|word| base64(word.as_bytes()));
        assert_eq!(words, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    }
}
