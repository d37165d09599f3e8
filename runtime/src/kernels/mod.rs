//! Small loops over slices: one table of functions per instruction set, chosen once at set-up.
//!
//! [`Kernels::detect`], [`Kernels::by_name`] and [`Kernels::available`] are the only ways to a table, and each
//! checks the CPU first: *holding a `&'static Kernels` proves that its instructions run here*. Every method
//! checks its lengths and then makes one unsafe call.
//!
//! `scalar` is the specification. All other tables are compared with it on every length, tail and alignment:
//! integer products to the bit, floats within the tolerances named in its tests.
//!
//! Not here: allocation, threads, tensor names, model sizes.

#![allow(unsafe_code)]
// Unaligned views of file bytes and a thread's columns of an output: each behind a checked helper.
#![allow(clippy::disallowed_methods)]

#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod aarch64;
mod attention;
mod attention_i16;
mod operands;
#[cfg_attr(not(any(target_arch = "aarch64", all(feature = "std", target_arch = "x86_64"))), allow(dead_code))]
mod panel;
mod peak;
mod scalar;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(feature = "tract-linalg")]
mod tract;
mod vector;
#[cfg(all(feature = "std", target_arch = "x86_64"))]
mod x86_64;

pub use operands::{
    KvRows, KvSlice, Output, Panel, QuantizedRowMut, QuantizedRows, Queries, RowLayout, Strips, TileMut,
    WeightRows,
};
pub(crate) use panel::even_parts;
pub use peak::{Operands, Peak};

use crate::error::SetupError;
use crate::format::WeightFormat;
use crate::format::block::BLOCK;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// The kernels of one instruction set.
pub struct Kernels {
    name: &'static str,
    /// Whether large float products may go to tract-linalg.
    #[cfg_attr(not(feature = "tract-linalg"), allow(dead_code))]
    tract: bool,
    table: Table,
}

/// One entry per operation. All functions are `unsafe` because they may need instructions that only the
/// checks around [`Kernels`] guarantee, and because they trust the lengths checked by its methods.
#[allow(clippy::type_complexity)] // one signature a line reads better than fourteen aliases
struct Table {
    quantize: unsafe fn(&[f32], usize, QuantizedRowMut<'_>),
    /// Rows of activations that integer products want interleaved when there are more than one.
    interleaved: usize,
    gemm_q8: unsafe fn(&WeightRows<'_>, &QuantizedRows<'_>, &mut Output<'_>, &mut Panel<'_>),
    gemm_q4: unsafe fn(&WeightRows<'_>, &QuantizedRows<'_>, &mut Output<'_>, &mut Panel<'_>),
    gemm_f32: unsafe fn(&WeightRows<'_>, &[f32], &mut Output<'_>),
    gemm_f16: unsafe fn(&WeightRows<'_>, &[f32], &mut Output<'_>),
    attend_room: fn(usize, usize) -> usize,
    attend_f32: AttendFn<f32>,
    attend_f16: AttendFn<half::f16>,
    /// Absent where floats are multiplied as fast.
    attend_quantized: Option<AttendQuantized>,
    layer_norm: unsafe fn(&[f32], &[f32], &[f32], f32, &mut [f32]),
    rms_norm: unsafe fn(&[f32], &[f32], f32, &mut [f32]),
    gelu: unsafe fn(&mut [f32]),
    gelu_mul: unsafe fn(&mut [f32], &[f32]),
    add: unsafe fn(&mut [f32], &[f32]),
    rope: unsafe fn(&mut [f32], &[f32], &[f32]),
    narrow: unsafe fn(&[f32], &mut [half::f16]),
    peaks: &'static [Peak],
}

type AttendFn<T> =
    unsafe fn(&Queries<'_>, &KvRows<'_, T>, f32, &mut [f32], &mut TileMut<'_>, Option<&mut [[f32; 2]]>);

/// Attention in integers.
#[derive(Clone, Copy)]
struct AttendQuantized {
    f32: AttendQuantizedFn<f32>,
    f16: AttendQuantizedFn<half::f16>,
}

type AttendQuantizedFn<T> = unsafe fn(&Queries<'_>, &KvRows<'_, T>, f32, &mut [f32], &mut TileMut<'_>);

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kernels").field(&self.name).finish()
    }
}

impl Kernels {
    /// The best table that runs on this machine.
    pub fn detect() -> &'static Kernels {
        let best = Self::available().pop().unwrap_or(&scalar::KERNELS);
        log::debug!("kernel table: {}", best.name);
        best
    }

    /// The table called `name`, if it runs on this machine.
    pub fn by_name(name: &str) -> Option<&'static Kernels> {
        Self::available().into_iter().find(|k| k.name == name)
    }

    /// Every table that runs on this machine, the best one last.
    pub fn available() -> Vec<&'static Kernels> {
        #[allow(unused_mut)]
        let mut tables = alloc::vec![&scalar::KERNELS];
        #[cfg(all(feature = "std", target_arch = "x86_64"))]
        tables.extend(x86_64::detect());
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        tables.extend(aarch64::detect());
        tables
    }

    /// The table asked for by name, or the best one.
    ///
    /// # Errors
    /// [`SetupError::Kernels`] if the named one cannot run here: it never falls back.
    pub fn choose(name: Option<&str>) -> Result<&'static Kernels, SetupError> {
        let Some(name) = name else { return Ok(Self::detect()) };
        Self::by_name(name).ok_or_else(|| SetupError::Kernels {
            asked: name.into(),
            available: Self::available().iter().map(|k| k.name).collect::<Vec<_>>().join(", "),
        })
    }

    /// The table's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What multiplies large float matrices with this table.
    pub fn float_gemm_name(&self) -> String {
        #[cfg(feature = "tract-linalg")]
        if self.tract {
            return tract::kernel_name().map_or(self.name.into(), |name| alloc::format!("tract {name}"));
        }
        self.name.into()
    }

    /// How `n` rows of `k` activations lie for this table's integer products, `span` neighbouring blocks with the same
    /// scale: see [`span`].
    pub fn layout(&self, n: usize, k: usize, span: usize) -> RowLayout {
        RowLayout::new(n, k, span, if n > 1 { self.table.interleaved } else { 1 })
    }

    /// Quantizes a row of activations, or a part of it that begins with a block and a span, to blocks of 32:
    /// `x ~ scale * q`, and each block's `offset`: what 4-bit weights stored as 0 to 15 instead of -8 to 7 make its
    /// products too large by, negated. `span` neighbouring blocks get the same scale.
    ///
    /// What lies beyond `x` in the last block is zero. An offset is two numbers of 16 bits: -8 times the sum of the `q[i]`
    /// with `i % 4` below 2 (in the low half), and of the others, as products of pairs of neighbours are summed in the
    /// halves of a 32-bit lane.
    pub fn quantize(&self, x: &[f32], span: usize, row: QuantizedRowMut<'_>) {
        assert!(span > 0 && row.blocks() == x.len().div_ceil(BLOCK), "blocks");
        assert!([1, self.table.interleaved].contains(&row.interleaved()), "interleaved rows");
        // SAFETY: the table runs here (see the module's documentation), lengths are checked above.
        unsafe { (self.table.quantize)(x, span, row) }
    }

    /// Quantizes the rows `x`, `[n, k]` without gaps, to slices as long as `layout` says.
    pub fn quantize_rows(
        &self,
        x: &[f32],
        layout: &RowLayout,
        q: &mut [i8],
        scale: &mut [f32],
        offset: &mut [i32],
    ) {
        assert!(q.len() == layout.values() && scale.len() == layout.blocks() && offset.len() == scale.len());
        for (t, x) in x.chunks_exact(x.len() / layout.n()).enumerate() {
            let first = t / layout.interleaved() * layout.bundle_blocks();
            let blocks = first..first + layout.bundle_blocks();
            let q = &mut q[blocks.start * BLOCK..blocks.end * BLOCK];
            let (scale, offset) = (&mut scale[blocks.clone()], &mut offset[blocks]);
            self.quantize(x, layout.span(), QuantizedRowMut::new(layout, t, q, scale, offset));
        }
    }

    /// `out[t][r]` takes `dot(weights[r], x[t])` of quantized weights and activations; `panel` is scratch memory.
    pub fn gemm_quantized(
        &self,
        w: &WeightRows<'_>,
        x: &QuantizedRows<'_>,
        out: &mut Output<'_>,
        panel: &mut Panel<'_>,
    ) {
        assert_eq!((out.n_rows(), out.n_cols()), (x.n(), w.rows()), "tile");
        assert_eq!(x.k_padded(), w.format().padded(w.k()), "row length");
        assert!(x.span().is_multiple_of(span(w.format())), "blocks with a common scale");
        assert!(x.interleaved() == self.table.interleaved || x.n() == 1, "interleaved rows");
        let f = match w.format() {
            WeightFormat::Q8 => self.table.gemm_q8,
            WeightFormat::Q4 => self.table.gemm_q4,
            f => panic!("{} weights are not quantized", f.name()),
        };
        // SAFETY: the table runs here; `WeightRows`, `QuantizedRows` and `Output` checked their own lengths
        // and the assertions above that they belong together.
        unsafe { f(w, x, out, panel) }
    }

    /// `out[t][r]` takes `dot(weights[r], x[t])` of float weights; `x` is `[n, k]` without gaps.
    pub fn gemm_float(
        &self,
        w: &WeightRows<'_>,
        x: &[f32],
        out: &mut Output<'_>,
        work: &mut FloatWork,
        buffer: &mut [f32],
    ) {
        assert_eq!(out.n_cols(), w.rows(), "tile");
        assert_eq!(x.len(), out.n_rows() * w.k(), "activations");
        #[cfg(feature = "tract-linalg")]
        if let Some(tract) = &mut work.0
            && out.n_rows() > 1
        {
            return tract.gemm(w, x, out, buffer);
        }
        let _ = (work, buffer);
        let f = match w.format() {
            WeightFormat::F32 => self.table.gemm_f32,
            WeightFormat::F16 => self.table.gemm_f16,
            f => panic!("{} weights are not floats", f.name()),
        };
        // SAFETY: the table runs here; `WeightRows` and `Output` checked their own lengths and the assertions
        // above that they belong together.
        unsafe { f(w, x, out) }
    }

    /// What one thread needs for [`Kernels::gemm_float`]; made at set-up.
    pub fn float_work(&self) -> FloatWork {
        #[cfg(feature = "tract-linalg")]
        return FloatWork(if self.tract { tract::Gemm::new() } else { None });
        #[cfg(not(feature = "tract-linalg"))]
        FloatWork(())
    }

    /// Floats that one thread's `buffer` of [`Kernels::gemm_float`] needs for rows of at most `k`.
    pub fn float_buffer_len(&self, k: usize) -> usize {
        #[cfg(feature = "tract-linalg")]
        if self.tract {
            return tract::Gemm::buffer_len(k);
        }
        let _ = k;
        0
    }

    /// Lets libraries take this thread's memory now; `work` and `buffer` as for [`Kernels::gemm_float`].
    pub fn warm_up(&self, work: &mut FloatWork, buffer: &mut [f32]) {
        #[cfg(feature = "tract-linalg")]
        if let Some(tract) = &mut work.0
            && !buffer.is_empty()
        {
            tract.warm_up(buffer);
        }
        let _ = (work, buffer);
    }

    /// Every query over all keys: `out = softmax(scale * q . keys) . values`. Row `t` of `out` holds the heads of
    /// position `t` side by side.
    ///
    /// `scratch` is as long as [`Kernels::attend_room`] says. `totals` gets each query's largest score and its sum of
    /// `exp(score - largest)`: what it takes to join results over different keys.
    pub fn attend(
        &self,
        q: &Queries<'_>,
        kv: &KvSlice<'_>,
        scale: f32,
        scratch: &mut [f32],
        out: &mut TileMut<'_>,
        totals: Option<&mut [[f32; 2]]>,
    ) {
        let d = q.d_head();
        assert!(kv.n() > 0 && kv.d_head() == d, "keys");
        assert!(out.n_rows() * out.n_cols() == q.len() * d && out.n_rows() == q.positions(), "tile");
        assert!(totals.as_ref().is_none_or(|t| t.len() == q.len()), "totals");
        let scratch = &mut scratch[..self.attend_room(d, kv.n())];
        // SAFETY: the table runs here; the operands checked their own lengths and the assertions above that they
        // belong together.
        unsafe {
            match kv {
                KvSlice::F32(kv) => (self.table.attend_f32)(q, kv, scale, scratch, out, totals),
                KvSlice::F16(kv) => (self.table.attend_f16)(q, kv, scale, scratch, out, totals),
            }
        }
    }

    /// The same for what quantized weights have made, whose error is far larger: in products of 16-bit integers where
    /// these are faster with many queries, and then off by about a thousandth of a result's size.
    pub fn attend_quantized(
        &self,
        q: &Queries<'_>,
        kv: &KvSlice<'_>,
        scale: f32,
        scratch: &mut [f32],
        out: &mut TileMut<'_>,
    ) {
        let Some(attend) = self.table.attend_quantized else {
            return self.attend(q, kv, scale, scratch, out, None);
        };
        let d = q.d_head();
        assert!(kv.n() > 0 && kv.d_head() == d && scale > 0.0, "keys, scale");
        assert!(out.n_rows() * out.n_cols() == q.len() * d && out.n_rows() == q.positions(), "tile");
        let scratch = &mut scratch[..self.attend_room(d, kv.n())];
        // SAFETY: as for `attend`.
        unsafe {
            match kv {
                KvSlice::F32(kv) => (attend.f32)(q, kv, scale, scratch, out),
                KvSlice::F16(kv) => (attend.f16)(q, kv, scale, scratch, out),
            }
        }
    }

    /// Whether [`Kernels::attend_quantized`] multiplies integers, and not floats as [`Kernels::attend`] does.
    pub(crate) fn attends_in_integers(&self) -> bool {
        self.table.attend_quantized.is_some()
    }

    /// Floats of scratch memory that both kinds of attention need; never less for wider heads or more keys.
    pub fn attend_room(&self, d_head: usize, n_keys: usize) -> usize {
        (self.table.attend_room)(d_head, n_keys)
    }

    /// LayerNorm of one row: `out = (x - mean) / sqrt(variance + eps) * weight + bias`.
    pub fn layer_norm(&self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
        let n = x.len();
        assert!(weight.len() == n && bias.len() == n && out.len() == n);
        // SAFETY: the table runs here, lengths are checked above.
        unsafe { (self.table.layer_norm)(x, weight, bias, eps, out) }
    }

    /// RMSNorm of one row: `out = x / sqrt(mean(x^2) + eps) * weight`.
    pub fn rms_norm(&self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        assert!(weight.len() == x.len() && out.len() == x.len());
        // SAFETY: the table runs here, lengths are checked above.
        unsafe { (self.table.rms_norm)(x, weight, eps, out) }
    }

    /// `x = gelu(x)`, the tanh form.
    pub fn gelu(&self, x: &mut [f32]) {
        // SAFETY: the table runs here.
        unsafe { (self.table.gelu)(x) }
    }

    /// `gate = gelu(gate) * up`, the tanh form.
    pub fn gelu_mul(&self, gate: &mut [f32], up: &[f32]) {
        assert_eq!(gate.len(), up.len());
        // SAFETY: the table runs here, lengths are checked above.
        unsafe { (self.table.gelu_mul)(gate, up) }
    }

    /// `x += y`.
    pub fn add(&self, x: &mut [f32], y: &[f32]) {
        assert_eq!(x.len(), y.len());
        // SAFETY: the table runs here, lengths are checked above.
        unsafe { (self.table.add)(x, y) }
    }

    /// Rotates the pairs `(x[i], x[i + d/2])` of one head by the angles whose cosines and sines are given.
    pub fn rope(&self, x: &mut [f32], cos: &[f32], sin: &[f32]) {
        assert!(x.len() == 2 * cos.len() && sin.len() == cos.len());
        // SAFETY: the table runs here, lengths are checked above.
        unsafe { (self.table.rope)(x, cos, sin) }
    }

    /// Rounds to half precision.
    pub fn narrow(&self, x: &[f32], out: &mut [half::f16]) {
        assert_eq!(x.len(), out.len());
        // SAFETY: the table runs here, lengths are checked above.
        unsafe { (self.table.narrow)(x, out) }
    }
}

/// The most rows of activations that any table interleaves.
const MOST_INTERLEAVED: usize = if cfg!(target_arch = "aarch64") { 6 } else { 1 };

/// Neighbouring blocks of activations that have to share a scale to meet weights of `format`: the products of 4-bit
/// weights stay integers that long.
pub const fn span(format: WeightFormat) -> usize {
    match format {
        WeightFormat::Q4 => panel::SPAN,
        _ => 1,
    }
}

/// One thread's tools for [`Kernels::gemm_float`].
#[cfg(feature = "tract-linalg")]
#[derive(Debug)]
pub struct FloatWork(Option<tract::Gemm>);

/// One thread's tools for [`Kernels::gemm_float`].
#[cfg(not(feature = "tract-linalg"))]
#[derive(Debug)]
pub struct FloatWork(());
