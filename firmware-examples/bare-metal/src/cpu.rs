//! What only instructions can say or do: the counter, the caches, the end.

#![allow(unsafe_code)]

use core::arch::asm;

/// Bytes of a line of the data cache.
pub(crate) const CACHE_LINE: usize = 64;

/// Reads a system register that has no effects.
macro_rules! system_register {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading this register changes nothing, and EL1 may read it (`boot.s`).
        unsafe { asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }};
}

/// The exception level that the program runs at.
pub(crate) fn exception_level() -> u64 {
    system_register!("CurrentEL") >> 2 & 3
}

/// The counter's ticks a second.
pub(crate) fn counter_hz() -> u64 {
    system_register!("cntfrq_el0")
}

/// The counter.
pub(crate) fn counter() -> u64 {
    // SAFETY: the barrier keeps the read where it is written.
    unsafe { asm!("isb", options(nostack, preserves_flags)) };
    system_register!("cntvct_el0")
}

/// Inside loops that wait for the board.
pub(crate) fn relax() {
    core::hint::spin_loop();
}

/// Writes what the data cache holds of `memory` to the memory itself and forgets it, so that the VideoCore sees what was
/// written and later reads see what the VideoCore wrote. Other data in the lines at both ends is written too, and kept.
pub(crate) fn flush<T>(memory: &mut [T]) {
    let range = memory.as_mut_ptr_range();
    let (mut line, end) = (range.start as usize & !(CACHE_LINE - 1), range.end as usize);
    while line < end {
        // SAFETY: cleans and invalidates a line of memory that exists: no value changes for this processor, except for
        // those that the VideoCore wrote, which `memory` is borrowed mutably for.
        unsafe { asm!("dc civac, {}", in(reg) line, options(nostack, preserves_flags)) };
        line += CACHE_LINE;
    }
    // SAFETY: a barrier: what was flushed has arrived.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
}

/// Ends the program with `code`, which the emulator, or a debugger on a real board, takes as its own.
pub(crate) fn exit(code: u64) -> ! {
    const EXIT_EXTENDED: u64 = 0x20;
    const APPLICATION_EXIT: u64 = 0x20026;
    let parameters = [APPLICATION_EXIT, code];
    // SAFETY: a semihosting call: reads the two parameters. Where nobody listens it faults, and `fault` comes here again,
    // which is as good an end as any.
    unsafe { asm!("hlt #0xf000", in("x0") EXIT_EXTENDED, in("x1") &parameters, options(nostack)) };
    loop {
        // SAFETY: waits; nothing wakes a core whose interrupts are masked.
        unsafe { asm!("wfe", options(nomem, nostack, preserves_flags)) };
    }
}
