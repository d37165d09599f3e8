//! `pg-run`: a picture and a packed model in; words, boxes and numbers out.
fn main() {}
