//! Keys and values of all positions so far.

use crate::kernels::{Kernels, KvRows, KvSlice};
use crate::memory::{Carver, Region};
use half::f16;

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvPrecision {
    /// As computed.
    F32,
    /// Rounded to half precision: half the memory; the default where weights are quantized, whose error is far
    /// larger.
    F16,
}

/// The cache: `[n_layers, n_positions, n_kv_heads * d_head]`, keys and values apart.
#[derive(Debug)]
pub struct KvCache {
    store: Store,
    n_positions: usize,
    width: usize,
}

#[derive(Debug)]
enum Store {
    F32 { keys: Region<f32>, values: Region<f32> },
    F16 { keys: Region<f16>, values: Region<f16> },
}

impl KvCache {
    /// Takes room for `n_positions` in each of `n_layers`; `width` is that of all key/value heads together.
    pub fn carve(
        carver: &mut Carver,
        precision: KvPrecision,
        n_layers: usize,
        n_positions: usize,
        width: usize,
    ) -> Self {
        let len = n_layers * n_positions * width;
        let store = match precision {
            KvPrecision::F32 => Store::F32 {
                keys: carver.region("decoder.key_cache", len),
                values: carver.region("decoder.value_cache", len),
            },
            KvPrecision::F16 => Store::F16 {
                keys: carver.region("decoder.key_cache", len),
                values: carver.region("decoder.value_cache", len),
            },
        };
        KvCache { store, n_positions, width }
    }

    /// Keeps keys and values, `[n, width]`, at positions from `first` on.
    pub fn put(&mut self, kernels: &Kernels, layer: usize, first: usize, k: &[f32], v: &[f32]) {
        let start = (layer * self.n_positions + first) * self.width;
        let at = start..start + k.len();
        match &mut self.store {
            Store::F32 { keys, values } => {
                keys[at.clone()].copy_from_slice(k);
                values[at].copy_from_slice(v);
            }
            Store::F16 { keys, values } => {
                kernels.narrow(k, &mut keys[at.clone()]);
                kernels.narrow(v, &mut values[at]);
            }
        }
    }

    /// Keys and values of one head over the first `n` positions.
    pub fn head(&self, layer: usize, n: usize, head: usize, d_head: usize) -> KvSlice<'_> {
        let start = layer * self.n_positions * self.width + head * d_head;
        match &self.store {
            Store::F32 { keys, values } => {
                KvSlice::F32(KvRows::new(&keys[start..], &values[start..], n, self.width, d_head))
            }
            Store::F16 { keys, values } => {
                KvSlice::F16(KvRows::new(&keys[start..], &values[start..], n, self.width, d_head))
            }
        }
    }
}
