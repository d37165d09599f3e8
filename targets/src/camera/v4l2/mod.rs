//! Cameras of Linux: Video4Linux2, devices with whole pictures in one buffer.
//!
//! [`list`] says what there is, [`Capture`] takes frames. Drivers answer with any number they like, so every length and
//! index is checked before it is used.

mod capture;

pub use capture::{Capture, Wanted};

use super::{Camera, CameraError, Format, Offer, Problem, Size};
use crate::ioctl;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Number of the drivers of video devices in the system's table (`VIDEO_MAJOR`).
const MAJOR: u32 = 81;
/// More formats or sizes than this are not asked for.
const MOST_OFFERS: u32 = 64;
const MOST_SIZES: u32 = 256;

/// `V4L2_CAP_*`
const CAN_CAPTURE: u32 = 0x1;
const CAN_CAPTURE_PLANES: u32 = 0x1000;
const CAN_STREAM: u32 = 0x0400_0000;
const HAS_NODE: u32 = 0x8000_0000;

/// Whether `path` is a video device, by whatever name.
pub fn is_device(path: &Path) -> bool {
    let is_video =
        |meta: fs::Metadata| meta.file_type().is_char_device() && libc::major(meta.rdev()) == MAJOR;
    fs::metadata(path).is_ok_and(is_video)
}

/// The cameras among `folder`/video*, `/dev` for those of this system, in the order of their numbers; instead of one
/// that cannot be asked, why. Other video devices (outputs, decoders, metadata of cameras) are left out.
pub fn list(folder: &Path) -> Vec<Result<Camera, CameraError>> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let number: u32 = entry.file_name().to_str()?.strip_prefix("video")?.parse().ok()?;
            Some((number, entry.path()))
        })
        .collect();
    paths.sort();
    let cameras = paths.into_iter().map(|(_, path)| describe(&path));
    cameras.filter(|c| !matches!(c, Err(CameraError { problem: Problem::NotACamera(_), .. }))).collect()
}

/// What the camera at `path` is and offers.
///
/// # Errors
/// If it is no camera or cannot be asked.
pub fn describe(path: &Path) -> Result<Camera, CameraError> {
    let file = open(path)?;
    let about = capability(&file, path)?;
    Ok(Camera {
        path: path.to_owned(),
        name: text(&about.card),
        driver: text(&about.driver),
        bus: text(&about.bus),
        offers: offers(&file),
    })
}

fn open(path: &Path) -> Result<File, CameraError> {
    let fail = |problem| CameraError { path: path.to_owned(), problem };
    // Without blocking: a frame that does not come must not hold the program up beyond its time limit.
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path);
    file.map_err(|error| {
        fail(match error.kind() {
            ErrorKind::NotFound => Problem::Missing,
            // What a device file without a driver gives.
            _ if [Some(libc::ENXIO), Some(libc::ENODEV)].contains(&error.raw_os_error()) => Problem::Missing,
            ErrorKind::PermissionDenied => Problem::Forbidden,
            ErrorKind::IsADirectory => Problem::NotACamera("is a folder, not a camera"),
            ErrorKind::ResourceBusy => Problem::Busy,
            _ => Problem::System { doing: "open the camera", error },
        })
    })
}

fn capability(file: &File, path: &Path) -> Result<ioctl::Capability, CameraError> {
    let fail = |problem| CameraError { path: path.to_owned(), problem };
    let mut about: ioctl::Capability = ioctl::zeroed();
    ioctl::ask(file, &ioctl::QUERY_CAPABILITY, &mut about).map_err(|error| {
        fail(match error.raw_os_error() {
            Some(libc::ENOTTY | libc::EINVAL) => Problem::NotACamera("is not a video device"),
            _ => Problem::System { doing: "ask what it is", error },
        })
    })?;
    // A device may have several nodes; then the first field is about all of them together.
    let can = if about.device & HAS_NODE != 0 { about.node } else { about.device };
    let why = match can {
        _ if can & CAN_CAPTURE == 0 && can & CAN_CAPTURE_PLANES != 0 => {
            "gives pictures in several planes, which is not supported"
        }
        _ if can & CAN_CAPTURE == 0 => "is a video device that takes no pictures",
        _ if can & CAN_STREAM == 0 => "shares no memory for pictures, which is not supported",
        _ => return Ok(about),
    };
    Err(fail(Problem::NotACamera(why)))
}

fn offers(file: &File) -> Vec<Offer> {
    let mut offers = Vec::new();
    for index in 0..MOST_OFFERS {
        let mut one = ioctl::FormatAt::new(index);
        if ioctl::ask(file, &ioctl::ENUM_FORMAT, &mut one).is_err() {
            break;
        }
        offers.push(Offer {
            code: code(one.fourcc),
            description: text(&one.description),
            format: Format::ALL.into_iter().find(|f| codes(*f).contains(&&one.fourcc)),
            sizes: sizes(file, one.fourcc),
        });
    }
    offers
}

fn sizes(file: &File, fourcc: [u8; 4]) -> Vec<Size> {
    let mut sizes = Vec::new();
    for index in 0..MOST_SIZES {
        let mut one = ioctl::SizeAt::new(index, fourcc);
        if ioctl::ask(file, &ioctl::ENUM_SIZE, &mut one).is_err() {
            break;
        }
        let [a, b, c, d, e, f] = one.sizes;
        if one.kind != 1 {
            // Ranges come alone.
            return vec![Size::Range { least: [a, d], most: [b, e], step: [c, f] }];
        }
        sizes.push(Size::One([a, b]));
    }
    sizes
}

/// The codes of a format, the one to ask for first.
fn codes(format: Format) -> &'static [&'static [u8; 4]] {
    match format {
        Format::Rgb => &[b"RGB3"],
        Format::Yuyv => &[b"YUYV"],
        Format::Nv12 => &[b"NV12"],
        Format::Mjpeg => &[b"MJPG", b"JPEG"],
    }
}

/// The letters of a code; V4L2 marks big-endian variants in the highest bit, and prints them so.
fn code(mut fourcc: [u8; 4]) -> String {
    let is_big_endian = fourcc[3] & 0x80 != 0;
    fourcc[3] &= 0x7f;
    let letters = String::from_utf8_lossy(&fourcc).trim().to_string();
    if is_big_endian { letters + "-BE" } else { letters }
}

/// Text of a driver: up to the first 0, with no control characters.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(&bytes[..end]);
    text.trim().chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn system(doing: &'static str) -> impl Fn(io::Error) -> Problem {
    move |error| match error.raw_os_error() {
        Some(libc::EBUSY) => Problem::Busy,
        Some(libc::ENODEV) => Problem::Missing,
        _ => Problem::System { doing, error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_camera_is_refused_with_a_reason() {
        for (path, reason) in [
            ("/no/such/video0", "there is no such camera"),
            ("/dev/null", "is not a video device"),
            ("/dev", "is a folder"),
        ] {
            let error = describe(Path::new(path)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{path}: ")) && error.contains(reason), "{error}");
            assert!(!is_device(Path::new(path)));
            assert!(Capture::open(Path::new(path), &Wanted::default()).is_err());
        }
    }

    #[test]
    fn a_folder_without_cameras_lists_none() {
        let folder = std::env::temp_dir().join(format!("pg-cameras-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for name in ["video1", "videox", "audio0"] {
            fs::write(folder.join(name), "no device").unwrap();
        }
        assert!(list(&folder).is_empty() && list(&folder.join("none")).is_empty());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn texts_of_drivers_are_cut_and_cleaned() {
        assert_eq!(text(b"vivid\0\0rest"), "vivid");
        assert_eq!(text(b"no end \x1b[2J"), "no end ?[2J");
        assert_eq!(text(b"\xff\xfe"), "\u{fffd}\u{fffd}");
        assert_eq!((code(*b"Y16 "), code(*b"Y16\xa0")), ("Y16".into(), "Y16-BE".into()));
    }
}
