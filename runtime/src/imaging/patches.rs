//! Pixel values to the numbers and the order of the patch embedding.
//!
//! Called by [`Preprocess::patches`](super::Preprocess::patches), one output row at a time. A patch is a row of the
//! output, in the order (channel, y, x): that of Hugging Face's flattened convolution kernel, so that the embedding
//! is one matrix product.

/// `(v / 255 - 0.5) / 0.5` with the roundings of Hugging Face's processor: rescaled in f64, then all in f32.
const NORMALIZED: [f32; 256] = {
    let mut table = [0.0; 256];
    let mut v = 0;
    while v < 256 {
        let unit = (v as f64 * (1.0 / 255.0)) as f32;
        table[v] = (unit - 0.5) / 0.5;
        v += 1;
    }
    table
};

/// Writes row `y` of the square picture, `[3][size]` of pixel values, into the patches it belongs to.
pub(super) fn put_row(
    out: &mut [f32],
    row_stride: usize,
    size: usize,
    patch: usize,
    y: usize,
    channels: [&[i32]; 3],
) {
    let first_patch = y / patch * (size / patch);
    for (c, values) in channels.into_iter().enumerate() {
        let inside = (c * patch + y % patch) * patch;
        let patches = out.chunks_exact_mut(row_stride).skip(first_patch);
        for (patch_row, run) in patches.zip(values.chunks_exact(patch)) {
            for (o, &v) in patch_row[inside..inside + patch].iter_mut().zip(run) {
                // The mask says what is known anyway: an index below 256.
                *o = NORMALIZED[(v & 255) as usize];
            }
        }
    }
}

/// The picture in Hugging Face's order, `pixel_values` `[3, size, size]`, from patches `[n_patches, row_stride]`:
/// for comparing a trace with a reference.
///
/// Stops early where `patches` or `out` is too short.
pub fn patches_to_chw(patches: &[f32], row_stride: usize, size: usize, patch: usize, out: &mut [f32]) {
    if patch == 0 {
        return;
    }
    let grid = size / patch;
    for (row_idx, line) in out.chunks_exact_mut(size.max(1)).take(3 * size).enumerate() {
        let (c, y) = (row_idx / size, row_idx % size);
        let inside = (c * patch + y % patch) * patch;
        for (gx, run) in line.chunks_exact_mut(patch).enumerate() {
            let start = (y / patch * grid + gx) * row_stride + inside;
            let Some(values) = patches.get(start..start + patch) else { return };
            run.copy_from_slice(values);
        }
    }
}
