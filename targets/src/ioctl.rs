//! Questions to Linux drivers of cameras and displays: the numbers of requests, the structures that go with them, and
//! the memory that a driver shares with us.
//!
//! Laid out as `linux/videodev2.h` and `linux/fb.h` have them. A structure whose meaning depends on a kind, and which
//! could hold a pointer in another one, keeps that kind to itself: nobody outside can make the kernel follow a pointer.

#![allow(unsafe_code)]

use memmap2::{MmapMut, MmapOptions};
use std::ffi::c_ulong;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A request, and the structure that it reads and fills.
pub(crate) struct Request<T> {
    number: libc::Ioctl,
    about: PhantomData<T>,
}

impl<T> Request<T> {
    const fn new(number: libc::Ioctl) -> Self {
        Request { number, about: PhantomData }
    }
}

const V: u32 = b'V' as u32;
pub(crate) const QUERY_CAPABILITY: Request<Capability> = Request::new(libc::_IOR::<Capability>(V, 0));
pub(crate) const ENUM_FORMAT: Request<FormatAt> = Request::new(libc::_IOWR::<FormatAt>(V, 2));
pub(crate) const GET_FORMAT: Request<Format> = Request::new(libc::_IOWR::<Format>(V, 4));
pub(crate) const SET_FORMAT: Request<Format> = Request::new(libc::_IOWR::<Format>(V, 5));
pub(crate) const REQUEST_BUFFERS: Request<Buffers> = Request::new(libc::_IOWR::<Buffers>(V, 8));
pub(crate) const QUERY_BUFFER: Request<Buffer> = Request::new(libc::_IOWR::<Buffer>(V, 9));
pub(crate) const QUEUE: Request<Buffer> = Request::new(libc::_IOWR::<Buffer>(V, 15));
pub(crate) const DEQUEUE: Request<Buffer> = Request::new(libc::_IOWR::<Buffer>(V, 17));
pub(crate) const STREAM_ON: Request<u32> = Request::new(libc::_IOW::<u32>(V, 18));
pub(crate) const STREAM_OFF: Request<u32> = Request::new(libc::_IOW::<u32>(V, 19));
pub(crate) const SET_SPEED: Request<Speed> = Request::new(libc::_IOWR::<Speed>(V, 22));
pub(crate) const ENUM_SIZE: Request<SizeAt> = Request::new(libc::_IOWR::<SizeAt>(V, 74));
// Older than the numbers that tell a structure's size.
pub(crate) const SCREEN: Request<Screen> = Request::new(0x4600);
pub(crate) const SCREEN_MEMORY: Request<ScreenMemory> = Request::new(0x4602);

/// The kind of buffers of a camera that gives whole pictures in one piece (`V4L2_BUF_TYPE_VIDEO_CAPTURE`).
pub(crate) const CAPTURE: u32 = 1;
/// Buffers that the driver owns and we map (`V4L2_MEMORY_MMAP`).
const MAPPED: u32 = 1;

/// `v4l2_capability`
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable)]
pub(crate) struct Capability {
    pub(crate) driver: [u8; 16],
    pub(crate) card: [u8; 32],
    pub(crate) bus: [u8; 32],
    version: u32,
    pub(crate) device: u32,
    pub(crate) node: u32,
    reserved: [u32; 3],
}

/// `v4l2_fmtdesc`: one of the formats that a camera offers.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable)]
pub(crate) struct FormatAt {
    pub(crate) index: u32,
    kind: u32,
    flags: u32,
    pub(crate) description: [u8; 32],
    pub(crate) fourcc: [u8; 4],
    mbus_code: u32,
    reserved: [u32; 3],
}

impl FormatAt {
    pub(crate) fn new(index: u32) -> Self {
        FormatAt { index, kind: CAPTURE, ..zeroed() }
    }
}

/// `v4l2_frmsizeenum`: one of the sizes of a format.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable)]
pub(crate) struct SizeAt {
    pub(crate) index: u32,
    pub(crate) fourcc: [u8; 4],
    /// 1: `sizes` is one width and height. 2, 3: least, most and step of the width, then of the height.
    pub(crate) kind: u32,
    pub(crate) sizes: [u32; 6],
    reserved: [u32; 2],
}

impl SizeAt {
    pub(crate) fn new(index: u32, fourcc: [u8; 4]) -> Self {
        SizeAt { index, fourcc, ..zeroed() }
    }
}

/// `v4l2_format` of a capture device.
#[repr(C)]
#[derive(FromBytes)]
pub(crate) struct Format {
    kind: u32,
    /// The union that follows holds pointers in other kinds, and is aligned for them.
    align: [c_ulong; 0],
    pub(crate) picture: PictureFormat,
    rest: [u8; 200 - size_of::<PictureFormat>()],
}

/// `v4l2_pix_format`
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes)]
pub(crate) struct PictureFormat {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) fourcc: [u8; 4],
    field: u32,
    pub(crate) bytes_per_line: u32,
    pub(crate) bytes: u32,
    pub(crate) colorspace: u32,
    magic: u32,
    flags: u32,
    pub(crate) encoding: u32,
    pub(crate) quantization: u32,
    transfer: u32,
}

impl Format {
    pub(crate) fn new() -> Self {
        Format { kind: CAPTURE, ..zeroed() }
    }

    /// Asks for a picture of this format; the driver chooses the rest.
    pub(crate) fn of(fourcc: [u8; 4], width: u32, height: u32) -> Self {
        let mut format = Format::new();
        format.picture.fourcc = fourcc;
        (format.picture.width, format.picture.height) = (width, height);
        format
    }
}

/// `v4l2_streamparm` of a capture device: how fast it takes pictures.
#[repr(C)]
#[derive(FromBytes)]
pub(crate) struct Speed {
    kind: u32,
    capability: u32,
    mode: u32,
    /// Seconds from one picture to the next, as a fraction.
    pub(crate) period: [u32; 2],
    extended: u32,
    buffers: u32,
    rest: [u32; 44],
}

impl Speed {
    /// Asks for a picture every `period[0] / period[1]` seconds; the driver chooses what is near.
    pub(crate) fn of(period: [u32; 2]) -> Self {
        Speed { kind: CAPTURE, period, ..zeroed() }
    }
}

/// `v4l2_requestbuffers`
#[repr(C)]
#[derive(FromBytes)]
pub(crate) struct Buffers {
    pub(crate) count: u32,
    kind: u32,
    memory: u32,
    capabilities: u32,
    flags: u32,
}

impl Buffers {
    pub(crate) fn new(count: u32) -> Self {
        Buffers { count, kind: CAPTURE, memory: MAPPED, ..zeroed() }
    }
}

/// `v4l2_buffer` of a capture device, in memory of the driver.
#[repr(C)]
#[derive(FromBytes)]
pub(crate) struct Buffer {
    pub(crate) index: u32,
    kind: u32,
    pub(crate) bytes_used: u32,
    pub(crate) flags: u32,
    field: u32,
    /// Seconds and microseconds; 64 bits on 32-bit systems too, whose kernels take both.
    timestamp: [i64; 2],
    timecode: [u32; 4],
    sequence: u32,
    memory: u32,
    /// A pointer in other kinds of memory.
    offset: c_ulong,
    pub(crate) length: u32,
    reserved: [u32; 2],
}

/// The picture in the buffer is damaged (`V4L2_BUF_FLAG_ERROR`).
pub(crate) const DAMAGED: u32 = 0x40;

impl Buffer {
    pub(crate) fn new(index: u32) -> Self {
        Buffer { index, kind: CAPTURE, memory: MAPPED, ..zeroed() }
    }

    /// How long ago the driver took the picture, if it says so by the clock that [`Instant`] has as well.
    pub(crate) fn age(&self) -> Option<Duration> {
        const CLOCKS: u32 = 0xe000;
        const MONOTONIC: u32 = 0x2000;
        if self.flags & CLOCKS != MONOTONIC {
            return None;
        }
        let [seconds, micros] = self.timestamp;
        let micros = u32::try_from(micros).ok().filter(|micros| *micros < 1_000_000)?;
        let taken = Duration::new(u64::try_from(seconds).ok()?, micros * 1000);
        monotonic().checked_sub(taken)
    }

    /// Where the driver's file has the buffer, to map it.
    pub(crate) fn offset(&self) -> u64 {
        // The first four bytes of the union, wherever they lie in a `long`.
        let bytes = self.offset.to_ne_bytes();
        u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]).into()
    }
}

/// `fb_bitfield`: where a colour lies in a pixel.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes)]
pub(crate) struct Bits {
    pub(crate) offset: u32,
    pub(crate) length: u32,
    pub(crate) msb_right: u32,
}

/// `fb_var_screeninfo`
#[repr(C)]
#[derive(FromBytes)]
pub(crate) struct Screen {
    pub(crate) width: u32,
    pub(crate) height: u32,
    virtual_size: [u32; 2],
    pub(crate) x_offset: u32,
    pub(crate) y_offset: u32,
    pub(crate) bits_per_pixel: u32,
    pub(crate) grayscale: u32,
    pub(crate) red: Bits,
    pub(crate) green: Bits,
    pub(crate) blue: Bits,
    transparent: Bits,
    nonstandard: u32,
    rest: [u32; 19],
}

/// `fb_fix_screeninfo`
#[repr(C)]
#[derive(FromBytes)]
pub(crate) struct ScreenMemory {
    pub(crate) name: [u8; 16],
    start: c_ulong,
    pub(crate) bytes: u32,
    /// 0: all bits of a pixel lie together.
    pub(crate) layout: u32,
    layout_detail: u32,
    /// 2: true colour; 4: the same, through tables that the driver sets up to be neutral.
    pub(crate) visual: u32,
    steps: [u16; 3],
    pub(crate) bytes_per_line: u32,
    registers: c_ulong,
    registers_bytes: u32,
    accelerator: u32,
    capabilities: u16,
    reserved: [u16; 2],
}

/// A structure of which everything is 0.
pub(crate) fn zeroed<T: FromBytes>() -> T {
    T::new_zeroed()
}

/// The time by the clock that drivers stamp pictures with.
fn monotonic() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is one of the kernel's, alive during the call, which fills it.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) } != 0 {
        return Duration::ZERO;
    }
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Has the driver read and fill `value`.
pub(crate) fn ask<T: FromBytes>(device: &File, request: &Request<T>, value: &mut T) -> io::Result<()> {
    loop {
        // SAFETY: the descriptor is open, because `device` is borrowed. The number is one of those above, each made
        // for the structure that stands beside it, so that the kernel reads and writes no more than `value`; any bytes
        // are a valid `T: FromBytes`. No structure above holds a pointer in the kind that its constructor sets.
        let result = unsafe { libc::ioctl(device.as_raw_fd(), request.number, std::ptr::from_mut(value)) };
        if result >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Memory that the driver shares: `bytes` of it from `offset` on. A driver may write to a camera's buffer while it is
/// queued; whoever wants a stable picture looks at it only between taking it out of the queue and putting it back.
pub(crate) fn map(device: &File, offset: u64, bytes: usize) -> io::Result<MmapMut> {
    // SAFETY: the map belongs to the driver and lives until it is dropped, whatever becomes of the descriptor. Its
    // bytes are plain numbers, any value of which is valid, also one that changes under a reader.
    unsafe { MmapOptions::new().offset(offset).len(bytes).map_mut(device) }
}

/// Waits until the driver, or whatever else the descriptor belongs to, has something to give, or an error to tell; `false` if the time came first.
pub(crate) fn wait(device: &impl AsRawFd, until: Instant) -> io::Result<bool> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        // Rounded up, so as not to turn in circles in the last millisecond.
        let ms = (left + Duration::from_nanos(999_999)).as_millis().min(i32::MAX as u128) as i32;
        let mut about = libc::pollfd { fd: device.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one structure, as the count says, alive during the call; its descriptor is open.
        let result = unsafe { libc::poll(&mut about, 1, ms) };
        if result >= 0 {
            return Ok(result > 0);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `sizeof` and the numbers of requests are on 64-bit systems.
    #[cfg(target_pointer_width = "64")]
    #[test]
    fn structures_are_as_large_as_the_kernel_s() {
        assert_eq!((size_of::<Format>(), size_of::<Buffer>(), size_of::<Buffers>()), (208, 88, 20));
        assert_eq!((size_of::<Screen>(), size_of::<ScreenMemory>()), (160, 80));
        let numbers = [
            (QUERY_CAPABILITY.number, 0x8068_5600_u32),
            (ENUM_FORMAT.number, 0xc040_5602),
            (GET_FORMAT.number, 0xc0d0_5604),
            (SET_FORMAT.number, 0xc0d0_5605),
            (REQUEST_BUFFERS.number, 0xc014_5608),
            (QUERY_BUFFER.number, 0xc058_5609),
            (QUEUE.number, 0xc058_560f),
            (DEQUEUE.number, 0xc058_5611),
            (STREAM_ON.number, 0x4004_5612),
            (STREAM_OFF.number, 0x4004_5613),
            (ENUM_SIZE.number, 0xc02c_564a),
            (SET_SPEED.number, 0xc0cc_5616),
        ];
        for (ours, kernels) in numbers {
            assert_eq!(ours as u32, kernels, "{kernels:#x}");
        }
    }

    #[test]
    fn a_picture_is_as_old_as_its_stamp_says() {
        let mut buffer = Buffer::new(0);
        assert_eq!(buffer.age(), None);
        buffer.flags = 0x2000;
        let now = monotonic();
        buffer.timestamp = [now.as_secs() as i64 - 3, 0];
        assert!(buffer.age().unwrap() >= Duration::from_secs(3));
        for timestamp in [[i64::MAX, 0], [-1, 0], [0, 1_000_000], [0, -1]] {
            buffer.timestamp = timestamp;
            assert_eq!(buffer.age(), None);
        }
    }

    #[test]
    fn a_file_is_no_device() {
        let file = File::open("/dev/null").unwrap();
        let mut about = zeroed::<Capability>();
        let error = ask(&file, &QUERY_CAPABILITY, &mut about).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
        assert!(map(&file, 0, 4096).is_err());
    }
}
