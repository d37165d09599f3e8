//! `pg-run`: a picture and a packed model in; words, boxes and numbers out.

mod annotate;
mod picture;

use annotate::Label;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [source, out, ..] = &args[..] else {
        eprintln!("usage: pg-run PICTURE OUT.png [LABEL X0 Y0 X1 Y1]...");
        return ExitCode::from(2);
    };
    let result = picture::load(Path::new(source)).and_then(|picture| {
        let frame = picture.frame();
        println!("{} x {} {:?}", frame.width(), frame.height(), frame.format());
        let objects: Vec<Label<'_>> = args[2..]
            .chunks_exact(5)
            .map(|object| Label {
                text: &object[0],
                box_px: [1, 2, 3, 4].map(|i| object[i].parse().unwrap_or(0)),
                score: None,
            })
            .collect();
        annotate::draw(&picture, &objects, Path::new(out))
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("pg-run: {reason}");
            ExitCode::from(2)
        }
    }
}
