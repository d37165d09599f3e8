//! Failures of one run (picture, prompt) and of setting up a session.

use alloc::string::String;
use core::fmt;

/// A picture or a prompt that cannot be processed. The session stays usable.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InputError {
    /// A side of the frame is zero.
    EmptyFrame,
    /// The frame is larger than the session was set up for.
    FrameTooLarge {
        /// Width of the frame in pixels.
        width: usize,
        /// Height of the frame in pixels.
        height: usize,
        /// Longest side the session accepts.
        max_side: usize,
    },
    /// The pixel buffer does not hold what the dimensions promise.
    FrameBuffer {
        /// Bytes that the dimensions and the stride need.
        expected: usize,
        /// Bytes that the buffer holds.
        found: usize,
    },
    /// Rows that start closer to each other than they are long.
    FrameStride {
        /// Bytes from one row to the next.
        stride: usize,
        /// Bytes that a row of this width and format has.
        row_bytes: usize,
    },
    /// Memory that the caller lends for one run is too short.
    Buffer {
        /// Which memory.
        what: &'static str,
        /// Elements needed.
        needed: usize,
        /// Elements lent.
        found: usize,
    },
    /// The prompt has more tokens than the session was set up for.
    PromptTooLong {
        /// Tokens of the prompt, `<bos>` and the newline included.
        tokens: usize,
        /// Most that the session accepts.
        max: usize,
    },
    /// A question about a picture, and the session has seen none, or not to the end.
    NothingSeen,
    /// A prompt made with another model's tokenizer.
    TokenOutOfRange {
        /// The offending id.
        token: u32,
        /// Number of tokens in the model's vocabulary.
        vocab: usize,
    },
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InputError::EmptyFrame => write!(f, "the picture has no pixels"),
            InputError::FrameTooLarge { width, height, max_side } => write!(
                f,
                "the picture is {width} x {height} pixels, this session accepts sides of at most {max_side}: \
                 scale it down first"
            ),
            InputError::FrameBuffer { expected, found } => {
                write!(f, "the pixel buffer holds {found} bytes, the dimensions need {expected}")
            }
            InputError::FrameStride { stride, row_bytes } => {
                write!(f, "the rows of the picture start every {stride} bytes but are {row_bytes} bytes long")
            }
            InputError::Buffer { what, needed, found } => {
                write!(f, "the {what} buffer has {found} elements, {needed} are needed")
            }
            InputError::PromptTooLong { tokens, max } => {
                write!(f, "the prompt has {tokens} tokens, the context leaves room for {max}: shorten it")
            }
            InputError::NothingSeen => write!(f, "there is no picture to answer about: look at one first"),
            InputError::TokenOutOfRange { token, vocab } => {
                write!(f, "token {token} is outside the vocabulary of {vocab}")
            }
        }
    }
}

/// A session that cannot be set up as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetupError {
    /// The kernel table asked for does not exist or cannot run here.
    Kernels {
        /// The name asked for.
        asked: String,
        /// Names that would work, separated by commas.
        available: String,
    },
    /// A number of threads out of range.
    Threads {
        /// The number asked for.
        asked: usize,
        /// The largest accepted.
        max: usize,
    },
    /// The system refuses to start a thread.
    ThreadStart {
        /// The thread's number in the team.
        member: usize,
        /// What the system said.
        reason: String,
    },
    /// More positions asked for than the model was trained with.
    Context {
        /// Positions that image, prompt and answer would take together.
        asked: usize,
        /// The model's context length.
        max: usize,
    },
    /// A square picture that cannot be cut into patches, or sides out of range.
    Picture {
        /// Side of the square picture, in pixels.
        size: usize,
        /// Side of a patch, in pixels.
        patch: usize,
        /// Longest side of a frame asked for.
        max_side: usize,
        /// The longest that can be asked for.
        limit: usize,
    },
    /// The allocator has not the memory that the plan needs.
    OutOfMemory {
        /// Bytes the plan needs.
        needed: usize,
    },
    /// A copy of the weights does not fit the machine.
    Copy {
        /// Bytes of the copy.
        needed: u64,
        /// Bytes that the machine has available.
        available: u64,
    },
    /// The caller's buffer is too small for the memory plan.
    Memory {
        /// Bytes the plan needs.
        needed: usize,
        /// Bytes the buffer has.
        found: usize,
    },
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetupError::Kernels { asked, available } => write!(
                f,
                "kernel table \"{asked}\" cannot run on this machine; available: {available} \
                 (unset PG_ISA to take the best)"
            ),
            SetupError::Threads { asked, max } => {
                write!(f, "{asked} threads asked for, use 1 to {max}")
            }
            SetupError::ThreadStart { member, reason } => {
                write!(f, "thread {member} cannot be started ({reason}): use fewer threads")
            }
            SetupError::Context { asked, max } => write!(
                f,
                "image, prompt and answer would take {asked} positions, the model has {max}: \
                 shorten the prompt or ask for fewer tokens"
            ),
            SetupError::Picture { size, patch, max_side, limit } => write!(
                f,
                "pictures of {size} x {size} pixels in patches of {patch}, from frames with sides up to {max_side}: \
                 use sides of 1 to {limit}, and patches that divide the picture"
            ),
            SetupError::OutOfMemory { needed } => write!(
                f,
                "the memory plan needs {needed} bytes, more than the system gives: ask for fewer tokens or free memory"
            ),
            SetupError::Copy { needed, available } => write!(
                f,
                "a copy of the weights takes {needed} bytes, this machine has {available} available: \
                 leave them mapped"
            ),
            SetupError::Memory { needed, found } => {
                write!(f, "the memory plan needs {needed} bytes, the buffer has {found}")
            }
        }
    }
}
