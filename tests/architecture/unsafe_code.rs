//! Unsafe code lives behind a few doors, and every block says why it is sound.

use crate::source::{self, Source};

const DOORS: [&str; 11] = [
    "runtime/src/kernels/",
    "runtime/src/threads/",
    "runtime/src/memory/arena.rs",
    "runtime/src/platform/mmap.rs",
    "quantize/src/source/mapping.rs",
    // A board without an operating system: registers, boot code, memory map, heap.
    "firmware-examples/bare-metal/src/boot.rs",
    "firmware-examples/bare-metal/src/cpu.rs",
    "firmware-examples/bare-metal/src/framebuffer.rs",
    "firmware-examples/bare-metal/src/heap.rs",
    "firmware-examples/bare-metal/src/mmio.rs",
    "firmware-examples/bare-metal/src/mmu.rs",
];

/// Lines above an unsafe block in which its SAFETY comment begins.
const COMMENT_LINES: usize = 7;

fn is_door(path: &str) -> bool {
    DOORS.iter().any(|door| path == *door || (door.ends_with('/') && path.starts_with(door)))
}

fn product() -> impl Iterator<Item = Source> {
    source::all().into_iter().filter(|s| !s.path.starts_with("tests/"))
}

#[test]
fn only_the_doors_hold_unsafe_code() {
    let mut found = Vec::new();
    let mut used = [false; DOORS.len()];
    for file in product() {
        let words =
            Source::places(&file.code, "unsafe").chain(Source::places(&file.code, "allow(unsafe_code"));
        for at in words {
            if !is_door(&file.path) {
                found.push(file.place(at));
            }
            for (used, door) in used.iter_mut().zip(DOORS) {
                *used |= file.path.starts_with(door);
            }
        }
    }
    assert!(found.is_empty(), "unsafe code outside the rooms for it:\n{}\n", found.join("\n"));
    assert_eq!(used, [true; DOORS.len()], "doors that nothing uses should be closed: {DOORS:?}");
}

/// Blocks and implementations without a SAFETY comment above.
fn unexplained(file: &Source) -> Vec<String> {
    let lines: Vec<&str> = file.text.lines().collect();
    let mut found = Vec::new();
    for word in ["unsafe {", "unsafe impl"] {
        for at in Source::places(&file.code, word) {
            let line = file.code[..at].matches('\n').count();
            if !lines[line.saturating_sub(COMMENT_LINES)..=line].iter().any(|l| l.contains("SAFETY")) {
                found.push(file.place(at));
            }
        }
    }
    found
}

#[test]
fn every_unsafe_block_says_why() {
    let found: Vec<String> = product().flat_map(|file| unexplained(&file)).collect();
    assert!(found.is_empty(), "no SAFETY comment:\n{}\n", found.join("\n"));
    let bad = Source::new("x.rs", "// SAFETY: far\n\n\n\n\n\n\n\n\nfn f() { unsafe { g() } }");
    assert_eq!(unexplained(&bad), ["x.rs:10"]);
}
