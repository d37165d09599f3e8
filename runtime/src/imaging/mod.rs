//! Camera or file pixels to the normalized patches that the vision tower reads.
//!
//! Called by the session once per picture. In: a [`Frame`] of u8 pixels, any sides up to [`MAX_SIDE`]. Out: f32
//! patches `[n_patches, 3 * patch * patch]`. The result equals Hugging Face's `SiglipImageProcessor` (the slow
//! one, over Pillow before version 13) bit for bit: the picture is squeezed to a square without keeping its
//! aspect, there is no crop and no border.
//!
//! Nothing here allocates: [`Preprocess::scratch_len`] says how much the memory plan has to reserve. Decoding
//! files is not done here, and coordinates are left to whoever shows the answer.

mod filter;
mod frame;
mod patches;
mod resize;

pub use frame::{Frame, MAX_SIDE, PixelFormat};
pub use patches::patches_to_chw;
pub use resize::{Scratch, ScratchLen, scratch_len};

use crate::error::{InputError, SetupError};

/// How pictures become patches for one model: fixed when the session is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preprocess {
    size: usize,
    patch: usize,
    max_side: usize,
}

impl Preprocess {
    /// Pictures with sides up to `max_side` become `size` x `size` pixels, cut into squares of `patch` pixels.
    pub fn new(size: usize, patch: usize, max_side: usize) -> Result<Self, SetupError> {
        let sides = 1..=MAX_SIDE;
        if !sides.contains(&size)
            || !sides.contains(&patch)
            || !sides.contains(&max_side)
            || !size.is_multiple_of(patch)
        {
            return Err(SetupError::Picture { size, patch, max_side, limit: MAX_SIDE });
        }
        Ok(Preprocess { size, patch, max_side })
    }

    /// Side of the square picture that the model sees, in pixels.
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Longest side of a frame that [`Preprocess::patches`] accepts.
    pub const fn max_side(&self) -> usize {
        self.max_side
    }

    /// Number of patches: the grid is `size / patch` squares wide and high.
    pub const fn n_patches(&self) -> usize {
        let grid = self.size / self.patch;
        grid * grid
    }

    /// Pixel values of one patch, in the order (channel, y, x).
    pub const fn patch_len(&self) -> usize {
        3 * self.patch * self.patch
    }

    /// What [`Scratch`] must hold.
    pub const fn scratch_len(&self) -> ScratchLen {
        scratch_len(self.size, self.max_side)
    }

    /// Writes the patches of `frame` to `out`, `[n_patches, row_stride]`, patches row by row over the grid.
    ///
    /// Each row starts with [`Preprocess::patch_len`] values; what follows them up to `row_stride` is not touched.
    pub fn patches(
        &self,
        frame: &Frame<'_>,
        scratch: Scratch<'_>,
        out: &mut [f32],
        row_stride: usize,
    ) -> Result<(), InputError> {
        let (width, height) = (frame.width(), frame.height());
        if width > self.max_side || height > self.max_side {
            return Err(InputError::FrameTooLarge { width, height, max_side: self.max_side });
        }
        let need = self.scratch_len();
        check("scratch of i32", need.ints, scratch.ints.len())?;
        check("scratch of u8", need.bytes, scratch.bytes.len())?;
        check("patch row", self.patch_len(), row_stride)?;
        check("patch", self.n_patches().saturating_mul(row_stride), out.len())?;
        let (size, patch) = (self.size, self.patch);
        resize::rows(frame, size, self.max_side, scratch, |y, planes| {
            patches::put_row(out, row_stride, size, patch, y, planes);
        });
        Ok(())
    }
}

fn check(what: &'static str, needed: usize, found: usize) -> Result<(), InputError> {
    if found < needed { Err(InputError::Buffer { what, needed, found }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
