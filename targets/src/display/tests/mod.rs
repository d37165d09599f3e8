//! Panels on a bus whose other end understands what it is sent: the controllers' commands become pixels again, and a
//! sequence that a controller would not take is a panic.

mod epaper;
mod ssd1680;
mod st7789;
mod st7789_controller;

use super::View;
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{self, InputPin, OutputPin};
use embedded_hal::spi::{self, Operation, SpiDevice};
use pg_runtime::imaging::{Frame, PixelFormat};
use pg_runtime::pictures::Label;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

/// What hangs on the bus.
trait Controller {
    fn command(&mut self, command: u8);
    fn data(&mut self, data: &[u8]);
    /// A pulse on its reset line.
    fn reset(&mut self);
    /// Whether it is busy, each time somebody looks.
    fn is_busy(&mut self) -> bool {
        false
    }
}

struct State<C> {
    controller: C,
    /// Levels of the lines.
    dc: bool,
    reset: bool,
    light: bool,
    bus_fails: bool,
    lines_fail: bool,
    most_bytes: usize,
    transfers: usize,
}

struct Board<C>(Arc<Mutex<State<C>>>);

impl<C> Clone for Board<C> {
    fn clone(&self) -> Self {
        Board(self.0.clone())
    }
}

impl<C: Controller> Board<C> {
    fn new(controller: C, most_bytes: usize) -> Self {
        Board(Arc::new(Mutex::new(State {
            controller,
            dc: true,
            reset: true,
            light: false,
            bus_fails: false,
            lines_fail: false,
            most_bytes,
            transfers: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State<C>> {
        self.0.lock().unwrap()
    }

    fn line(&self, which: Which) -> Line<C> {
        Line { board: self.clone(), which }
    }
}

/// The bus itself.
struct Wire<C>(Board<C>);

#[derive(Clone, Copy)]
enum Which {
    Dc,
    Reset,
    Light,
    Busy,
}

struct Line<C> {
    board: Board<C>,
    which: Which,
}

#[derive(Debug)]
struct PulledOut;

impl fmt::Display for PulledOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pulled out")
    }
}

impl spi::Error for PulledOut {
    fn kind(&self) -> spi::ErrorKind {
        spi::ErrorKind::Other
    }
}

impl digital::Error for PulledOut {
    fn kind(&self) -> digital::ErrorKind {
        digital::ErrorKind::Other
    }
}

impl<C> spi::ErrorType for Wire<C> {
    type Error = PulledOut;
}

impl<C: Controller> SpiDevice for Wire<C> {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), PulledOut> {
        let state = &mut *self.0.state();
        if state.bus_fails {
            return Err(PulledOut);
        }
        for operation in operations {
            let Operation::Write(bytes) = operation else { panic!("nothing can be read") };
            assert!(bytes.len() <= state.most_bytes, "{} bytes at once", bytes.len());
            state.transfers += 1;
            match state.dc {
                true => state.controller.data(bytes),
                false => bytes.iter().for_each(|b| state.controller.command(*b)),
            }
        }
        Ok(())
    }
}

impl<C> digital::ErrorType for Line<C> {
    type Error = PulledOut;
}

impl<C: Controller> Line<C> {
    fn set(&self, is_high: bool) -> Result<(), PulledOut> {
        let state = &mut *self.board.state();
        if state.lines_fail {
            return Err(PulledOut);
        }
        match self.which {
            Which::Dc => state.dc = is_high,
            Which::Light => state.light = is_high,
            Which::Reset => {
                if is_high && !state.reset {
                    state.controller.reset();
                }
                state.reset = is_high;
            }
            Which::Busy => panic!("the panel sets this line"),
        }
        Ok(())
    }
}

impl<C: Controller> OutputPin for Line<C> {
    fn set_low(&mut self) -> Result<(), PulledOut> {
        self.set(false)
    }

    fn set_high(&mut self) -> Result<(), PulledOut> {
        self.set(true)
    }
}

impl<C: Controller> InputPin for Line<C> {
    fn is_high(&mut self) -> Result<bool, PulledOut> {
        let state = &mut *self.board.state();
        if state.lines_fail { Err(PulledOut) } else { Ok(state.controller.is_busy()) }
    }

    fn is_low(&mut self) -> Result<bool, PulledOut> {
        self.is_high().map(|is_high| !is_high)
    }
}

struct NoDelay;

impl DelayNs for NoDelay {
    fn delay_ns(&mut self, _: u32) {}
}

/// A picture whose pixels differ, in colours that 16 bits tell apart.
fn picture() -> Vec<u8> {
    (0..48_u8).flat_map(|y| (0..64_u8).flat_map(move |x| [x * 4, y * 5, x ^ y])).collect()
}

fn view<'a>(picture: &'a [u8], labels: &'a [Label<'a>], caption: &'a str) -> View<'a> {
    View { frame: Frame::new(picture, 64, 48, PixelFormat::Rgb8).unwrap(), labels, caption }
}

/// Where a point of what is shown has to be on a panel of this width and height, when it is turned clockwise.
fn turned(degrees: u32, [x, y]: [usize; 2], [width, height]: [usize; 2]) -> [usize; 2] {
    match degrees {
        0 => [x, y],
        90 => [width - 1 - y, x],
        180 => [width - 1 - x, height - 1 - y],
        _ => [y, height - 1 - x],
    }
}
