//! Sources beside real programs: ffmpeg, servers, a folder that others write to, scripts in place of a camera's program.

use crate::camera::formats::tests::ffmpeg;
use crate::camera::{Counts, ErrorKind, FrameBuffer, Location, Next, Options, Source, SourceError};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(60);
const PHOTO: &[u8] = include_bytes!("../../../../tests/goldens/imaging/photo-half.jpg");
const PNG: &[u8] = include_bytes!("../../../../tests/goldens/imaging/rgb-7x5.png");

fn open(location: &str, options: &Options) -> Result<Box<dyn Source>, SourceError> {
    location.parse::<Location>().unwrap().open(options)
}

/// The sizes of all frames until the end.
fn all(source: &mut dyn Source) -> Vec<[usize; 2]> {
    let (mut frame, mut sizes) = (FrameBuffer::new(), Vec::new());
    loop {
        match source.next(&mut frame, LONG).unwrap() {
            Next::Frame => sizes.push([frame.width(), frame.height()]),
            Next::Nothing => panic!("nothing came for {LONG:?}"),
            Next::End => return sizes,
        }
    }
}

fn error(location: &str, options: &Options) -> SourceError {
    let asked = |mut source: Box<dyn Source>| {
        let mut frame = FrameBuffer::new();
        let until = Instant::now() + LONG;
        while Instant::now() < until {
            match source.next(&mut frame, LONG) {
                Err(error) => return error,
                Ok(Next::End) => panic!("{location} ends"),
                Ok(_) => {}
            }
        }
        panic!("{location} goes on")
    };
    open(location, options).map_or_else(|e| e, asked)
}

#[test]
fn a_video_is_decoded_by_ffmpeg() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("-a 'b;c.mp4");
    let source = "-f lavfi -i testsrc2=size=128x96:rate=10:duration=2 -pix_fmt yuv420p";
    let plain = folder.path().join("plain.mp4");
    if ffmpeg(&format!("{source} {}", plain.display())).is_none() {
        return;
    }
    fs::rename(&plain, &path).unwrap();
    let location = format!("file:{}", path.display());
    let mut video = open(&location, &Options::default()).unwrap();
    assert_eq!(all(&mut *video), [[128, 96]; 20]);
    let options = Options { max_fps: Some(5.0), fit: Some([64, 64]), ..Options::default() };
    assert_eq!(all(&mut *open(&location, &options).unwrap()), [[64, 48]; 10]);
    // Faster than the video is no reason to repeat its frames.
    let options = Options { max_fps: Some(50.0), ..Options::default() };
    assert_eq!(all(&mut *open(&location, &options).unwrap()).len(), 20);
    // One that nobody reads to its end is no trouble.
    let mut video = open(&location, &Options::default()).unwrap();
    assert_eq!(video.next(&mut FrameBuffer::new(), LONG).unwrap(), Next::Frame);
    drop(video);

    fs::write(&path, "no video").unwrap();
    let error = error(&location, &Options::default());
    assert!(error.kind() == ErrorKind::Permanent && error.to_string().contains("Invalid data"), "{error}");
}

#[test]
fn what_is_missing_is_said() {
    let options = Options { ffmpeg: "/no/such/ffmpeg".into(), ..Options::default() };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.mp4");
    fs::write(&file, "").unwrap();
    for (location, kind, complaint) in [
        (format!("file:{}", file.display()), ErrorKind::Permanent, "install ffmpeg"),
        ("rtsp://u:secret@127.0.0.1:1/".into(), ErrorKind::Permanent, "install ffmpeg"),
        ("file:/no/such/file.mp4".into(), ErrorKind::Permanent, "no such file"),
        ("dir:/no/such/folder".into(), ErrorKind::Permanent, "no such folder"),
        ("pictures:/no/such/folder".into(), ErrorKind::Permanent, "check the path"),
        ("push:".into(), ErrorKind::Permanent, "handed in"),
        ("stdin:rgb24@16384x16384".into(), ErrorKind::Permanent, "pixels are the most"),
        ("rpicam:0?size=100x100&codec=yuv420".into(), ErrorKind::Permanent, "64 divides"),
    ] {
        let error = error(&location, &options);
        assert!(error.kind() == kind && error.to_string().contains(complaint), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn passwords_are_masked_in_what_ffmpeg_says() {
    if ffmpeg("-version").is_none() {
        return;
    }
    // A port that was free a moment ago: nobody answers.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = error(&format!("rtsp://me:sec%72et@127.0.0.1:{port}/x"), &Options::default());
    let text = error.to_string();
    assert!(error.kind() == ErrorKind::Lost && text.contains("me:***@127.0.0.1"), "{text}");
    assert!(text.contains("refused") && !text.contains("sec"), "{text}");
}

/// A program of a few lines of shell.
fn script(folder: &Path, lines: &str) -> PathBuf {
    let path = folder.join("program");
    fs::write(&path, format!("#!/bin/sh\n{lines}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn rpicam_is_asked_as_its_manual_says() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("photo"), PHOTO).unwrap();
    fs::write(folder.path().join("planes"), [128; 64 * 4 * 3 / 2]).unwrap();
    let [said, photo, planes] =
        ["said", "photo", "planes"].map(|name| folder.path().join(name).display().to_string());
    let lines = format!(
        "echo \"$@\" > {said}\ncase \"$*\" in\n*mjpeg*) cat {photo} {photo};;\n*) cat {planes} {planes};;\nesac\n\
         echo 'camera is gone' >&2\nexit 3"
    );
    let options = Options { rpicam: script(folder.path(), &lines), ..Options::default() };
    for (location, size, words) in [
        ("rpicam:1?fps=5", 0, "--camera 1 --codec mjpeg --width 640 --height 480 --framerate 5 --output -"),
        ("rpicam:0?size=64x4&codec=yuv420", 64, "--camera 0 --codec yuv420 --width 64 --height 4 --output -"),
    ] {
        let mut camera = open(location, &options).unwrap();
        let mut frame = FrameBuffer::new();
        assert_eq!(camera.next(&mut frame, LONG).unwrap(), Next::Frame);
        assert!(size == 0 || frame.width() == size);
        let error = loop {
            match camera.next(&mut frame, LONG) {
                Ok(Next::Frame) => {}
                Ok(other) => panic!("{other:?}"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("camera is gone") && error.contains("exit status: 3"), "{error}");
        let said = fs::read_to_string(&said).unwrap();
        assert!(said.trim().ends_with(words), "{said}");
    }
}

#[test]
fn a_child_ends_with_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let number = folder.path().join("number");
    let lines = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", number.display());
    let options = Options { rpicam: script(folder.path(), &lines), ..Options::default() };
    let mut camera = open("rpicam:0", &options).unwrap();
    while !number.exists() {
        assert_eq!(camera.next(&mut FrameBuffer::new(), Duration::from_millis(5)).unwrap(), Next::Nothing);
    }
    let process = PathBuf::from(format!("/proc/{}", fs::read_to_string(&number).unwrap().trim()));
    assert!(process.exists());
    drop(camera);
    assert!(!process.exists());
    let options = Options { stall: Duration::from_millis(20), ..options };
    let error = error("rpicam:0", &options);
    assert!(error.kind() == ErrorKind::Lost && error.to_string().contains("nothing came"), "{error}");
}

type Answer = Box<dyn Fn(&str, &mut TcpStream) -> std::io::Result<()> + Send>;

/// A server whose answers a test gives by hand, one thread for all connections; what it was asked is kept.
fn server(answer: Answer) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut input = BufReader::new(stream.try_clone().unwrap());
            loop {
                let mut request = String::new();
                while input.read_line(&mut request).is_ok_and(|n| n > 2) {}
                if request.is_empty() {
                    break;
                }
                log.lock().unwrap().push(request.clone());
                if answer(&request, &mut stream).is_err() || request.contains("/stream") {
                    break;
                }
            }
        }
    });
    (address, asked)
}

fn whole(stream: &mut TcpStream, head: &str, body: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(body)
}

#[test]
fn a_picture_is_asked_for_again_only_if_it_is_new() {
    let turn = AtomicUsize::new(0);
    let (address, asked) = server(Box::new(move |request, stream| {
        let asks_for_news = request.to_ascii_lowercase().contains("if-none-match: \"one\"");
        match (turn.fetch_add(1, Ordering::Relaxed), asks_for_news) {
            (0, false) => whole(stream, "200 OK\r\nETag: \"one\"", PNG),
            (1 | 2, true) => write!(stream, "HTTP/1.1 304 Not Modified\r\nETag: \"one\"\r\n\r\n"),
            (3, true) => whole(stream, "200 OK", b"no picture"),
            (_, false) => whole(stream, "200 OK", PHOTO),
            _ => panic!("{request}"),
        }
    }));
    let location = format!("snapshot+http://me:p%3Aw@{address}/x.jpg?q=1&every=10ms");
    let mut source = open(&location, &Options::default()).unwrap();
    let mut frame = FrameBuffer::new();
    assert_eq!(source.next(&mut frame, LONG).unwrap(), Next::Frame);
    assert_eq!((frame.width(), frame.height()), (7, 5));
    assert_eq!(source.next(&mut frame, LONG).unwrap(), Next::Frame);
    assert!(frame.width() > 7);
    drop(source);
    let asked = asked.lock().unwrap();
    assert!(asked.len() >= 5 && asked[0].starts_with("GET /x.jpg?q=1 HTTP/1.1"), "{asked:?}");
    assert!(
        asked.iter().all(|request| request.to_ascii_lowercase().contains("authorization: basic bwu6cdp3"))
    );
}

#[test]
fn answers_that_lead_nowhere_are_explained() {
    for (head, kind, complaint) in [
        ("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"", ErrorKind::Permanent, "user:password@"),
        ("401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"x\"", ErrorKind::Permanent, "RTSP"),
        ("302 Found\r\nLocation: http://elsewhere/", ErrorKind::Permanent, "http://elsewhere/"),
        ("404 Not Found", ErrorKind::Permanent, "check the address"),
        ("503 Service Unavailable", ErrorKind::Lost, "503"),
        ("200 OK\r\nContent-Type: multipart/x-mixed-replace", ErrorKind::Permanent, "boundary"),
        ("200 OK\r\nContent-Type: text/html", ErrorKind::Permanent, "a text"),
    ] {
        let (address, asked) = server(Box::new(move |_, stream| whole(stream, head, b"")));
        let error = error(&format!("mjpeg+http://{address}/"), &Options::default());
        assert!(error.kind() == kind && error.to_string().contains(complaint), "{head}: {error}");
        assert_eq!(asked.lock().unwrap().len(), 1, "{head}");
    }
    #[cfg(not(feature = "tls"))]
    assert!(
        error("mjpeg+https://127.0.0.1/", &Options::default()).to_string().contains("without encryption")
    );
}

#[test]
fn pictures_of_one_answer_are_taken_one_by_one() {
    let (address, _) = server(Box::new(|_, stream| {
        write!(stream, "HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=xyz\r\n\r\n")?;
        for _ in 0..3 {
            write!(stream, "--xyz\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", PHOTO.len())?;
            stream.write_all(PHOTO)?;
            write!(stream, "\r\n--xyz\r\nContent-Length: 4\r\n\r\noops\r\n")?;
        }
        // Silence until the other side goes away.
        stream.read(&mut [0; 16]).map(drop)
    }));
    let mut source = open(&format!("mjpeg+http://{address}/stream"), &Options::default()).unwrap();
    let mut frame = FrameBuffer::new();
    let mut frames = 0;
    while source.counts().damaged < 3 {
        match source.next(&mut frame, Duration::from_millis(20)).unwrap() {
            Next::Frame => frames += 1,
            Next::Nothing => {}
            Next::End => panic!("ended"),
        }
    }
    let Counts { skipped, .. } = source.counts();
    assert!(frames >= 1 && skipped <= 2, "{frames} {skipped}");
    drop(source);
    let options = Options { stall: Duration::from_millis(100), ..Options::default() };
    let (address, _) = server(Box::new(|_, stream| stream.read(&mut [0; 16]).map(drop)));
    let silent = error(&format!("mjpeg+http://{address}/stream"), &options);
    assert_eq!(silent.kind(), ErrorKind::Lost);
}

/// A child that is ended when the test is.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_stream_of_ffmpeg_s_own_server_is_read() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/cam");
    let mut command = Command::new("ffmpeg");
    command.args(
        "-hide_banner -nostdin -loglevel error -re -f lavfi -i testsrc2=size=160x120:rate=20".split(' '),
    );
    command.args(["-c:v", "mjpeg", "-f", "mpjpeg", "-listen", "1", &url]);
    if ffmpeg("-version").is_none() {
        return;
    }
    let _server = Ended(command.stdout(Stdio::null()).spawn().unwrap());
    let mut frame = FrameBuffer::new();
    let until = Instant::now() + LONG;
    let mut source = loop {
        // It needs a moment before it listens.
        let mut source = open(&format!("mjpeg+{url}"), &Options::default()).unwrap();
        match source.next(&mut frame, LONG) {
            Ok(Next::Frame) => break source,
            other => assert!(Instant::now() < until, "{other:?}"),
        }
    };
    for _ in 0..10 {
        assert_eq!(source.next(&mut frame, LONG).unwrap(), Next::Frame);
        assert_eq!((frame.width(), frame.height()), (160, 120));
    }
    assert_eq!(source.counts().damaged, 0);
}

#[test]
fn files_of_a_folder_are_taken_once() {
    let folder = tempfile::tempdir().unwrap();
    let [incoming, done] = ["in", "out"].map(|name| folder.path().join(name));
    for path in [&incoming, &done] {
        fs::create_dir(path).unwrap();
    }
    let names = |path: &Path| {
        let entries = fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = entries.collect();
        names.sort();
        names
    };
    fs::write(incoming.join("a.png"), PNG).unwrap();
    fs::write(incoming.join("b.JPG"), PHOTO).unwrap();
    fs::write(incoming.join("notes.txt"), "").unwrap();
    fs::write(incoming.join(".hidden.png"), "").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", incoming.join("link.png")).unwrap();
    fs::write(done.join("a.png"), "an older one").unwrap();
    let mut once = open(&format!("dir:{}", incoming.display()), &Options::default()).unwrap();
    assert_eq!(all(&mut *once).len(), 2);

    let location = format!("dir:{}?watch=1&then=move:{}", incoming.display(), done.display());
    let mut source = open(&location, &Options::default()).unwrap();
    let mut frame = FrameBuffer::new();
    for width in [7, 0] {
        assert_eq!(source.next(&mut frame, LONG).unwrap(), Next::Frame);
        assert!(width == 0 || frame.width() == width);
    }
    assert_eq!(source.next(&mut frame, Duration::ZERO).unwrap(), Next::Nothing);
    assert_eq!(names(&done), ["a-1.png", "a.png", "b.JPG"]);

    // Written in two steps, moved in, damaged; while somebody waits.
    let target = incoming.clone();
    let writer = thread::spawn(move || {
        let mut file = fs::File::create(target.join("c.png")).unwrap();
        file.write_all(&PNG[..20]).unwrap();
        file.write_all(&PNG[20..]).unwrap();
        drop(file);
        fs::write(target.join("d.part"), PHOTO).unwrap();
        fs::rename(target.join("d.part"), target.join("d.jpg")).unwrap();
        fs::write(target.join("e.png"), &PNG[..30]).unwrap();
        fs::write(target.join("f.png"), PNG).unwrap();
    });
    let (mut frames, mut damaged) = (0, 0);
    while frames < 3 {
        match source.next(&mut frame, LONG) {
            Ok(Next::Frame) => frames += 1,
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert!(error.kind() == ErrorKind::Damaged && error.to_string().contains("e.png"), "{error}");
                damaged += 1;
            }
        }
    }
    writer.join().unwrap();
    assert_eq!((damaged, source.counts().damaged), (1, 1));
    assert_eq!(names(&incoming), [".hidden.png", "failed", "link.png", "notes.txt"]);
    assert_eq!(names(&incoming.join("failed")), ["e.png"]);
    assert_eq!(names(&done), ["a-1.png", "a.png", "b.JPG", "c.png", "d.jpg", "f.png"]);

    fs::rename(&incoming, folder.path().join("elsewhere")).unwrap();
    assert_eq!(source.next(&mut frame, LONG).unwrap_err().kind(), ErrorKind::Lost);
}

#[test]
fn piped_frames_all_arrive() {
    let stream: Vec<u8> = (0..5).flat_map(|_| PHOTO).copied().collect();
    let place = || "stdin:mjpeg".to_string();
    let from = |bytes: Vec<u8>, format, options: &Options| {
        super::stdin::from(std::io::Cursor::new(bytes), format, place(), options).unwrap()
    };
    use crate::camera::PipeFormat::{Mjpeg, Rgb24, Y4m};
    assert_eq!(all(&mut *from(stream, Mjpeg, &Options::default())).len(), 5);
    assert_eq!(all(&mut *from(vec![9; 3 * 12], Rgb24([2, 2]), &Options::default())), [[2, 2]; 3]);
    let mut broken =
        from(b"YUV4MPEG2 W2 H2 Cmono\nFRAME\n1234FRAME\n5678oops\n".to_vec(), Y4m, &Options::default());
    let mut frame = FrameBuffer::new();
    assert_eq!(broken.next(&mut frame, LONG).unwrap(), Next::Frame);
    assert_eq!(broken.next(&mut frame, LONG).unwrap(), Next::Frame);
    let error = broken.next(&mut frame, LONG).unwrap_err();
    assert!(error.kind() == ErrorKind::Permanent && error.to_string().contains("does not begin"), "{error}");
}
