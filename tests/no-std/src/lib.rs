//! Proof that the runtime's core needs no standard library: this library defines what `std` would define (panic
//! handler, allocator), so it only builds if nothing in the dependency tree brings `std` in.
#![no_std]

extern crate alloc;

use core::alloc::{GlobalAlloc, Layout};
use core::panic::PanicInfo;
use pg_runtime::{Frame, Model, PixelFormat, Session, SessionOptions};

/// Answers `detect red circle` about a grey picture; the number of objects found, or -1.
#[unsafe(no_mangle)]
pub extern "C" fn pg_detect() -> i32 {
    detect(&[]).unwrap_or(-1)
}

fn detect(file: &'static [u8]) -> Result<i32, pg_runtime::Error> {
    let model = Model::from_static(file)?;
    let mut session = Session::new(&model, SessionOptions::default())?;
    let prompt = session.prompt("detect red circle")?;
    let frame = Frame::new(&[127; 64 * 64], 64, 64, PixelFormat::Gray8)?;
    Ok(session.run(&frame, &prompt)?.objects().len() as i32)
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}

/// A board would bring its own allocator; this one has nothing to give.
struct Nothing;

// SAFETY: never hands out memory.
unsafe impl GlobalAlloc for Nothing {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }
    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: Nothing = Nothing;
