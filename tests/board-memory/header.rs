//! Writes a file that begins as a synthetic model's and is as long, with nothing in between: what `pg-run plan` reads.
//!
//!     model-header synthetic-224 FILE

use pg_quantize::{Preset, Synthetic};
use std::io::Write;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, path] = &arguments[..] else { return Err("expected a synthetic model and a file".into()) };
    let model = Synthetic::parse(name, 0).ok_or("no synthetic model has that name")??;
    let (beginning, length) = model.beginning(Preset::Q4);
    let mut file = std::fs::File::create(path)?;
    file.write_all(&beginning)?;
    file.set_len(length as u64)?;
    Ok(())
}
