//! Failures of reading a model file.

use alloc::string::String;
use core::fmt;

/// The bytes are not a well-formed GGUF file of a version this runtime reads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormatError {
    /// The first four bytes are not `GGUF`.
    Magic([u8; 4]),
    /// GGUF version other than 3.
    Version(u32),
    /// The file ends inside the item named.
    Truncated {
        /// What was being read.
        what: String,
        /// Byte offset where it starts.
        at: usize,
        /// Bytes it needs.
        needed: u64,
        /// Bytes that are left.
        left: usize,
    },
    /// A count, length or product over its cap (see `format::limits`).
    TooLarge {
        /// What was being read.
        what: String,
        /// The value found.
        found: u64,
        /// The cap.
        max: u64,
    },
    /// Text that is not UTF-8.
    Text {
        /// What was being read.
        what: String,
    },
    /// A metadata key or tensor name that occurs twice.
    Duplicate(String),
    /// An unknown metadata value type or tensor type.
    UnknownType {
        /// Key or tensor.
        what: String,
        /// The type number found.
        found: u32,
    },
    /// A metadata key that has to be there.
    MissingKey(String),
    /// A metadata value of the wrong type or out of range.
    BadValue {
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor whose place, shape or size contradicts the rest of the file.
    Tensor {
        /// The tensor's name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FormatError::Magic(m) => write!(
                f,
                "not a GGUF file: it begins with {:02x} {:02x} {:02x} {:02x}, not with \"GGUF\"; \
                 pack a checkpoint with pg-quantize first",
                m[0], m[1], m[2], m[3]
            ),
            FormatError::Version(v) => write!(
                f,
                "GGUF version {v}, this runtime reads version 3; pack the checkpoint again with pg-quantize"
            ),
            FormatError::Truncated { what, at, needed, left } => write!(
                f,
                "the file ends inside {what} (byte {at}: {needed} bytes needed, {left} left); \
                 the copy is incomplete, copy or pack it again"
            ),
            FormatError::TooLarge { what, found, max } => {
                write!(f, "{what} is {found}, more than the {max} that a model file may have")
            }
            FormatError::Text { what } => write!(f, "{what} is not valid UTF-8"),
            FormatError::Duplicate(name) => write!(f, "\"{name}\" occurs twice"),
            FormatError::UnknownType { what, found } => write!(f, "{what} has the unknown type {found}"),
            FormatError::MissingKey(key) => write!(f, "metadata key \"{key}\" is missing"),
            FormatError::BadValue { key, reason } => write!(f, "metadata key \"{key}\": {reason}"),
            FormatError::Tensor { name, reason } => write!(f, "tensor \"{name}\": {reason}"),
        }
    }
}

/// A well-formed file that does not hold a model this runtime can run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelError {
    /// `general.architecture` names something else.
    Architecture(String),
    /// Written for a newer reader.
    FormatVersion {
        /// Oldest reader the file accepts.
        needs: u32,
        /// This reader's version.
        have: u32,
    },
    /// Written before version 1 of the format fixed the layout of weights.
    DraftFormat,
    /// Sizes that contradict each other.
    Config {
        /// Which sizes, and how.
        reason: String,
    },
    /// A tensor the model needs is absent.
    MissingTensor(String),
    /// A tensor that the model does not have.
    UnexpectedTensor(String),
    /// A tensor of another shape or type than the sizes ask for.
    Tensor {
        /// The tensor's name.
        name: String,
        /// What the sizes ask for.
        expected: String,
        /// What the file has.
        found: String,
    },
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelError::Architecture(a) => {
                write!(f, "the file holds a \"{a}\" model, this runtime runs \"paligemma\" only")
            }
            ModelError::FormatVersion { needs, have } => write!(
                f,
                "the file needs a reader of format version {needs} or later, this one has {have}: \
                 update pg-run, or pack the checkpoint with this version's pg-quantize"
            ),
            ModelError::DraftFormat => f.write_str(
                "the file follows a draft of the format (version 0): pack the checkpoint again with this pg-quantize",
            ),
            ModelError::Config { reason } => write!(f, "contradictory sizes: {reason}"),
            ModelError::MissingTensor(name) => {
                write!(f, "tensor \"{name}\" is missing; pack the checkpoint again with pg-quantize")
            }
            ModelError::UnexpectedTensor(name) => {
                write!(f, "tensor \"{name}\" belongs to no part of the model")
            }
            ModelError::Tensor { name, expected, found } => {
                write!(f, "tensor \"{name}\" is {found}, the model needs {expected}")
            }
        }
    }
}

/// A vocabulary that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A special piece that every PaliGemma vocabulary has is absent or of the wrong kind.
    MissingPiece(String),
    /// Two pieces with the same text.
    DuplicatePiece {
        /// The text.
        piece: String,
        /// Ids of the two.
        ids: [u32; 2],
    },
    /// Anything else, in words.
    Vocabulary(String),
}

impl fmt::Display for TokenizerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenizerError::MissingPiece(p) => write!(f, "the vocabulary has no piece \"{p}\""),
            TokenizerError::DuplicatePiece { piece, ids } => {
                write!(f, "piece \"{piece}\" is both token {} and token {}", ids[0], ids[1])
            }
            TokenizerError::Vocabulary(reason) => write!(f, "vocabulary: {reason}"),
        }
    }
}
