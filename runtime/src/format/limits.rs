//! Caps on everything that a model file can count, so that a hostile file costs little before it is refused.
//!
//! Each is well above what the largest PaliGemma needs (28 B: 46 + 27 layers, 257 216 pieces).

/// Metadata entries.
pub const MAX_METADATA: u64 = 1_024;
/// Tensors.
pub const MAX_TENSORS: u64 = 8_192;
/// Bytes of one key, tensor name, piece or text value.
pub const MAX_TEXT_BYTES: u64 = 1 << 20;
/// Elements of one metadata array.
pub const MAX_ARRAY: u64 = 1 << 22;
/// Dimensions of a tensor.
pub const MAX_DIMS: u32 = 4;
/// Elements of one tensor.
pub const MAX_ELEMENTS: u64 = 1 << 36;
/// Largest alignment of tensor data.
pub const MAX_ALIGNMENT: u32 = 4_096;
