//! Servers that try what they should not get away with.

use super::*;
use std::io::Write;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// A server at a port of its own, which answers each connection with what `answer` writes, and counts them.
fn serve(answer: impl Fn(&mut dyn Write) -> std::io::Result<()> + Send + 'static) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let n = asked.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            n.fetch_add(1, Ordering::SeqCst);
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                head.push(byte[0]);
            }
            // The other side may have had enough.
            let _ = answer(&mut stream);
        }
    });
    (port, asked)
}

/// Knows one address for all names, and counts questions.
#[derive(Debug)]
struct Names(Vec<SocketAddr>, Arc<AtomicUsize>);

impl Resolver for Names {
    fn resolve(
        &self,
        _: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        self.1.fetch_add(1, Ordering::SeqCst);
        let mut found = self.empty();
        self.0.iter().for_each(|address| found.push(*address));
        Ok(found)
    }
}

fn hosts(entries: &[String]) -> Vec<Host> {
    entries.iter().map(|entry| entry.parse().unwrap()).collect()
}

/// Fetches from a server of this machine, which the configuration allows by its address.
fn fetch(port: u16, budget: &mut Budget) -> Result<Vec<u8>, String> {
    let remote = Remote::new(&hosts(&[format!("127.0.0.1:{port}")]));
    remote.fetch(&format!("http://127.0.0.1:{port}/picture.jpg"), budget)
}

#[test]
fn what_is_allowed_is_fetched() {
    let (port, _) = serve(|out| out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nbytes"));
    assert_eq!(fetch(port, &mut Budget::new()).unwrap(), b"bytes");
    // A name whose place the configuration says needs no server of names.
    let remote = Remote::new(&hosts(&[format!("nowhere.invalid:{port}=127.0.0.1")]));
    let address = format!("http://nowhere.invalid:{port}/");
    assert_eq!(remote.fetch(&address, &mut Budget::new()).unwrap(), b"bytes");
}

#[test]
fn hosts_that_are_not_allowed_are_not_even_looked_up() {
    let looked_up = Arc::new(AtomicUsize::new(0));
    let names = Arc::new(Names(vec!["127.0.0.1:80".parse().unwrap()], looked_up.clone()));
    let remote = Remote::with_names(&hosts(&["pictures.example".into()]), names);
    for (address, expected) in [
        ("http://other.example/x", "add \"other.example\" to http.allow_http_images"),
        ("http://pictures.example:8080/x", "add \"pictures.example:8080\""),
        ("http://pictures.example.other.example/", "is not fetched"),
        ("http://pictures.example@other.example/", "a user in it"),
        ("http://127.0.0.1/", "add \"127.0.0.1\""),
        ("http://0x7f.1/", "is not fetched"),
        ("http://2130706433/", "is not fetched"),
        ("http://[::ffff:127.0.0.1]/", "is not fetched"),
        ("file:///etc/passwd", "write http://host/path"),
        ("gopher://pictures.example/", "write http://host/path"),
        ("http:///x", "write http://host/path"),
        ("http://", "write http://host/path"),
    ] {
        let error = remote.fetch(address, &mut Budget::new()).unwrap_err();
        assert!(error.contains(expected), "{address}: {error}");
    }
    assert_eq!(looked_up.load(Ordering::SeqCst), 0);
}

#[test]
fn names_that_lead_into_the_own_network_are_refused() {
    let (port, asked) = serve(|out| out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    let own = SocketAddr::new([127, 0, 0, 1].into(), port);
    let other: SocketAddr = format!("8.8.8.8:{port}").parse().unwrap();
    let mapped: SocketAddr = format!("[::ffff:127.0.0.1]:{port}").parse().unwrap();
    // One such address among others is enough.
    for found in [vec![own], vec![other, own], vec![mapped]] {
        let names = Arc::new(Names(found, Arc::default()));
        let remote = Remote::with_names(&hosts(&[format!("pictures.example:{port}")]), names);
        let error =
            remote.fetch(&format!("http://pictures.example:{port}/"), &mut Budget::new()).unwrap_err();
        assert!(error.contains("is no address of the internet"), "{error}");
        assert!(error.contains("write \"pictures.example="), "{error}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0, "the server was spoken to");
}

#[test]
fn redirections_are_not_followed() {
    let (secret, asked) = serve(|out| out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret"));
    let (port, _) = serve(move |out| {
        write!(out, "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{secret}/\r\ncontent-length: 0\r\n\r\n")
    });
    let error = fetch(port, &mut Budget::new()).unwrap_err();
    assert!(error.contains("redirections are not followed"), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 0, "the redirection was followed");
    let (port, _) = serve(|out| out.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"));
    assert!(fetch(port, &mut Budget::new()).unwrap_err().contains("the server says 404"));
}

#[test]
fn endless_bodies_end_at_the_limit() {
    let (port, _) = serve(|out| {
        out.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        loop {
            out.write_all(&[7; 65536])?;
        }
    });
    let mut budget = Budget { until: Instant::now() + Duration::from_secs(60), bytes: 1 << 20 };
    assert!(fetch(port, &mut budget).unwrap_err().contains("is larger than"), "of a stream");
    // What one picture takes is missing for the next.
    let (port, _) = serve(|out| out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nbytes"));
    let mut budget = Budget { bytes: 9, ..budget };
    assert!(fetch(port, &mut budget).is_ok() && fetch(port, &mut budget).is_err());
}

#[test]
fn slow_servers_are_left_alone() {
    // A byte now and then for ever, in the header or in the body.
    let drip = |out: &mut dyn Write| loop {
        out.write_all(b"x")?;
        out.flush()?;
        thread::sleep(Duration::from_millis(20));
    };
    let (header, _) = serve(move |out| {
        out.write_all(b"HTTP/1.1 200 OK\r\nx-slow: ")?;
        drip(out)
    });
    let (body, _) = serve(move |out| {
        out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")?;
        drip(out)
    });
    for port in [header, body] {
        let mut budget = Budget { until: Instant::now() + Duration::from_millis(300), bytes: FETCH_BYTES };
        let error = fetch(port, &mut budget).unwrap_err();
        assert!(error.contains("is not there after"), "{error}");
    }
    // A request without time left asks nobody.
    let (port, asked) = serve(|out| out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    assert!(fetch(port, &mut Budget { until: Instant::now(), bytes: 1 }).is_err());
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}
