//! The built program, the packed demo, and pictures.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use tempfile::{NamedTempFile, TempDir};

/// The demo, packed once a process.
pub(crate) fn model() -> &'static Path {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    MODEL.get_or_init(|| pack("demo"))
}

/// The small model of random weights, packed once a process.
pub(crate) fn synthetic() -> &'static Path {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    MODEL.get_or_init(|| pack("synthetic-small"))
}

fn pack(source: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(folder).unwrap();
    // Written whole under its name, so other processes may do the same at the same time.
    let path = folder.join(format!("cli-{source}.q4.gguf"));
    let mut command = Command::new(pg_tests::programs::pg_quantize());
    let output = command.args([source, "-o"]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

/// One of the bundled pictures.
pub(crate) fn scene(n: usize) -> PathBuf {
    pg_tests::models::demo_sample(&format!("scene-{n:02}.png"))
}

/// A picture of the imaging tests.
pub(crate) fn picture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/imaging").join(name)
}

/// The program without any variable that it reads.
pub(crate) fn bare() -> Command {
    let mut command = Command::new(pg_tests::programs::pg_run());
    for key in ["PG_MODEL", "PG_ISA", "RUST_LOG"] {
        command.env_remove(key);
    }
    command.stdin(Stdio::null());
    command
}

/// The program with the demo, on one thread unless the arguments say otherwise.
pub(crate) fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = bare();
    command.arg("-m").arg(model()).args(["--threads", "1"]).args(args);
    command
}

/// What a run did. Nothing may ever panic.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn finish(command: &mut Command) -> Ran {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    let ran = Ran { code: status.code(), out: text(stdout), err: text(stderr) };
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
    ran
}

/// The standard output of a run that has to end with status 0 and without a message.
pub(crate) fn done(command: &mut Command) -> String {
    let ran = finish(command);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{command:?}");
    ran.out
}

/// A run has to be refused with status 2, one message that holds `part`, and nothing on standard output.
pub(crate) fn refused(command: &mut Command, part: &str) {
    let ran = finish(command);
    let about = format!("{command:?}\n{:?} does not say {part:?}", ran.err);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{about}");
    assert!(ran.err.starts_with("pg-run: ") && ran.err.contains(part), "{about}");
    assert_eq!(ran.err.matches('\n').count(), 1, "{about}");
}

/// A temporary file with these bytes.
pub(crate) fn file(bytes: impl AsRef<[u8]>) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes.as_ref()).unwrap();
    file
}

pub(crate) fn folder() -> TempDir {
    TempDir::new().unwrap()
}

/// Names in a folder, hidden ones included.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
