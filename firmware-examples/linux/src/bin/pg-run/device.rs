//! Pictures from cameras as well as files, and answers on a display.

use crate::args::Answer;
use pg_runtime::pictures::{self, Label, Picture};
use pg_targets::camera::Format;
use std::path::Path;

/// The picture in a file, or the newest one of a camera.
pub(crate) fn picture(image: &Path, format: Option<Format>) -> Result<Picture, String> {
    #[cfg(target_os = "linux")]
    if pg_targets::camera::v4l2::is_device(image) {
        use pg_targets::camera::FrameBuffer;
        use pg_targets::camera::v4l2::{Capture, Wanted};
        /// Cameras take up to two seconds for the first frame, a slow one more.
        const LIMIT: std::time::Duration = std::time::Duration::from_secs(10);
        let wanted = Wanted { format, ..Wanted::default() };
        let mut camera = Capture::open(image, &wanted).map_err(|e| e.to_string())?;
        let mut frame = FrameBuffer::new();
        camera.take(&mut frame, LIMIT).map_err(|e| e.to_string())?;
        return Ok(Picture::copy_of(&frame.frame()));
    }
    let picture = pictures::load(image).map_err(|e| e.to_string())?;
    match format {
        Some(_) => Err(format!("{}: is a file, --camera-format is about cameras", image.display())),
        None => Ok(picture),
    }
}

/// The display to show answers on, if one was asked for.
pub(crate) struct Screen {
    #[cfg(target_os = "linux")]
    framebuffer: pg_targets::display::framebuffer::Framebuffer,
}

impl Screen {
    pub(crate) fn open(request: &Answer) -> Result<Option<Self>, String> {
        let Some(path) = &request.display else { return Ok(None) };
        #[cfg(target_os = "linux")]
        return Ok(Some(Screen { framebuffer: pg_targets::display::framebuffer::Framebuffer::open(path)? }));
        #[cfg(not(target_os = "linux"))]
        Err(format!("{}: framebuffers are displays of Linux", path.display()))
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn show(
        &mut self,
        picture: &Picture,
        labels: &[Label<'_>],
        caption: &str,
    ) -> Result<(), String> {
        let view = pg_targets::display::View { frame: picture.frame(), labels, caption };
        let Ok(()) = view.draw(&mut self.framebuffer);
        self.framebuffer.flush()
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn show(&mut self, _: &Picture, _: &[Label<'_>], _: &str) -> Result<(), String> {
        unreachable!("there is no display to open")
    }
}
