//! The command line of `pg-quantize`.

use lexopt::prelude::*;
use pg_quantize::{Preset, Synthetic};
use std::ffi::OsString;
use std::path::PathBuf;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Packs a PaliGemma checkpoint into one GGUF file for pg-run.

usage: pg-quantize MODEL [--q4|--q8|--f16|--f32] [-o FILE] [--seed N] [--json]

MODEL is one of
  demo              a small checkpoint that is part of this program
  mix-224, mix-448, pt-224, pt-448, pt-896
                    google/paligemma-3b-MODEL in the Hugging Face cache
                    (HF_HUB_CACHE, HF_HOME or ~/.cache/huggingface)
  PATH              a folder with config.json, *.safetensors and a tokenizer
  synthetic-224, synthetic-448, synthetic-896
                    random weights in the sizes of PaliGemma 3B, to time a board
                    before fetching a checkpoint; the answers mean nothing
  synthetic-small   the same with two narrow layers on each side, to try it out

options:
  --q4              4-bit decoder, 8-bit vision and embedding (default)
  --q8              8-bit weights
  --f16             half precision weights
  --f32             single precision weights
  -o, --output FILE where to write; default NAME.q4.gguf in this folder
  --seed N          other random weights (synthetic models only; default 0)
  --json            print the report as one JSON object
  -h, --help        print this
  -V, --version     print the version

Nothing is downloaded. FILE appears, or replaces an older one, only when it is
complete; a killed run leaves at most .FILE.partial-PID beside it. Do not change
a checkpoint while it is being packed: its files are mapped, and cutting one
short ends the program.
Exit status: 0 packed, 2 refused (the message says why).
";

/// A checked command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Args {
    /// `--help`.
    Help,
    /// `--version`.
    Version,
    /// Everything else.
    Pack(Pack),
}

/// What to pack, and how.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pack {
    /// MODEL, unresolved.
    pub(crate) model: String,
    /// The preset asked for, or the default.
    pub(crate) preset: Preset,
    /// `-o`.
    pub(crate) output: Option<PathBuf>,
    /// `--seed`; counts for synthetic models only.
    pub(crate) seed: u64,
    /// `--json`.
    pub(crate) json: bool,
}

impl Args {
    /// Checks the arguments, program name excluded.
    pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut parser = lexopt::Parser::from_args(args);
        let (mut model, mut preset, mut output, mut seed, mut json) = (None, None, None, None, false);
        while let Some(arg) = parser.next().map_err(|e| e.to_string())? {
            match arg {
                Short('h') | Long("help") => return Ok(Args::Help),
                Short('V') | Long("version") => return Ok(Args::Version),
                Long("json") => json = true,
                Short('o') | Long("output") => {
                    output = Some(PathBuf::from(parser.value().map_err(|e| e.to_string())?));
                }
                Long("seed") => {
                    let value = parser.value().map_err(|e| e.to_string())?;
                    let number = value.to_str().and_then(|v| v.parse().ok());
                    let bad = || format!("--seed {}: expected a whole number", value.to_string_lossy());
                    seed = Some(number.ok_or_else(bad)?);
                }
                Long(name) if Preset::ALL.iter().any(|p| p.name() == name) => {
                    let asked = Preset::ALL.into_iter().find(|p| p.name() == name);
                    if preset.is_some() && preset != asked {
                        return Err("give only one of --q4, --q8, --f16 and --f32".into());
                    }
                    preset = asked;
                }
                Value(value) if model.is_none() => {
                    let text = value.into_string();
                    model = Some(text.map_err(|v| format!("MODEL {v:?} is not valid UTF-8"))?);
                }
                Value(value) => return Err(format!("one MODEL at a time, {value:?} is a second one")),
                other => return Err(other.unexpected().to_string()),
            }
        }
        let model: String = model.ok_or("MODEL is missing")?;
        if seed.is_some() && !model.starts_with(Synthetic::PREFIX) {
            return Err(format!("--seed belongs to synthetic models, {model} has weights of its own"));
        }
        let (preset, seed) = (preset.unwrap_or_default(), seed.unwrap_or_default());
        Ok(Args::Pack(Pack { model, preset, output, seed, json }))
    }
}

impl Pack {
    /// `-o`, or `NAME.PRESET.gguf` in the current folder.
    pub(crate) fn output_for(&self, name: &str) -> PathBuf {
        let default = || format!("{name}.{}.gguf", self.preset.name()).into();
        self.output.clone().unwrap_or_else(default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn good_lines() {
        let expected = Pack {
            model: "mix-224".into(),
            preset: Preset::Q8,
            output: Some("x.gguf".into()),
            seed: 0,
            json: true,
        };
        assert_eq!(parse("--q8 mix-224 -o x.gguf --json"), Ok(Args::Pack(expected)));
        let Ok(Args::Pack(plain)) = parse("demo") else { panic!() };
        assert_eq!(plain.preset, Preset::Q4);
        assert_eq!(plain.output_for("demo"), PathBuf::from("demo.q4.gguf"));
        let Ok(Args::Pack(synthetic)) = parse("synthetic-224 --seed 18446744073709551615") else { panic!() };
        assert_eq!(synthetic.seed, u64::MAX);
        assert_eq!((parse("x --help"), parse("-V")), (Ok(Args::Help), Ok(Args::Version)));
    }

    #[test]
    fn bad_lines() {
        for (line, message) in [
            ("", "MODEL is missing"),
            ("a b", "\"b\" is a second one"),
            ("a --q4 --q8", "only one of"),
            ("a --q5", "--q5"),
            ("a -o", "-o"),
            ("demo --seed 1", "--seed belongs to synthetic models, demo has"),
            ("synthetic-224 --seed x", "--seed x: expected a whole number"),
            ("synthetic-224 --seed -1", "--seed -1: expected"),
            ("synthetic-224 --seed", "--seed"),
            ("a --json=yes", "json"),
        ] {
            let found = parse(line).unwrap_err();
            assert!(found.contains(message), "{line}: {found}");
        }
    }
}
