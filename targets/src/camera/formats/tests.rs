//! Streams cut into pictures: good ones, damaged ones, and those of ffmpeg beside what ffmpeg itself makes of them.

use super::mutations::{Random, damaged, drain};
use super::*;
use std::io;
use std::process::{Command, Stdio};

const LIMITS: Limits = Limits { pixels: 1 << 16, bytes: 1 << 18 };
const PHOTO: &[u8] = include_bytes!("../../../../tests/goldens/imaging/photo-half.jpg");
const CMYK: &[u8] = include_bytes!("../../../../tests/goldens/imaging/cmyk.jpg");

/// What ffmpeg writes; `None`, with a word about it, if there is no ffmpeg.
pub(crate) fn ffmpeg(arguments: &str) -> Option<Vec<u8>> {
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-nostdin", "-loglevel", "error", "-y"]).args(arguments.split_whitespace());
    match command.stdin(Stdio::null()).stderr(Stdio::inherit()).output() {
        Ok(output) => {
            assert!(output.status.success(), "ffmpeg {arguments}");
            Some(output.stdout)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            println!("skipped: there is no ffmpeg");
            None
        }
        Err(e) => panic!("ffmpeg: {e}"),
    }
}

/// Gives a byte or a few at a time, as pipes do.
struct Trickle<'a>(&'a [u8], Random);

impl Read for Trickle<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = (1 + self.1.below(7)).min(out.len());
        self.0.read(&mut out[..count])
    }
}

/// A small picture; with a thumbnail, which is a whole picture inside a segment, if asked for.
fn small_jpeg(with_thumbnail: bool) -> Vec<u8> {
    // A frame of one block, written by hand: gray, 8 x 8, the usual codes left out.
    let frame = [0xff, 0xc0, 0, 11, 8, 0, 8, 0, 8, 1, 1, 0x11, 0];
    let steps = [&[0xff, 0xdb, 0, 67, 0][..], &[1; 64]].concat();
    let scan = [0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0];
    // Difference 0 of the first coefficient, then nothing; filled up with ones.
    let data = [0b0010_1011];
    let whole =
        |middle: &[u8]| [&[0xff, 0xd8], middle, &steps[..], &frame, &scan, &data, &[0xff, 0xd9]].concat();
    let inner = whole(&[]);
    if !with_thumbnail {
        return inner;
    }
    let length = (inner.len() + 2) as u16;
    whole(&[&[0xff, 0xe1][..], &length.to_be_bytes(), &inner].concat())
}

fn cuts(cutter: &mut dyn Cutter) -> (Vec<Vec<u8>>, usize) {
    let (mut pictures, mut damaged, mut bytes) = (Vec::new(), 0, Vec::new());
    loop {
        match cutter.cut(&mut bytes).unwrap() {
            Cut::Picture(Encoding::File) => pictures.push(bytes.clone()),
            Cut::Damaged => damaged += 1,
            Cut::End => return (pictures, damaged),
            other => panic!("{other:?}"),
        }
    }
}

fn jpegs(stream: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let whole = cuts(&mut JpegStream::new(stream, &LIMITS));
    let trickled = cuts(&mut JpegStream::new(Trickle(stream, Random(1)), &LIMITS));
    assert_eq!(whole, trickled);
    whole
}

#[test]
fn pictures_are_cut_where_they_end() {
    let (plain, nested) = (small_jpeg(false), small_jpeg(true));
    let stream = [&b"\0noise\xff\x00"[..], &plain, &nested, b"\0\0\0", PHOTO, &[0xff], &plain].concat();
    let expected = vec![plain.clone(), nested.clone(), PHOTO.to_vec(), plain.clone()];
    assert_eq!(jpegs(&stream), (expected, 0));

    // One that breaks off costs no other one.
    let stream = [&PHOTO[..PHOTO.len() - 700], &plain[..], PHOTO].concat();
    assert_eq!(jpegs(&stream), (vec![plain.clone(), PHOTO.to_vec()], 1));
    // Nor does one that is too long.
    let tight = Limits { pixels: 100, bytes: nested.len() };
    let stream = [PHOTO, &nested].concat();
    let (pictures, damaged) = cuts(&mut JpegStream::new(&stream[..], &tight));
    assert_eq!((pictures, damaged), (vec![nested.clone()], 1));

    let mut frame = FrameBuffer::new();
    let mut decoder = Decoder::new(LIMITS);
    decoder.decode(Encoding::File, &nested, &mut frame).unwrap();
    assert_eq!((frame.width(), frame.height(), frame.data()), (8, 8, &[128; 192][..]));
    let error = decoder.decode(Encoding::File, CMYK, &mut frame).unwrap_err();
    assert!(error.contains("4 components"), "{error}");
    let error = Decoder::new(tight).decode(Encoding::File, PHOTO, &mut frame).unwrap_err();
    assert!(error.contains("at most"), "{error}");
}

#[test]
fn colours_are_those_of_the_runtime_s_own_reader() {
    let mut frame = FrameBuffer::new();
    Decoder::new(LIMITS).decode(Encoding::File, PHOTO, &mut frame).unwrap();
    let picture = pictures::decode_jpeg(PHOTO).unwrap();
    assert_eq!((frame.width(), frame.data()), (picture.width() as usize, picture.data()));
}

#[test]
fn damaged_pictures_are_passed_over() {
    let stream = [&small_jpeg(true)[..], PHOTO, &small_jpeg(false)].concat();
    let mut frames = 0;
    for bytes in damaged(&stream) {
        frames += drain(&mut JpegStream::new(&bytes[..], &LIMITS), LIMITS, bytes.len());
    }
    assert!(frames > 3000, "{frames}");
}

fn multipart(parts: &[&[u8]], with_length: bool) -> Vec<u8> {
    let mut stream = b"preamble\r\n".to_vec();
    for part in parts {
        stream.extend(b"--edge\r\nContent-Type: image/jpeg\r\n");
        if with_length {
            stream.extend(format!("CONTENT-LENGTH:  {}\r\n", part.len()).bytes());
        }
        stream.extend([b"\r\n", *part, b"\r\n"].concat());
    }
    stream.extend(b"--edge--\r\nafterwards");
    stream
}

#[test]
fn parts_are_cut_with_and_without_lengths() {
    let nested = small_jpeg(true);
    for with_length in [true, false] {
        let stream = multipart(&[PHOTO, &nested, PHOTO], with_length);
        let expected = (vec![PHOTO.to_vec(), nested.clone(), PHOTO.to_vec()], 0);
        assert_eq!(cuts(&mut Multipart::new(&stream[..], "edge".into(), &LIMITS)), expected);
        let trickle = Trickle(&stream, Random(3));
        assert_eq!(cuts(&mut Multipart::new(trickle, "edge".into(), &LIMITS)), expected);
        for bytes in damaged(&stream[..stream.len() / 2]) {
            drain(&mut Multipart::new(&bytes[..], "edge".into(), &LIMITS), LIMITS, bytes.len());
        }
    }
    // A length that cannot be is not believed; the next part is found.
    let lying = b"--edge\nContent-Length: 99999999999\n\nxx\n--edge\nContent-Length: 3\n\nabc\n";
    let stream = [&lying[..], &multipart(&[PHOTO], true)].concat();
    assert_eq!(cuts(&mut Multipart::new(&stream[..], "edge".into(), &LIMITS)), (vec![PHOTO.to_vec()], 2));
    let mut endless = Multipart::new(io::repeat(b'\n'), "edge".into(), &LIMITS);
    assert!(endless.cut(&mut Vec::new()).unwrap_err().contains("boundary"));
}

#[test]
fn boundaries_are_read_as_servers_write_them() {
    for text in [
        "multipart/x-mixed-replace; boundary=edge",
        "Multipart/X-Mixed-Replace;x=y;Boundary=\"--edge\"",
        "multipart/x-mixed-replace;boundary=--edge",
    ] {
        assert_eq!(boundary(text), Some(Ok("edge".into())), "{text}");
    }
    assert!(boundary("multipart/mixed; boundary=").unwrap().is_err());
    assert!(boundary("multipart/mixed").unwrap().is_err());
    assert_eq!(boundary("image/jpeg"), None);
}

fn y4m(header: &str, frames: usize, bytes: usize) -> Vec<u8> {
    let mut stream = format!("YUV4MPEG2 {header}\n").into_bytes();
    for frame in 0..frames {
        stream.extend(if frame == 0 { &b"FRAME\n"[..] } else { b"FRAME Ip\n" });
        stream.extend((0..bytes).map(|at| (at * 37 + frame * 11) as u8));
    }
    stream
}

#[test]
fn planes_of_every_kind_are_read() {
    for (kind, bytes) in [
        ("", 15 + 12),
        (" C420jpeg", 15 + 12),
        (" C420mpeg2", 15 + 12),
        (" C420paldv XYSCSS=420PALDV", 15 + 12),
        (" C422", 15 + 18),
        (" C444", 45),
        (" Cmono", 15),
    ] {
        let stream = y4m(&format!("W5 H3 F30:1 Ip A1:1{kind}"), 4, bytes);
        assert_eq!(drain(&mut Y4mStream::new(&stream[..], &LIMITS, None), LIMITS, stream.len()), 4, "{kind}");
        let mut thinned = Y4mStream::new(&stream[..], &LIMITS, Some(15.0));
        assert_eq!(drain(&mut thinned, LIMITS, stream.len()), 2);
        for bytes in damaged(&stream) {
            drain(&mut Y4mStream::new(&bytes[..], &LIMITS, None), LIMITS, bytes.len());
        }
    }
    for header in
        ["W0 H3", "W5", "W99999 H99999", "W5 H3 C420p10", "W5 H3 C410", "W-5 H3", "Wé H3", "W16384 H16384"]
    {
        let stream = y4m(header, 1, 64);
        assert!(Y4mStream::new(&stream[..], &LIMITS, None).cut(&mut Vec::new()).is_err(), "{header}");
    }
    assert!(Y4mStream::new(&b"RIFF"[..], &LIMITS, None).cut(&mut Vec::new()).is_err());
}

/// Largest difference between our frames of a stream and ffmpeg's.
fn difference(kind: &str, range: &str) -> Option<u8> {
    let source = format!(
        "-f lavfi -i testsrc2=size=98x76:rate=5:duration=1 -vf scale=out_range={range},format={kind}"
    );
    let stream = ffmpeg(&format!("{source} -strict -1 -f yuv4mpegpipe -"))?;
    let path = std::env::temp_dir().join(format!("pg-planes-{}-{kind}-{range}.y4m", std::process::id()));
    std::fs::write(&path, &stream).unwrap();
    let flags = "accurate_rnd+full_chroma_int+full_chroma_inp+bitexact";
    let theirs = ffmpeg(&format!(
        "-i {} -sws_flags neighbor+{flags} -vf scale=flags=neighbor+{flags} -f rawvideo -pix_fmt rgb24 -",
        path.display()
    ));
    std::fs::remove_file(&path).unwrap();
    let theirs = theirs?;
    let (mut cutter, mut decoder) = (Y4mStream::new(&stream[..], &LIMITS, None), Decoder::new(LIMITS));
    let (mut bytes, mut frame, mut most) = (Vec::new(), FrameBuffer::new(), 0);
    for theirs in theirs.chunks(98 * 76 * 3) {
        let Ok(Cut::Picture(encoding)) = cutter.cut(&mut bytes) else { panic!("fewer frames than ffmpeg's") };
        decoder.decode(encoding, &bytes, &mut frame).unwrap();
        assert_eq!(frame.data().len(), theirs.len());
        let off = frame.data().iter().zip(theirs).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        most = most.max(off);
    }
    assert_eq!(cutter.cut(&mut bytes), Ok(Cut::End));
    Some(most)
}

// Gray of limited range is left out: ffmpeg 5.1 writes into the stream that it is, and reads it as if it were not.
#[test]
fn colours_are_those_of_ffmpeg() {
    for (kind, range) in [
        ("yuv444p", "tv"),
        ("yuv420p", "tv"),
        ("yuv422p", "tv"),
        ("gray", "pc"),
        ("yuv444p", "pc"),
        ("yuv420p", "pc"),
    ] {
        let Some(off) = difference(kind, range) else { return };
        assert!(off <= 2, "{kind} {range}: {off}");
    }
}
