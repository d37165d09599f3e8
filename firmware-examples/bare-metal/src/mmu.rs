//! The memory map: one table, made by the compiler, of 512 blocks of 2 MB, each at its own address.
//!
//! Code may be executed in the first block only. Peripherals are device memory; everything else is normal memory with
//! caches, but for the block below the stack, which is not there at all. `boot.s` turns the map on.

#![allow(unsafe_code)]

use core::ptr::addr_of;

const BLOCK_BYTES: u64 = 2 << 20;
const PERIPHERALS: u64 = 0x3f00_0000;
/// As in `kernel.ld`, which [`TABLE`] cannot read; [`stack_bytes`] checks it.
const STACK_GUARD: u64 = 0x0400_0000;

/// A block that is there and was used: without this mark the first access would fault.
const VALID: u64 = 1 | 1 << 10;
/// Attribute 0 of `boot.s`, coherent between cores.
const NORMAL: u64 = VALID | 3 << 8;
/// Attribute 1 of `boot.s`.
const DEVICE: u64 = VALID | 1 << 2;
const EXECUTE_NEVER: u64 = 3 << 53;

#[repr(C, align(4096))]
pub(crate) struct Table([u64; 512]);

/// What `boot.s` points the processor to.
pub(crate) static TABLE: Table = Table(table());

const fn table() -> [u64; 512] {
    let mut blocks = [0; 512];
    let mut i = 0;
    while i < blocks.len() {
        let address = i as u64 * BLOCK_BYTES;
        blocks[i] = match address {
            0 => NORMAL,
            STACK_GUARD => 0,
            PERIPHERALS.. => address | DEVICE | EXECUTE_NEVER,
            _ => address | NORMAL | EXECUTE_NEVER,
        };
        i += 1;
    }
    blocks
}

// The linker's symbols: only their addresses mean anything.
unsafe extern "C" {
    static _start: u8;
    static image_end: u8;
    static stack_guard: u8;
    static stack_bottom: u8;
    static stack_top: u8;
}

/// Bytes of code, constants, model and picture: what `kernel8.img` holds.
pub(crate) fn image_bytes() -> usize {
    addr_of!(image_end) as usize - addr_of!(_start) as usize
}

/// Bytes of the stack.
pub(crate) fn stack_bytes() -> usize {
    assert_eq!(addr_of!(stack_guard) as u64, STACK_GUARD, "kernel.ld and mmu.rs disagree");
    addr_of!(stack_top) as usize - addr_of!(stack_bottom) as usize
}

/// Bytes of the stack that were ever used: `boot.s` set all of it to zero.
pub(crate) fn stack_used() -> usize {
    let words = stack_bytes() / size_of::<u64>();
    let bottom = addr_of!(stack_bottom).cast::<u64>();
    // SAFETY: `kernel.ld` has the stack between the two symbols, at multiples of 16, and `boot.s` wrote all of it; volatile,
    // because the words above the stack pointer change as it moves.
    let untouched = (0..words).take_while(|&i| unsafe { bottom.add(i).read_volatile() } == 0).count();
    (words - untouched) * size_of::<u64>()
}
