//! Everything that can go wrong while packing. Each message says what, where, and what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a checkpoint could not be packed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The MODEL argument names nothing that exists.
    NoSuchModel {
        /// The argument.
        asked: String,
    },
    /// A combination of kind and size that was never released.
    NotReleased {
        /// The name asked for.
        name: String,
    },
    /// A synthetic model of a size that there is not.
    NoSuchSynthetic {
        /// The name asked for.
        name: String,
    },
    /// A released model that is not in the Hugging Face cache.
    NotCached {
        /// The repository, such as `google/paligemma-3b-mix-224`.
        repository: String,
        /// The cache that was searched.
        cache: PathBuf,
    },
    /// No environment variable says where the Hugging Face cache is.
    NoCache,
    /// The operating system refused a file.
    Io {
        /// What was being done, such as "cannot read".
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// A file that the checkpoint needs is absent.
    MissingFile {
        /// The checkpoint's folder.
        folder: PathBuf,
        /// The file or files that would do.
        file: String,
    },
    /// A checkpoint of another model.
    OtherModel {
        /// Its config file.
        path: PathBuf,
        /// Which model it is.
        found: String,
    },
    /// A file whose content contradicts itself or the rest of the checkpoint.
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor that the model needs is absent.
    MissingTensor {
        /// Its usual name.
        name: String,
        /// The checkpoint.
        place: PathBuf,
    },
    /// A tensor that belongs to no part of the model.
    UnexpectedTensor {
        /// Its name.
        name: String,
        /// The file that holds it.
        path: PathBuf,
    },
    /// A tensor of another shape or type than the sizes in config.json ask for, or with unusable values.
    Tensor {
        /// Its name.
        name: String,
        /// The file that holds it.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        move |reason| Error::Io { doing, path, reason }
    }

    pub(crate) fn bad_file(path: &Path, reason: impl Into<String>) -> Error {
        Error::BadFile { path: path.to_path_buf(), reason: reason.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoSuchModel { asked } => write!(
                f,
                "\"{asked}\" is no checkpoint: looked for a folder of this path, for the name \"demo\", for a \
                 released model pt-224, pt-448, pt-896, mix-224 or mix-448, and for a synthetic one such as \
                 synthetic-224"
            ),
            Error::NotReleased { name } => write!(
                f,
                "there is no {name}: the mix models were released for 224 and 448 only; use pt-896, mix-448 or mix-224"
            ),
            Error::NoSuchSynthetic { name } => write!(
                f,
                "there is no {name}: use synthetic-224, synthetic-448, synthetic-896 or synthetic-small; a folder of \
                 this name is ./{name}"
            ),
            Error::NotCached { repository, cache } => write!(
                f,
                "{repository} is not in the Hugging Face cache {}; accept the Gemma licence on \
                 https://huggingface.co/{repository}, then run\n    hf download {repository}\nand call pg-quantize \
                 again",
                cache.display()
            ),
            Error::NoCache => write!(
                f,
                "cannot tell where the Hugging Face cache is: set HF_HUB_CACHE, HF_HOME or HOME, or give the \
                 checkpoint's folder"
            ),
            Error::Io { doing, path, reason } => write!(f, "{doing} {}: {reason}", path.display()),
            Error::MissingFile { folder, file } => write!(
                f,
                "{} has no {file}; a checkpoint folder holds config.json, the weights as safetensors and a tokenizer",
                folder.display()
            ),
            Error::OtherModel { path, found } => {
                write!(f, "{}: this is {found}, only PaliGemma (version 1) can be packed", path.display())
            }
            Error::BadFile { path, reason } => write!(f, "{}: {reason}", path.display()),
            Error::MissingTensor { name, place } => write!(
                f,
                "{}: tensor \"{name}\" is missing; the checkpoint is incomplete, or config.json belongs to another",
                place.display()
            ),
            Error::UnexpectedTensor { name, path } => write!(
                f,
                "{}: tensor \"{name}\" belongs to no part of PaliGemma; adapters and fine-tunes with added layers \
                 must be merged first",
                path.display()
            ),
            Error::Tensor { name, path, reason } => {
                write!(f, "{}: tensor \"{name}\" {reason}", path.display())
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { reason, .. } => Some(reason),
            _ => None,
        }
    }
}
