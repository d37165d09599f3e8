//! The register tile of nibbles in assembly: 16 weight rows by 4 rows of activations, a span of blocks at a time.
//!
//! Compiled intrinsics reach four fifths of this: LLVM keeps half of the 32-bit sums in registers and moves them around,
//! and its loops over the blocks of a span end where the branch predictor does not expect it. Here a span is written out,
//! the 16-bit sums have their registers, and the 32-bit sums, used once a block, what is left of them. Every load less is
//! felt, although there are always fewer than the multipliers leave time for: an offset that starts two vectors of sums
//! is loaded once (1 to 2 % of all time), half of the 32-bit sums are in registers (1 %).

use super::super::panel::{Columns, PANEL_ROWS, SPAN};
use super::avx2_integer::COLUMNS;
use crate::format::block::GROUP;

const _: () =
    assert!(SPAN == 4 && COLUMNS == 4 && PANEL_ROWS == 2 * GROUP, "what the assembly below is written for");

/// 32-bit sums of the second half of a register tile.
#[repr(align(32))]
struct Whole([i32; PANEL_ROWS * COLUMNS / 2]);

/// Adds the products of the panel's first `spans` whole spans to `sums`.
///
/// # Safety
/// The panel (`values` and `steps`, as `spread` makes them) and every row of `x` hold `spans * SPAN` blocks.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn add_spans(
    values: &[u8],
    steps: &[f32],
    x: &Columns<'_, COLUMNS>,
    spans: usize,
    sums: &mut [[f32; PANEL_ROWS]; COLUMNS],
) {
    if spans == 0 {
        return;
    }
    // Pointers that the registers have no room for: of each row of activations the offsets, then the scales.
    let rows = [x[0].2.as_ptr(), x[1].2.as_ptr(), x[2].2.as_ptr(), x[3].2.as_ptr()];
    let scales = [x[0].1.as_ptr(), x[1].1.as_ptr(), x[2].1.as_ptr(), x[3].1.as_ptr()];
    let rows: [[*const u8; COLUMNS]; 2] = [rows.map(|p| p.cast()), scales.map(|p| p.cast())];
    let mut whole = Whole([0; PANEL_ROWS * COLUMNS / 2]);

    #[rustfmt::skip]
    macro_rules! products {
        ($x:literal, $low:literal, $high:literal) => {
            concat!(
                "vpbroadcastd ymm10, dword ptr [{", $x, "} + {i}]\n",
                "vpmaddubsw ymm11, ymm8, ymm10\n",
                "vpaddw ymm", $low, ", ymm", $low, ", ymm11\n",
                "vpmaddubsw ymm10, ymm9, ymm10\n",
                "vpaddw ymm", $high, ", ymm", $high, ", ymm10\n",
            )
        };
    }
    #[rustfmt::skip]
    macro_rules! offset {
        ($low:literal, $high:literal, $row:literal) => {
            concat!(
                "mov {run}, [{rows} + ", $row, "]\n",
                "vpbroadcastd ymm", $low, ", dword ptr [{run} + {at}]\n",
                "vmovdqa ymm", $high, ", ymm", $low, "\n",
            )
        };
    }
    // One block: sums of 16 bits from the offsets on, 8 runs, then times the steps.
    macro_rules! block {
        ($scale:ident, $finish:ident) => {
            concat!(
                // A block's offset and scale have 4 bytes, its values 32.
                "mov {at}, {i}\n",
                "shr {at}, 3\n",
                offset!("0", "1", "0"),
                offset!("2", "3", "8"),
                offset!("4", "5", "16"),
                offset!("6", "7", "24"),
                "mov {run:e}, 8\n",
                "3:\n",
                "vmovdqu ymm8, [{values}]\n",
                "vmovdqu ymm9, [{values} + 32]\n",
                products!("x0", "0", "1"),
                products!("x1", "2", "3"),
                products!("x2", "4", "5"),
                products!("x3", "6", "7"),
                "add {values}, 64\n",
                "add {i}, 4\n",
                "dec {run:e}\n",
                "jnz 3b\n",
                "vmovdqu ymm8, [{steps}]\n",
                "vmovdqu ymm9, [{steps} + 32]\n",
                $scale!("32"),
                $finish!("0", "8", "12", "0"),
                $finish!("1", "9", "13", "32"),
                $scale!("40"),
                $finish!("2", "8", "14", "64"),
                $finish!("3", "9", "15", "96"),
                $scale!("48"),
                $finish!("4", "8", [0], "128"),
                $finish!("5", "9", [32], "160"),
                $scale!("56"),
                $finish!("6", "8", [64], "192"),
                $finish!("7", "9", [96], "224"),
                "add {steps}, 64\n",
            )
        };
    }
    // What ends a block, for a vector of sums: the first of a span begins the 32-bit sums, in a register or in memory,
    // the last takes them to `sums`.
    #[rustfmt::skip]
    macro_rules! first {
        ($sum:literal, $steps:literal, [$whole:literal], $at:literal) => {
            concat!(
                "vpmaddwd ymm", $sum, ", ymm", $sum, ", ymm", $steps, "\n",
                "vmovdqa [{whole} + ", $whole, "], ymm", $sum, "\n",
            )
        };
        ($sum:literal, $steps:literal, $whole:literal, $at:literal) => {
            concat!("vpmaddwd ymm", $whole, ", ymm", $sum, ", ymm", $steps, "\n")
        };
    }
    #[rustfmt::skip]
    macro_rules! added {
        ($sum:literal, $steps:literal, [$whole:literal]) => {
            concat!(
                "vpmaddwd ymm", $sum, ", ymm", $sum, ", ymm", $steps, "\n",
                "vpaddd ymm", $sum, ", ymm", $sum, ", [{whole} + ", $whole, "]\n",
            )
        };
        ($sum:literal, $steps:literal, $whole:literal) => {
            concat!(
                "vpmaddwd ymm", $sum, ", ymm", $sum, ", ymm", $steps, "\n",
                "vpaddd ymm", $whole, ", ymm", $sum, ", ymm", $whole, "\n",
            )
        };
    }
    #[rustfmt::skip]
    macro_rules! next {
        ($sum:literal, $steps:literal, [$whole:literal], $at:literal) => {
            concat!(added!($sum, $steps, [$whole]), "vmovdqa [{whole} + ", $whole, "], ymm", $sum, "\n")
        };
        ($sum:literal, $steps:literal, $whole:literal, $at:literal) => {
            added!($sum, $steps, $whole)
        };
    }
    #[rustfmt::skip]
    macro_rules! scaled {
        ($whole:literal, $at:literal) => {
            concat!(
                "vcvtdq2ps ymm", $whole, ", ymm", $whole, "\n",
                "vfmadd213ps ymm", $whole, ", ymm10, [{sums} + ", $at, "]\n",
                "vmovups [{sums} + ", $at, "], ymm", $whole, "\n",
            )
        };
    }
    macro_rules! last {
        ($sum:literal, $steps:literal, [$whole:literal], $at:literal) => {
            concat!(added!($sum, $steps, [$whole]), scaled!($sum, $at))
        };
        ($sum:literal, $steps:literal, $whole:literal, $at:literal) => {
            concat!(added!($sum, $steps, $whole), scaled!($whole, $at))
        };
    }
    // The scale of a row of activations, which only the last block of a span needs.
    macro_rules! scale {
        ($row:literal) => {
            concat!("mov {run}, [{rows} + ", $row, "]\n", "vbroadcastss ymm10, dword ptr [{run} + {at}]\n")
        };
    }
    macro_rules! no_scale {
        ($row:literal) => {
            ""
        };
    }
    // SAFETY: reads `spans * SPAN` blocks of the panel, of its steps and of each row of activations, which this
    // function's contract promises with as many offsets and scales; writes `whole`, half as long as `sums`, and
    // `sums`. It uses the registers named and no stack.
    unsafe {
        core::arch::asm!(
            "2:",
            block!(no_scale, first),
            block!(no_scale, next),
            block!(no_scale, next),
            block!(scale, last),
            "dec {spans}",
            "jnz 2b",
            values = inout(reg) values.as_ptr() => _,
            steps = inout(reg) steps.as_ptr() => _,
            rows = in(reg) rows.as_ptr(),
            at = out(reg) _,
            x0 = in(reg) x[0].0.as_ptr(),
            x1 = in(reg) x[1].0.as_ptr(),
            x2 = in(reg) x[2].0.as_ptr(),
            x3 = in(reg) x[3].0.as_ptr(),
            i = inout(reg) 0usize => _,
            run = out(reg) _,
            spans = inout(reg) spans => _,
            whole = in(reg) whole.0.as_mut_ptr(),
            sums = in(reg) sums.as_mut_ptr(),
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _,
            out("ymm5") _, out("ymm6") _, out("ymm7") _, out("ymm8") _, out("ymm9") _,
            out("ymm10") _, out("ymm11") _, out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            options(nostack),
        );
    }
}
