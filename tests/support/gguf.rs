//! Takes a GGUF file apart and puts it together again, for tests that damage it. Knows nothing of the product's
//! reader and writer, and checks nothing: it reads files that are known to be good.

/// Bytes that a tensor's place is a multiple of.
const ALIGNMENT: usize = 64;

/// A file in parts.
#[derive(Debug, Clone)]
pub struct Gguf {
    /// Metadata: key, type, bytes of the value.
    pub keys: Vec<(String, u32, Vec<u8>)>,
    /// The tensor table and, of each tensor, its bytes with their padding.
    pub tensors: Vec<Tensor>,
}

/// A row of the tensor table and its data.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Name.
    pub name: String,
    /// Sizes, innermost first.
    pub dims: Vec<u64>,
    /// GGUF's number of the element type.
    pub kind: u32,
    /// Where the data starts, counted from the first tensor's.
    pub offset: u64,
    /// The data up to the next tensor.
    pub data: Vec<u8>,
}

/// Where the parts of a file begin, in bytes from its start.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Of each metadata entry: its key, its value.
    pub keys: Vec<(usize, usize)>,
    /// Each row of the tensor table.
    pub rows: Vec<usize>,
    /// The end of the table.
    pub table_end: usize,
    /// The first tensor's data.
    pub data: usize,
}

impl Gguf {
    /// Takes a good file apart.
    ///
    /// # Panics
    /// If it is not one.
    pub fn parse(file: &[u8]) -> (Gguf, Layout) {
        let mut at = Reader { file, at: 8 };
        let (n_tensors, n_keys) = (at.u64(), at.u64());
        let (mut keys, mut key_places) = (Vec::new(), Vec::new());
        for _ in 0..n_keys {
            let start = at.at;
            let (key, kind) = (at.text(), at.u32());
            let value = at.at;
            at.skip_value(kind);
            key_places.push((start, value));
            keys.push((key, kind, file[value..at.at].to_vec()));
        }
        let (mut tensors, mut rows) = (Vec::new(), Vec::new());
        for _ in 0..n_tensors {
            rows.push(at.at);
            let name = at.text();
            let dims = (0..at.u32()).map(|_| at.u64()).collect();
            let (kind, offset) = (at.u32(), at.u64());
            tensors.push(Tensor { name, dims, kind, offset, data: Vec::new() });
        }
        let table_end = at.at;
        let data = table_end.next_multiple_of(ALIGNMENT);
        for i in 0..tensors.len() {
            let end = tensors.get(i + 1).map_or(file.len(), |next| data + next.offset as usize);
            tensors[i].data = file[data + tensors[i].offset as usize..end].to_vec();
        }
        (Gguf { keys, tensors }, Layout { keys: key_places, rows, table_end, data })
    }

    /// Puts the parts together; offsets are written as they are.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.keys.len() as u64).to_le_bytes());
        for (key, kind, value) in &self.keys {
            file.extend(text(key));
            file.extend(kind.to_le_bytes());
            file.extend(value);
        }
        for t in &self.tensors {
            file.extend(text(&t.name));
            file.extend((t.dims.len() as u32).to_le_bytes());
            file.extend(t.dims.iter().flat_map(|d| d.to_le_bytes()));
            file.extend(t.kind.to_le_bytes());
            file.extend(t.offset.to_le_bytes());
        }
        file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
        for t in &self.tensors {
            file.extend(&t.data);
        }
        file
    }

    /// Moves every tensor to where the one before ends.
    pub fn lay_out(&mut self) {
        let mut next = 0;
        for t in &mut self.tensors {
            t.offset = next;
            next += t.data.len() as u64;
        }
    }

    /// The entry called `key`: its type and value.
    ///
    /// # Panics
    /// If there is none.
    pub fn key(&mut self, key: &str) -> (&mut u32, &mut Vec<u8>) {
        let found = self.keys.iter_mut().find(|(k, ..)| k == key);
        let (_, kind, value) = found.unwrap_or_else(|| panic!("no key {key}"));
        (kind, value)
    }

    /// The tensor called `name`.
    ///
    /// # Panics
    /// If there is none.
    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|t| t.name == name).unwrap_or_else(|| panic!("no tensor {name}"))
    }
}

/// A text as files hold it.
pub fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

struct Reader<'a> {
    file: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, n: usize) -> &[u8] {
        self.at += n;
        &self.file[self.at - n..self.at]
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().expect("four bytes"))
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().expect("eight bytes"))
    }

    fn text(&mut self) -> String {
        let n = self.u64() as usize;
        String::from_utf8(self.take(n).to_vec()).expect("text")
    }

    fn skip_value(&mut self, kind: u32) {
        match kind {
            0 | 1 | 7 => self.at += 1,
            2 | 3 => self.at += 2,
            4..=6 => self.at += 4,
            10..=12 => self.at += 8,
            8 => drop(self.text()),
            9 => {
                let (kind, n) = (self.u32(), self.u64());
                (0..n).for_each(|_| self.skip_value(kind));
            }
            other => panic!("value type {other}"),
        }
    }
}
