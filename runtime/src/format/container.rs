//! Reads a GGUF file: header, metadata, tensor table. Checked once here; nothing that uses it can fail.
//!
//! Refused: another magic or version, counts and lengths over the caps in [`super::limits`], text that is not
//! UTF-8, duplicate keys or names, unknown types, products that overflow,
//! tensors that overlap, leave holes, start off their alignment or end beyond the file, and bytes after the
//! last tensor.

use super::block::WeightFormat;
use super::limits;
use super::metadata::{Cursor, Value};
use super::{FORMAT_VERSION, TENSOR_ALIGNMENT};
use crate::error::{FormatError, ModelError};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Range;

/// The four bytes that every GGUF file begins with.
pub const MAGIC: [u8; 4] = *b"GGUF";
/// The GGUF version read and written.
pub const GGUF_VERSION: u32 = 3;

/// Key of the alignment of tensor data, in bytes.
pub const KEY_ALIGNMENT: &str = "general.alignment";
/// Key of the version of `SPEC.md` that the writer followed.
pub const KEY_FORMAT_VERSION: &str = "paligemma.format.version";
/// Key of the oldest reader version that understands the file.
pub const KEY_MINIMUM_READER: &str = "paligemma.format.minimum_reader";

/// A checked view of a model file.
#[derive(Debug)]
pub struct Container<'a> {
    metadata: Vec<(&'a str, Value<'a>)>,
    tensors: Vec<TensorInfo>,
}

/// Where one tensor lies and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The tensor's name.
    pub name: String,
    /// How its elements are stored.
    pub format: WeightFormat,
    /// Sizes in elements, innermost first, those of tiles padded to whole ones.
    pub dims: Vec<usize>,
    /// Its bytes, counted from the beginning of the file.
    pub bytes: Range<usize>,
}

impl<'a> Container<'a> {
    /// Checks the whole of `file`, tensor data excepted.
    ///
    /// # Errors
    /// [`FormatError`] for anything listed at the top of this module.
    pub fn parse(file: &'a [u8]) -> Result<Self, FormatError> {
        Self::parse_if(file, |_| Ok(()))
    }

    /// As [`Container::parse`], asking `wanted` about the metadata before the tensors are looked at: so a file of another
    /// program is refused for what it is, and not for a tensor type that nobody here knows.
    ///
    /// # Errors
    /// As [`Container::parse`], and whatever `wanted` says.
    pub fn parse_if<E: From<FormatError>>(
        file: &'a [u8],
        wanted: impl FnOnce(&Self) -> Result<(), E>,
    ) -> Result<Self, E> {
        Self::parse_beginning(file, file.len(), wanted)
    }

    /// As [`Container::parse_if`] of a file of `file_len` bytes of which only `beginning` was read. If that ends before
    /// the tensor table does, the error is [`FormatError::Truncated`] with a place that lies inside the file.
    ///
    /// # Errors
    /// As [`Container::parse_if`].
    pub fn parse_beginning<E: From<FormatError>>(
        beginning: &'a [u8],
        file_len: usize,
        wanted: impl FnOnce(&Self) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut cursor = Cursor::new(beginning);
        let magic = cursor.take(4, "the magic number")?;
        if magic != MAGIC {
            return Err(FormatError::Magic([magic[0], magic[1], magic[2], magic[3]]).into());
        }
        let version = cursor.u32("the version")?;
        if version != GGUF_VERSION {
            return Err(FormatError::Version(version).into());
        }
        let n_tensors = cursor.count(limits::MAX_TENSORS, "the number of tensors")?;
        let n_metadata = cursor.count(limits::MAX_METADATA, "the number of metadata keys")?;

        let mut metadata = Vec::new();
        for _ in 0..n_metadata {
            let key = cursor.text("a metadata key")?;
            metadata.push((key, cursor.value(key)?));
        }
        refuse_duplicates(metadata.iter().map(|(key, _)| *key))?;
        let mut container = Container { metadata, tensors: Vec::new() };
        wanted(&container)?;

        let alignment = alignment(&container.metadata)?;
        let mut tensors = Vec::new();
        let mut next = 0;
        for _ in 0..n_tensors {
            tensors.push(tensor(&mut cursor, &mut next, alignment)?);
        }
        refuse_duplicates(tensors.iter().map(|t| t.name.as_str()))?;

        let start = cursor.position().next_multiple_of(alignment as usize);
        place(&mut tensors, start, next, file_len)?;
        container.tensors = tensors;
        Ok(container)
    }

    /// The metadata, in the order of the file.
    pub fn metadata(&self) -> &[(&'a str, Value<'a>)] {
        &self.metadata
    }

    /// The tensors, in the order of the file.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The value of `key`, if it is there.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        self.metadata.iter().find(|(k, _)| *k == key).map(|(_, v)| *v)
    }

    fn required(&self, key: &str) -> Result<Value<'a>, FormatError> {
        self.get(key).ok_or_else(|| FormatError::MissingKey(key.to_string()))
    }

    /// A whole number of at most 32 bits.
    ///
    /// # Errors
    /// If the key is missing or its value is something else.
    pub fn u32(&self, key: &str) -> Result<u32, FormatError> {
        let value = self.required(key)?;
        match value {
            Value::U64(n) => u32::try_from(n).ok(),
            Value::I64(n) => u32::try_from(n).ok(),
            _ => None,
        }
        .ok_or_else(|| bad(key, &format!("{value:?} is not a whole number of 32 bits")))
    }

    /// A finite number.
    ///
    /// # Errors
    /// If the key is missing or its value is something else.
    pub fn f32(&self, key: &str) -> Result<f32, FormatError> {
        match self.required(key)? {
            Value::F64(x) if x.is_finite() => Ok(x as f32),
            other => Err(bad(key, &format!("{other:?} is not a finite number"))),
        }
    }

    /// Text.
    ///
    /// # Errors
    /// If the key is missing or its value is something else.
    pub fn text(&self, key: &str) -> Result<&'a str, FormatError> {
        match self.required(key)? {
            Value::Str(s) => Ok(s),
            other => Err(bad(key, &format!("{other:?} is not text"))),
        }
    }

    /// A list of which `pick` can read the elements.
    ///
    /// # Errors
    /// If the key is missing, or its value is no list or one of other elements.
    pub fn list<T>(
        &self,
        key: &str,
        elements: &str,
        pick: impl Fn(&super::Array<'a>) -> Option<T>,
    ) -> Result<(usize, T), FormatError> {
        match self.required(key)? {
            Value::Array(a) => pick(&a).map(|items| (a.len(), items)),
            _ => None,
        }
        .ok_or_else(|| bad(key, &format!("not a list of {elements}")))
    }

    /// Refuses a file of a version that this reader does not understand.
    ///
    /// # Errors
    /// [`ModelError::FormatVersion`] if the file asks for a newer reader, [`ModelError::DraftFormat`] for version 0.
    pub fn check_version(&self) -> Result<(), crate::Error> {
        let needs = self.u32(KEY_MINIMUM_READER)?;
        if needs > FORMAT_VERSION {
            return Err(ModelError::FormatVersion { needs, have: FORMAT_VERSION }.into());
        }
        if self.u32(KEY_FORMAT_VERSION)? == 0 {
            return Err(ModelError::DraftFormat.into());
        }
        Ok(())
    }
}

fn bad(key: &str, reason: &str) -> FormatError {
    FormatError::BadValue { key: key.to_string(), reason: reason.to_string() }
}

fn refuse_duplicates<'s>(names: impl Iterator<Item = &'s str>) -> Result<(), FormatError> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    match names.windows(2).find(|w| w[0] == w[1]) {
        Some(w) => Err(FormatError::Duplicate(w[0].to_string())),
        None => Ok(()),
    }
}

fn alignment(metadata: &[(&str, Value<'_>)]) -> Result<u64, FormatError> {
    match metadata.iter().find(|(k, _)| *k == KEY_ALIGNMENT) {
        Some((_, Value::U64(n)))
            if n.is_power_of_two()
                && (TENSOR_ALIGNMENT as u64..=limits::MAX_ALIGNMENT.into()).contains(n) =>
        {
            Ok(*n)
        }
        Some((key, value)) => Err(bad(
            key,
            &format!(
                "{value:?}, expected a power of two from {TENSOR_ALIGNMENT} to {}",
                limits::MAX_ALIGNMENT
            ),
        )),
        None => Err(FormatError::MissingKey(KEY_ALIGNMENT.to_string())),
    }
}

/// Reads one row of the tensor table. `next` is where its data has to start, counted from the first tensor:
/// tensors follow each other without holes.
fn tensor(cursor: &mut Cursor<'_>, next: &mut u64, alignment: u64) -> Result<TensorInfo, FormatError> {
    let name = cursor.text("a tensor name")?.to_string();
    let wrong = |reason: String| FormatError::Tensor { name: name.clone(), reason };

    let n_dims = cursor.u32(&name)?;
    if n_dims == 0 || n_dims > limits::MAX_DIMS {
        return Err(wrong(format!("{n_dims} dimensions, expected 1 to {}", limits::MAX_DIMS)));
    }
    let mut dims = Vec::new();
    let mut elements = 1u64;
    for _ in 0..n_dims {
        let dim = cursor.u64(&name)?;
        elements = elements
            .checked_mul(dim)
            .filter(|&n| n > 0 && n <= limits::MAX_ELEMENTS)
            .ok_or_else(|| wrong(format!("dimension {dim} makes it empty or too large")))?;
        dims.push(usize::try_from(dim).map_err(|_| wrong(format!("dimension {dim} is too large")))?);
    }
    let kind = cursor.u32(&name)?;
    let Some((format, in_elements)) = WeightFormat::from_gguf(kind, &dims) else {
        let what = format!("tensor \"{name}\" of {dims:?}");
        return Err(FormatError::UnknownType { what, found: kind });
    };
    let offset = cursor.u64(&name)?;
    if offset != *next {
        return Err(wrong(format!(
            "its data starts at {offset}, expected {next}: tensors may neither overlap nor leave holes"
        )));
    }
    // At most MAX_ELEMENTS * 4 bytes: no overflow. To the table, the elements of tiles are bytes.
    let len = elements * if format.is_quantized() { 1 } else { format.group_bytes(1) as u64 };
    *next = (offset + len).next_multiple_of(alignment);
    let range = |n: u64| usize::try_from(n).map_err(|_| wrong("beyond what this machine can address".into()));
    let bytes = range(offset)?..range(offset + len)?;
    Ok(TensorInfo { name, format, dims: in_elements, bytes })
}

/// Moves the tensors' ranges to where the data begins and checks that they fill the file exactly.
fn place(tensors: &mut [TensorInfo], start: usize, total: u64, file_len: usize) -> Result<(), FormatError> {
    for t in tensors.iter_mut() {
        let bytes = &t.bytes;
        let end = start.checked_add(bytes.end).filter(|&end| end <= file_len);
        let Some(end) = end else {
            return Err(FormatError::Truncated {
                what: format!("tensor \"{}\"", t.name),
                at: start.saturating_add(bytes.start),
                needed: bytes.len() as u64,
                left: file_len.saturating_sub(start.saturating_add(bytes.start)),
            });
        };
        t.bytes = start + bytes.start..end;
    }
    let expected = start as u64 + total;
    if (file_len as u64) < expected {
        return Err(FormatError::Truncated {
            what: "the padding of the last tensor".to_string(),
            at: file_len,
            needed: expected - file_len as u64,
            left: 0,
        });
    }
    if file_len as u64 > expected {
        return Err(FormatError::TooLarge {
            what: "the file's length".to_string(),
            found: file_len as u64,
            max: expected,
        });
    }
    Ok(())
}
