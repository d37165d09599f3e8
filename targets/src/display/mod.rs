//! Displays: a view of a picture and what was found in it, on any target of `embedded-graphics`; the framebuffers of
//! Linux as such targets; panels over SPI (feature `panels`).
//!
//! Not here: when something is shown, and what becomes of a display that fails. Whoever shows opens it again.

mod canvas;
#[cfg(target_os = "linux")]
pub mod framebuffer;
mod location;
mod outlines;
mod view;

#[cfg(all(target_os = "linux", feature = "panels"))]
mod bus;
#[cfg(all(target_os = "linux", feature = "panels"))]
mod epaper;
#[cfg(all(target_os = "linux", feature = "panels"))]
mod st7789;

#[cfg(all(test, target_os = "linux", feature = "panels"))]
mod tests;

pub use canvas::Canvas;
pub use location::{Epaper, Location, Pin, Rotation, St7789};
pub use view::View;

use std::time::{Duration, Instant};

/// An open display.
pub trait Display: Send {
    /// Shows a view; `now` is the time. If it is not to be shown yet, says how long to wait before the newest is shown again.
    ///
    /// # Errors
    /// What is wrong. The display has to be opened again.
    fn show(&mut self, view: &View<'_>, now: Instant) -> Result<Option<Duration>, String>;
}

impl Location {
    /// Opens the display; a panel takes half a second to start.
    ///
    /// # Errors
    /// Which display, what is wrong, what to do.
    pub fn open(&self) -> Result<Box<dyn Display>, String> {
        match self {
            // Its complaints name the device.
            #[cfg(target_os = "linux")]
            Location::Framebuffer(path) => Ok(Box::new(framebuffer::Framebuffer::open(path)?)),
            #[cfg(all(target_os = "linux", feature = "panels"))]
            Location::St7789(panel) => open_st7789(panel).map_err(|e| format!("{self}: {e}")),
            #[cfg(all(target_os = "linux", feature = "panels"))]
            Location::Epaper(panel) => open_epaper(panel).map_err(|e| format!("{self}: {e}")),
            #[cfg(not(all(target_os = "linux", feature = "panels")))]
            _ => Err(format!("{self}: this program was built without displays of this kind")),
        }
    }
}

#[cfg(all(target_os = "linux", feature = "panels"))]
fn open_st7789(panel: &St7789) -> Result<Box<dyn Display>, String> {
    let lines = st7789::Lines {
        spi: bus::spi(&panel.spi, panel.speed)?,
        dc: bus::output(&panel.dc, true)?,
        reset: panel.reset.as_ref().map(|pin| bus::output(pin, true)).transpose()?,
        backlight: panel.backlight.as_ref().map(|pin| bus::output(pin, false)).transpose()?,
        most_bytes: bus::most_bytes(),
    };
    Ok(Box::new(st7789::Panel::start(lines, panel, &mut linux_embedded_hal::Delay)?))
}

#[cfg(all(target_os = "linux", feature = "panels"))]
fn open_epaper(panel: &Epaper) -> Result<Box<dyn Display>, String> {
    let lines = epaper::Lines {
        spi: bus::spi(&panel.spi, panel.speed)?,
        dc: bus::output(&panel.dc, true)?,
        reset: bus::output(&panel.reset, true)?,
        busy: bus::input(&panel.busy)?,
    };
    Ok(Box::new(epaper::Panel::start(lines, panel, linux_embedded_hal::Delay)?))
}
