//! ARM's loops of multiplications: see [`super::super::peak`].
//!
//! Eight sums are kept apart, so that no addition waits for the one before. Sums wrap around, which costs nothing.

use super::super::peak::{Operands, Peak, VALUES};
use core::arch::aarch64::*;
use core::arch::asm;

/// For any table.
pub(super) static NEON: [Peak; 2] = [
    Peak { operands: Operands::Int8, name: "smull, smlal2, sadalp", macs: 8 * 16, run: widening },
    Peak { operands: Operands::Int4, name: "smlal, 16-bit sums", macs: 4 * 8 * 8, run: narrow_sums },
];

/// For any table whose CPU has the dot product instructions.
pub(super) static DOTPROD: [Peak; 2] = [
    Peak { operands: Operands::Int8, name: "sdot", macs: 8 * 16, run: sdot },
    Peak { operands: Operands::Int4, name: "sdot, nibbles", macs: 8 * 16, run: sdot_nibbles },
];

/// For any table whose CPU has the matrix instructions.
pub(super) static I8MM: [Peak; 2] = [
    Peak { operands: Operands::Int8, name: "smmla", macs: 8 * 32, run: smmla },
    Peak { operands: Operands::Int4, name: "smmla, nibbles", macs: 8 * 32, run: smmla_nibbles },
];

/// Runs `$one`, which adds to `v0` to `v7`, once for each of them a pass, with 16 bytes of both arrays in `v30` and `v31`,
/// and returns the first lane of the first sum after `$end`.
macro_rules! passes {
    ($passes:expr, $a:expr, [$($one:expr),*], $end:literal) => {{
        let sum: i32;
        // SAFETY: the instructions are there (every table with this loop checks it); 16 bytes are read from each array,
        // which has 64; all registers written are declared, and the stack is not touched.
        unsafe {
            asm!(
                ".irp i, 0, 1, 2, 3, 4, 5, 6, 7",
                "movi v\\i\\().4s, #0",
                ".endr",
                "2:",
                concat!($($one),*),
                "subs {passes}, {passes}, #1",
                "b.ne 2b",
                $end,
                "fmov {sum:w}, s0",
                passes = inout(reg) $passes => _,
                sum = lateout(reg) sum,
                in("v30") vld1q_s8($a.as_ptr().cast()), in("v31") vld1q_s8(VALUES.b.as_ptr()),
                out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _,
                out("v7") _, out("v8") _,
                options(nostack, nomem),
            );
        }
        sum
    }};
}

/// Bytes in pairs of products that fit into 16 bits.
#[target_feature(enable = "neon")]
unsafe fn widening(passes: u64) -> i32 {
    passes!(
        passes,
        VALUES.a,
        [".irp i, 0, 1, 2, 3, 4, 5, 6, 7\n smull v8.8h, v30.8b, v31.8b\n smlal2 v8.8h, v30.16b, v31.16b\n \
         sadalp v\\i\\().4s, v8.8h\n .endr"],
        ""
    )
}

/// A pass adds eight products to each lane of 16 bits.
#[target_feature(enable = "neon")]
unsafe fn narrow_sums(passes: u64) -> i32 {
    macro_rules! one {
        ($instruction:literal) => {
            concat!(".irp i, 0, 1, 2, 3\n ", $instruction, " v\\i\\().8h, v30.8b, v31.8b\n .endr\n")
        };
    }
    #[rustfmt::skip]
    let sum = passes!(
        passes,
        VALUES.nibbles,
        [one!("smull"), one!("smlal"), one!("smlal"), one!("smlal"), one!("smlal"), one!("smlal"), one!("smlal"), one!("smlal"),
         "sadalp v4.4s, v0.8h\n sadalp v5.4s, v1.8h\n sadalp v6.4s, v2.8h\n sadalp v7.4s, v3.8h"],
        "mov v0.16b, v4.16b"
    );
    sum
}

#[target_feature(enable = "neon,dotprod")]
unsafe fn sdot(passes: u64) -> i32 {
    passes!(
        passes,
        VALUES.a,
        [".irp i, 0, 1, 2, 3, 4, 5, 6, 7\n sdot v\\i\\().4s, v30.16b, v31.16b\n .endr"],
        ""
    )
}

#[target_feature(enable = "neon,dotprod")]
unsafe fn sdot_nibbles(passes: u64) -> i32 {
    passes!(
        passes,
        VALUES.nibbles,
        [".irp i, 0, 1, 2, 3, 4, 5, 6, 7\n sdot v\\i\\().4s, v30.16b, v31.16b\n .endr"],
        ""
    )
}

#[target_feature(enable = "neon,i8mm")]
unsafe fn smmla(passes: u64) -> i32 {
    passes!(
        passes,
        VALUES.a,
        [".irp i, 0, 1, 2, 3, 4, 5, 6, 7\n smmla v\\i\\().4s, v30.16b, v31.16b\n .endr"],
        ""
    )
}

#[target_feature(enable = "neon,i8mm")]
unsafe fn smmla_nibbles(passes: u64) -> i32 {
    passes!(
        passes,
        VALUES.nibbles,
        [".irp i, 0, 1, 2, 3, 4, 5, 6, 7\n smmla v\\i\\().4s, v30.16b, v31.16b\n .endr"],
        ""
    )
}
