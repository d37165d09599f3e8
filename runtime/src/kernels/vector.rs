//! Float operations written once over a handful of vector operations; a file per instruction set supplies those
//! and wraps each function for its CPU features. [`super::scalar`] is what they are compared with.
//!
//! Differences from the plain form: sums run in several lanes and are added at the end; `exp` is Cephes'
//! polynomial on [-87, 88]; `gelu(x)` is `x / (1 + exp(-2 u))`, which equals
//! `x / 2 * (1 + tanh(u))` and cannot leave its range on a saturating tail.
//!
//! Every function is unsafe for one reason: it must be inlined into a caller that has the vector's CPU features.
#![cfg_attr(
    not(any(target_arch = "aarch64", all(feature = "std", target_arch = "x86_64"))),
    allow(dead_code, unused_imports, unused_macros)
)]

use super::{Output, WeightRows};

/// Most lanes that a vector may have.
pub(super) const MAX_LANES: usize = 16;

/// The vector operations that the functions below are made of.
///
/// # Safety
/// Implementors state the CPU features that their methods need; whoever calls them has those features enabled.
/// `load` and `store` are given at least `LANES` elements.
pub(super) unsafe trait Simd: Copy {
    const LANES: usize;
    /// Whether instructions multiply by a lane of a vector, in which case it need not be broadcast.
    const BY_LANE: bool = false;
    /// Vectors in a row of a panel of [`attention`](super::attention): 4 rows of 3 sums, the panel's vectors and an element of
    /// a row are 16 registers.
    const PANEL_VECTORS: usize = 3;
    /// Panels of keys in a block there.
    const PANELS: usize = 4;

    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(x: &[f32]) -> Self;
    unsafe fn store(self, out: &mut [f32]);
    unsafe fn add(self, y: Self) -> Self;
    unsafe fn sub(self, y: Self) -> Self;
    unsafe fn mul(self, y: Self) -> Self;
    unsafe fn div(self, y: Self) -> Self;
    /// `self * y + z`
    unsafe fn mul_add(self, y: Self, z: Self) -> Self;
    /// `self * y[lane] + z`. Not meant to be run where it isn't one instruction ([`Self::BY_LANE`]).
    #[inline(always)]
    unsafe fn mul_add_lane(self, y: Self, lane: usize, z: Self) -> Self {
        let mut lanes = [0.0; MAX_LANES];
        // SAFETY: the caller has the vector's features (contract of the trait); `lanes` holds a vector.
        unsafe {
            y.store(&mut lanes);
            Self::splat(lanes[lane]).mul_add(self, z)
        }
    }
    /// The same value, at this point of the program in a register: where a loop's sums take nearly all of them, compilers
    /// move products around and run out.
    unsafe fn in_register(self) -> Self;
    unsafe fn min(self, y: Self) -> Self;
    unsafe fn max(self, y: Self) -> Self;
    unsafe fn abs(self) -> Self;
    /// To the nearest whole number.
    unsafe fn round(self) -> Self;
    /// `self * 2^n` for whole `n` from -126 to 127, if neither `self` nor the result is zero, subnormal or infinite.
    unsafe fn times_exp2(self, n: Self) -> Self;
    unsafe fn reduce_sum(self) -> f32;
    unsafe fn reduce_max(self) -> f32;
    /// Element `j` of vector `i` becomes element `i` of vector `j`, for the first `LANES` vectors.
    unsafe fn transpose(rows: &mut [Self; MAX_LANES]);
}

/// An element that vector `V` can load and widen to f32.
pub(super) trait Lane<V>: Copy {
    /// # Safety
    /// As for [`Simd`].
    unsafe fn load(x: &[Self]) -> V;
    fn widen(self) -> f32;
}

/// A little-endian float in the mapped file, of any alignment.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Unaligned<const N: usize>(pub(super) [u8; N]);

impl<const N: usize> Unaligned<N> {
    #[inline(always)]
    fn row(bytes: &[u8]) -> &[Self] {
        let chunks = bytes.as_chunks::<N>().0;
        // SAFETY: `Unaligned<N>` is a transparent wrapper of `[u8; N]`.
        unsafe { core::slice::from_raw_parts(chunks.as_ptr().cast(), chunks.len()) }
    }
}

/// How a vector loads floats and half floats that `$x` points to, wherever they lie.
macro_rules! lanes {
    ($vector:ty, |$x:ident| $load_f32:expr, $load_f16:expr) => {
        vector::lanes!(f32: $vector, |$x| $load_f32, $x);
        vector::lanes!(half::f16: $vector, |$x| $load_f16, $x.to_f32());
        vector::lanes!(Unaligned<4>: $vector, |$x| $load_f32, f32::from_le_bytes($x.0));
        vector::lanes!(Unaligned<2>: $vector, |$x| $load_f16, half::f16::from_le_bytes($x.0).to_f32());
    };
    ($element:ty: $vector:ty, |$x:ident| $load:expr, $widened:expr) => {
        impl Lane<$vector> for $element {
            #[inline(always)]
            unsafe fn load(x: &[Self]) -> $vector {
                debug_assert!(x.len() >= <$vector>::LANES);
                let $x = x.as_ptr();
                // SAFETY: the caller has the features and gives a vector's worth of elements (contract of the trait);
                // the load takes any alignment.
                unsafe { $load }
            }
            #[inline(always)]
            fn widen(self) -> f32 {
                let $x = self;
                $widened
            }
        }
    };
}
pub(super) use lanes;

/// Two neighbours along a sum of products of 16-bit integers.
pub(super) type Pair = [i16; 2];

/// What sums of such products take besides: vectors of a pair, or of a 32-bit sum, in the place of each float.
///
/// # Safety
/// As for [`Simd`].
pub(super) unsafe trait Pairs: Simd {
    type Whole: Copy;

    unsafe fn zero() -> Self::Whole;
    unsafe fn load_pairs(x: &[Pair]) -> Self::Whole;
    unsafe fn splat_pair(x: Pair) -> Self::Whole;
    /// Sums as floats.
    unsafe fn from_whole(x: Self::Whole) -> Self;
    /// Rounds to whole numbers of 16 bits: pair `i` is made of the elements `i` of both vectors.
    unsafe fn store_pairs(first: Self, second: Self, out: &mut [Pair]);
    /// The same, but the pairs are neighbours in the first vector and then in the second.
    unsafe fn store_row(first: Self, second: Self, out: &mut [Pair]);
}

/// Adds the products of pairs to sums: what instruction sets with the same vectors do differently.
///
/// # Safety
/// As for [`Simd`].
pub(super) unsafe trait PairProduct<V: Pairs> {
    /// `sum + a[0] * b[0] + a[1] * b[1]`
    unsafe fn add(sum: V::Whole, a: V::Whole, b: V::Whole) -> V::Whole;
}

#[inline(always)]
pub(super) unsafe fn exp<V: Simd>(x: V) -> V {
    // SAFETY: the caller has the vector's features, as this function's own contract says.
    unsafe {
        // Cody-Waite reduction by ln 2 in two parts, then Cephes' expf polynomial.
        let x = x.max(V::splat(-87.0)).min(V::splat(88.0));
        let n = x.mul(V::splat(core::f32::consts::LOG2_E)).round();
        let r = n.mul_add(V::splat(-0.693_359_4), x);
        let r = n.mul_add(V::splat(2.121_944_4e-4), r);
        let mut p = V::splat(1.987_569_1e-4);
        for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = p.mul_add(r, V::splat(c));
        }
        p.mul_add(r.mul(r), r).add(V::splat(1.0)).times_exp2(n)
    }
}

#[inline(always)]
unsafe fn gelu<V: Simd>(x: V) -> V {
    // SAFETY: as for `exp`.
    unsafe {
        let inner = x.mul(x).mul(x).mul_add(V::splat(0.044_715), x);
        let e = exp(inner.mul(V::splat(-2.0 * 0.797_884_6)));
        x.div(e.add(V::splat(1.0)))
    }
}

/// What [`map`] and [`sum`] do to each vector. Named types instead of closures, because a closure is compiled without
/// the caller's CPU features and a large one is then not inlined: measured, GELU took 29 ns an element that way.
trait Step<V>: Copy {
    /// # Safety
    /// As for [`Simd`].
    unsafe fn apply(self, x: V, y: V) -> V;
}

macro_rules! steps {
    ($($name:ident $(($constant:ident))?: |$x:ident, $y:ident| $result:expr;)*) => {$(
        #[derive(Clone, Copy)]
        struct $name<V>(V);
        impl<V: Simd> Step<V> for $name<V> {
            #[inline(always)]
            #[allow(unused_unsafe)] // `Itself` calls nothing
            unsafe fn apply(self, $x: V, $y: V) -> V {
                $(let $constant = self.0;)?
                // SAFETY: the caller has the vector's features (contract of the trait).
                unsafe { $result }
            }
        }
    )*};
}
steps! {
    Gelu: |x, _y| gelu(x);
    GeluMul: |x, y| gelu(x).mul(y);
    Add: |x, y| x.add(y);
    Minus(c): |x, _y| x.sub(c);
    TimesBoth(c): |x, y| x.mul(c).mul(y);
    Itself: |x, _y| x;
    Square: |x, _y| x.mul(x);
}

/// Runs `step` over `x` (and `y`, if given) in pairs of vectors; the tail goes through a padded copy.
#[inline(always)]
unsafe fn map<V: Simd>(x: &mut [f32], y: Option<&[f32]>, step: impl Step<V>) {
    assert!(y.is_none_or(|y| y.len() == x.len()));
    let whole = x.len() - x.len() % (2 * V::LANES);
    let (body, tail) = x.split_at_mut(whole);
    for (i, pair) in body.chunks_exact_mut(2 * V::LANES).enumerate() {
        // SAFETY: as for `exp`; `y` is as long as `x`, by the assertion above.
        unsafe { map_pair(pair, y.map(|y| y.get_unchecked(i * 2 * V::LANES..)), step) }
    }
    if !tail.is_empty() {
        let (mut a, mut b) = ([0.0; 2 * MAX_LANES], [0.0; 2 * MAX_LANES]);
        a[..tail.len()].copy_from_slice(tail);
        if let Some(y) = y {
            b[..tail.len()].copy_from_slice(&y[whole..]);
        }
        // SAFETY: as for `exp`; both hold two vectors.
        unsafe { map_pair(&mut a, Some(&b), step) }
        tail.copy_from_slice(&a[..tail.len()]);
    }
}

/// # Safety
/// As for [`exp`], and both slices hold two vectors.
#[inline(always)]
unsafe fn map_pair<V: Simd>(x: &mut [f32], y: Option<&[f32]>, step: impl Step<V>) {
    for at in [0, V::LANES] {
        // SAFETY: this function's contract.
        unsafe {
            let x = x.get_unchecked_mut(at..);
            let y = match y {
                Some(y) => V::load(y.get_unchecked(at..)),
                None => V::splat(0.0),
            };
            step.apply(V::load(x), y).store(x);
        }
    }
}

#[inline(always)]
pub(super) unsafe fn gelu_in_place<V: Simd>(x: &mut [f32]) {
    // SAFETY: as for `exp`.
    unsafe { map(x, None, Gelu(V::splat(0.0))) }
}

#[inline(always)]
pub(super) unsafe fn gelu_mul<V: Simd>(gate: &mut [f32], up: &[f32]) {
    // SAFETY: as for `exp`.
    unsafe { map(gate, Some(up), GeluMul(V::splat(0.0))) }
}

#[inline(always)]
pub(super) unsafe fn add<V: Simd>(x: &mut [f32], y: &[f32]) {
    // SAFETY: as for `exp`.
    unsafe { map(x, Some(y), Add(V::splat(0.0))) }
}

/// Dot products of `N` rows with one vector, which is loaded once for all of them.
#[inline(always)]
pub(super) unsafe fn dots<V: Simd, T: Lane<V>, const N: usize>(rows: [&[T]; N], x: &[f32]) -> [f32; N] {
    assert!(rows.iter().all(|row| row.len() >= x.len()));
    let whole = x.len() - x.len() % V::LANES;
    let pairs = x.len() - x.len() % (2 * V::LANES);
    // SAFETY: as for `exp`; vectors up to `whole` lie in `x` and, by the assertion above, in every row.
    unsafe {
        let mut acc = [V::splat(0.0); N];
        for i in (0..pairs).step_by(2 * V::LANES) {
            acc = add_products(acc, rows, x, i);
            acc = add_products(acc, rows, x, i + V::LANES);
        }
        if pairs < whole {
            acc = add_products(acc, rows, x, pairs);
        }
        let mut sums = [0.0; N];
        for ((sum, acc), row) in sums.iter_mut().zip(acc).zip(rows) {
            *sum = acc.reduce_sum();
            for (a, b) in row[whole..].iter().zip(&x[whole..]) {
                *sum += a.widen() * b;
            }
        }
        sums
    }
}

/// `acc[r] + rows[r] * x` for the vectors that begin at element `i`.
///
/// # Safety
/// As for [`exp`], and `x` and all rows have a vector there.
#[inline(always)]
unsafe fn add_products<V: Simd, T: Lane<V>, const N: usize>(
    mut acc: [V; N],
    rows: [&[T]; N],
    x: &[f32],
    i: usize,
) -> [V; N] {
    // SAFETY: this function's contract.
    unsafe {
        let x = V::load(x.get_unchecked(i..));
        for (acc, row) in acc.iter_mut().zip(rows) {
            *acc = T::load(row.get_unchecked(i..)).mul_add(x, *acc);
        }
    }
    acc
}

/// Weight rows that share one pass over the activations.
const ROWS: usize = 4;

/// `out[t][r]` takes `dot(w[r], x[t])` of weights of `BYTES` bytes.
#[inline(always)]
pub(super) unsafe fn gemm_float<V: Simd, const BYTES: usize>(
    w: &WeightRows<'_>,
    x: &[f32],
    out: &mut Output<'_>,
) where
    Unaligned<BYTES>: Lane<V>,
{
    for (t, x) in x.chunks_exact(w.k()).enumerate() {
        let grouped = w.rows() - w.rows() % ROWS;
        for r in (0..grouped).step_by(ROWS) {
            let rows = [r, r + 1, r + 2, r + 3].map(|r| Unaligned::<BYTES>::row(w.group(r)));
            // SAFETY: as for `exp`; a row holds as many weights as `x` values.
            let dots = unsafe { dots::<V, _, ROWS>(rows, x) };
            out.put_vectors(t, r, dots);
        }
        for r in grouped..w.rows() {
            // SAFETY: as above.
            let dot = unsafe { dots::<V, _, 1>([Unaligned::<BYTES>::row(w.group(r))], x) };
            out.put(t, r, &dot);
        }
    }
}

/// Sum of `step` over `x`; a step of zero is zero.
#[inline(always)]
unsafe fn sum<V: Simd>(x: &[f32], step: impl Step<V>) -> f32 {
    // SAFETY: as for `exp`.
    unsafe {
        let zero = V::splat(0.0);
        let mut acc = [zero; 2];
        let mut chunks = x.chunks_exact(2 * V::LANES);
        for c in &mut chunks {
            acc[0] = acc[0].add(step.apply(V::load(c), zero));
            acc[1] = acc[1].add(step.apply(V::load(&c[V::LANES..]), zero));
        }
        let mut tail = [0.0; 2 * MAX_LANES];
        tail[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
        let rest = step.apply(V::load(&tail), zero).add(step.apply(V::load(&tail[V::LANES..]), zero));
        acc[0].add(acc[1]).add(rest).reduce_sum()
    }
}

#[inline(always)]
pub(super) unsafe fn layer_norm<V: Simd>(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    // SAFETY: as for `exp`.
    unsafe {
        let n = x.len() as f32;
        let mean = sum(x, Itself(V::splat(0.0))) / n;
        out.copy_from_slice(x);
        map(out, None, Minus(V::splat(mean)));
        let variance = sum(out, Square(V::splat(0.0))) / n;
        let inverse = 1.0 / libm::sqrtf(variance + eps);
        map(out, Some(weight), TimesBoth(V::splat(inverse)));
        add::<V>(out, bias);
    }
}

#[inline(always)]
pub(super) unsafe fn rms_norm<V: Simd>(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    // SAFETY: as for `exp`.
    unsafe {
        let mean = sum(x, Square(V::splat(0.0))) / x.len() as f32;
        let inverse = 1.0 / libm::sqrtf(mean + eps);
        out.copy_from_slice(x);
        map(out, Some(weight), TimesBoth(V::splat(inverse)));
    }
}

#[inline(always)]
pub(super) unsafe fn rope<V: Simd>(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    // SAFETY: as for `exp`.
    unsafe {
        let half = cos.len();
        let whole = half - half % V::LANES;
        let (low, high) = x.split_at_mut(half);
        let mut i = 0;
        while i < whole {
            let (a, b) = (V::load(&low[i..]), V::load(&high[i..]));
            let (c, s) = (V::load(&cos[i..]), V::load(&sin[i..]));
            a.mul(c).sub(b.mul(s)).store(&mut low[i..]);
            b.mul(c).add(a.mul(s)).store(&mut high[i..]);
            i += V::LANES;
        }
        for i in whole..half {
            let (a, b) = (low[i], high[i]);
            low[i] = a * cos[i] - b * sin[i];
            high[i] = b * cos[i] + a * sin[i];
        }
    }
}

/// The functions of this file and of [`attention`](super::attention), for a table whose CPU has `$features`: what the
/// table's file names as it likes, and compiles for its CPU. `$rows` are multiplied at a time in attention.
macro_rules! float_functions {
    ($vector:ty, $features:literal, $rows:literal) => {
        vector::compiled! { $features
            attend_f32(q: &Queries<'_>, kv: &KvRows<'_, f32>, scale: f32, scratch: &mut [f32], out: &mut TileMut<'_>, totals: Option<&mut [[f32; 2]]>) = attention::attend::<$vector, f32, $rows>;
            attend_f16(q: &Queries<'_>, kv: &KvRows<'_, f16>, scale: f32, scratch: &mut [f32], out: &mut TileMut<'_>, totals: Option<&mut [[f32; 2]]>) = attention::attend::<$vector, f16, $rows>;
            gemm_f32(w: &WeightRows<'_>, x: &[f32], out: &mut Output<'_>) = vector::gemm_float::<$vector, 4>;
            gemm_f16(w: &WeightRows<'_>, x: &[f32], out: &mut Output<'_>) = vector::gemm_float::<$vector, 2>;
            layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) = vector::layer_norm::<$vector>;
            rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) = vector::rms_norm::<$vector>;
            gelu(x: &mut [f32]) = vector::gelu_in_place::<$vector>;
            gelu_mul(gate: &mut [f32], up: &[f32]) = vector::gelu_mul::<$vector>;
            add(x: &mut [f32], y: &[f32]) = vector::add::<$vector>;
            rope(x: &mut [f32], cos: &[f32], sin: &[f32]) = vector::rope::<$vector>;
        }
    };
}
pub(super) use float_functions;

/// Functions that a table's file compiles for its CPU.
macro_rules! compiled {
    ($features:literal $($name:ident($($arg:ident: $ty:ty),*) = $generic:expr;)*) => {$(
        #[target_feature(enable = $features)]
        fn $name($($arg: $ty),*) {
            // SAFETY: this function has the features that its vectors need; `Kernels` checked the lengths.
            unsafe { $generic($($arg),*) }
        }
    )*};
}
pub(super) use compiled;
