//! The same program on the machine that builds it: answers on standard output, the screen in a file. `run` compares both
//! with what the board says and shows.

use pg_bare_metal::canvas::Canvas;
use pg_bare_metal::picture::Picture;
use pg_bare_metal::{PROMPTS, Seen, options, report, screen};
use pg_runtime::{Model, Session};
use std::error::Error;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let [model, picture, out] = <[String; 3]>::try_from(env::args().skip(1).collect::<Vec<_>>())
        .map_err(|_| "expected three files: the model, the picture (P6), the screen to write (P6)")?;
    let model = Model::from_bytes(&fs::read(model)?)?;
    let file = fs::read(picture)?;
    let picture = Picture::from_ppm(&file).ok_or("the picture is no PPM")?;
    let mut session = Session::new(&model, options(&picture))?;
    let mut seen = Seen::default();
    for text in PROMPTS {
        let prompt = session.prompt(text)?;
        let answer = session.run(&picture.frame()?, &prompt)?;
        let mut line = String::new();
        report::write(&mut line, text, &answer, picture.width as u32, picture.height as u32)?;
        println!("{line}");
        seen.keep(text, &answer);
    }

    let (width, height) = (screen::WIDTH, screen::HEIGHT);
    let mut pixels = vec![0; width as usize * height as usize];
    let mut canvas = Canvas::new(&mut pixels, width, height, width as usize).ok_or("no screen")?;
    let Ok(()) = screen::draw(&mut canvas, &picture, &seen);
    let mut ppm = format!("P6\n{width} {height}\n255\n").into_bytes();
    ppm.extend(pixels.iter().flat_map(|p| p.to_be_bytes()[1..].to_vec()));
    fs::write(out, ppm)?;
    Ok(())
}
