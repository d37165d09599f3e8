//! What is piped into this program.

use super::feed::{self, Feed, Keep, Outlet};
use crate::camera::formats::{Cutter, Encoding, JpegStream, Limits, RawStream, Y4mStream};
use crate::camera::location::PipeFormat;
use crate::camera::{ErrorKind, Options, Source, SourceError};
use std::io::{self, Read};

/// Reads the program's input, which can be done once.
pub(super) fn open(
    format: PipeFormat,
    place: String,
    options: &Options,
) -> Result<Box<dyn Source>, SourceError> {
    from(io::stdin(), format, place, options)
}

/// Every frame, unless a speed is asked for: YUV4MPEG2 tells its own, which is thinned out; the others come at the speed
/// of whoever writes them, and the newest one is taken whenever one is due.
pub(super) fn from(
    input: impl Read + Send + 'static,
    format: PipeFormat,
    place: String,
    options: &Options,
) -> Result<Box<dyn Source>, SourceError> {
    let limits = Limits::of(options);
    let is_timed = format == PipeFormat::Y4m;
    let keep = if is_timed || options.max_fps.is_none() { Keep::All } else { Keep::Newest };
    let mut cutter: Box<dyn Cutter> = match format {
        PipeFormat::Y4m => Box::new(Y4mStream::new(input, &limits, options.max_fps)),
        PipeFormat::Mjpeg => Box::new(JpegStream::new(input, &limits)),
        PipeFormat::Rgb24(size) => {
            let [width, height] = size.map(|side| side as usize);
            let checked = limits.check(width, height);
            checked.map_err(|what| SourceError::new(ErrorKind::Permanent, &place, what))?;
            Box::new(RawStream::new(input, Encoding::Rgb { width, height }, width * height * 3))
        }
    };
    let outlet = Outlet::new(keep);
    let feed = Feed::new(&outlet, place.clone(), options);
    feed::start("camera-stdin", move || {
        let end = outlet.run(&mut *cutter);
        outlet.end(end.map_err(|what| SourceError::new(ErrorKind::Permanent, place, what)));
    })?;
    Ok(Box::new(if keep == Keep::Newest { feed.paced(options.max_fps) } else { feed }))
}
