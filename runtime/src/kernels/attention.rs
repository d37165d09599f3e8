//! Attention in blocks, written once over [`Simd`]: a tile of queries meets a block of keys at a time.
//!
//! Both products, queries by keys and probabilities by values, are [`multiply`]: some rows times one *panel*, a few
//! vectors wide, whose sums stay in registers. Panels are copied together once for all rows of a tile: keys turned
//! on their side, values as they lie, both widened to f32. Between the products each row keeps its largest score so
//! far; when a block brings a larger one, what was summed before is scaled down to it. So scratch memory does not
//! grow with the number of keys.
//!
//! Blocks begin at the same keys for every query, and rows never mix: a result does not depend on the tile or thread
//! that a query lands in.
//!
//! Every function is unsafe for one reason: it must be inlined into a caller that has the vector's CPU features.
#![cfg_attr(not(all(feature = "std", target_arch = "x86_64")), allow(dead_code))]

use super::vector::{Lane, MAX_LANES, Simd, exp};
use super::{KvRows, Queries, TileMut};
use core::array;

/// Vectors in a row of a panel. Four rows of three sums, three vectors of the panel and one broadcast value are 16
/// registers.
const VECTORS: usize = 2;
/// Panels of keys in a block.
const PANELS: usize = 6;
/// Most rows of a tile: so many that copying a panel is little beside using it.
const TILE_ROWS: usize = 160;
/// Rows whose scores become probabilities together.
const SOFTMAX_ROWS: usize = 16;
const _: () = assert!(TILE_ROWS.is_multiple_of(SOFTMAX_ROWS) && SOFTMAX_ROWS.is_multiple_of(MAX_LANES));

/// Columns of a panel.
const fn panel_width<V: Simd>() -> usize {
    VECTORS * V::LANES
}

/// Keys in a block.
const fn block_keys<V: Simd>() -> usize {
    PANELS * panel_width::<V>()
}

/// Floats of scratch memory that [`attend`] needs for heads of width `d`.
pub(super) const fn room<V: Simd>(d: usize) -> usize {
    let depth = if d > block_keys::<V>() { d } else { block_keys::<V>() };
    let row = block_keys::<V>() + d.next_multiple_of(V::LANES) + V::LANES + 2;
    depth * panel_width::<V>() + TILE_ROWS * row
}

/// The state of a tile of rows, in scratch memory.
struct Tile<'a> {
    /// `[depth][panel_width]`
    panel: &'a mut [f32],
    /// `[rows][block_keys]`: scores, then probabilities times `sum`.
    scores: &'a mut [f32],
    /// `[rows][width]`: the result so far, times `sum`.
    acc: &'a mut [f32],
    /// Width of a head in whole vectors.
    width: usize,
    /// `[rows][LANES]`: sums of `exp(score - max)`, a lane each.
    sum: &'a mut [f32],
    /// `[rows]`: largest score so far.
    max: &'a mut [f32],
    /// `[rows]`: what the sums of earlier blocks are scaled by.
    factor: &'a mut [f32],
}

impl<'a> Tile<'a> {
    fn new<V: Simd>(d: usize, mut scratch: &'a mut [f32]) -> Self {
        let mut cut = |n: usize| {
            let (head, tail) = core::mem::take(&mut scratch).split_at_mut(n);
            scratch = tail;
            head
        };
        let width = d.next_multiple_of(V::LANES);
        Tile {
            panel: cut(d.max(block_keys::<V>()) * panel_width::<V>()),
            scores: cut(TILE_ROWS * block_keys::<V>()),
            acc: cut(TILE_ROWS * width),
            width,
            sum: cut(TILE_ROWS * V::LANES),
            max: cut(TILE_ROWS),
            factor: cut(TILE_ROWS),
        }
    }
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
) {
    
    let d = q.d_head();
    let mut tile = Tile::new::<V>(d, scratch);
    let rows = q.len().div_ceil(q.len().div_ceil(TILE_ROWS).max(1)).next_multiple_of(M);
    for first in (0..q.len()).step_by(rows.max(1)) {
        let n = rows.min(q.len() - first);
        tile.sum.fill(0.0);
        tile.max.fill(f32::NEG_INFINITY);
        for key in (0..kv.n()).step_by(block_keys::<V>()) {
            let n_keys = block_keys::<V>().min(kv.n() - key);
            // SAFETY: the caller has the vector's features.
            unsafe {
                scores::<V, T, M>(&mut tile, q, first..first + n, kv, key, n_keys, scale);
                softmax::<V>(&mut tile, n.next_multiple_of(M), n_keys);
                values::<V, T, M>(&mut tile, n, kv, key, n_keys);
            }
        }
        for r in 0..n {
            let (position, head) = q.place(first + r);
            let out = &mut out.row(position)[head * d..][..d];
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

/// `scores = scale * queries . keys` for a block of keys.
#[inline(always)]
unsafe fn scores<V: Simd, T: Lane<V>, const M: usize>(
    tile: &mut Tile<'_>,
    q: &Queries<'_>,
    rows: core::ops::Range<usize>,
    kv: &KvRows<'_, T>,
    key: usize,
    n_keys: usize,
    scale: f32,
) {
    let width = panel_width::<V>();
    for column in (0..n_keys).step_by(width) {
        let vectors = (n_keys - column).div_ceil(V::LANES).min(VECTORS);
        // SAFETY: as for `attend`.
        unsafe {
            pack_keys::<V, T>(kv, key + column, vectors, tile.panel);
            for r in (0..rows.len()).step_by(M) {
                // Past the end the last query is multiplied again, and the result not used.
                let a: [&[f32]; M] = array::from_fn(|i| q.row((rows.start + r + i).min(rows.end - 1)));
                let at = &mut tile.scores[r * block_keys::<V>() + column..];
                match vectors {
                    2 => score_rows::<V, M, 2>(a, tile.panel, scale, at),
                    _ => score_rows::<V, M, 1>(a, tile.panel, scale, at),
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn score_rows<V: Simd, const M: usize, const N: usize>(
    a: [&[f32]; M],
    panel: &[f32],
    scale: f32,
    out: &mut [f32],
) {
    // SAFETY: as for `attend`; a row of scores has room for whole panels.
    unsafe {
        let scale = V::splat(scale);
        let acc = multiply::<V, M, N>(a, panel, [[V::splat(0.0); N]; M]);
        for (i, acc) in acc.into_iter().enumerate() {
            for (v, acc) in acc.into_iter().enumerate() {
                acc.mul(scale).store(&mut out[i * block_keys::<V>() + v * V::LANES..]);
            }
        }
    }
}

/// Turns scores into `exp(score - max)` and brings `max`, `sum` and `factor` up to date.
#[inline(always)]
unsafe fn softmax<V: Simd>(tile: &mut Tile<'_>, rows: usize, n_keys: usize) {
    let stride = block_keys::<V>();
    let whole = n_keys.next_multiple_of(V::LANES);
    for first in (0..rows).step_by(SOFTMAX_ROWS) {
        let rows = first..rows.min(first + SOFTMAX_ROWS);
        for r in rows.clone() {
            let scores = &mut tile.scores[r * stride..][..whole];
            // What is past the last key has no probability.
            scores[n_keys..].fill(f32::NEG_INFINITY);
            // SAFETY: as for `attend`; chunks are whole vectors.
            unsafe {
                let mut max = V::splat(tile.max[r]);
                for s in scores.chunks_exact(V::LANES) {
                    max = max.max(V::load(s));
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
                for s in tile.scores[r * stride..][..whole].chunks_exact_mut(V::LANES) {
                    let e = exp(V::load(s).sub(max));
                    e.store(s);
                    sum = sum.add(e);
                }
                sum.store(total);
            }
        }
    }
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
        let vectors = ((tile.width - column) / V::LANES).min(VECTORS);
        // SAFETY: as for `attend`.
        unsafe {
            pack_values::<V, T>(kv, key, n_keys, column, vectors, tile.panel);
            for r in (0..rows).step_by(M) {
                match vectors {
                    2 => value_rows::<V, M, 2>(tile, r, n_keys, column, key == 0),
                    _ => value_rows::<V, M, 1>(tile, r, n_keys, column, key == 0),
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn value_rows<V: Simd, const M: usize, const N: usize>(
    tile: &mut Tile<'_>,
    r: usize,
    n_keys: usize,
    column: usize,
    first: bool,
) {
    // SAFETY: as for `attend`; a row of `acc` is whole vectors, and `column` begins one of them.
    unsafe {
        let a: [&[f32]; M] = array::from_fn(|i| &tile.scores[(r + i) * block_keys::<V>()..][..n_keys]);
        let mut acc = [[V::splat(0.0); N]; M];
        // Not by a factor of zero: before the first block `acc` holds another tile's numbers, perhaps not finite.
        if !first {
            for (i, acc) in acc.iter_mut().enumerate() {
                let factor = V::splat(tile.factor[r + i]);
                for (v, acc) in acc.iter_mut().enumerate() {
                    *acc = V::load(&tile.acc[(r + i) * tile.width + column + v * V::LANES..]).mul(factor);
                }
            }
        }
        let acc = multiply::<V, M, N>(a, tile.panel, acc);
        for (i, acc) in acc.into_iter().enumerate() {
            for (v, acc) in acc.into_iter().enumerate() {
                acc.store(&mut tile.acc[(r + i) * tile.width + column + v * V::LANES..]);
            }
        }
    }
}

/// `acc[i] += a[i] . panel`, where `panel` is `[a[i].len()][N * LANES]`.
#[inline(always)]
unsafe fn multiply<V: Simd, const M: usize, const N: usize>(
    a: [&[f32]; M],
    panel: &[f32],
    mut acc: [[V; N]; M],
) -> [[V; N]; M] {
    let depth = a[0].len();
    assert!(a.iter().all(|a| a.len() == depth) && panel.len() >= depth * N * V::LANES);
    for k in 0..depth {
        // SAFETY: as for `attend`; `k` lies in every row and its vectors in the panel, by the assertion above.
        unsafe {
            let b = panel.get_unchecked(k * N * V::LANES..(k + 1) * N * V::LANES);
            let mut vectors = [V::splat(0.0); N];
            for v in 0..N {
                vectors[v] = V::load(b.get_unchecked(v * V::LANES..));
            }
            for i in 0..M {
                let a = V::splat(*a[i].get_unchecked(k));
                for v in 0..N {
                    acc[i][v] = a.mul_add(vectors[v], acc[i][v]);
                }
            }
        }
    }
    acc
}

/// The keys from `first` on as columns: `panel[i][c] = key(first + c)[i]`. Past the end the last key is repeated.
#[inline(always)]
unsafe fn pack_keys<V: Simd, T: Lane<V>>(
    kv: &KvRows<'_, T>,
    first: usize,
    vectors: usize,
    panel: &mut [f32],
) {
    let width = vectors * V::LANES;
    for column in (0..width).step_by(V::LANES) {
        let keys: [&[T]; MAX_LANES] = array::from_fn(|i| kv.key((first + column + i).min(kv.n() - 1)));
        let d = keys[0].len();
        for at in (0..d).step_by(V::LANES) {
            // SAFETY: as for `attend`.
            unsafe {
                let mut square = [V::splat(0.0); MAX_LANES];
                for (v, key) in square.iter_mut().zip(keys).take(V::LANES) {
                    *v = load_part::<V, T>(&key[at..]);
                }
                V::transpose(&mut square);
                for (i, v) in square.into_iter().enumerate().take(V::LANES.min(d - at)) {
                    v.store(&mut panel[(at + i) * width + column..]);
                }
            }
        }
    }
}

/// Some columns of values: `panel[j][c] = value(first + j)[column + c]`. Past the end are numbers that nobody uses.
#[inline(always)]
unsafe fn pack_values<V: Simd, T: Lane<V>>(
    kv: &KvRows<'_, T>,
    first: usize,
    n: usize,
    column: usize,
    vectors: usize,
    panel: &mut [f32],
) {
    let width = vectors * V::LANES;
    for (j, out) in panel[..n * width].chunks_exact_mut(width).enumerate() {
        let value = &kv.value(first + j)[column..];
        for (v, out) in out.chunks_exact_mut(V::LANES).enumerate() {
            // SAFETY: as for `attend`; a chunk is a vector.
            unsafe { load_part::<V, T>(&value[v * V::LANES..]).store(out) }
        }
    }
}

/// The vector at the start of `x`; one that is cut short is filled up with its first element.
#[inline(always)]
unsafe fn load_part<V: Simd, T: Lane<V>>(x: &[T]) -> V {
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
