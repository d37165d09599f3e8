//! Writes a GGUF file: the mirror of [`super::container`].
//!
//! The header names every tensor's place, so all shapes are declared first; then the tensors' bytes follow in
//! the same order, each as a stream. Peak memory is the caller's largest piece, never the model.

use super::block::WeightFormat;
use super::container::{GGUF_VERSION, KEY_ALIGNMENT, KEY_FORMAT_VERSION, KEY_MINIMUM_READER, MAGIC};
use super::metadata::Kind;
use super::{FORMAT_VERSION, TENSOR_ALIGNMENT};
use alloc::string::String;
use alloc::vec::Vec;
use std::io::{self, Write};

/// Metadata in the making. Keys are written in the order in which they are added.
#[derive(Debug, Default)]
pub struct Metadata {
    bytes: Vec<u8>,
    n: u64,
}

impl Metadata {
    /// Metadata that already says how tensors are aligned and which reader they need.
    pub fn new() -> Self {
        let mut m = Metadata::default();
        m.u32(KEY_ALIGNMENT, TENSOR_ALIGNMENT as u32);
        m.u32(KEY_FORMAT_VERSION, FORMAT_VERSION);
        m.u32(KEY_MINIMUM_READER, FORMAT_VERSION);
        m
    }

    /// Adds a whole number.
    pub fn u32(&mut self, key: &str, value: u32) {
        self.entry(key, Kind::U32);
        self.bytes.extend(value.to_le_bytes());
    }

    /// Adds a number.
    pub fn f32(&mut self, key: &str, value: f32) {
        self.entry(key, Kind::F32);
        self.bytes.extend(value.to_le_bytes());
    }

    /// Adds a truth value.
    pub fn bool(&mut self, key: &str, value: bool) {
        self.entry(key, Kind::Bool);
        self.bytes.push(value.into());
    }

    /// Adds text.
    pub fn text(&mut self, key: &str, value: &str) {
        self.entry(key, Kind::Str);
        self.push_text(value);
    }

    /// Adds a list of text.
    pub fn texts<'s>(&mut self, key: &str, values: impl ExactSizeIterator<Item = &'s str>) {
        self.list(key, Kind::Str, values.len());
        for v in values {
            self.push_text(v);
        }
    }

    /// Adds a list of numbers.
    pub fn f32s(&mut self, key: &str, values: impl ExactSizeIterator<Item = f32>) {
        self.list(key, Kind::F32, values.len());
        self.bytes.extend(values.flat_map(f32::to_le_bytes));
    }

    /// Adds a list of whole numbers.
    pub fn i32s(&mut self, key: &str, values: impl ExactSizeIterator<Item = i32>) {
        self.list(key, Kind::I32, values.len());
        self.bytes.extend(values.flat_map(i32::to_le_bytes));
    }

    fn entry(&mut self, key: &str, kind: Kind) {
        self.n += 1;
        self.push_text(key);
        self.bytes.extend((kind as u32).to_le_bytes());
    }

    fn list(&mut self, key: &str, elements: Kind, len: usize) {
        self.entry(key, Kind::Array);
        self.bytes.extend((elements as u32).to_le_bytes());
        self.bytes.extend((len as u64).to_le_bytes());
    }

    fn push_text(&mut self, text: &str) {
        self.bytes.extend((text.len() as u64).to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }
}

/// A tensor about to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// How its elements are stored.
    pub format: WeightFormat,
    /// Sizes, innermost first; the innermost without padding.
    pub dims: Vec<usize>,
}

impl TensorSpec {
    /// Bytes of the rows that are stored together, padding to whole tiles included.
    pub fn group_bytes(&self) -> usize {
        self.format.group_bytes(self.dims[0])
    }

    /// Number of rows: the product of all other dimensions.
    pub fn rows(&self) -> usize {
        self.dims[1..].iter().product()
    }

    /// Bytes of the tensor.
    pub fn bytes(&self) -> usize {
        self.format.matrix_bytes(self.dims[0], self.rows())
    }
}

/// Writes the tensors' bytes behind the header, in the declared order.
#[derive(Debug)]
pub struct TensorWriter<W> {
    out: W,
    written: u64,
    /// Bytes of the tensors still to come, first one last.
    pending: Vec<u64>,
}

impl<W: Write> TensorWriter<W> {
    /// Writes header, metadata and tensor table to `out`.
    ///
    /// # Errors
    /// Whatever `out` fails with.
    pub fn new(mut out: W, metadata: &Metadata, tensors: &[TensorSpec]) -> io::Result<Self> {
        let mut head = Vec::new();
        head.extend(MAGIC);
        head.extend(GGUF_VERSION.to_le_bytes());
        head.extend((tensors.len() as u64).to_le_bytes());
        head.extend(metadata.n.to_le_bytes());
        head.extend(&metadata.bytes);
        let mut offset = 0u64;
        for t in tensors {
            head.extend((t.name.len() as u64).to_le_bytes());
            head.extend(t.name.as_bytes());
            let dims = t.format.gguf_dims(&t.dims);
            head.extend((dims.len() as u32).to_le_bytes());
            head.extend(dims.iter().flat_map(|&d| (d as u64).to_le_bytes()));
            head.extend(t.format.gguf_type().to_le_bytes());
            head.extend(offset.to_le_bytes());
            offset = (offset + t.bytes() as u64).next_multiple_of(TENSOR_ALIGNMENT as u64);
        }
        head.resize(head.len().next_multiple_of(TENSOR_ALIGNMENT), 0);
        out.write_all(&head)?;
        let pending = tensors.iter().rev().map(|t| t.bytes() as u64).collect();
        Ok(TensorWriter { out, written: 0, pending })
    }

    /// Appends bytes to the tensor being written; the last ones are followed by its padding.
    ///
    /// # Errors
    /// Whatever the output fails with.
    ///
    /// # Panics
    /// If more bytes come than the tensor was declared with.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let left = self.pending.last_mut().expect("all declared tensors are written");
        *left = left.checked_sub(bytes.len() as u64).expect("more bytes than the tensor was declared with");
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        if *left == 0 {
            self.pending.pop();
            let end = self.written.next_multiple_of(TENSOR_ALIGNMENT as u64);
            self.out.write_all(&[0; TENSOR_ALIGNMENT][..(end - self.written) as usize])?;
            self.written = end;
        }
        Ok(())
    }

    /// Returns the output after the last tensor.
    ///
    /// # Panics
    /// If a declared tensor was not written whole.
    pub fn finish(self) -> W {
        assert!(self.pending.is_empty(), "{} tensors were declared and not written", self.pending.len());
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::super::container::Container;
    use super::*;
    use crate::error::FormatError;
    use alloc::vec;

    fn sample() -> Vec<u8> {
        let mut m = Metadata::new();
        m.text("general.architecture", "paligemma");
        m.texts("tokenizer.ggml.tokens", ["a", "bc"].into_iter());
        m.f32s("x.scores", [1.5, -2.0].into_iter());
        m.i32s("x.kinds", [1, -3].into_iter());
        m.bool("x.flag", true);
        let tensors = [
            TensorSpec { name: "a".into(), format: WeightFormat::F32, dims: vec![3, 2] },
            TensorSpec { name: "b".into(), format: WeightFormat::Q4, dims: vec![33, 1] },
        ];
        let mut w = TensorWriter::new(Vec::new(), &m, &tensors).unwrap();
        w.write(&[1; 20]).unwrap();
        w.write(&[2; 4]).unwrap();
        w.write(&[3; 320]).unwrap();
        w.finish()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let file = sample();
        let c = Container::parse(&file).unwrap();
        assert_eq!(c.text("general.architecture").unwrap(), "paligemma");
        let (n, texts) = c.list("tokenizer.ggml.tokens", "text", |a| a.strings()).unwrap();
        assert_eq!((n, texts.collect::<Vec<_>>()), (2, vec!["a", "bc"]));
        let (_, kinds) = c.list("x.kinds", "numbers", |a| a.i32s()).unwrap();
        assert_eq!(kinds.collect::<Vec<_>>(), [1, -3]);
        assert!(c.u32("x.flag").is_err() && c.u32("absent").is_err());
        let [a, b] = c.tensors() else { panic!("{:?}", c.tensors()) };
        assert_eq!((a.dims.as_slice(), b.dims.as_slice()), (&[3, 2][..], &[64, 8][..]));
        assert_eq!(file[a.bytes.clone()], [[1; 20].as_slice(), &[2; 4]].concat());
        assert_eq!(file[b.bytes.clone()], [3; 320]);
        assert_eq!((a.bytes.start % TENSOR_ALIGNMENT, b.bytes.start % TENSOR_ALIGNMENT), (0, 0));
    }

    #[test]
    fn every_truncation_and_every_extra_byte_is_refused() {
        let mut file = sample();
        for n in 0..file.len() {
            assert!(Container::parse(&file[..n]).is_err(), "cut at {n}");
        }
        file.push(0);
        assert!(matches!(Container::parse(&file), Err(FormatError::TooLarge { .. })));
    }

    #[test]
    fn no_single_bit_flip_panics() {
        let file = sample();
        for i in 0..file.len() * 8 {
            let mut f = file.clone();
            f[i / 8] ^= 1 << (i % 8);
            let _ = Container::parse(&f);
        }
    }
}
