//! Float matrix products by tract-linalg: the one place that calls it.
//!
//! Used for f32 and f16 weights with more than one row of activations. tract's kernel wants both operands in
//! panels: `[k]``[lanes]`. We lay them out ourselves in a buffer that the memory plan owns, and hand tract borrowed
//! panels, so nothing is allocated after set-up.
//!
//! Three traps are dealt with here and nowhere else (measured with tract 0.23.9):
//! * Its x86 kernels return with the upper halves of the vector registers dirty, after which SSE code runs many
//!   times slower on many CPUs: every call is followed by `vzeroupper`.
//! * It keeps scratch per thread and grows it at first use: [`Gemm::warm_up`] multiplies once on every thread.
//! * Its kernels load panels with instructions that fault off their alignment: [`Gemm::gemm`] aligns them.

use super::operands::{Output, TileMut, WeightRows};
use crate::format::WeightFormat;
use alloc::boxed::Box;
use core::fmt;
use std::alloc::Layout;
use std::sync::OnceLock;
use tract_data::internal::*;
use tract_linalg::MmmDispatch;
use tract_linalg::mmm::{
    AsInputValue, FusedSpec, MMMInputFormat, MMMInputValue, MatMatMul, PackedExoticFact, Query, ScratchSpace,
};
use tract_linalg::pack::PackedFormat;

/// Rows of activations packed at a time: bounds the buffers whatever the number of tokens.
const CHUNK: usize = 256;

/// Bytes. Panel lengths are multiples of it as well (`PackedFormat::single_panel_len`).
const ALIGNMENT: usize = 256;

/// The kernel that tract picks for wide f32 products on this machine, and the panels it wants; `None` if they cannot be
/// laid out in our buffers.
struct Choice {
    kernel: Box<dyn MatMatMul>,
    packing: usize,
    weights: PackedFormat,
    activations: PackedFormat,
    /// tract asks every operand for one; its kernels never look at it.
    fact: PackedExoticFact,
}

fn choice() -> Option<&'static Choice> {
    static CHOICE: OnceLock<Option<Choice>> = OnceLock::new();
    let choice = CHOICE.get_or_init(|| {
        let query = Query {
            allow_extractor: false,
            store: Some(DatumType::F32),
            ..Query::plain(DatumType::F32, Some(2048), Some(2048), Some(CHUNK))
        };
        let (kernel, packing, _) =
            MmmDispatch::native().pick(&query).expect("tract has a portable f32 kernel");
        let (a, b) = &kernel.packings()[packing];
        let panels = |f: &dyn MMMInputFormat| {
            f.downcast_ref::<PackedFormat>().expect("plain f32 kernels read plain panels").clone()
        };
        let (weights, activations) = (panels(&**a), panels(&**b));
        // Some of its AVX-512 kernels want more.
        if ![&weights, &activations].iter().all(|f| ALIGNMENT.is_multiple_of(f.alignment())) {
            log::info!("tract's {} wants panels on other places than ours", kernel.name());
            return None;
        }
        let fact = PackedExoticFact { format: Box::new(weights.clone()), mn: 0.to_dim(), k: 0 };
        Some(Choice { kernel, packing, weights, activations, fact })
    });
    choice.as_ref()
}

/// The kernel's name, for reports.
pub(super) fn kernel_name() -> Option<&'static str> {
    choice().map(|c| c.kernel.name())
}

/// One thread's state.
pub(super) struct Gemm {
    c: &'static Choice,
    scratch: Box<dyn ScratchSpace>,
    /// `[CHUNK, panel lanes]`: where the kernel stores before the result is copied to its place.
    stage: Tensor,
}

impl fmt::Debug for Gemm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tract::Gemm")
    }
}

impl Gemm {
    /// `None` if there is no kernel to be used.
    pub(super) fn new() -> Option<Self> {
        let c = choice()?;
        // SAFETY: makes tract's bookkeeping for this kernel, and it is only ever used with this kernel.
        let scratch = unsafe { c.kernel.allocate_scratch_space() };
        let stage = Tensor::zero::<f32>(&[CHUNK, c.weights.r]).expect("two dimensions");
        Some(Gemm { c, scratch, stage })
    }

    /// Floats of buffer for rows of at most `k`.
    pub(super) fn buffer_len(k: usize) -> usize {
        let Some(c) = choice() else { return 0 };
        ALIGNMENT / size_of::<f32>() + c.weights.single_panel_len(k) + c.activations.len(k, CHUNK) + k
    }

    /// `out[t][r] = dot(w[r], x[t])`; `buffer` is [`Gemm::buffer_len`] floats.
    pub(super) fn gemm(&mut self, w: &WeightRows<'_>, x: &[f32], out: &mut Output<'_>, buffer: &mut [f32]) {
        let c = self.c;
        let k = w.k();
        let (lanes, panel_len) = (c.activations.r, c.activations.single_panel_len(k));
        let aligned = buffer.as_ptr().align_offset(ALIGNMENT);
        let (a_panel, buffer) = buffer[aligned..].split_at_mut(c.weights.single_panel_len(k));
        let (b_panels, row) = buffer.split_at_mut(c.activations.len(k, CHUNK));
        let row = &mut row[..k];
        for (chunk, xs) in x.chunks(CHUNK * k).enumerate() {
            let n = xs.len() / k;
            for (panel, xs) in b_panels.chunks_mut(panel_len).zip(xs.chunks(lanes * k)) {
                for (lane, x) in xs.chunks_exact(k).enumerate() {
                    interleave(x, panel, lanes, lane);
                }
            }
            for first in (0..w.rows()).step_by(c.weights.r) {
                let m = c.weights.r.min(w.rows() - first);
                for lane in 0..m {
                    w.expand(first + lane, row);
                    interleave(row, a_panel, c.weights.r, lane);
                }
                let a = Panels::new(&c.weights, a_panel, m, k);
                let b = Panels::new(&c.activations, b_panels, n, k);
                let results = self.multiply(&a, &b);
                for (t, result) in results.chunks_exact(c.weights.r).take(n).enumerate() {
                    out.put(chunk * CHUNK + t, first, &result[..m]);
                }
            }
        }
    }

    /// Multiplies once, which makes tract take its memory for this thread. `buffer` as for [`Gemm::gemm`].
    pub(super) fn warm_up(&mut self, buffer: &mut [f32]) {
        let mut out = [0.0; 2];
        let one = WeightRows::new(WeightFormat::F32, &[0; 4], 1, 1);
        let mut out = Output::new(TileMut::new(&mut out, 2, 1), None);
        self.gemm(&one, &[0.0; 2], &mut out, buffer);
    }

    /// One panel of weights times up to `CHUNK` activations: `[CHUNK, lanes]` products.
    fn multiply(&mut self, a: &Panels, b: &Panels) -> &[f32] {
        let c = self.c;
        assert!(a.mn <= c.weights.r && b.mn <= CHUNK);
        // SAFETY: the store covers the whole stage, [CHUNK, lanes], into which a.mn x b.mn results fit (checked
        // above). The panels are laid out as this kernel's packing says, hold mn x k values (`Panels::new`
        // checked their length) and are borrowed by the caller until after the call; tract keeps no operand.
        let result = unsafe {
            let store = c.kernel.c_view(Some(1), Some(0)).wrap(&self.stage.view_mut());
            let specs = [
                FusedSpec::AddMatMul {
                    a: AsInputValue::Borrowed(a),
                    b: AsInputValue::Borrowed(b),
                    packing: c.packing,
                },
                FusedSpec::Store(store),
            ];
            c.kernel.run_with_scratch_space(a.mn, b.mn, &mut *self.scratch, &specs)
        };
        zero_upper();
        result.expect("operands of this kernel's own packing are accepted");
        self.stage.try_as_plain_ram().expect("made by us").as_slice::<f32>().expect("made as f32")
    }
}

/// Ends the state in which SSE instructions are slow. Tables that use tract need AVX, so it is there.
#[inline]
fn zero_upper() {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx")]
    fn zero() {
        core::arch::x86_64::_mm256_zeroupper();
    }
    // SAFETY: `Gemm` is only made for tables that were handed out after detecting AVX2.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        zero()
    };
}

/// Writes one row into lane `lane` of a panel.
fn interleave(row: &[f32], panel: &mut [f32], lanes: usize, lane: usize) {
    for (slot, v) in panel[lane..].iter_mut().step_by(lanes).zip(row) {
        *slot = *v;
    }
}

/// Panels in our buffer, as an operand of tract's: valid as long as the buffer is not touched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Panels {
    format: PackedFormat,
    first: *const f32,
    panel_bytes: usize,
    mn: usize,
    k: usize,
}

// SAFETY: plain data; whoever reads through `first` has to keep the buffer alive, as `Gemm::multiply` does.
unsafe impl Send for Panels {}
// SAFETY: as above, and nothing is written through it.
unsafe impl Sync for Panels {}

impl Panels {
    fn new(format: &PackedFormat, buffer: &[f32], mn: usize, k: usize) -> Self {
        assert!(buffer.len() >= format.len(k, mn), "panels");
        let panel_bytes = format.single_panel_len(k) * size_of::<f32>();
        Panels { format: format.clone(), first: buffer.as_ptr(), panel_bytes, mn, k }
    }
}

impl fmt::Display for Panels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {} in borrowed panels", self.mn, self.k)
    }
}

impl MMMInputValue for Panels {
    fn format(&self) -> &dyn MMMInputFormat {
        &self.format
    }
    fn scratch_panel_buffer_layout(&self) -> Option<Layout> {
        None
    }
    fn panel_bytes(&self, i: usize, _: Option<*mut u8>) -> TractResult<*const u8> {
        ensure!(i < self.panels_count());
        Ok(self.first.cast::<u8>().wrapping_add(i * self.panel_bytes))
    }
    fn mn(&self) -> usize {
        self.mn
    }
    fn k(&self) -> usize {
        self.k
    }
    fn exotic_fact(&self) -> &dyn ExoticFact {
        &choice().expect("panels are made for a kernel").fact
    }
    fn extract_at_mn_f16(&self, _: usize, _: &mut [f16]) -> TractResult<()> {
        bail!("{self} serve products only")
    }
    fn extract_at_mn_f32(&self, _: usize, _: &mut [f32]) -> TractResult<()> {
        bail!("{self} serve products only")
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use alloc::vec;

    fn upper_halves_in_use() -> bool {
        let low: u32;
        // SAFETY: the test checked with CPUID that XGETBV with ECX = 1 exists; it only writes EAX and EDX.
        unsafe {
            core::arch::asm!("xgetbv", in("ecx") 1, out("eax") low, out("edx") _, options(nomem, nostack))
        };
        // XINUSE; bit 2 is the upper halves of the vector registers.
        low & 4 != 0
    }

    #[test]
    fn vector_registers_are_clean_after_a_product() {
        // CPUID leaf 0xd, sub-leaf 1, EAX bit 2: XGETBV with ECX = 1.
        if core::arch::x86_64::__cpuid_count(0xd, 1).eax & 4 == 0 || !is_x86_feature_detected!("avx2") {
            std::println!("skipped: this CPU cannot tell which registers are in use");
            return;
        }
        let (Some(c), Some(mut gemm), k) = (choice(), Gemm::new(), 8) else {
            std::println!("skipped: tract's kernel for this CPU is not used");
            return;
        };
        let buffer = vec![1.0; Gemm::buffer_len(k)];
        let buffer = &buffer[buffer.as_ptr().align_offset(ALIGNMENT)..];
        let a = Panels::new(&c.weights, buffer, c.weights.r, k);
        let b = Panels::new(&c.activations, buffer, c.activations.r, k);
        let first = gemm.multiply(&a, &b)[0];
        assert!(!upper_halves_in_use());
        assert_eq!(first, k as f32);
    }
}
