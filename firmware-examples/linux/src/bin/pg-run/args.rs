//! The command line: what was typed, turned into a checked request.

use lexopt::prelude::*;
use pg_runtime::model::Placement;
use pg_runtime::platform::{knobs, sizes};
use pg_runtime::{SessionOptions, TokenId};
use std::ffi::OsString;
use std::path::PathBuf;

/// Longest side of a picture file; the resizer's scratch memory grows with it, slowly.
const MAX_SIDE: usize = 16_384;

const HELP: &str = "\
pg-run: captions, answers, text and boxes from pictures, with a packed PaliGemma

usage:
  pg-run caption IMAGE… [--lang en]       describe each picture in a sentence
  pg-run detect  IMAGE… \"cat ; dog\"       find objects, with boxes and scores
  pg-run ask     IMAGE… \"QUESTION\"        answer a question
  pg-run ocr     IMAGE…                   read text
  pg-run prompt  IMAGE… \"RAW PROMPT\"      any other prompt, as it is
  pg-run tokenize TEXT                    show the tokens of a text
  pg-run inspect                          show the model, the kernels and the memory plan
  pg-run trace   IMAGE --prompt TEXT --out FILE.safetensors [--force ID,ID,…]
                                          write the result of every stage
  pg-run plan    [--prompt TEXT] [--memory-limit SIZE]
                                          show what memory a run would take, and refuse if it does not fit
  pg-run bench   [--prefill N] [--depth N] [--rounds N] [--kernels]
                                          measure every stage and the machine it runs on
  pg-run doctor  [-m FILE] [--board NAME] [--root DIR]
                                          compare this machine with its board, test the kernels, say what fits

options:
  -m, --model FILE     the packed model (or set PG_MODEL); make one with pg-quantize
      --lang CODE      language of captions and answers (en)
      --max-tokens N   longest answer (128; trace: 24)
      --threads N      threads to use (all cores)
      --weights WHERE  mapped (as the file lies in the system's cache) or huge (a copy on huge pages)
      --json           one JSON object a line instead of text
      --annotate OUT   write the picture with its boxes to OUT.png, or into the folder OUT
      --memory-limit SIZE  for plan: refuse a run that needs more, such as 1500M or 2G
      --prefill N      for bench: rows of the prefix (image and 8 tokens)
      --depth N        for bench: tokens before a decoded one (300)
      --rounds N       for bench: medians of so many (3); 1 is a quick look, the machine's figures are rough then
      --kernels        for bench: every kernel table with every matrix shape of the model instead
      --board NAME     for doctor: the board to compare with (found by itself), such as raspberry-pi-5
      --root DIR       for doctor: read DIR/proc and DIR/sys, a copy of another machine's (/)
  -h, --help           this text
  -V, --version        the version, and the kernel tables of this machine

environment: PG_MODEL, PG_ISA (kernel table: scalar; x86: avx2, avx-vnni, avx512-vnni; ARM: neon, neon-dotprod, neon-i8mm)
exit codes:  0 done, 1 detect found nothing or doctor found problems, 2 an error";

/// What to do.
#[derive(Debug)]
pub(crate) enum Parsed {
    Print(String),
    Run(Box<Args>),
}

#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) command: Command,
    /// Empty for `doctor`, which has its own.
    pub(crate) model: PathBuf,
    pub(crate) json: bool,
    pub(crate) placement: Placement,
    pub(crate) options: SessionOptions,
}

#[derive(Debug)]
pub(crate) enum Command {
    Answer(Answer),
    Tokenize { text: String },
    Inspect,
    Trace(Trace),
    Plan(Plan),
    Bench(Bench),
    Doctor(Doctor),
}

/// Pictures and one prompt for all of them.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The command's name, as reports give it.
    pub(crate) task: &'static str,
    pub(crate) images: Vec<PathBuf>,
    pub(crate) prompt: String,
    pub(crate) annotate: Option<PathBuf>,
}

#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) image: PathBuf,
    pub(crate) prompt: String,
    pub(crate) force: Option<Vec<TokenId>>,
    pub(crate) out: PathBuf,
}

#[derive(Debug)]
pub(crate) struct Plan {
    /// In bytes.
    pub(crate) memory_limit: Option<u64>,
    pub(crate) prompt: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) prefill: Option<usize>,
    pub(crate) depth: usize,
    pub(crate) rounds: usize,
    pub(crate) kernels: bool,
}

#[derive(Debug)]
pub(crate) struct Doctor {
    pub(crate) model: Option<PathBuf>,
    pub(crate) board: Option<String>,
    /// The folder that holds `proc` and `sys`.
    pub(crate) root: PathBuf,
}

/// The command line as typed.
#[derive(Default)]
struct Raw {
    positional: Vec<OsString>,
    model: Option<PathBuf>,
    lang: Option<String>,
    max_tokens: Option<usize>,
    threads: Option<usize>,
    json: bool,
    annotate: Option<PathBuf>,
    prompt: Option<String>,
    force: Option<String>,
    out: Option<PathBuf>,
    weights: Option<String>,
    memory_limit: Option<String>,
    prefill: Option<usize>,
    depth: Option<usize>,
    rounds: Option<usize>,
    kernels: bool,
    board: Option<String>,
    root: Option<PathBuf>,
}

impl Args {
    pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Parsed, String> {
        let mut raw = Raw::default();
        while let Some(arg) = parser.next().map_err(usage)? {
            match arg {
                Short('h') | Long("help") => return Ok(Parsed::Print(HELP.into())),
                Short('V') | Long("version") => return Ok(Parsed::Print(version())),
                Short('m') | Long("model") => raw.model = Some(parser.value().map_err(usage)?.into()),
                Long("lang") => raw.lang = Some(text(&mut parser)?),
                Long("max-tokens") => raw.max_tokens = Some(number(&mut parser, "--max-tokens")?),
                Long("threads") => raw.threads = Some(number(&mut parser, "--threads")?),
                Long("json") => raw.json = true,
                Long("annotate") => raw.annotate = Some(parser.value().map_err(usage)?.into()),
                Long("prompt") => raw.prompt = Some(text(&mut parser)?),
                Long("force") => raw.force = Some(text(&mut parser)?),
                Long("out") => raw.out = Some(parser.value().map_err(usage)?.into()),
                Long("weights") => raw.weights = Some(text(&mut parser)?),
                Long("memory-limit") => raw.memory_limit = Some(text(&mut parser)?),
                Long("prefill") => raw.prefill = Some(number(&mut parser, "--prefill")?),
                Long("depth") => raw.depth = Some(number(&mut parser, "--depth")?),
                Long("rounds") => raw.rounds = Some(number(&mut parser, "--rounds")?),
                Long("kernels") => raw.kernels = true,
                Long("board") => raw.board = Some(text(&mut parser)?),
                Long("root") => raw.root = Some(parser.value().map_err(usage)?.into()),
                Value(v) => raw.positional.push(v),
                other => return Err(usage(other.unexpected())),
            }
        }
        raw.check().map(|args| Parsed::Run(Box::new(args)))
    }
}

impl Raw {
    fn check(mut self) -> Result<Args, String> {
        if self.positional.is_empty() {
            return Err(usage("no command given"));
        }
        let name = self.positional.remove(0).to_string_lossy().into_owned();
        let lang = self.lang.clone().unwrap_or_else(|| "en".into());
        if !lang.chars().all(|c| c.is_ascii_alphabetic() || c == '-') || lang.is_empty() {
            return Err(format!("--lang {lang}: expected a language code such as en, de or pt"));
        }
        let mut max_tokens = 128;
        let command = match name.as_str() {
            "caption" => Command::Answer(self.answer("caption", Some(format!("caption {lang}")))?),
            "ocr" => Command::Answer(self.answer("ocr", Some("ocr".into()))?),
            "detect" => {
                let mut answer = self.answer("detect", None)?;
                let names: Vec<&str> =
                    answer.prompt.split(';').map(str::trim).filter(|n| !n.is_empty()).collect();
                if names.is_empty() {
                    return Err("detect: no object named; try \"cat ; dog\"".into());
                }
                answer.prompt = format!("detect {}", names.join(" ; "));
                Command::Answer(answer)
            }
            "ask" => {
                let mut answer = self.answer("ask", None)?;
                answer.prompt = format!("answer {lang} {}", answer.prompt.trim());
                Command::Answer(answer)
            }
            "prompt" => Command::Answer(self.answer("prompt", None)?),
            "tokenize" => Command::Tokenize { text: self.only("TEXT")?.into_string().map_err(not_utf8)? },
            "inspect" => {
                self.none()?;
                Command::Inspect
            }
            "trace" => {
                max_tokens = 24;
                Command::Trace(self.trace()?)
            }
            "plan" => {
                self.none()?;
                Command::Plan(self.plan()?)
            }
            "bench" => {
                self.none()?;
                Command::Bench(self.bench()?)
            }
            "doctor" => {
                self.none()?;
                Command::Doctor(Doctor {
                    model: self.model.take().or_else(|| knobs::path(knobs::MODEL)),
                    board: self.board.clone(),
                    root: self.root.clone().unwrap_or_else(|| "/".into()),
                })
            }
            other => return Err(usage(format!("there is no command \"{other}\""))),
        };
        self.refuse_foreign_options(&command)?;
        if self.max_tokens == Some(0) {
            return Err("--max-tokens 0: expected at least 1".into());
        }
        let mut options = SessionOptions {
            kernels: knobs::get(knobs::ISA),
            max_side: MAX_SIDE,
            max_new_tokens: self.max_tokens.unwrap_or(max_tokens),
            ..SessionOptions::default()
        };
        if let Some(threads) = self.threads {
            options.threads = threads;
        }
        if let Command::Trace(Trace { force: Some(ids), .. }) = &command {
            options.max_new_tokens = self.max_tokens.unwrap_or(ids.len());
        }
        let placement = match self.weights.as_deref() {
            None => Placement::default(),
            Some(asked) => [Placement::Mapped, Placement::Huge]
                .into_iter()
                .find(|p| p.name() == asked)
                .ok_or_else(|| format!("--weights {asked}: expected mapped or huge"))?,
        };
        let model = match &command {
            Command::Doctor(_) => Some(PathBuf::new()),
            _ => self.model.or_else(|| knobs::path(knobs::MODEL)),
        };
        let model = model
            .ok_or("no model given: use -m FILE or set PG_MODEL; `pg-quantize demo` packs a small one")?;
        Ok(Args { command, model, json: self.json, placement, options })
    }

    /// Pictures, and a last argument that is the prompt unless `prompt` is given.
    fn answer(&mut self, task: &'static str, prompt: Option<String>) -> Result<Answer, String> {
        let mut images: Vec<PathBuf> = self.positional.drain(..).map(PathBuf::from).collect();
        let prompt = match prompt {
            Some(prompt) => prompt,
            None => {
                let last = images.pop().ok_or_else(|| usage(format!("{task}: no picture given")))?;
                last.into_os_string().into_string().map_err(not_utf8)?
            }
        };
        if images.is_empty() {
            return Err(usage(format!(
                "{task}: expected a picture{}",
                match task {
                    "detect" => " and what to find in it",
                    "ask" => " and a question",
                    "prompt" => " and a prompt",
                    _ => "",
                }
            )));
        }
        Ok(Answer { task, images, prompt, annotate: self.annotate.clone() })
    }

    fn trace(&mut self) -> Result<Trace, String> {
        let image = self.only("IMAGE")?.into();
        let prompt = self.prompt.clone().ok_or_else(|| usage("trace: --prompt TEXT is missing"))?;
        let out = self.out.clone().ok_or_else(|| usage("trace: --out FILE is missing"))?;
        let ids = |list: String| {
            list.split(',')
                .map(|id| id.trim().parse().map_err(|_| format!("--force: \"{id}\" is not a token id")))
                .collect::<Result<Vec<TokenId>, String>>()
        };
        Ok(Trace { image, prompt, force: self.force.clone().map(ids).transpose()?, out })
    }

    fn plan(&mut self) -> Result<Plan, String> {
        let limit = self.memory_limit.as_deref().map(sizes::parse).transpose();
        Ok(Plan {
            memory_limit: limit.map_err(|e| format!("--memory-limit {e}"))?,
            prompt: self.prompt.clone(),
        })
    }

    fn bench(&mut self) -> Result<Bench, String> {
        let counts = [("--prefill", self.prefill), ("--depth", self.depth), ("--rounds", self.rounds)];
        if let Some((option, _)) = counts.iter().find(|(_, n)| *n == Some(0)) {
            return Err(format!("{option} 0: expected at least 1"));
        }
        Ok(Bench {
            prefill: self.prefill,
            depth: self.depth.unwrap_or(300),
            rounds: self.rounds.unwrap_or(3),
            kernels: self.kernels,
        })
    }

    fn only(&mut self, what: &str) -> Result<OsString, String> {
        let [value] = <[OsString; 1]>::try_from(core::mem::take(&mut self.positional))
            .map_err(|found| usage(format!("expected one {what}, found {}", found.len())))?;
        Ok(value)
    }

    fn none(&self) -> Result<(), String> {
        match self.positional.first() {
            None => Ok(()),
            Some(extra) => Err(usage(format!("unexpected argument \"{}\"", extra.to_string_lossy()))),
        }
    }

    fn refuse_foreign_options(&self, command: &Command) -> Result<(), String> {
        let trace = matches!(command, Command::Trace(_));
        let plan = matches!(command, Command::Plan(_));
        let bench = matches!(command, Command::Bench(_));
        let doctor = matches!(command, Command::Doctor(_));
        let options = [
            ("--board", self.board.is_some(), doctor, "doctor"),
            ("--root", self.root.is_some(), doctor, "doctor"),
            ("--prompt", self.prompt.is_some(), trace || plan, "trace and plan"),
            ("--force", self.force.is_some(), trace, "trace"),
            ("--out", self.out.is_some(), trace, "trace"),
            ("--memory-limit", self.memory_limit.is_some(), plan, "plan"),
            ("--prefill", self.prefill.is_some(), bench, "bench"),
            ("--depth", self.depth.is_some(), bench, "bench"),
            ("--rounds", self.rounds.is_some(), bench, "bench"),
            ("--kernels", self.kernels, bench, "bench"),
            ("--max-tokens", self.max_tokens.is_some(), !bench, "every command but bench"),
        ];
        if let Some((option, .., owner)) = options.iter().find(|(_, given, fits, _)| *given && !fits) {
            return Err(usage(format!("{option} belongs to {owner}")));
        }
        if self.annotate.is_some() && !matches!(command, Command::Answer(_)) {
            return Err(usage("--annotate belongs to caption, detect, ask, ocr and prompt"));
        }
        Ok(())
    }
}

fn version() -> String {
    let tables = pg_runtime::Kernels::available().iter().map(|k| k.name()).collect::<Vec<_>>().join(", ");
    format!("pg-run {} (kernel tables here: {tables})", env!("CARGO_PKG_VERSION"))
}

fn usage(problem: impl std::fmt::Display) -> String {
    format!("{problem}; `pg-run --help` shows what there is")
}

fn not_utf8(text: OsString) -> String {
    format!("\"{}\" is not valid UTF-8", text.to_string_lossy())
}

fn text(parser: &mut lexopt::Parser) -> Result<String, String> {
    parser.value().map_err(usage)?.into_string().map_err(not_utf8)
}

fn number(parser: &mut lexopt::Parser, option: &str) -> Result<usize, String> {
    let value = text(parser)?;
    value.parse().map_err(|_| format!("{option} {value}: expected a whole number"))
}
