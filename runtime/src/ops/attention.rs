//! Attention: heads and positions shared among the team, or the keys where there is one position.

use super::{Exec, Matrix};
use crate::kernels::{KvSlice, Queries, Strips, TileMut};
use crate::threads::partition::take;
use core::ops::Range;

/// The heads of one attention layer.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    /// Query heads.
    pub n: usize,
    /// Key/value heads; query head `h` uses number `h / (n / n_kv)`.
    pub n_kv: usize,
    /// Width of one head.
    pub d: usize,
}

/// What queries and keys, probabilities and values are multiplied as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Products {
    /// Floats.
    Floats,
    /// Integers of 16 bits, where there is more than one position: half as much again as fast.
    Integers,
}

impl Products {
    /// Integers beside a quantized matrix, whose own error is far larger.
    pub fn beside(matrix: &Matrix<'_>) -> Self {
        if matrix.weights.format().is_quantized() { Products::Integers } else { Products::Floats }
    }
}

/// Parts into which the keys of one position are cut at most.
const PARTS: usize = 16;
/// Fewest keys in a part, and what their number is a multiple of: few enough that two members get nearly equal shares of
/// a picture's keys, many enough to be worth a call.
const PART_KEYS: usize = 48;

/// Floats that [`attention`] needs for the parts of one position.
pub fn parts_len(heads: &Heads) -> usize {
    heads.n_kv * PARTS * part_len(heads)
}

/// A part's result for each query head of a key/value head, and the two totals of each.
fn part_len(heads: &Heads) -> usize {
    heads.n / heads.n_kv * (heads.d + 2)
}

/// `out[t][h] = softmax(q[t][h] . keys / sqrt(d)) . values` over all keys: no mask. `q` and `out` are
/// `[n, heads.n * heads.d]`; `kv` gives the keys and values of a key/value head. `parts` is [`parts_len`] long, or
/// empty: then the keys of a single position are not shared.
pub fn attention<'a>(
    exec: &mut Exec,
    heads: &Heads,
    products: Products,
    q: &[f32],
    kv: impl Fn(usize) -> KvSlice<'a> + Sync,
    parts: &mut [f32],
    out: &mut [f32],
) {
    let (width, group) = (heads.n * heads.d, heads.n / heads.n_kv);
    let (n, n_keys) = (q.len() / width, kv(0).n());
    let scale = 1.0 / libm::sqrtf(heads.d as f32);
    // Never asks how many threads there are: results are the same with any number.
    if n == 1 && n_keys > PART_KEYS && !parts.is_empty() {
        return one_position(exec, heads, q, kv, scale, parts, out);
    }
    let mut strips = Strips::new(TileMut::new(out, n, width), group * heads.d);
    exec.share(
        heads.n_kv * n,
        1,
        2 * q.len() * n_keys,
        |range| strips.cut(range.len()),
        |kernels, worker, _, strips| {
            for (head, first, mut out) in strips {
                let q = &q[first * width + head * group * heads.d..];
                let q = Queries::new(q, out.n_rows(), width, group, heads.d);
                match products {
                    // One position waits for memory and not for products, of which there are few.
                    Products::Integers if n > 1 => {
                        kernels.attend_quantized(&q, &kv(head), scale, &mut worker.attention, &mut out);
                    }
                    _ => kernels.attend(&q, &kv(head), scale, &mut worker.attention, &mut out, None),
                }
            }
        },
    );
}

/// Too few queries to share: parts of the keys are, and their results joined in order.
fn one_position<'a>(
    exec: &mut Exec,
    heads: &Heads,
    q: &[f32],
    kv: impl Fn(usize) -> KvSlice<'a> + Sync,
    scale: f32,
    parts: &mut [f32],
    out: &mut [f32],
) {
    let (d, group, len) = (heads.d, heads.n / heads.n_kv, part_len(heads));
    let n_keys = kv(0).n();
    let part_keys = n_keys.div_ceil(PARTS).next_multiple_of(PART_KEYS);
    let n_parts = n_keys.div_ceil(part_keys);
    let parts = &mut parts[..heads.n_kv * n_parts * len];
    let mut rest = &mut *parts;
    exec.share(
        heads.n_kv * n_parts,
        1,
        2 * q.len() * n_keys,
        |range| take(&mut rest, range.len() * len),
        |kernels, worker, range: Range<usize>, parts| {
            for (item, part) in range.zip(parts.chunks_exact_mut(len)) {
                let (head, first) = (item / n_parts, item % n_parts * part_keys);
                let (out, totals) = part.split_at_mut(group * d);
                let kv = kv(head).slice(first..n_keys.min(first + part_keys));
                let q = Queries::new(&q[head * group * d..], 1, heads.n * d, group, d);
                let mut out = TileMut::new(out, 1, group * d);
                let totals = Some(totals.as_chunks_mut().0);
                kernels.attend(&q, &kv, scale, &mut worker.attention, &mut out, totals);
            }
        },
    );
    for (h, out) in out.chunks_exact_mut(d).enumerate() {
        join(&parts[h / group * n_parts * len..][..n_parts * len], group, h % group, out);
    }
}

/// `out = sum of w * part / sum of w` over the parts of one head, where `w` is the part's sum of exponentials brought
/// to the largest score of all.
fn join(parts: &[f32], group: usize, head: usize, out: &mut [f32]) {
    let d = out.len();
    let parts = parts.chunks_exact(group * (d + 2)).map(|part| {
        let (values, totals) = part.split_at(group * d);
        (&values[head * d..][..d], totals.as_chunks::<2>().0[head])
    });
    let max = parts.clone().fold(f32::NEG_INFINITY, |m, (_, [max, _])| m.max(max));
    let weight = |[of_part, sum]: [f32; 2]| sum * libm::expf(of_part - max);
    let total: f32 = parts.clone().map(|(_, totals)| weight(totals)).sum();
    out.fill(0.0);
    for (values, totals) in parts {
        let w = weight(totals) / total;
        for (out, v) in out.iter_mut().zip(values) {
            *out += w * v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Kernels, KvRows};
    use crate::memory::{Block, Carver};
    use crate::ops::{Worker, WorkerSizes};
    use alloc::vec::Vec;

    fn floats(n: usize, seed: u32) -> Vec<f32> {
        let mut x = seed;
        let mut next = || {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    fn run(
        (k, products): (&'static Kernels, Products),
        threads: usize,
        heads: &Heads,
        n: usize,
        n_keys: usize,
        parts: bool,
    ) -> Vec<f32> {
        let carve = |c: &mut Carver| -> Vec<Worker> {
            let sizes = WorkerSizes { n_rows: 1, n_keys, d_heads: [heads.d; 2], k_float: 0 };
            (0..threads).map(|_| Worker::carve(c, k, sizes)).collect()
        };
        let mut c = Carver::measuring();
        carve(&mut c);
        let plan = c.into_plan();
        let mut c = Carver::cutting(Block::allocate(plan.bytes()).unwrap(), &plan).unwrap();
        let mut exec = Exec::new(k, carve(&mut c)).unwrap();
        let width = heads.n_kv * heads.d;
        let (keys, values) = (floats(n_keys * width, 1), floats(n_keys * width, 2));
        let q = floats(n * heads.n * heads.d, 3);
        let kv = |h: usize| {
            let at = h * heads.d;
            KvSlice::F32(KvRows::new(&keys[at..], &values[at..], n_keys, width, heads.d))
        };
        let mut parts = alloc::vec![f32::NAN; if parts { parts_len(heads) } else { 0 }];
        let mut out = alloc::vec![f32::NAN; q.len()];
        attention(&mut exec, heads, products, &q, kv, &mut parts, &mut out);
        out
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits_and_parts_of_keys_the_same_numbers() {
        let tables = Kernels::available().into_iter();
        for how in tables.flat_map(|k| [(k, Products::Floats), (k, Products::Integers)]) {
            for (n_heads, n_kv, d) in [(8, 1, 64), (4, 4, 72), (6, 2, 9)] {
                let heads = Heads { n: n_heads, n_kv, d };
                for (n, n_keys) in [(1, 1), (1, 97), (1, 300), (1, 2000), (3, 100), (70, 70)] {
                    let one = run(how, 1, &heads, n, n_keys, true);
                    for threads in [2, 3, 5] {
                        let several = run(how, threads, &heads, n, n_keys, true);
                        assert_eq!(several, one, "{how:?} {heads:?} {n}");
                    }
                    let whole = run(how, 1, &heads, n, n_keys, false);
                    for (a, b) in one.iter().zip(&whole) {
                        assert!((a - b).abs() < 1e-5, "{how:?} {heads:?} {n_keys}: {a} and {b}");
                    }
                }
            }
        }
    }
}
