//! The serial line.

use crate::cpu;
use crate::mmio::{UART_DATA, UART_FLAGS};
use core::fmt;

const NOTHING_RECEIVED: u32 = 1 << 4;
const CANNOT_SEND: u32 = 1 << 5;

/// The serial line as something to write to.
pub(crate) struct Uart;

impl fmt::Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            while UART_FLAGS.read() & CANNOT_SEND != 0 {
                cpu::relax();
            }
            UART_DATA.write(byte.into());
        }
        Ok(())
    }
}

/// Waits for a byte.
pub(crate) fn wait() {
    while UART_FLAGS.read() & NOTHING_RECEIVED != 0 {
        cpu::relax();
    }
    UART_DATA.read();
}

/// Writes a line.
macro_rules! println {
    ($($text:tt)*) => {{
        use core::fmt::Write;
        // Writing to the serial line cannot fail.
        let _ = core::writeln!($crate::uart::Uart, $($text)*);
    }};
}
pub(crate) use println;
