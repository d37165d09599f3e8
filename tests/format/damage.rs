//! Cuts at every byte of the header, cuts in the data, and random changes of the header.

use crate::{demo, refusal};
use pg_runtime::{Frame, Model, PixelFormat, Session, SessionOptions};
use pg_tests::gguf::Gguf;

#[test]
fn every_cut_is_refused() {
    let file = demo();
    let (_, layout) = Gguf::parse(file);
    let data = file.len() - layout.data;
    let in_data = (0..100).map(|i| layout.data + i * data / 100);
    let last = (1..100).map(|i| file.len() - i);
    for n in (0..layout.data).chain(in_data).chain(last) {
        let message = refusal(&file[..n]);
        let expected = "the file ends inside ";
        assert!(message.starts_with(expected), "cut at {n}: \"{message}\" does not say \"{expected}\"");
    }
    assert_eq!(refusal(file), "");
}

/// Xorshift: the same changes in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

/// Models with changed sizes that are run; each takes a few tenths of a second.
const MOST_RUNS: usize = 40;

#[test]
fn changed_headers_are_refused_or_run() {
    let mut file = demo().to_vec();
    let (_, layout) = Gguf::parse(&file);
    // Nine tenths of the header are pieces and scores: half of the changes are made to the rest.
    let (gguf, _) = Gguf::parse(&file);
    let small: Vec<usize> = layout
        .keys
        .iter()
        .zip(&gguf.keys)
        .filter(|(_, (_, _, value))| value.len() < 1000)
        .flat_map(|((start, value), (_, _, bytes))| *start..*value + bytes.len())
        .chain(0..24)
        .chain(layout.rows[0]..layout.table_end)
        .collect();
    let unchanged = *Model::from_bytes(&file).unwrap().config();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut n_refused, mut n_run) = (0, 0);
    for i in 0..3000 {
        let at = if i % 2 == 0 { random.below(layout.table_end) } else { small[random.below(small.len())] };
        let old = file[at];
        file[at] = match random.below(4) {
            0 => 0,
            1 => 0xff,
            2 => old ^ (1 << random.below(8)),
            _ => random.below(256) as u8,
        };
        match Model::from_bytes(&file) {
            Err(e) => n_refused += usize::from(!e.to_string().is_empty()),
            Ok(model) if (*model.config() != unchanged || i % 100 == 0) && n_run < MOST_RUNS => {
                n_run += 1;
                run(&model);
            }
            Ok(_) => {}
        }
        file[at] = old;
    }
    println!("{n_refused} refused, {n_run} run");
    assert!(n_refused > 1000 && n_run > 5, "{n_refused} refused, {n_run} run");
}

/// A short answer; a session may be refused, as when the context has become too short.
fn run(model: &Model) {
    let options =
        SessionOptions { threads: 1, max_new_tokens: 2, max_prompt_tokens: 16, ..SessionOptions::default() };
    let Ok(mut session) = Session::new(model, options) else { return };
    let Ok(prompt) = session.prompt("detect red circle") else { return };
    let frame = Frame::new(&[90; 3 * 16], 4, 4, PixelFormat::Rgb8).unwrap();
    session.run(&frame, &prompt).unwrap_or_else(|e| panic!("{e}"));
}
