//! Attention: heads and positions shared among the team, or the keys where there is one position.

use super::Exec;
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

/// Parts into which the keys of one position are cut at most.
const PARTS: usize = 16;
/// Fewest keys in a part, and what their number is a multiple of.
const PART_KEYS: usize = 96;

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
                kernels.attend(&q, &kv(head), scale, &mut worker.attention, &mut out, None);
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
