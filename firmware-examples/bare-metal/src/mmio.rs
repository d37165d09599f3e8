//! The registers of the board's peripherals that this program uses, by name: no others can be made.

#![allow(unsafe_code)]

use core::ptr::with_exposed_provenance_mut;

/// Where the BCM2837 has its peripherals.
const PERIPHERALS: usize = 0x3f00_0000;

/// A register of 32 bits.
#[derive(Clone, Copy)]
pub(crate) struct Register(usize);

/// Serial line (PL011): a byte received or to be sent.
pub(crate) const UART_DATA: Register = Register(PERIPHERALS + 0x20_1000);
/// Serial line: bit 4 nothing was received, bit 5 nothing more can be sent yet.
pub(crate) const UART_FLAGS: Register = Register(PERIPHERALS + 0x20_1018);
/// Mailbox of the VideoCore: an answer.
pub(crate) const MAILBOX_READ: Register = Register(PERIPHERALS + 0xb880);
/// Mailbox: bit 30 of the status is set while there is no answer.
pub(crate) const MAILBOX_READ_STATUS: Register = Register(PERIPHERALS + 0xb898);
/// Mailbox: a request.
pub(crate) const MAILBOX_WRITE: Register = Register(PERIPHERALS + 0xb8a0);
/// Mailbox: bit 31 of the status is set while no request is taken.
pub(crate) const MAILBOX_WRITE_STATUS: Register = Register(PERIPHERALS + 0xb8b8);

impl Register {
    pub(crate) fn read(self) -> u32 {
        // SAFETY: a register of the list above: aligned, mapped as device memory by `mmu`, and no Rust object is there.
        unsafe { with_exposed_provenance_mut::<u32>(self.0).read_volatile() }
    }

    pub(crate) fn write(self, value: u32) {
        // SAFETY: as for `read`; the only register whose value makes the board write to memory is MAILBOX_WRITE, and
        // `mailbox` gives it a message that it owns.
        unsafe { with_exposed_provenance_mut::<u32>(self.0).write_volatile(value) }
    }
}
