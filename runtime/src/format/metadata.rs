//! Metadata values of a GGUF file.

use super::limits;
use crate::error::FormatError;
use alloc::string::{String, ToString};
use byteorder::{ByteOrder, LittleEndian};

/// One metadata value, borrowed from the file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Any of GGUF's unsigned integers.
    U64(u64),
    /// Any of GGUF's signed integers.
    I64(i64),
    /// f32 or f64.
    F64(f64),
    /// Truth value.
    Bool(bool),
    /// Text.
    Str(&'a str),
    /// A list.
    Array(Array<'a>),
}

/// A list of values of one type, its bytes checked when the file was opened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Array<'a> {
    kind: Kind,
    len: usize,
    bytes: &'a [u8],
}

/// GGUF's value types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    Str = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl Kind {
    fn from_u32(n: u32) -> Option<Self> {
        use Kind::*;
        [U8, I8, U16, I16, U32, I32, F32, Bool, Str, Array, U64, I64, F64]
            .into_iter()
            .find(|&k| k as u32 == n)
    }

    /// Bytes of one value; text and lists have no fixed size.
    fn fixed_bytes(self) -> Option<usize> {
        match self {
            Kind::U8 | Kind::I8 | Kind::Bool => Some(1),
            Kind::U16 | Kind::I16 => Some(2),
            Kind::U32 | Kind::I32 | Kind::F32 => Some(4),
            Kind::U64 | Kind::I64 | Kind::F64 => Some(8),
            Kind::Str | Kind::Array => None,
        }
    }
}

impl<'a> Array<'a> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements as text; `None` if they are something else.
    pub fn strings(&self) -> Option<impl Iterator<Item = &'a str> + use<'a>> {
        let mut rest = self.bytes;
        (self.kind == Kind::Str).then(|| {
            core::iter::from_fn(move || {
                let (len, tail) = rest.split_at_checked(8)?;
                let (text, tail) = tail.split_at_checked(LittleEndian::read_u64(len) as usize)?;
                rest = tail;
                core::str::from_utf8(text).ok()
            })
        })
    }

    /// The elements as f32; `None` if they are something else.
    pub fn f32s(&self) -> Option<impl Iterator<Item = f32> + use<'a>> {
        let bytes = self.bytes;
        (self.kind == Kind::F32).then(|| bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)))
    }

    /// The elements as i32; `None` if they are something else.
    pub fn i32s(&self) -> Option<impl Iterator<Item = i32> + use<'a>> {
        let bytes = self.bytes;
        (self.kind == Kind::I32).then(|| bytes.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b)))
    }
}

/// Reads a file from front to back, checking each length before it is believed.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0 }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn take(&mut self, n: u64, what: &str) -> Result<&'a [u8], FormatError> {
        let left = self.bytes.len() - self.at;
        let Some(n) = usize::try_from(n).ok().filter(|&n| n <= left) else {
            return Err(FormatError::Truncated { what: what.to_string(), at: self.at, needed: n, left });
        };
        let taken = &self.bytes[self.at..self.at + n];
        self.at += n;
        Ok(taken)
    }

    pub(crate) fn u32(&mut self, what: &str) -> Result<u32, FormatError> {
        self.take(4, what).map(LittleEndian::read_u32)
    }

    pub(crate) fn u64(&mut self, what: &str) -> Result<u64, FormatError> {
        self.take(8, what).map(LittleEndian::read_u64)
    }

    /// A u64 that may be at most `max`.
    pub(crate) fn count(&mut self, max: u64, what: &str) -> Result<u64, FormatError> {
        let found = self.u64(what)?;
        if found > max {
            return Err(FormatError::TooLarge { what: what.to_string(), found, max });
        }
        Ok(found)
    }

    pub(crate) fn text(&mut self, what: &str) -> Result<&'a str, FormatError> {
        let len = self.count(limits::MAX_TEXT_BYTES, what)?;
        let bytes = self.take(len, what)?;
        core::str::from_utf8(bytes).map_err(|_| FormatError::Text { what: what.to_string() })
    }

    /// The value that follows key `key`.
    pub(crate) fn value(&mut self, key: &str) -> Result<Value<'a>, FormatError> {
        let kind = self.kind(key)?;
        match kind.fixed_bytes() {
            Some(n) => fixed(kind, self.take(n as u64, key)?, key),
            None if kind == Kind::Str => Ok(Value::Str(self.text(key)?)),
            None => Ok(Value::Array(self.array(key)?)),
        }
    }

    fn kind(&mut self, key: &str) -> Result<Kind, FormatError> {
        let found = self.u32(key)?;
        Kind::from_u32(found).ok_or_else(|| FormatError::UnknownType { what: String::from(key), found })
    }

    fn array(&mut self, key: &str) -> Result<Array<'a>, FormatError> {
        let kind = self.kind(key)?;
        let len = self.count(limits::MAX_ARRAY, key)?;
        let start = self.at;
        match kind.fixed_bytes() {
            Some(n) => {
                self.take(len * n as u64, key)?;
            }
            None if kind == Kind::Str => {
                for _ in 0..len {
                    self.text(key)?;
                }
            }
            None => {
                return Err(FormatError::BadValue {
                    key: key.to_string(),
                    reason: "lists of lists are not used in model files".to_string(),
                });
            }
        }
        Ok(Array { kind, len: len as usize, bytes: &self.bytes[start..self.at] })
    }
}

fn fixed<'a>(kind: Kind, b: &[u8], key: &str) -> Result<Value<'a>, FormatError> {
    Ok(match kind {
        Kind::U8 => Value::U64(b[0].into()),
        Kind::I8 => Value::I64((b[0] as i8).into()),
        Kind::U16 => Value::U64(LittleEndian::read_u16(b).into()),
        Kind::I16 => Value::I64(LittleEndian::read_i16(b).into()),
        Kind::U32 => Value::U64(LittleEndian::read_u32(b).into()),
        Kind::I32 => Value::I64(LittleEndian::read_i32(b).into()),
        Kind::U64 => Value::U64(LittleEndian::read_u64(b)),
        Kind::I64 => Value::I64(LittleEndian::read_i64(b)),
        Kind::F32 => Value::F64(LittleEndian::read_f32(b).into()),
        Kind::F64 => Value::F64(LittleEndian::read_f64(b)),
        Kind::Bool if b[0] <= 1 => Value::Bool(b[0] == 1),
        Kind::Bool | Kind::Str | Kind::Array => {
            return Err(FormatError::BadValue {
                key: key.to_string(),
                reason: "a truth value other than 0 and 1".to_string(),
            });
        }
    })
}
