//! Attention whose two products are those of 16-bit integers, for what quantized weights have made: an instruction
//! multiplies twice as many of them as floats. Block by block as in [`attention`](super::attention), whose documentation
//! holds here too; written once over [`Pairs`].
//!
//! What meets in a product is quantized along its sum, with one scale a row on the left and one a column on the right,
//! so that sums are integers to their end and fit in 32 bits:
//! * queries, a scale each, by keys, a scale each: the largest magnitude becomes [`largest_factor`];
//! * probabilities by values. Of a row and a block of keys, the largest probability becomes [`PROBABILITY`], whatever
//!   it is in the whole row: many small ones that stand in other blocks than a large one keep their digits. Of a column
//!   and a block, the largest value becomes [`VALUE`].
//!
//! A row is divided by the sum of its *rounded* probabilities: what rounding takes from the small ones moves to others
//! instead of vanishing, so that values which are all alike come out as they are.
//!
//! Instructions multiply pairs that are neighbours along the sum and add both products to a 32-bit lane: a row is pairs
//! side by side, and a panel holds in each lane the pair of its column. All panels are made before the first tile.
// Loops over `0..M` and `0..N`, because LLVM unrolls them into registers; of zipped iterators it makes memory.
#![allow(clippy::needless_range_loop)]
#![cfg_attr(not(all(feature = "std", target_arch = "x86_64")), allow(dead_code))]

use super::attention::{load_part, load_rows, rows_of, store_rows, take};
use super::vector::{Lane, MAX_LANES, Pair, PairProduct, Pairs, Simd};
use super::{KvRows, Queries, TileMut};
use core::f32::consts::LOG2_E;

/// Keys in a block: whole vectors of pairs; the fewer, the more digits are left to probabilities and values, and the more
/// often results are scaled.
pub(super) const KEYS: usize = 160;
/// What the largest probability of a block becomes.
pub(super) const PROBABILITY: f32 = 8192.0;
/// What the largest value of a column and a block becomes: fewer digits than probabilities have, because errors of
/// values are as often above as below, while small probabilities are all rounded to nothing.
pub(super) const VALUE: f32 = (i32::MAX as usize / (KEYS * PROBABILITY as usize)) as f32;
/// Smaller magnitudes are as good as zero, and have no inverse.
pub(super) const TINY: f32 = 1e-30;

/// What the largest magnitude of a query or a key of width `d` becomes.
pub(super) fn largest_factor(d: usize) -> f32 {
    libm::floorf(libm::sqrtf(i32::MAX as f32 / d as f32) - 0.5).clamp(1.0, 32767.0)
}

/// Vectors in a row of a panel: with 6 rows they take 12 sums, two vectors of the panel, a pair of the row and its
/// product, which are the 16 registers of AVX2.
const VECTORS: usize = 2;
/// Floats of scratch memory, if heads are not very wide: what fits a core's second cache on many small machines.
const ROOM: usize = 32 * 1024;
/// Rows whose scores become probabilities together; a tile is a multiple of them.
const SOFTMAX_ROWS: usize = 48;
const _: () = assert!(SOFTMAX_ROWS.is_multiple_of(MAX_LANES) && KEYS.is_multiple_of(2 * MAX_LANES));

/// Columns of a panel.
const fn panel_width<V: Simd>() -> usize {
    VECTORS * V::LANES
}

/// Floats that a row of a tile takes; a pair takes as much as one.
fn row_room<V: Simd>(d: usize) -> usize {
    let width = d.next_multiple_of(2 * V::LANES);
    width / 2 + KEYS + width + 5
}

/// Rows of a tile: as many as there is room for, because each makes reading a panel less beside using it.
fn tile_rows<V: Simd>(d: usize) -> usize {
    (ROOM / row_room::<V>(d) / SOFTMAX_ROWS * SOFTMAX_ROWS).max(SOFTMAX_ROWS)
}

/// Floats of scratch memory that [`attend`] needs for heads of width `d` and so many keys; at least [`ROOM`] for a tile,
/// as for floats.
pub(super) fn room<V: Simd>(d: usize, n_keys: usize) -> usize {
    ROOM.max(tile_rows::<V>(d) * row_room::<V>(d)) + Packed::room::<V>(d, n_keys)
}

/// Keys and values of a head in panels, made once for all tiles: where they come from, neighbours lie pages apart.
struct Packed<'a> {
    /// Pairs of a key, and columns of a value in whole panels.
    depth: usize,
    columns: usize,
    /// `[panel][depth][panel_width]`
    keys: &'a mut [Pair],
    /// `[keys]`: what each has been divided by.
    key_scales: &'a mut [f32],
    /// `[block][panel][KEYS / 2][panel_width]`
    values: &'a mut [Pair],
    /// `[block][columns]`: what each has been divided by.
    value_scales: &'a mut [f32],
}

impl<'a> Packed<'a> {
    /// Lengths of the four arrays, of which pairs are as long as floats.
    fn lengths<V: Simd>(d: usize, n_keys: usize) -> [usize; 4] {
        let (n_keys, columns) = (n_keys.next_multiple_of(KEYS), d.next_multiple_of(panel_width::<V>()));
        [n_keys * d.div_ceil(2), n_keys, n_keys / 2 * columns, n_keys / KEYS * columns]
    }

    fn room<V: Simd>(d: usize, n_keys: usize) -> usize {
        Self::lengths::<V>(d, n_keys).iter().sum()
    }

    /// All keys and values of `kv`, the keys so that their largest magnitude becomes `limit`.
    ///
    /// # Safety
    /// As for [`attend`].
    #[inline(always)]
    unsafe fn new<V: Pairs, T: Lane<V>>(kv: &KvRows<'_, T>, limit: f32, scratch: &mut &'a mut [f32]) -> Self {
        let d = kv.key(0).len();
        let [keys, key_scales, values, value_scales] =
            Self::lengths::<V>(d, kv.n()).map(|n| take(scratch, n));
        let packed = Packed {
            depth: d.div_ceil(2),
            columns: d.next_multiple_of(panel_width::<V>()),
            keys: as_pairs(keys),
            key_scales,
            values: as_pairs(values),
            value_scales,
        };
        for key in (0..kv.n()).step_by(panel_width::<V>()) {
            let panel = &mut packed.keys[key * packed.depth..];
            let scales = &mut packed.key_scales[key..];
            // SAFETY: the caller has the vector's features.
            unsafe {
                // As many vectors as `scores` will want: blocks are whole panels.
                if kv.n() - key > V::LANES {
                    store_rows([pack_keys::<V, T, VECTORS>(kv, key, limit, panel)], scales, 0);
                } else {
                    store_rows([pack_keys::<V, T, 1>(kv, key, limit, panel)], scales, 0);
                }
            }
        }
        for first in (0..kv.n()).step_by(KEYS) {
            let block = kv.slice(first..kv.n().min(first + KEYS));
            for column in (0..d).step_by(panel_width::<V>()) {
                let panel = &mut packed.values[first / 2 * packed.columns + KEYS / 2 * column..];
                let scales = &mut packed.value_scales[first / KEYS * packed.columns + column..];
                // SAFETY: as above.
                unsafe {
                    if d - column > V::LANES {
                        store_rows([pack_values::<V, T, VECTORS>(&block, column, panel)], scales, 0);
                    } else {
                        store_rows([pack_values::<V, T, 1>(&block, column, panel)], scales, 0);
                    }
                }
            }
        }
        packed
    }

    /// The panel of keys from `key` on, and their scales.
    fn keys(&self, key: usize) -> (&[Pair], &[f32]) {
        (&self.keys[key * self.depth..], &self.key_scales[key..])
    }

    /// The panel of the values of a block, which begins at `key`, from `column` on, and their scales.
    fn values(&self, key: usize, column: usize) -> (&[Pair], &[f32]) {
        let panel = &self.values[key / 2 * self.columns + KEYS / 2 * column..];
        (panel, &self.value_scales[key / KEYS * self.columns + column..])
    }
}

/// The state of a tile of rows, in scratch memory. Rows past the last query hold numbers that nobody uses.
struct Tile<'a> {
    /// Most rows.
    rows: usize,
    /// Width of a head, and the same in whole vectors of pairs.
    d: usize,
    width: usize,
    /// `[rows][width / 2]`: queries.
    q: &'a mut [Pair],
    /// `[rows]`: what queries have been divided by, times the scale of scores and log2(e).
    q_scale: &'a mut [f32],
    /// `[rows][KEYS]`: scores, divided by `q_scale`; then, in the first half of a row, probabilities as pairs.
    scores: &'a mut [f32],
    /// `[rows][width]`: the result so far, times `sum`.
    acc: &'a mut [f32],
    /// `[rows]`: sums of probabilities, the largest of which counts one.
    sum: &'a mut [f32],
    /// `[rows]`: largest score so far, to the base of two.
    max: &'a mut [f32],
    /// `[rows]`: what the sums of earlier blocks are scaled by.
    factor: &'a mut [f32],
    /// `[rows]`: what those of this block are scaled by; before that, its largest score.
    weight: &'a mut [f32],
}

impl<'a> Tile<'a> {
    fn new<V: Simd>(d: usize, mut scratch: &'a mut [f32]) -> Self {
        let (rows, width) = (tile_rows::<V>(d), d.next_multiple_of(2 * V::LANES));
        Tile {
            rows,
            d,
            width,
            q: as_pairs(take(&mut scratch, rows * width / 2)),
            q_scale: take(&mut scratch, rows),
            scores: take(&mut scratch, rows * KEYS),
            acc: take(&mut scratch, rows * width),
            sum: take(&mut scratch, rows),
            max: take(&mut scratch, rows),
            factor: take(&mut scratch, rows),
            weight: take(&mut scratch, rows),
        }
    }
}

/// Scratch memory for pairs.
fn as_pairs(x: &mut [f32]) -> &mut [Pair] {
    // SAFETY: a pair is as long as a float and needs no more alignment; any bits are valid for either.
    unsafe { core::slice::from_raw_parts_mut(x.as_mut_ptr().cast(), x.len()) }
}

/// See [`super::Kernels::attend_quantized`]. `M` rows are multiplied at a time.
#[inline(always)]
pub(super) unsafe fn attend<V: Pairs, F: PairProduct<V>, T: Lane<V>, const M: usize>(
    q: &Queries<'_>,
    kv: &KvRows<'_, T>,
    scale: f32,
    mut scratch: &mut [f32],
    out: &mut TileMut<'_>,
) {
    const { assert!(SOFTMAX_ROWS.is_multiple_of(M)) };
    let limit = largest_factor(q.d_head());
    // SAFETY: the caller has the vector's features.
    let packed = unsafe { Packed::new::<V, T>(kv, limit, &mut scratch) };
    let mut tile = Tile::new::<V>(q.d_head(), scratch);
    // Tiles of nearly equal size.
    let rows = q.len().div_ceil(q.len().div_ceil(tile.rows).max(1)).next_multiple_of(M).max(M);
    for first in (0..q.len()).step_by(rows) {
        let n = rows.min(q.len() - first);
        for r in 0..n {
            // In the room of the result, which is not needed yet, padded to whole vectors.
            let x = &mut tile.acc[r * tile.width..][..tile.width];
            x[..tile.d].copy_from_slice(q.row(first + r));
            x[tile.d..].fill(0.0);
            // SAFETY: as above; a row of `q` is as many pairs of vectors.
            let by = unsafe { quantize::<V>(x, limit, &mut tile.q[r * tile.width / 2..]) };
            tile.q_scale[r] = by * scale * LOG2_E;
        }
        tile.sum.fill(0.0);
        tile.max.fill(f32::NEG_INFINITY);
        for key in (0..kv.n()).step_by(KEYS) {
            let n_keys = KEYS.min(kv.n() - key);
            // SAFETY: as above.
            unsafe {
                scores::<V, F, M>(&mut tile, n, &packed, key, n_keys);
                softmax::<V, F>(&mut tile, n, n_keys);
                values::<V, F, M>(&mut tile, n, &packed, key, n_keys);
            }
        }
        for r in 0..n {
            let (position, head) = q.place(first + r);
            let out = &mut out.row(position)[head * tile.d..][..tile.d];
            let inverse = 1.0 / tile.sum[r];
            for (out, acc) in out.iter_mut().zip(&tile.acc[r * tile.width..]) {
                *out = acc * inverse;
            }
        }
    }
}

/// Writes `x`, whole vectors of pairs, as pairs, and returns what it has been divided by.
#[inline(always)]
unsafe fn quantize<V: Pairs>(x: &[f32], limit: f32, out: &mut [Pair]) -> f32 {
    // SAFETY: as for `attend`; chunks are two vectors, and one of pairs.
    unsafe {
        let mut largest = V::splat(TINY);
        for x in x.chunks_exact(2 * V::LANES) {
            largest = largest.max(V::load(x).abs()).max(V::load(&x[V::LANES..]).abs());
        }
        let largest = largest.reduce_max();
        let inverse = V::splat(limit / largest);
        for (x, out) in x.chunks_exact(2 * V::LANES).zip(out.chunks_exact_mut(V::LANES)) {
            V::store_row(V::load(x).mul(inverse), V::load(&x[V::LANES..]).mul(inverse), out);
        }
        largest / limit
    }
}

/// `scores = queries . keys` for a block of keys.
#[inline(always)]
unsafe fn scores<V: Pairs, F: PairProduct<V>, const M: usize>(
    tile: &mut Tile<'_>,
    rows: usize,
    packed: &Packed<'_>,
    key: usize,
    n_keys: usize,
) {
    for column in (0..n_keys).step_by(panel_width::<V>()) {
        // SAFETY: as for `attend`.
        unsafe {
            let panel = packed.keys(key + column);
            if n_keys - column > V::LANES {
                score_panel::<V, F, M, VECTORS>(tile, rows, panel, column);
            } else {
                score_panel::<V, F, M, 1>(tile, rows, panel, column);
            }
        }
    }
}

#[inline(always)]
unsafe fn score_panel<V: Pairs, F: PairProduct<V>, const M: usize, const N: usize>(
    tile: &mut Tile<'_>,
    rows: usize,
    (panel, key_scales): (&[Pair], &[f32]),
    column: usize,
) {
    // SAFETY: as for `attend`; a row of scores has room for whole panels.
    unsafe {
        let [key_scale] = load_rows::<V, 1, N>(key_scales, 0);
        for r in (0..rows).step_by(M) {
            let q = rows_of::<Pair, M>(tile.q, tile.width / 2, r, tile.d.div_ceil(2));
            let sums = multiply::<V, F, M, N>(q, panel);
            let mut scores = [[V::splat(0.0); N]; M];
            for i in 0..M {
                for v in 0..N {
                    scores[i][v] = V::from_whole(sums[i][v]).mul(key_scale[v]);
                }
            }
            store_rows(scores, &mut tile.scores[r * KEYS + column..], KEYS);
        }
    }
}

/// Turns scores into probabilities and brings `max`, `sum`, `factor` and `weight` up to date.
#[inline(always)]
unsafe fn softmax<V: Pairs, F: PairProduct<V>>(tile: &mut Tile<'_>, rows: usize, n_keys: usize) {
    let whole = n_keys.next_multiple_of(2 * V::LANES);
    for first in (0..rows).step_by(SOFTMAX_ROWS) {
        let rows = first..rows.min(first + SOFTMAX_ROWS);
        for r in rows.clone() {
            let scores = &mut tile.scores[r * KEYS..][..whole];
            // What is past the last key has no probability.
            scores[n_keys..].fill(f32::NEG_INFINITY);
            // SAFETY: as for `attend`; chunks are two vectors.
            unsafe {
                let mut max = [V::splat(f32::NEG_INFINITY); 2];
                for s in scores.chunks_exact(2 * V::LANES) {
                    max = [max[0].max(V::load(s)), max[1].max(V::load(&s[V::LANES..]))];
                }
                tile.weight[r] = max[0].max(max[1]).reduce_max() * tile.q_scale[r];
            }
        }
        // SAFETY: as above.
        unsafe {
            let ones = V::splat_pair([1, 1]);
            for r in rows.clone() {
                let (scale, minus_max) = (V::splat(tile.q_scale[r]), V::splat(-tile.weight[r]));
                let mut sum = V::zero();
                let row = &mut tile.scores[r * KEYS..][..whole];
                for at in (0..whole).step_by(2 * V::LANES) {
                    // `at` and the vector after it lie in the row, which is whole pairs of vectors.
                    let (first, second) = (row.get_unchecked(at..), row.get_unchecked(at + V::LANES..));
                    let first = exp2(V::load(first).mul_add(scale, minus_max), PROBABILITY);
                    let second = exp2(V::load(second).mul_add(scale, minus_max), PROBABILITY);
                    let p = as_pairs(row.get_unchecked_mut(at / 2..at / 2 + V::LANES));
                    V::store_row(first, second, p);
                    sum = F::add(sum, V::load_pairs(p), ones);
                }
                tile.factor[r] = V::from_whole(sum).reduce_sum();
            }
            for r in (first..rows.end).step_by(V::LANES) {
                let (so_far, block) = (V::load(&tile.max[r..]), V::load(&tile.weight[r..]));
                let max = so_far.max(block);
                let factor = exp2(so_far.sub(max), 1.0);
                let weight = exp2(block.sub(max), 1.0 / PROBABILITY);
                let sum = V::load(&tile.factor[r..]).mul(weight);
                V::load(&tile.sum[r..]).mul_add(factor, sum).store(&mut tile.sum[r..]);
                max.store(&mut tile.max[r..]);
                factor.store(&mut tile.factor[r..]);
                weight.store(&mut tile.weight[r..]);
            }
        }
    }
}

/// `times * 2^x` for `x` of at most 0, to five digits, which is more than probabilities keep.
#[inline(always)]
unsafe fn exp2<V: Simd>(x: V, times: f32) -> V {
    // SAFETY: as for `attend`.
    unsafe {
        let x = x.max(V::splat(-126.0));
        let n = x.round();
        let r = x.sub(n);
        // Of the polynomials that are 1 at 0, the one with the smallest relative error on [-1/2, 1/2]: 3e-6. Summed in
        // halves, of which neither waits for the other.
        let c = [1.0, 0.693_124_2, 0.240_241, 5.590_643e-2, 9.582_854e-3].map(|c| c * times);
        let square = r.mul(r);
        let high = V::splat(c[4]).mul_add(r, V::splat(c[3])).mul_add(r, V::splat(c[2]));
        let p = high.mul_add(square, V::splat(c[1]).mul_add(r, V::splat(c[0])));
        p.times_exp2(n)
    }
}

/// `acc = factor * acc + weight * probabilities . values` for a block of keys.
#[inline(always)]
unsafe fn values<V: Pairs, F: PairProduct<V>, const M: usize>(
    tile: &mut Tile<'_>,
    rows: usize,
    packed: &Packed<'_>,
    key: usize,
    n_keys: usize,
) {
    for column in (0..tile.d).step_by(panel_width::<V>()) {
        // SAFETY: as for `attend`.
        unsafe {
            let (panel, keys) = (packed.values(key, column), (key, n_keys));
            if tile.d - column > V::LANES {
                value_panel::<V, F, M, VECTORS>(tile, rows, panel, keys, column);
            } else {
                value_panel::<V, F, M, 1>(tile, rows, panel, keys, column);
            }
        }
    }
}

#[inline(always)]
unsafe fn value_panel<V: Pairs, F: PairProduct<V>, const M: usize, const N: usize>(
    tile: &mut Tile<'_>,
    rows: usize,
    (panel, value_scales): (&[Pair], &[f32]),
    (key, n_keys): (usize, usize),
    column: usize,
) {
    // SAFETY: as for `attend`; a row of `acc` is whole vectors, and `column` begins one of them.
    unsafe {
        let [value_scale] = load_rows::<V, 1, N>(value_scales, 0);
        for r in (0..rows).step_by(M) {
            let p = rows_of::<Pair, M>(as_pairs(tile.scores), KEYS, r, n_keys.div_ceil(2));
            let sums = multiply::<V, F, M, N>(p, panel);
            let weights = tile.weight[r..].first_chunk::<M>().expect("a tile is whole register tiles");
            let factors = tile.factor[r..].first_chunk::<M>().expect("a tile is whole register tiles");
            let at = &mut tile.acc[r * tile.width + column..];
            let mut acc = [[V::splat(0.0); N]; M];
            // Not by a factor of zero: before the first block `acc` holds other numbers, perhaps not finite.
            if key > 0 {
                acc = load_rows(at, tile.width);
                for i in 0..M {
                    for v in 0..N {
                        acc[i][v] = acc[i][v].mul(V::splat(factors[i]));
                    }
                }
            }
            for i in 0..M {
                for v in 0..N {
                    let scale = value_scale[v].mul(V::splat(weights[i]));
                    acc[i][v] = V::from_whole(sums[i][v]).mul_add(scale, acc[i][v]);
                }
            }
            store_rows(acc, at, tile.width);
        }
    }
}

/// `a[i] . panel`, where `panel` is `[a[i].len()][N * LANES]`.
#[inline(always)]
unsafe fn multiply<V: Pairs, F: PairProduct<V>, const M: usize, const N: usize>(
    a: [&[Pair]; M],
    panel: &[Pair],
) -> [[V::Whole; N]; M] {
    let depth = a[0].len();
    assert!(a.iter().all(|a| a.len() == depth) && panel.len() >= depth * N * V::LANES);
    // SAFETY: as for `attend`; `k` lies in every row and its vectors in the panel, by the assertion above.
    unsafe {
        let mut sums = [[V::zero(); N]; M];
        for k in 0..depth {
            let b = panel.get_unchecked(k * N * V::LANES..(k + 1) * N * V::LANES);
            let mut vectors = [V::zero(); N];
            for v in 0..N {
                vectors[v] = V::load_pairs(b.get_unchecked(v * V::LANES..));
            }
            for i in 0..M {
                let a = V::splat_pair(*a[i].get_unchecked(k));
                for v in 0..N {
                    sums[i][v] = F::add(sums[i][v], a, vectors[v]);
                }
            }
        }
        sums
    }
}

/// The keys from `first` on as columns: lane `c` of row `i` of the panel holds elements `2 * i` and `2 * i + 1` of key
/// `first + c`. Past the end the last key is repeated. Returns what each key has been divided by.
#[inline(always)]
unsafe fn pack_keys<V: Pairs, T: Lane<V>, const N: usize>(
    block: &KvRows<'_, T>,
    first: usize,
    limit: f32,
    panel: &mut [Pair],
) -> [V; N] {
    // SAFETY: as for `attend`.
    unsafe {
        let mut scales = [V::splat(0.0); N];
        let limit = V::splat(limit);
        for v in 0..N {
            let column = v * V::LANES;
            let mut keys: [&[T]; MAX_LANES] = [&[]; MAX_LANES];
            for i in 0..V::LANES {
                keys[i] = block.key((first + column + i).min(block.n() - 1));
            }
            let d = keys[0].len();
            let mut square = [V::splat(TINY); MAX_LANES];
            for i in 0..V::LANES {
                for key in keys[i].chunks(V::LANES) {
                    square[i] = square[i].max(load_part::<V, T>(key).abs());
                }
            }
            V::transpose(&mut square);
            let mut largest = square[0];
            for i in 1..V::LANES {
                largest = largest.max(square[i]);
            }
            scales[v] = largest.div(limit);
            let inverse = limit.div(largest);
            for at in (0..d).step_by(V::LANES) {
                let mut square = [V::splat(0.0); MAX_LANES];
                for i in 0..V::LANES {
                    square[i] = load_part::<V, T>(&keys[i][at..]);
                }
                V::transpose(&mut square);
                let n = V::LANES.min(d - at);
                if !n.is_multiple_of(2) {
                    // Of an odd width the last element is half a pair.
                    square[n] = V::splat(0.0);
                }
                let out = &mut panel[at / 2 * N * V::LANES..][..n.div_ceil(2) * N * V::LANES];
                for i in 0..n.div_ceil(2) {
                    let pair = (square[2 * i].mul(inverse), square[2 * i + 1].mul(inverse));
                    V::store_pairs(pair.0, pair.1, &mut out[i * N * V::LANES + column..]);
                }
            }
        }
        scales
    }
}

/// Some columns of values: lane `c` of row `j` of the panel holds element `column + c` of values `2 * j` and
/// `2 * j + 1`. Past a head's end are numbers that nobody uses. Returns what each column has been divided by.
#[inline(always)]
unsafe fn pack_values<V: Pairs, T: Lane<V>, const N: usize>(
    block: &KvRows<'_, T>,
    column: usize,
    panel: &mut [Pair],
) -> [V; N] {
    // SAFETY: as for `attend`; rows of the panel are `N` vectors.
    unsafe {
        let mut inverses = [V::splat(TINY); N];
        for j in 0..block.n() {
            for (inverse, value) in inverses.iter_mut().zip(vectors_of::<V, T, N>(block, j, column)) {
                *inverse = inverse.max(value.abs());
            }
        }
        let mut scales = [V::splat(0.0); N];
        for v in 0..N {
            scales[v] = inverses[v].mul(V::splat(1.0 / VALUE));
            inverses[v] = V::splat(VALUE).div(inverses[v]);
        }
        for (j, out) in panel.chunks_exact_mut(N * V::LANES).enumerate().take(block.n().div_ceil(2)) {
            let first = vectors_of::<V, T, N>(block, 2 * j, column);
            let mut second = [V::splat(0.0); N];
            // The last of an odd number of values is half a pair.
            if 2 * j + 1 < block.n() {
                second = vectors_of::<V, T, N>(block, 2 * j + 1, column);
            }
            for v in 0..N {
                let out = &mut out[v * V::LANES..];
                V::store_pairs(first[v].mul(inverses[v]), second[v].mul(inverses[v]), out);
            }
        }
        scales
    }
}

/// `N` vectors of value `j` from `column` on.
#[inline(always)]
unsafe fn vectors_of<V: Pairs, T: Lane<V>, const N: usize>(
    block: &KvRows<'_, T>,
    j: usize,
    column: usize,
) -> [V; N] {
    let value = &block.value(j)[column..];
    // SAFETY: as for `attend`.
    unsafe {
        let mut vectors = [V::splat(0.0); N];
        for v in 0..N {
            vectors[v] = load_part::<V, T>(&value[v * V::LANES..]);
        }
        vectors
    }
}
