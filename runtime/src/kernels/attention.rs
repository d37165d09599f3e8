//! Attention in blocks, written once over [`Simd`]: a tile of queries meets a block of keys at a time.
//!
//! Both products, queries by keys and probabilities by values, are [`multiply`]: some rows times one *panel*, a few
//! vectors wide, whose sums stay in registers. Panels are copied together once for all rows of a tile: keys turned
//! on their side, values as they lie, both widened to f32. Between the products each row keeps its largest score so
//! far; when a block brings a larger one, what was summed before is scaled down to it. So scratch memory does not
//! grow with the number of keys.
//!
//! What an instruction multiplies a panel's vector by is an element of a row, broadcast, or else a lane of a vector
//! ([`Simd::BY_LANE`]). For the latter `M` rows lie interleaved, a vector of each after the other: what meets the same
//! vectors of a panel is loaded from one place.
//!
//! Blocks begin at the same keys for every query, and rows never mix: a result does not depend on the tile or thread
//! that a query lands in.
//!
//! Every function is unsafe for one reason: it must be inlined into a caller that has the vector's CPU features.
// Loops over `0..M` and `0..N`, because LLVM unrolls them into registers; of zipped iterators it makes memory.
#![allow(clippy::needless_range_loop)]
#![cfg_attr(
    not(any(target_arch = "aarch64", all(feature = "std", target_arch = "x86_64"))),
    allow(dead_code)
)]

use super::vector::{Lane, MAX_LANES, Simd, exp};
use super::{KvRows, Queries, TileMut};
use core::ops::Range;

/// Floats of scratch memory, if heads are not very wide: what fits a core's second cache on many small machines.
const ROOM: usize = 64 * 1024;
/// Rows whose scores become probabilities together; a tile is a multiple of them.
const SOFTMAX_ROWS: usize = 16;
const _: () = assert!(SOFTMAX_ROWS.is_multiple_of(MAX_LANES));

/// Columns of a panel.
const fn panel_width<V: Simd>() -> usize {
    V::PANEL_VECTORS * V::LANES
}

/// Keys in a block.
const fn block_keys<V: Simd>() -> usize {
    V::PANELS * panel_width::<V>()
}

/// Floats of a panel of keys or values.
fn panel_room<V: Simd>(d: usize) -> usize {
    d.max(block_keys::<V>()) * panel_width::<V>()
}

/// Floats that a row of a tile takes.
fn row_room<V: Simd>(d: usize) -> usize {
    block_keys::<V>() + 2 * d.next_multiple_of(V::LANES) + V::LANES + 2
}

/// Rows of a tile: as many as there is room for, because each makes copying a panel less beside using it.
fn tile_rows<V: Simd>(d: usize) -> usize {
    let rows = ROOM.saturating_sub(panel_room::<V>(d)) / row_room::<V>(d);
    (rows / SOFTMAX_ROWS * SOFTMAX_ROWS).max(SOFTMAX_ROWS)
}

/// Floats of scratch memory that [`attend`] needs for heads of width `d`. At least [`ROOM`], although whole rows may
/// leave a rest of it: another rest for each width, and the room for wide heads must do for narrow ones.
pub(super) fn room<V: Simd>(d: usize) -> usize {
    ROOM.max(panel_room::<V>(d) + tile_rows::<V>(d) * row_room::<V>(d))
}

/// Where vector `j` of row `r` begins, in rows of `width` floats that are multiplied `M` at a time.
#[inline(always)]
fn place<V: Simd, const M: usize>(width: usize, r: usize, j: usize) -> usize {
    if V::BY_LANE { (r - r % M) * width + (j * M + r % M) * V::LANES } else { r * width + j * V::LANES }
}

/// From a vector of such a row to the next.
const fn vector_step<V: Simd, const M: usize>() -> usize {
    if V::BY_LANE { M * V::LANES } else { V::LANES }
}

/// The state of a tile of rows, in scratch memory. Rows past the last query hold numbers that nobody uses.
struct Tile<'a> {
    /// Most rows.
    rows: usize,
    /// Width of a head, and the same in whole vectors.
    d: usize,
    width: usize,
    /// `[depth][panel_width]`
    panel: &'a mut [f32],
    /// `[rows][width]`, in their [`place`]: queries times the scale. Copied, because rows of a whole picture lie pages apart.
    q: &'a mut [f32],
    /// `[rows][block_keys]`, in their [`place`]: scores, then probabilities times `sum`.
    scores: &'a mut [f32],
    /// `[rows][width]`: the result so far, times `sum`.
    acc: &'a mut [f32],
    /// `[rows][LANES]`: sums of `exp(score - max)`, a lane each.
    sum: &'a mut [f32],
    /// `[rows]`: largest score so far.
    max: &'a mut [f32],
    /// `[rows]`: what the sums of earlier blocks are scaled by.
    factor: &'a mut [f32],
}

impl<'a> Tile<'a> {
    fn new<V: Simd>(d: usize, mut scratch: &'a mut [f32]) -> Self {
        let (rows, width) = (tile_rows::<V>(d), d.next_multiple_of(V::LANES));
        Tile {
            rows,
            d,
            width,
            panel: take(&mut scratch, panel_room::<V>(d)),
            q: take(&mut scratch, rows * width),
            scores: take(&mut scratch, rows * block_keys::<V>()),
            acc: take(&mut scratch, rows * width),
            sum: take(&mut scratch, rows * V::LANES),
            max: take(&mut scratch, rows),
            factor: take(&mut scratch, rows),
        }
    }
}

pub(super) fn take<'a>(scratch: &mut &'a mut [f32], n: usize) -> &'a mut [f32] {
    let (head, tail) = core::mem::take(scratch).split_at_mut(n);
    *scratch = tail;
    head
}

/// See [`super::Kernels::attend`]. `M` rows are multiplied at a time.
#[inline(always)]
pub(super) unsafe fn attend<V: Simd, T: Lane<V>, const M: usize>(
    q: &Queries<'_>,
    kv: &KvRows<'_, T>,
    scale: f32,
    scratch: &mut [f32],
    out: &mut TileMut<'_>,
    mut totals: Option<&mut [[f32; 2]]>,
) where
    f32: Lane<V>,
{
    const { assert!(SOFTMAX_ROWS.is_multiple_of(M)) };
    let mut tile = Tile::new::<V>(q.d_head(), scratch);
    // Tiles of nearly equal size.
    let rows = q.len().div_ceil(q.len().div_ceil(tile.rows).max(1)).next_multiple_of(M).max(M);
    for first in (0..q.len()).step_by(rows) {
        let n = rows.min(q.len() - first);
        for r in 0..n {
            for (j, q) in q.row(first + r).chunks(V::LANES).enumerate() {
                let copy = &mut tile.q[place::<V, M>(tile.width, r, j)..][..V::LANES];
                // SAFETY: the caller has the vector's features; `copy` holds a vector.
                unsafe { load_part::<V, f32>(q).mul(V::splat(scale)).store(copy) }
            }
        }
        tile.sum.fill(0.0);
        tile.max.fill(f32::NEG_INFINITY);
        for key in (0..kv.n()).step_by(block_keys::<V>()) {
            let n_keys = block_keys::<V>().min(kv.n() - key);
            // SAFETY: the caller has the vector's features.
            unsafe {
                scores::<V, T, M>(&mut tile, n, kv, key, n_keys);
                softmax::<V, M>(&mut tile, n, n_keys);
                values::<V, T, M>(&mut tile, n, kv, key, n_keys);
            }
        }
        for r in 0..n {
            let (position, head) = q.place(first + r);
            let out = &mut out.row(position)[head * tile.d..][..tile.d];
            // SAFETY: as above; `sum` holds a vector a row.
            let sum = unsafe { V::load(&tile.sum[r * V::LANES..]).reduce_sum() };
            for (out, acc) in out.iter_mut().zip(&tile.acc[r * tile.width..]) {
                *out = acc / sum;
            }
            if let Some(totals) = &mut totals {
                totals[first + r] = [tile.max[r], sum];
            }
        }
    }
}

/// `scores = queries . keys` for a block of keys.
#[inline(always)]
unsafe fn scores<V: Simd, T: Lane<V>, const M: usize>(
    tile: &mut Tile<'_>,
    rows: usize,
    kv: &KvRows<'_, T>,
    key: usize,
    n_keys: usize,
) {
    for column in (0..n_keys).step_by(panel_width::<V>()) {
        // SAFETY: as for `attend`.
        unsafe {
            match (n_keys - column).div_ceil(V::LANES).min(V::PANEL_VECTORS) {
                0 | 1 => score_panel::<V, T, M, 1>(tile, rows, kv, key, column),
                2 => score_panel::<V, T, M, 2>(tile, rows, kv, key, column),
                _ => score_panel::<V, T, M, 3>(tile, rows, kv, key, column),
            }
        }
    }
}

#[inline(always)]
unsafe fn score_panel<V: Simd, T: Lane<V>, const M: usize, const N: usize>(
    tile: &mut Tile<'_>,
    rows: usize,
    kv: &KvRows<'_, T>,
    key: usize,
    column: usize,
) {
    // SAFETY: as for `attend`; a row of scores has room for whole panels.
    unsafe {
        pack_keys::<V, T, N>(kv, key + column, tile.panel);
        for r in (0..rows).step_by(M) {
            let q = &tile.q[r * tile.width..];
            let acc = multiply::<V, M, N>(q, tile.width, tile.d, tile.panel, [[V::splat(0.0); N]; M]);
            let at = place::<V, M>(block_keys::<V>(), r, column / V::LANES);
            let scores = &mut tile.scores[at..];
            if V::BY_LANE {
                store_rows(turned(acc), scores, vector_step::<V, M>());
            } else {
                store_rows(acc, scores, block_keys::<V>());
            }
        }
    }
}

/// Turns scores into `exp(score - max)` and brings `max`, `sum` and `factor` up to date.
#[inline(always)]
unsafe fn softmax<V: Simd, const M: usize>(tile: &mut Tile<'_>, rows: usize, n_keys: usize) {
    const { assert!(block_keys::<V>().is_multiple_of(2 * V::LANES)) };
    let step = vector_step::<V, M>();
    // Pairs of vectors; what is past the last key has no probability.
    let whole = n_keys.next_multiple_of(2 * V::LANES);
    let end = whole / V::LANES * step;
    for first in (0..rows).step_by(SOFTMAX_ROWS) {
        let rows = first..rows.min(first + SOFTMAX_ROWS);
        for r in rows.clone() {
            let scores = scores_of::<V, M>(tile.scores, r, whole);
            for k in n_keys..whole {
                scores[k / V::LANES * step + k % V::LANES] = f32::NEG_INFINITY;
            }
            // SAFETY: as for `attend`; `scores` reaches to the end of its last vector.
            unsafe {
                let mut max = V::splat(tile.max[r]);
                for at in (0..end).step_by(2 * step) {
                    for at in [at, at + step] {
                        max = max.max(V::load(scores.get_unchecked(at..)));
                    }
                }
                let max = max.reduce_max();
                tile.factor[r] = tile.max[r] - max;
                tile.max[r] = max;
            }
        }
        // SAFETY: as above.
        unsafe {
            for f in tile.factor[first..][..SOFTMAX_ROWS].chunks_exact_mut(V::LANES) {
                exp(V::load(f)).store(f);
            }
            for r in rows {
                let max = V::splat(tile.max[r]);
                let total = &mut tile.sum[r * V::LANES..][..V::LANES];
                let mut sum = V::load(total).mul(V::splat(tile.factor[r]));
                let scores = scores_of::<V, M>(tile.scores, r, whole);
                for at in (0..end).step_by(2 * step) {
                    for at in [at, at + step] {
                        let e = exp(V::load(scores.get_unchecked(at..)).sub(max));
                        e.store(scores.get_unchecked_mut(at..));
                        sum = sum.add(e);
                    }
                }
                sum.store(total);
            }
        }
    }
}

/// From the first vector of row `r` to the end of its last, of `n` scores.
#[inline(always)]
fn scores_of<V: Simd, const M: usize>(scores: &mut [f32], r: usize, n: usize) -> &mut [f32] {
    let end = (n / V::LANES - 1) * vector_step::<V, M>() + V::LANES;
    &mut scores[place::<V, M>(block_keys::<V>(), r, 0)..][..end]
}

/// `acc = factor * acc + probabilities . values` for a block of keys.
#[inline(always)]
unsafe fn values<V: Simd, T: Lane<V>, const M: usize>(
    tile: &mut Tile<'_>,
    rows: usize,
    kv: &KvRows<'_, T>,
    key: usize,
    n_keys: usize,
) {
    for column in (0..tile.width).step_by(panel_width::<V>()) {
        // SAFETY: as for `attend`.
        unsafe {
            match ((tile.width - column) / V::LANES).min(V::PANEL_VECTORS) {
                0 | 1 => value_panel::<V, T, M, 1>(tile, rows, kv, key..key + n_keys, column),
                2 => value_panel::<V, T, M, 2>(tile, rows, kv, key..key + n_keys, column),
                _ => value_panel::<V, T, M, 3>(tile, rows, kv, key..key + n_keys, column),
            }
        }
    }
}

#[inline(always)]
unsafe fn value_panel<V: Simd, T: Lane<V>, const M: usize, const N: usize>(
    tile: &mut Tile<'_>,
    rows: usize,
    kv: &KvRows<'_, T>,
    keys: Range<usize>,
    column: usize,
) {
    // SAFETY: as for `attend`; a row of `acc` is whole vectors, and `column` begins one of them.
    unsafe {
        pack_values::<V, T, N>(kv, keys.clone(), column, tile.panel);
        for r in (0..rows).step_by(M) {
            let at = &mut tile.acc[r * tile.width + column..];
            let mut acc = [[V::splat(0.0); N]; M];
            // Not by a factor of zero: before the first block `acc` holds another tile's numbers, perhaps not finite.
            if keys.start > 0 {
                acc = load_rows(at, tile.width);
                let factors = &tile.factor[r..r + M];
                for i in 0..M {
                    let factor = V::splat(factors[i]);
                    for v in 0..N {
                        acc[i][v] = acc[i][v].mul(factor);
                    }
                }
            }
            let p = &tile.scores[r * block_keys::<V>()..];
            let acc = multiply::<V, M, N>(p, block_keys::<V>(), keys.len(), tile.panel, acc);
            store_rows(acc, at, tile.width);
        }
    }
}

/// The first `n` values of `M` rows.
#[inline(always)]
pub(super) fn rows_of<T, const M: usize>(x: &[T], stride: usize, first: usize, n: usize) -> [&[T]; M] {
    let x = &x[first * stride..];
    assert!(x.len() >= (M - 1) * stride + n);
    let mut rows: [&[T]; M] = [&[]; M];
    for (i, row) in rows.iter_mut().enumerate() {
        // SAFETY: the last row lies in `x`, by the assertion above.
        *row = unsafe { x.get_unchecked(i * stride..i * stride + n) };
    }
    rows
}

/// The first `N` vectors of `M` rows.
#[inline(always)]
pub(super) unsafe fn load_rows<V: Simd, const M: usize, const N: usize>(
    x: &[f32],
    stride: usize,
) -> [[V; N]; M] {
    assert!(x.len() >= (M - 1) * stride + N * V::LANES);
    // SAFETY: as for `attend`; the last vector lies in `x`, by the assertion above.
    unsafe {
        let mut rows = [[V::splat(0.0); N]; M];
        for i in 0..M {
            for v in 0..N {
                rows[i][v] = V::load(x.get_unchecked(i * stride + v * V::LANES..));
            }
        }
        rows
    }
}

/// Writes the first `N` vectors of `M` rows.
#[inline(always)]
pub(super) unsafe fn store_rows<V: Simd, const M: usize, const N: usize>(
    rows: [[V; N]; M],
    out: &mut [f32],
    stride: usize,
) {
    assert!(out.len() >= (M - 1) * stride + N * V::LANES);
    for i in 0..M {
        for v in 0..N {
            // SAFETY: as for `attend`; the last vector lies in `out`, by the assertion above.
            unsafe { rows[i][v].store(out.get_unchecked_mut(i * stride + v * V::LANES..)) }
        }
    }
}

/// `acc[i] += row i . panel` for the first `M` of the rows, whose first `depth` elements are multiplied; the panel is
/// `[depth][N * LANES]`.
#[inline(always)]
unsafe fn multiply<V: Simd, const M: usize, const N: usize>(
    rows: &[f32],
    width: usize,
    depth: usize,
    panel: &[f32],
    acc: [[V; N]; M],
) -> [[V; N]; M] {
    // SAFETY: as for `attend`.
    unsafe {
        if V::BY_LANE {
            multiply_by_lanes(&rows[..M * width], depth, panel, acc)
        } else {
            multiply_by_elements(rows_of(rows, width, 0, depth), panel, acc)
        }
    }
}

#[inline(always)]
unsafe fn multiply_by_elements<V: Simd, const M: usize, const N: usize>(
    a: [&[f32]; M],
    panel: &[f32],
    mut acc: [[V; N]; M],
) -> [[V; N]; M] {
    let depth = a[0].len();
    assert!(a.iter().all(|a| a.len() == depth) && panel.len() >= depth * N * V::LANES);
    for k in 0..depth {
        // SAFETY: as for `attend`; `k` lies in every row and in the panel, by the assertion above.
        unsafe {
            let b = panel_row::<V, N>(panel, k);
            for i in 0..M {
                let a = V::splat(*a[i].get_unchecked(k));
                for v in 0..N {
                    acc[i][v] = a.mul_add(b[v], acc[i][v]).in_register();
                }
            }
        }
    }
    acc
}

#[inline(always)]
unsafe fn multiply_by_lanes<V: Simd, const M: usize, const N: usize>(
    rows: &[f32],
    depth: usize,
    panel: &[f32],
    mut acc: [[V; N]; M],
) -> [[V; N]; M] {
    let (whole, step) = (depth - depth % V::LANES, vector_step::<V, M>());
    assert!(rows.len() >= depth.div_ceil(V::LANES) * step && panel.len() >= depth * N * V::LANES);
    // SAFETY: as for `attend`; whatever is read lies in the rows and in the panel, by the assertion above.
    unsafe {
        for k in (0..whole).step_by(V::LANES) {
            let mut a = [V::splat(0.0); M];
            for i in 0..M {
                a[i] = V::load(rows.get_unchecked(k / V::LANES * step + i * V::LANES..));
            }
            for lane in 0..V::LANES {
                let b = panel_row::<V, N>(panel, k + lane);
                for i in 0..M {
                    for v in 0..N {
                        acc[i][v] = b[v].mul_add_lane(a[i], lane, acc[i][v]);
                    }
                }
            }
        }
        for k in whole..depth {
            let b = panel_row::<V, N>(panel, k);
            for i in 0..M {
                let at = whole / V::LANES * step + i * V::LANES + (k - whole);
                let a = V::splat(*rows.get_unchecked(at));
                for v in 0..N {
                    acc[i][v] = a.mul_add(b[v], acc[i][v]);
                }
            }
        }
    }
    acc
}

/// Rows become columns.
#[inline(always)]
fn turned<V: Copy, const M: usize, const N: usize>(rows: [[V; N]; M]) -> [[V; M]; N] {
    let mut turned = [[rows[0][0]; M]; N];
    for i in 0..M {
        for v in 0..N {
            turned[v][i] = rows[i][v];
        }
    }
    turned
}

/// # Safety
/// As for [`attend`], and the panel has a row `k`.
#[inline(always)]
unsafe fn panel_row<V: Simd, const N: usize>(panel: &[f32], k: usize) -> [V; N] {
    // SAFETY: this function's contract.
    unsafe {
        let row = panel.get_unchecked(k * N * V::LANES..(k + 1) * N * V::LANES);
        let mut vectors = [V::splat(0.0); N];
        for v in 0..N {
            vectors[v] = V::load(row.get_unchecked(v * V::LANES..));
        }
        vectors
    }
}

/// The keys from `first` on as columns: `panel[i][c] = key(first + c)[i]`. Past the end the last key is repeated.
#[inline(always)]
unsafe fn pack_keys<V: Simd, T: Lane<V>, const N: usize>(
    kv: &KvRows<'_, T>,
    first: usize,
    panel: &mut [f32],
) {
    let (d, width) = (kv.key(first).len(), N * V::LANES);
    assert!(panel.len() >= d * width);
    for column in (0..width).step_by(V::LANES) {
        let mut keys: [&[T]; MAX_LANES] = [&[]; MAX_LANES];
        for i in 0..V::LANES {
            keys[i] = &kv.key((first + column + i).min(kv.n() - 1))[..d];
        }
        let whole = d - d % V::LANES;
        // SAFETY: as for `attend`. What is read and written lies within `d` elements of a key and `d` rows of the panel.
        unsafe {
            let mut square = [V::splat(0.0); MAX_LANES];
            for at in (0..whole).step_by(V::LANES) {
                for i in 0..V::LANES {
                    square[i] = T::load(keys[i].get_unchecked(at..));
                }
                V::transpose(&mut square);
                for i in 0..V::LANES {
                    square[i].store(panel.get_unchecked_mut((at + i) * width + column..));
                }
            }
            if whole < d {
                for i in 0..V::LANES {
                    square[i] = load_part::<V, T>(&keys[i][whole..]);
                }
                V::transpose(&mut square);
                for i in 0..d - whole {
                    square[i].store(&mut panel[(whole + i) * width + column..]);
                }
            }
        }
    }
}

/// Some columns of values: `panel[j][c] = value(keys.start + j)[column + c]`. Past a head's end are numbers that
/// nobody uses.
#[inline(always)]
unsafe fn pack_values<V: Simd, T: Lane<V>, const N: usize>(
    kv: &KvRows<'_, T>,
    keys: Range<usize>,
    column: usize,
    panel: &mut [f32],
) {
    let width = N * V::LANES;
    for (j, out) in keys.clone().zip(panel[..keys.len() * width].chunks_exact_mut(width)) {
        let value = &kv.value(j)[column..];
        // SAFETY: as for `attend`; `out` is `N` vectors.
        unsafe {
            if let Some(value) = value.get(..width) {
                for v in 0..N {
                    T::load(&value[v * V::LANES..]).store(&mut out[v * V::LANES..]);
                }
            } else {
                for v in 0..N {
                    load_part::<V, T>(&value[v * V::LANES..]).store(&mut out[v * V::LANES..]);
                }
            }
        }
    }
}

/// The vector at the start of `x`; one that is cut short is filled up with its first element.
#[inline(always)]
pub(super) unsafe fn load_part<V: Simd, T: Lane<V>>(x: &[T]) -> V {
    // SAFETY: as for `attend`; both slices hold a vector.
    unsafe {
        if x.len() >= V::LANES {
            return T::load(x);
        }
        let mut part = [x[0]; MAX_LANES];
        part[..x.len()].copy_from_slice(x);
        T::load(&part)
    }
}
