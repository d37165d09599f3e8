//! Displays in colour with the controller ST7789, over SPI.
//!
//! What is shown is drawn in memory and sent as a whole. `mipidsi` knows the controller; here is what carries its commands
//! and pixels, in pieces that the bus takes.

use super::location::{self, Rotation};
use super::{Canvas, Display, View};
use embedded_graphics::pixelcolor::{Rgb565, Rgb888};
use embedded_graphics::prelude::*;
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::OutputPin;
use embedded_hal::spi::SpiDevice;
use mipidsi::interface::{Interface, InterfaceKind};
use mipidsi::options::{ColorInversion, Orientation};
use mipidsi::{Builder, NoResetPin, models};
use std::fmt;
use std::time::{Duration, Instant};

/// What the controller is connected by. `reset` and `backlight` keep their lines as they are while the display is used.
pub(super) struct Lines<S, P> {
    pub(super) spi: S,
    pub(super) dc: P,
    pub(super) reset: Option<P>,
    pub(super) backlight: Option<P>,
    /// Bytes that the bus takes at once.
    pub(super) most_bytes: usize,
}

/// A display that is on.
pub(super) struct Panel<S, P>
where
    S: SpiDevice<Error: fmt::Display>,
    P: OutputPin<Error: fmt::Display>,
{
    display: mipidsi::Display<Bus<S, P>, models::ST7789, NoResetPin>,
    canvas: Canvas<Rgb565>,
    _held: [Option<P>; 2],
}

impl<S, P> Panel<S, P>
where
    S: SpiDevice<Error: fmt::Display>,
    P: OutputPin<Error: fmt::Display>,
{
    /// Starts the controller and shows black.
    pub(super) fn start(
        lines: Lines<S, P>,
        settings: &location::St7789,
        delay: &mut impl DelayNs,
    ) -> Result<Self, String> {
        let Lines { spi, dc, mut reset, mut backlight, most_bytes } = lines;
        if let Some(pin) = &mut reset {
            set(pin, false)?;
            delay.delay_ms(10);
            set(pin, true)?;
            delay.delay_ms(120);
        }
        let bus = Bus { spi, dc, piece: Vec::new(), most_bytes };
        let ([w, h], [x, y]) = (settings.size.map(|v| v as u16), settings.offset.map(|v| v as u16));
        let rotation = match settings.rotation {
            Rotation::Deg0 => mipidsi::options::Rotation::Deg0,
            Rotation::Deg90 => mipidsi::options::Rotation::Deg90,
            Rotation::Deg180 => mipidsi::options::Rotation::Deg180,
            Rotation::Deg270 => mipidsi::options::Rotation::Deg270,
        };
        let inversion = if settings.invert { ColorInversion::Inverted } else { ColorInversion::Normal };
        let display = Builder::new(models::ST7789, bus)
            .display_size(w, h)
            .display_offset(x, y)
            .orientation(Orientation::new().rotate(rotation))
            .invert_colors(inversion)
            .init(delay);
        let display = display.map_err(|e| match e {
            mipidsi::InitError::Interface(e) => e,
            other => format!("the controller cannot be set up: {other:?}"),
        })?;
        let canvas = Canvas::new(display.size(), Rgb565::BLACK);
        let mut panel = Panel { display, canvas, _held: [None, None] };
        panel.send()?;
        // The memory holds noise until then.
        if let Some(pin) = &mut backlight {
            set(pin, true)?;
        }
        panel._held = [reset, backlight];
        Ok(panel)
    }

    fn send(&mut self) -> Result<(), String> {
        let area = self.canvas.bounding_box();
        self.display.fill_contiguous(&area, self.canvas.pixels().iter().copied())
    }
}

impl<S, P> Display for Panel<S, P>
where
    S: SpiDevice<Error: fmt::Display> + Send,
    P: OutputPin<Error: fmt::Display> + Send,
{
    fn show(&mut self, view: &View<'_>, _: Instant) -> Result<Option<Duration>, String> {
        let Ok(()) = view.draw(&mut self.canvas.color_converted::<Rgb888>());
        self.send().map(|()| None)
    }
}

fn set<P: OutputPin<Error: fmt::Display>>(pin: &mut P, is_high: bool) -> Result<(), String> {
    pin.set_state(is_high.into()).map_err(|e| format!("a line cannot be set: {e}"))
}

/// Bytes of pixels wait in `piece` until it is full.
struct Bus<S, P> {
    spi: S,
    dc: P,
    piece: Vec<u8>,
    most_bytes: usize,
}

impl<S, P> Bus<S, P>
where
    S: SpiDevice<Error: fmt::Display>,
{
    fn write(&mut self) -> Result<(), String> {
        let sent = self.spi.write(&self.piece).map_err(|e| format!("the bus fails: {e}"));
        self.piece.clear();
        sent
    }
}

impl<S, P> Interface for Bus<S, P>
where
    S: SpiDevice<Error: fmt::Display>,
    P: OutputPin<Error: fmt::Display>,
{
    type Word = u8;
    type Error = String;

    const KIND: InterfaceKind = InterfaceKind::Serial4Line;

    fn send_command(&mut self, command: u8, parameters: &[u8]) -> Result<(), String> {
        set(&mut self.dc, false)?;
        self.piece.push(command);
        self.write()?;
        set(&mut self.dc, true)?;
        if !parameters.is_empty() {
            self.piece.extend(parameters);
            self.write()?;
        }
        Ok(())
    }

    fn send_pixels<const N: usize>(
        &mut self,
        pixels: impl IntoIterator<Item = [u8; N]>,
    ) -> Result<(), String> {
        for pixel in pixels {
            if self.piece.len() + N > self.most_bytes {
                self.write()?;
            }
            self.piece.extend(pixel);
        }
        self.write()
    }

    fn send_repeated_pixel<const N: usize>(&mut self, pixel: [u8; N], count: u32) -> Result<(), String> {
        self.send_pixels(std::iter::repeat_n(pixel, count as usize))
    }
}
