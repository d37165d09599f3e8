//! The VideoCore's frame buffer: pixels of 32 bits in ordinary memory, which the board puts on the screen.

#![allow(unsafe_code)]

use crate::cpu;
use crate::mailbox::{self, Property};
use alloc::format;
use alloc::string::String;
use core::ptr::with_exposed_provenance_mut;
use core::slice;
use pg_bare_metal::canvas::Canvas;

const BITS: u32 = 32;
/// Blue in the lowest byte.
const BGR: u32 = 0;
/// Where frame buffers may lie: above everything of `kernel.ld`, below the peripherals.
const ALLOWED: core::ops::Range<usize> = 0x0500_0000..0x3f00_0000;

/// Asks for a screen of `width` by `height` pixels.
///
/// # Errors
/// What the VideoCore answered instead.
#[allow(clippy::disallowed_methods)] // memory that no Rust object made
pub(crate) fn open(width: u32, height: u32) -> Result<Canvas<'static>, String> {
    let property = |tag, values| Property { tag, values };
    let mut asked = [
        property(0x48003, [width, height]), // size of the screen
        property(0x48004, [width, height]), // size of the picture that is shown on it
        property(0x48005, [BITS, 0]),
        property(0x48006, [BGR, 0]),
        property(0x40001, [4096, 0]), // a buffer at a multiple of this: address and bytes
        property(0x40008, [0, 0]),    // bytes of a row
    ];
    mailbox::ask(&mut asked)?;
    let [_, size, bits, order, buffer, row] = asked.map(|p| p.values);
    if size != [width, height] || bits[0] != BITS || order[0] != BGR {
        return Err(format!(
            "asked for a screen of {width} x {height}, {BITS} bits, got {size:?}, {} bits",
            bits[0]
        ));
    }
    // The VideoCore's address of the same memory differs in its two highest bits.
    let (first, bytes, stride) =
        ((buffer[0] & 0x3fff_ffff) as usize, buffer[1] as usize, row[0] as usize / 4);
    if !ALLOWED.contains(&first) || bytes > ALLOWED.end - first || !first.is_multiple_of(4096) {
        return Err(format!("the VideoCore's frame buffer lies at {first:#x}, {bytes} bytes"));
    }
    // SAFETY: the VideoCore gave this memory to us; it is mapped as normal memory (`mmu`), aligned, outside of what the
    // program uses itself (`ALLOWED`), and any bits are pixels. `mailbox::ask` works once, so there is no second one.
    let pixels = unsafe { slice::from_raw_parts_mut(with_exposed_provenance_mut(first), bytes / 4) };
    Canvas::new(pixels, width, height, stride)
        .ok_or_else(|| format!("{bytes} bytes are no {width} x {height} pixels"))
}

/// Shows what was drawn.
pub(crate) fn show(canvas: Canvas<'static>) {
    cpu::flush(canvas.into_pixels());
}
