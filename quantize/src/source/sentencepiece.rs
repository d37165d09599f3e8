//! Reads `tokenizer.model`: SentencePiece's `ModelProto` in protobuf wire format.
//!
//! Called by the checkpoint readers. In: the bytes of the file, which nobody vouches for; out: a [`Vocabulary`], or
//! a message that names the place. Only the fields that decide encoding and decoding are read; what would make the
//! runtime's tokenizer give other ids than SentencePiece (unigram models, normalization) is refused.
//!
//! Field numbers are those of `sentencepiece_model.proto`.

use super::vocabulary::{MAX_PIECES, Piece, Vocabulary};
use pg_runtime::tokenizer::{PieceKind, SpecialIds};

/// Reads a whole `tokenizer.model`.
pub fn read(bytes: &[u8]) -> Result<Vocabulary, String> {
    let mut model = Model::default();
    let mut fields = Fields::new(bytes, 0);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => {
                if model.pieces.len() >= MAX_PIECES {
                    return Err(format!("tokenizer.model has more than {MAX_PIECES} pieces"));
                }
                model.pieces.push(piece(value.message()?)?);
            }
            2 => model.trainer.read(value.message()?)?,
            3 => model.normalizer.read(value.message()?)?,
            5 => model.denormalizer.read(value.message()?)?,
            _ => {}
        }
    }
    model.into_vocabulary()
}

#[derive(Default)]
struct Model {
    pieces: Vec<Piece>,
    trainer: Trainer,
    normalizer: Normalizer,
    denormalizer: Normalizer,
}

/// SentencePiece's number for BPE in `TrainerSpec.ModelType`.
const BPE: u64 = 2;
/// What `<unk>` decodes to unless the trainer was told otherwise.
const UNKNOWN_SURFACE: &[u8] = " \u{2047} ".as_bytes();

impl Model {
    fn into_vocabulary(self) -> Result<Vocabulary, String> {
        let refuse = |what: &str| Err(format!("tokenizer.model {what}; PaliGemma's own file is needed"));
        if self.pieces.is_empty() {
            return refuse("has no pieces");
        }
        if self.trainer.model_type != BPE {
            return refuse(&format!("is of model type {}, not BPE ({BPE})", self.trainer.model_type));
        }
        if !self.trainer.byte_fallback {
            return refuse("has no byte fallback");
        }
        if self.trainer.other_unknown_surface {
            return refuse("decodes <unk> to a text of its own");
        }
        if self.normalizer.has_rules {
            return refuse("normalizes text (its rules are not \"identity\")");
        }
        if self.normalizer.adds_dummy_prefix {
            return refuse("puts a space before every text");
        }
        if self.normalizer.removes_whitespace {
            return refuse("removes extra whitespace");
        }
        if !self.normalizer.escapes_whitespace {
            return refuse("does not write spaces as U+2581");
        }
        if self.denormalizer.has_rules {
            return refuse("rewrites decoded text");
        }
        let id = |name: &str, id: i32| {
            let found = u32::try_from(id).ok().filter(|&id| (id as usize) < self.pieces.len());
            found.ok_or(format!("tokenizer.model gives {name} the id {id}, which is no piece of it"))
        };
        let special = SpecialIds {
            bos: id("<bos>", self.trainer.bos)?,
            eos: id("<eos>", self.trainer.eos)?,
            pad: id("<pad>", self.trainer.pad)?,
            unk: id("<unk>", self.trainer.unk)?,
            // Not a piece: checkpoints put it right behind the pieces.
            image: self.pieces.len() as u32,
        };
        Ok(Vocabulary { pieces: self.pieces, special })
    }
}

/// `ModelProto.SentencePiece`.
fn piece(mut fields: Fields) -> Result<Piece, String> {
    let at = fields.offset;
    let mut piece = Piece { text: String::new(), score: 0.0, kind: PieceKind::Normal };
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => {
                let text = std::str::from_utf8(value.bytes()?);
                piece.text = text.map_err(|_| value.error("the text of a piece is not UTF-8"))?.to_string();
            }
            2 => piece.score = value.float()?,
            3 => {
                let kind = u32::try_from(value.varint()?).ok().and_then(PieceKind::from_u32);
                piece.kind = kind.ok_or_else(|| value.error("a piece is of an unknown kind"))?;
            }
            _ => {}
        }
    }
    if piece.text.is_empty() {
        return Err(error(at, "a piece has no text"));
    }
    Ok(piece)
}

/// `TrainerSpec`; the initial values are the defaults of the proto.
struct Trainer {
    model_type: u64,
    byte_fallback: bool,
    unk: i32,
    bos: i32,
    eos: i32,
    pad: i32,
    other_unknown_surface: bool,
}

impl Default for Trainer {
    fn default() -> Trainer {
        let (unk, bos, eos, pad) = (0, 1, 2, -1);
        Trainer { model_type: 1, byte_fallback: false, unk, bos, eos, pad, other_unknown_surface: false }
    }
}

impl Trainer {
    fn read(&mut self, mut fields: Fields) -> Result<(), String> {
        while let Some((number, value)) = fields.next()? {
            match number {
                3 => self.model_type = value.varint()?,
                35 => self.byte_fallback = value.varint()? != 0,
                40 => self.unk = value.int32()?,
                41 => self.bos = value.int32()?,
                42 => self.eos = value.int32()?,
                43 => self.pad = value.int32()?,
                44 => self.other_unknown_surface = value.bytes()? != UNKNOWN_SURFACE,
                _ => {}
            }
        }
        Ok(())
    }
}

/// `NormalizerSpec`; the initial values are the defaults of the proto.
struct Normalizer {
    has_rules: bool,
    adds_dummy_prefix: bool,
    removes_whitespace: bool,
    escapes_whitespace: bool,
}

impl Default for Normalizer {
    fn default() -> Normalizer {
        Normalizer {
            has_rules: false,
            adds_dummy_prefix: true,
            removes_whitespace: true,
            escapes_whitespace: true,
        }
    }
}

impl Normalizer {
    fn read(&mut self, mut fields: Fields) -> Result<(), String> {
        while let Some((number, value)) = fields.next()? {
            match number {
                2 => self.has_rules = !value.bytes()?.is_empty(),
                3 => self.adds_dummy_prefix = value.varint()? != 0,
                4 => self.removes_whitespace = value.varint()? != 0,
                5 => self.escapes_whitespace = value.varint()? != 0,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The fields of one protobuf message, in the order of the file.
struct Fields<'a> {
    rest: &'a [u8],
    /// Where `rest` begins in the file.
    offset: usize,
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8], offset: usize) -> Fields<'a> {
        Fields { rest: bytes, offset }
    }

    /// The next field's number and value; none at the end of the message.
    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, String> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let at = self.offset;
        let key = self.varint()?;
        let number = key >> 3;
        if number == 0 || number >= 1 << 29 {
            return Err(error(at, "no protobuf field has this number"));
        }
        let content = match key & 7 {
            0 => Content::Varint(self.varint()?),
            1 => Content::Fixed(self.take(8)?),
            2 => {
                let length = self.varint()?;
                // A length beyond the address space is beyond the file as well.
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let start = self.offset;
                Content::Bytes(self.take(length)?, start)
            }
            5 => Content::Fixed(self.take(4)?),
            other => {
                return Err(error(at, &format!("protobuf wire type {other} does not occur in such files")));
            }
        };
        Ok(Some((number, Value { content, at })))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(|| {
            let left = self.rest.len();
            error(
                self.offset,
                &format!("{length} bytes announced, {left} left: the copy is incomplete, fetch it again"),
            )
        })?;
        self.rest = rest;
        self.offset += length;
        Ok(taken)
    }

    /// At most ten bytes of seven bits, lowest first.
    fn varint(&mut self) -> Result<u64, String> {
        let at = self.offset;
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.take(1)?[0];
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(error(at, "a number has more than 64 bits"))
    }
}

/// The value of one field.
struct Value<'a> {
    content: Content<'a>,
    /// Where the field begins in the file.
    at: usize,
}

enum Content<'a> {
    Varint(u64),
    /// Four or eight bytes.
    Fixed(&'a [u8]),
    /// With their place in the file.
    Bytes(&'a [u8], usize),
}

impl<'a> Value<'a> {
    fn varint(&self) -> Result<u64, String> {
        match self.content {
            Content::Varint(value) => Ok(value),
            _ => Err(self.error("expected a number")),
        }
    }

    /// Negative ones are written as 64 bits.
    fn int32(&self) -> Result<i32, String> {
        i32::try_from(self.varint()? as i64).map_err(|_| self.error("an id has more than 32 bits"))
    }

    fn float(&self) -> Result<f32, String> {
        match self.content {
            Content::Fixed(&[a, b, c, d]) => Ok(f32::from_le_bytes([a, b, c, d])),
            _ => Err(self.error("expected a 32-bit float")),
        }
    }

    fn bytes(&self) -> Result<&'a [u8], String> {
        match self.content {
            Content::Bytes(bytes, _) => Ok(bytes),
            _ => Err(self.error("expected text")),
        }
    }

    fn message(&self) -> Result<Fields<'a>, String> {
        match self.content {
            Content::Bytes(bytes, start) => Ok(Fields::new(bytes, start)),
            _ => Err(self.error("expected a message")),
        }
    }

    fn error(&self, what: &str) -> String {
        error(self.at, what)
    }
}

fn error(at: usize, what: &str) -> String {
    format!("tokenizer.model, byte {at}: {what} (is this a SentencePiece model?)")
}
