//! AVX2's loops of multiplications: see [`super::super::peak`].
//!
//! Eight sums are kept apart, so that no addition waits for the one before. Sums wrap around, which costs nothing.

use super::super::peak::{Operands, Peak, VALUES};
use core::arch::asm;
use core::arch::x86_64::*;

/// For any table whose CPU has AVX2.
pub(super) static AVX2: [Peak; 3] = [
    Peak { operands: Operands::Int8, name: "vpmaddwd", macs: 8 * 16, run: madd },
    Peak { operands: Operands::Int8, name: "vpsignb, vpmaddubsw", macs: 8 * 32, run: sign_maddubs },
    Peak { operands: Operands::Int4, name: "vpmaddubsw, 16-bit sums", macs: 4 * 8 * 32, run: maddubs },
];

/// Products of operands widened to 16 bits, as when both were unpacked beforehand.
#[target_feature(enable = "avx2")]
unsafe fn madd(passes: u64) -> i32 {
    let sum: i32;
    // SAFETY: AVX2 is there (every table with this loop checks it); 16 bytes are read from each array, which has 64;
    // all registers written are declared, and the stack is not touched.
    unsafe {
        let a = _mm256_cvtepi8_epi16(_mm_loadu_si128(VALUES.a.as_ptr().cast()));
        let b = _mm256_cvtepi8_epi16(_mm_loadu_si128(VALUES.b.as_ptr().cast()));
        asm!(
            ".irp i, 0, 1, 2, 3, 4, 5, 6, 7",
            "vpxor ymm\\i, ymm\\i, ymm\\i",
            ".endr",
            "2:",
            ".irp i, 0, 1, 2, 3, 4, 5, 6, 7",
            "vpmaddwd ymm8, ymm14, ymm15",
            "vpaddd ymm\\i, ymm\\i, ymm8",
            ".endr",
            "dec {passes}",
            "jnz 2b",
            "vmovd {sum:e}, xmm0",
            passes = inout(reg) passes => _,
            sum = lateout(reg) sum,
            in("ymm14") a, in("ymm15") b,
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _,
            out("ymm6") _, out("ymm7") _, out("ymm8") _,
            options(nostack, nomem),
        );
    }
    sum
}

/// Products of bytes, the sign of one moved to the other.
#[target_feature(enable = "avx2")]
unsafe fn sign_maddubs(passes: u64) -> i32 {
    let sum: i32;
    // SAFETY: as in `madd`; 32 bytes are read from each array, which has 64.
    unsafe {
        let a = _mm256_loadu_si256(VALUES.a.as_ptr().cast());
        let b = _mm256_loadu_si256(VALUES.b.as_ptr().cast());
        let magnitude = _mm256_loadu_si256(VALUES.magnitude.as_ptr().cast());
        let ones = _mm256_loadu_si256(VALUES.ones.as_ptr().cast());
        asm!(
            ".irp i, 0, 1, 2, 3, 4, 5, 6, 7",
            "vpxor ymm\\i, ymm\\i, ymm\\i",
            ".endr",
            "2:",
            ".irp i, 0, 1, 2, 3, 4, 5, 6, 7",
            "vpsignb ymm8, ymm13, ymm12",
            "vpmaddubsw ymm8, ymm14, ymm8",
            "vpmaddwd ymm8, ymm8, ymm15",
            "vpaddd ymm\\i, ymm\\i, ymm8",
            ".endr",
            "dec {passes}",
            "jnz 2b",
            "vmovd {sum:e}, xmm0",
            passes = inout(reg) passes => _,
            sum = lateout(reg) sum,
            in("ymm12") a, in("ymm13") b, in("ymm14") magnitude, in("ymm15") ones,
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _,
            out("ymm6") _, out("ymm7") _, out("ymm8") _,
            options(nostack, nomem),
        );
    }
    sum
}

/// Products of nibbles with bytes: eight are added in 16 bits, then once in 32.
#[target_feature(enable = "avx2")]
unsafe fn maddubs(passes: u64) -> i32 {
    let sum: i32;
    // SAFETY: as in `sign_maddubs`.
    unsafe {
        let nibbles = _mm256_loadu_si256(VALUES.nibbles.as_ptr().cast());
        let b = _mm256_loadu_si256(VALUES.b.as_ptr().cast());
        let ones = _mm256_loadu_si256(VALUES.ones.as_ptr().cast());
        asm!(
            ".irp i, 0, 1, 2, 3",
            "vpxor ymm\\i, ymm\\i, ymm\\i",
            ".endr",
            "2:",
            // The first of eight begins the sums in ymm4 to ymm7.
            ".irp i, 4, 5, 6, 7",
            "vpmaddubsw ymm\\i, ymm13, ymm14",
            ".endr",
            ".rept 7",
            ".irp i, 4, 5, 6, 7",
            "vpmaddubsw ymm8, ymm13, ymm14",
            "vpaddw ymm\\i, ymm\\i, ymm8",
            ".endr",
            ".endr",
            "vpmaddwd ymm4, ymm4, ymm15",
            "vpmaddwd ymm5, ymm5, ymm15",
            "vpmaddwd ymm6, ymm6, ymm15",
            "vpmaddwd ymm7, ymm7, ymm15",
            "vpaddd ymm0, ymm0, ymm4",
            "vpaddd ymm1, ymm1, ymm5",
            "vpaddd ymm2, ymm2, ymm6",
            "vpaddd ymm3, ymm3, ymm7",
            "dec {passes}",
            "jnz 2b",
            "vmovd {sum:e}, xmm0",
            passes = inout(reg) passes => _,
            sum = lateout(reg) sum,
            in("ymm13") nibbles, in("ymm14") b, in("ymm15") ones,
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _,
            out("ymm6") _, out("ymm7") _, out("ymm8") _,
            options(nostack, nomem),
        );
    }
    sum
}
