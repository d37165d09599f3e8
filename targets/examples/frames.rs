//! Prints a line for each frame of a source, and opens a lost one again: `frames LOCATION [MAX_FPS]`.
//!
//! Called by `tests/rtsp/run`, and a way to see what a camera gives. Ends when the source does, or with its first error
//! that nothing can be done about.

use pg_targets::camera::{ErrorKind, FrameBuffer, Location, Next, Options, Source, SourceError};
use std::process::ExitCode;
use std::time::Duration;

const WAIT: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (text, max_fps) = match &arguments[..] {
        [location] => (location, None),
        [location, fps] => (location, fps.parse().ok()),
        _ => {
            eprintln!("usage: frames LOCATION [MAX_FPS]");
            return ExitCode::from(2);
        }
    };
    let options = Options { max_fps, stall: Duration::from_secs(5), ..Options::default() };
    match text.parse::<Location>().map_err(|e| e.to_string()).and_then(|location| watch(&location, &options))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn watch(location: &Location, options: &Options) -> Result<(), String> {
    let mut frame = FrameBuffer::new();
    loop {
        let error = match location.open(options).and_then(|mut source| show(&mut *source, &mut frame)) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Permanent => return Err(error.to_string()),
            Err(error) => error,
        };
        eprintln!("{error}");
        std::thread::sleep(WAIT);
    }
}

fn show(source: &mut dyn Source, frame: &mut FrameBuffer) -> Result<(), SourceError> {
    loop {
        match source.next(frame, Duration::from_secs(1)) {
            Ok(Next::Frame) => {
                let mean: u64 =
                    frame.data().iter().map(|&v| u64::from(v)).sum::<u64>() / frame.data().len() as u64;
                println!("frame {}x{} mean {mean}", frame.width(), frame.height());
            }
            Ok(Next::Nothing) => {}
            Ok(Next::End) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Damaged => eprintln!("{error}"),
            Err(error) => return Err(error),
        }
    }
}
