//! Buses and lines of this machine, by the names that the system gives them.

use super::location::Pin;
use linux_embedded_hal::gpio_cdev::{Chip, LineRequestFlags};
use linux_embedded_hal::spidev::{SpiModeFlags, SpidevOptions};
use linux_embedded_hal::{CdevPin, SpidevDevice};
use std::fs;
use std::path::Path;

/// Bytes that the system's driver takes at once unless told otherwise.
const USUAL_BYTES: usize = 4096;

/// Opens a bus in mode 0, as panels want it.
pub(super) fn spi(path: &Path, speed: u32) -> Result<SpidevDevice, String> {
    let mut spi = SpidevDevice::open(path).map_err(|e| {
        format!(
            "the bus cannot be opened: {e}; /dev/spidev* are those that the system knows, for the group spi"
        )
    })?;
    let mut options = SpidevOptions::new();
    options.bits_per_word(8).max_speed_hz(speed).mode(SpiModeFlags::SPI_MODE_0);
    spi.configure(&options).map_err(|e| format!("is no bus that takes {speed} bits a second: {e}"))?;
    Ok(spi)
}

/// Bytes that the system's driver takes at once.
pub(super) fn most_bytes() -> usize {
    let text = fs::read_to_string("/sys/module/spidev/parameters/bufsiz").unwrap_or_default();
    text.trim().parse().ok().filter(|n| *n >= 2).unwrap_or(USUAL_BYTES)
}

/// A line that is set, at first to `is_high`.
pub(super) fn output(pin: &Pin, is_high: bool) -> Result<CdevPin, String> {
    line(pin, LineRequestFlags::OUTPUT, is_high.into())
}

/// A line that is read.
pub(super) fn input(pin: &Pin) -> Result<CdevPin, String> {
    line(pin, LineRequestFlags::INPUT, 0)
}

fn line(pin: &Pin, flags: LineRequestFlags, value: u8) -> Result<CdevPin, String> {
    let path = Path::new("/dev").join(&pin.chip);
    Chip::new(&path)
        .and_then(|mut chip| chip.get_line(pin.line)?.request(flags, value, "pg-edge"))
        .and_then(CdevPin::new)
        .map_err(|e| format!("the line {pin} cannot be used: {e}; `gpioinfo` lists lines and who uses them"))
}
