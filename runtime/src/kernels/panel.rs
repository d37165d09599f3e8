//! Products of integer tiles with many rows of activations, written once over a register tile; a file per instruction
//! set supplies that.
//!
//! 16 weight rows of up to [`PANEL_K`] weights are brought into a *panel* of plain bytes once for up to [`PANEL_N`] rows
//! of activations: nibbles spread to bytes, f16 scales to f32. The panel stays in the nearest cache while all activations
//! pass by, and the sums stay beside it until the whole row is done. Short runs of activations repeat their last row, and
//! what fills up a bundle of interleaved ones is multiplied as well: there is no slower path for remainders.

use super::{Output, Panel, QuantizedRows, WeightRows};
use crate::format::WeightFormat;
use crate::format::block::{BLOCK, GROUP, RUN, q4_row_scales};
use core::ops::Range;

/// Rows of a panel: two groups.
pub(super) const PANEL_ROWS: usize = 2 * GROUP;
/// Most weights of a row in a panel. Longer panels lose the cache, shorter ones start the register tile more often.
pub(super) const PANEL_K: usize = 2048;
/// Most rows of activations that pass by one panel: a whole prefix of 256 image tokens and a question in one go.
pub(super) const PANEL_N: usize = 384;
/// Blocks of activations that share a scale when they meet nibbles. The sums of a block are multiplied by the
/// weights' steps in the instruction that widens them, so they stay integers, without a conversion a block, for as long
/// as the activations have one scale.
pub(super) const SPAN: usize = 4;
/// Most lanes that the sum of a row and a row of activations has, or of two of these.
pub(super) const MOST_LANES: usize = if cfg!(target_arch = "aarch64") { 2 } else { 1 };
/// Bytes of one block of a panel.
pub(super) const PANEL_BLOCK: usize = PANEL_ROWS * BLOCK;

/// Runs of a block.
#[cfg_attr(target_arch = "aarch64", allow(dead_code))]
pub(super) const RUNS: usize = BLOCK / RUN;

/// Rows of activations of a register tile, or bundles of interleaved ones, cut to the panel's blocks.
pub(super) type Columns<'a, const B: usize> = [(&'a [i8], &'a [f32], &'a [i32]); B];

/// Brings tiles `tiles` of a group to `half` (0 or 1) of the panel's rows: `(group, tiles, half, values, scales)`. How a
/// panel is ordered, and what `scales` holds in 4 bytes a block, row and lane, is between this and [`Multiply`].
pub(super) type Spread = unsafe fn(&[u8], Range<usize>, usize, &mut [u8], &mut [f32]);
/// `sums[t][r] += panel[r] . x[t]`, for `Q4` in units of the row's scale: `(values, scales, x, sums)`.
pub(super) type Multiply<const B: usize, const N: usize> =
    unsafe fn(&[u8], &[f32], Columns<'_, B>, &mut [[f32; PANEL_ROWS]; N]);

/// What an instruction set adds: a product with `N` rows of activations in registers, which lie in `B` bundles, and what
/// brings weights into the form that it wants. The functions need that instruction set's features, and slices that all
/// hold as many blocks as `scales` has vectors of [`PANEL_ROWS`] times `lanes`.
pub(super) struct RegisterTile<const B: usize, const N: usize> {
    /// Weights of a row in a panel, whole spans of blocks: what leaves the nearest cache room for activations.
    pub(super) depth: usize,
    /// Lanes that a row's sum has, each with a scale in the panel: at most [`MOST_LANES`].
    pub(super) lanes: usize,
    pub(super) spread_q8: Spread,
    pub(super) spread_q4: Spread,
    pub(super) multiply_q8: Multiply<B, N>,
    pub(super) multiply_q4: Multiply<B, N>,
}

/// What the loops over the blocks of a panel rely on: bundles are of `interleaved` rows.
#[inline]
pub(super) fn check_lengths(blocks: usize, values: &[u8], x: &[(&[i8], &[f32], &[i32])], interleaved: usize) {
    assert!(values.len() == blocks * PANEL_BLOCK);
    let n = blocks * interleaved;
    assert!(x.iter().all(|(q, s, o)| q.len() == n * BLOCK && s.len() == n && o.len() == n));
}

/// `0..n` in as few parts of at most `max` as will do, all of nearly the same length.
pub(crate) fn even_parts(n: usize, max: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = n.div_ceil(max);
    (0..parts).map(move |i| n * i / parts..n * (i + 1) / parts)
}

/// `out[t][r]` takes `dot(w[r], x[t])`.
///
/// # Safety
/// The CPU has the features that the functions of `tile` need.
#[inline(always)]
pub(super) unsafe fn gemm<const B: usize, const N: usize>(
    tile: &RegisterTile<B, N>,
    w: &WeightRows<'_>,
    x: &QuantizedRows<'_>,
    out: &mut Output<'_>,
    panel: &mut Panel<'_>,
) {
    let interleaved = const { N / B };
    debug_assert!(tile.depth <= PANEL_K && tile.depth.is_multiple_of(SPAN * BLOCK));
    assert_eq!(x.interleaved(), interleaved, "interleaved rows");
    let format = w.format();
    let (spread, multiply) = match format {
        WeightFormat::Q4 => (tile.spread_q4, tile.multiply_q4),
        _ => (tile.spread_q8, tile.multiply_q8),
    };
    let blocks = x.k_padded() / BLOCK;
    for bundles in even_parts(x.bundles(), PANEL_N / interleaved) {
        for first in (0..w.groups()).step_by(2) {
            let groups = [first, (first + 1).min(w.groups() - 1)].map(|g| w.group(g));
            let rows = (bundles.len() * interleaved).next_multiple_of(N);
            let sums = &mut panel.sums.as_chunks_mut::<PANEL_ROWS>().0[..rows];
            sums.fill([0.0; PANEL_ROWS]);
            for b in (0..blocks).step_by(tile.depth / BLOCK) {
                let part = b..blocks.min(b + tile.depth / BLOCK);
                let values = &mut panel.values[..part.len() * PANEL_BLOCK];
                let scales = &mut panel.scales[..part.len() * PANEL_ROWS * tile.lanes];
                for (half, group) in groups.iter().enumerate() {
                    // SAFETY: the features are there (this function's contract); the slices were cut to
                    // the same number of blocks, here and below.
                    unsafe { spread(group, part.clone(), half, values, scales) };
                }
                for (i, sums) in sums.as_chunks_mut::<N>().0.iter_mut().enumerate() {
                    // A loop, because `from_fn` is called and not inlined here.
                    let mut columns: Columns<'_, B> = [(&[], &[], &[]); B];
                    for (j, column) in columns.iter_mut().enumerate() {
                        let bundle = bundles.start + (i * B + j).min(bundles.len() - 1);
                        // SAFETY: the bundle is one of `bundles`, `part` one of the row's `blocks`.
                        *column = unsafe { x.part(bundle, &part) };
                    }
                    // SAFETY: as above.
                    unsafe { multiply(values, scales, columns, sums) };
                }
            }
            if format == WeightFormat::Q4 {
                let mut row_scales = [0.0; PANEL_ROWS];
                for (scales, group) in row_scales.as_chunks_mut().0.iter_mut().zip(groups) {
                    *scales = q4_row_scales(group);
                }
                for sums in sums.iter_mut() {
                    sums.iter_mut().zip(&row_scales).for_each(|(sum, scale)| *sum *= scale);
                }
            }
            let first_row = bundles.start * interleaved;
            let rows = x.skipped().max(first_row)..(x.skipped() + x.n()).min(bundles.end * interleaved);
            for t in rows {
                out.put_vectors(t - x.skipped(), first * GROUP, sums[t - first_row]);
            }
        }
    }
}
