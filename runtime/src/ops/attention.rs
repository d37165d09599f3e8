//! Attention without a score matrix: one row of scores a thread, for every query and head.

use super::Exec;
use crate::kernels::KvSlice;
use crate::threads::partition::take;

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

/// `out[t][h] = softmax(q[t][h] . keys / sqrt(d)) . values` over all keys: no mask. `q` and `out` are
/// `[n, heads.n * heads.d]`; `kv` gives the keys and values of a key/value head.
pub fn attention<'a>(
    exec: &mut Exec,
    heads: &Heads,
    q: &[f32],
    kv: impl Fn(usize) -> KvSlice<'a> + Sync,
    out: &mut [f32],
) {
    let (d, group) = (heads.d, heads.n / heads.n_kv);
    let scale = 1.0 / libm::sqrtf(d as f32);
    let mut rest = &mut *out;
    exec.share(
        q.len() / d,
        1,
        2 * q.len() * kv(0).n(),
        |range| take(&mut rest, range.len() * d),
        |kernels, worker, range, out| {
            for (item, out) in range.zip(out.chunks_exact_mut(d)) {
                let kv = kv(item % heads.n / group);
                kernels.attend(&q[item * d..][..d], &kv, scale, &mut worker.scores, out);
            }
        },
    );
}
