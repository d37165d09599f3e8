//! E-paper of Waveshare, 2.13 inches, version 3: the small one that sits on a Raspberry Pi Zero.
//!
//! Its controller's commands are those of most e-paper made since; `epd-waveshare` knows them and how this panel wants to be
//! driven. What is shown keeps without power, so it is drawn only when its words change, not oftener than the panel
//! endures, and never shows the picture itself.

use super::location::{self, Rotation};
use super::{Canvas, Display, View};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::*;
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{ErrorType, InputPin, OutputPin};
use embedded_hal::spi::SpiDevice;
use epd_waveshare::epd2in13_v2::{Epd2in13, HEIGHT, WIDTH};
use epd_waveshare::prelude::WaveshareDisplay;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const PANEL: Size = Size::new(WIDTH, HEIGHT);
/// Bytes of a row: 8 pixels each, the leftmost in the highest bit, 1 for white.
const ROW: usize = WIDTH.div_ceil(8) as usize;
/// Microseconds between two looks at whether the panel is still busy.
const LOOK: u32 = 10_000;
/// Drawing takes two to four seconds; a panel that is busy for so many looks has come off.
const MOST_LOOKS: u32 = 1500;
/// Words that belong together come one after the other.
const SETTLE: Duration = Duration::from_secs(5);

/// What the controller is connected by.
pub(super) struct Lines<S, O, I> {
    pub(super) spi: S,
    pub(super) dc: O,
    pub(super) reset: O,
    pub(super) busy: I,
}

/// A panel, and what it shows.
pub(super) struct Panel<S, O, I, D>
where
    S: SpiDevice<Error: fmt::Display>,
    O: OutputPin<Error: fmt::Display>,
    I: InputPin<Error: fmt::Display>,
    D: DelayNs,
{
    driver: Epd2in13<S, Watched<I>, Watched<O>, Watched<O>, D>,
    spi: S,
    delay: D,
    fault: Fault,
    rotation: Rotation,
    pause: Duration,
    /// What it shows, and since when; nothing before the first time.
    shown: Option<(String, Instant)>,
    /// When other words came.
    changed: Option<Instant>,
}

impl<S, O, I, D> Panel<S, O, I, D>
where
    S: SpiDevice<Error: fmt::Display>,
    O: OutputPin<Error: fmt::Display>,
    I: InputPin<Error: fmt::Display>,
    D: DelayNs,
{
    /// Starts the controller. What the panel shows stays until there are words.
    pub(super) fn start(
        lines: Lines<S, O, I>,
        settings: &location::Epaper,
        mut delay: D,
    ) -> Result<Self, String> {
        let fault = Fault::default();
        let Lines { mut spi, dc, reset, busy } = lines;
        let (busy, dc, reset) =
            (Watched::new(busy, &fault), Watched::new(dc, &fault), Watched::new(reset, &fault));
        let driver = Epd2in13::new(&mut spi, busy, dc, reset, &mut delay, Some(LOOK)).map_err(bus)?;
        fault.take()?;
        let (rotation, pause) = (settings.rotation, settings.pause);
        Ok(Panel { driver, spi, delay, fault, rotation, pause, shown: None, changed: None })
    }

    /// When these words may be drawn; never if they are there already.
    fn due(&mut self, words: &str, now: Instant) -> Option<Instant> {
        if self.shown.as_ref().is_some_and(|(shown, _)| shown == words) {
            self.changed = None;
            return None;
        }
        let settled = *self.changed.get_or_insert(now) + SETTLE;
        Some(self.shown.as_ref().map_or(settled, |(_, drawn)| settled.max(*drawn + self.pause)))
    }

    fn draw(&mut self, view: &View<'_>) -> Result<(), String> {
        let mut canvas = Canvas::new(self.rotation.turned(PANEL), BinaryColor::Off);
        let Ok(()) = view.draw_outlines(&mut canvas);
        let bits = pack(&canvas, self.rotation);
        // It may have lost its settings meanwhile, so they are set each time.
        self.driver.wake_up(&mut self.spi, &mut self.delay).map_err(bus)?;
        self.fault.take()?;
        self.driver.update_and_display_frame(&mut self.spi, &bits, &mut self.delay).map_err(bus)?;
        self.fault.take()
    }
}

impl<S, O, I, D> Display for Panel<S, O, I, D>
where
    S: SpiDevice<Error: fmt::Display> + Send,
    O: OutputPin<Error: fmt::Display> + Send,
    I: InputPin<Error: fmt::Display> + Send,
    D: DelayNs + Send,
{
    fn show(&mut self, view: &View<'_>, now: Instant) -> Result<Option<Duration>, String> {
        let words = view.words();
        let Some(due) = self.due(&words, now) else { return Ok(None) };
        let wait = due.saturating_duration_since(now);
        if !wait.is_zero() {
            return Ok(Some(wait));
        }
        self.draw(view)?;
        (self.shown, self.changed) = (Some((words, now)), None);
        Ok(None)
    }
}

fn bus<E: fmt::Display>(error: E) -> String {
    format!("the bus fails: {error}")
}

/// The panel's bytes of what is shown, row by row.
fn pack(canvas: &Canvas<BinaryColor>, rotation: Rotation) -> Vec<u8> {
    let mut bits = vec![0xff; ROW * HEIGHT as usize];
    for (at, color) in canvas.places() {
        if color.is_on() {
            let at = rotation.on_panel(at, PANEL);
            bits[at.y as usize * ROW + at.x as usize / 8] &= !(0x80 >> (at.x % 8));
        }
    }
    bits
}

/// The first thing that went wrong with a line: the driver goes on regardless.
#[derive(Debug, Clone, Default)]
struct Fault(Arc<Mutex<Option<String>>>);

impl Fault {
    fn set(&self, what: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
    }

    fn take(&self) -> Result<(), String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}

/// A line whose errors are noted, and which is not waited for for ever.
struct Watched<P> {
    pin: P,
    fault: Fault,
    /// How often it was found busy in a row.
    looks: u32,
}

impl<P> Watched<P> {
    fn new(pin: P, fault: &Fault) -> Self {
        Watched { pin, fault: fault.clone(), looks: 0 }
    }

    fn noted<T, E: fmt::Display>(&self, result: Result<T, E>) -> Result<T, E> {
        result.inspect_err(|e| self.fault.set(format!("a line cannot be used: {e}")))
    }
}

impl<P: ErrorType> ErrorType for Watched<P> {
    type Error = P::Error;
}

impl<P: OutputPin<Error: fmt::Display>> OutputPin for Watched<P> {
    fn set_low(&mut self) -> Result<(), P::Error> {
        let set = self.pin.set_low();
        self.noted(set)
    }

    fn set_high(&mut self) -> Result<(), P::Error> {
        let set = self.pin.set_high();
        self.noted(set)
    }
}

impl<P: InputPin<Error: fmt::Display>> InputPin for Watched<P> {
    fn is_high(&mut self) -> Result<bool, P::Error> {
        let found = self.pin.is_high();
        let is_busy = self.noted(found)?;
        self.looks = if is_busy { self.looks + 1 } else { 0 };
        if self.looks < MOST_LOOKS {
            return Ok(is_busy);
        }
        self.looks = 0;
        let seconds = u64::from(MOST_LOOKS) * u64::from(LOOK) / 1_000_000;
        self.fault
            .set(format!("the panel has been busy for {seconds} s: is it connected, and is busy= its line?"));
        Ok(false)
    }

    fn is_low(&mut self) -> Result<bool, P::Error> {
        self.is_high().map(|is_high| !is_high)
    }
}
