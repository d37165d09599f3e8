//! The command line: what was typed, turned into a checked request; and what a shell completes.

use crate::config;
use lexopt::prelude::*;
use std::ffi::OsString;
use std::path::PathBuf;

const HELP: &str = "\
pg-camera: watches cameras with a packed PaliGemma, and tells what it sees

usage:
  pg-camera demo   [--source URI] [--listen ADDRESS]
                                   bundled model, a camera made up of moving shapes, live page on loopback
  pg-camera run    -c FILE [--until-end]
                                   the service: all cameras and outputs of a configuration
  pg-camera check  -c FILE         say what is wrong with a configuration
  pg-camera plan   -c FILE [--json]
                                   show what memory it would take, and refuse if it does not fit
  pg-camera once   IMAGE --prompt TEXT [-m FILE] [--json]
                                   one answer about one picture
  pg-camera doctor [-c FILE] [--json]
                                   try sources, broker, ports and folders of a configuration; what the board has
  pg-camera sample                 print a commented configuration with every key
  pg-camera schema                 print the JSON schema of the configuration
  pg-camera completions SHELL      print completions for bash, zsh or fish

options:
  -c, --config FILE    the configuration (or set PG_CAMERA_CONFIG)
  -m, --model FILE     for once and demo: the packed model (or set PG_MODEL); the bundled one if left out
      --prompt TEXT    for once: as the model reads it, such as \"caption en\" or \"detect cat ; dog\"
      --source URI     for demo: the camera to show, such as /dev/video0 or rtsp://…
      --listen ADDRESS for demo: where to serve the page (127.0.0.1:8080)
      --until-end      for run: end when every file or pipe that is watched has ended
      --json           one JSON object instead of text
  -h, --help           this text
  -V, --version        the version, and the kernel tables of this machine

environment: PG_CAMERA_CONFIG, PG_MODEL, PG_ISA (kernel table), RUST_LOG (error, warn, info, debug)
exit codes:  0 done, 1 doctor found problems, 2 an error";

/// Commands as shells complete them: name, what it is for.
const COMMANDS: [(&str, &str); 9] = [
    ("demo", "bundled model, made-up camera, live page"),
    ("run", "the service"),
    ("check", "say what is wrong with a configuration"),
    ("plan", "show what memory it would take"),
    ("once", "one answer about one picture"),
    ("doctor", "try what a configuration needs"),
    ("sample", "print a commented configuration"),
    ("schema", "print the JSON schema of the configuration"),
    ("completions", "print completions for a shell"),
];

/// Options as shells complete them: long name, short name, whether a file follows, what it is for.
const OPTIONS: [(&str, Option<char>, bool, &str); 9] = [
    ("config", Some('c'), true, "the configuration"),
    ("model", Some('m'), true, "the packed model"),
    ("prompt", None, true, "what to ask"),
    ("source", None, true, "the camera to show"),
    ("listen", None, true, "address and port"),
    ("until-end", None, false, "end when all sources have"),
    ("json", None, false, "JSON instead of text"),
    ("help", Some('h'), false, "how to use it"),
    ("version", Some('V'), false, "the version"),
];

/// What to do.
#[derive(Debug)]
pub(crate) enum Parsed {
    Print(String),
    Run(Box<Args>),
}

#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) command: Command,
    pub(crate) json: bool,
}

#[derive(Debug)]
pub(crate) enum Command {
    Run { config: PathBuf, until_end: bool },
    Demo(Demo),
    Check { config: PathBuf },
    Plan { config: PathBuf },
    Once(Once),
    Doctor { config: Option<PathBuf> },
    Schema,
}

#[derive(Debug)]
pub(crate) struct Demo {
    pub(crate) model: Option<PathBuf>,
    pub(crate) source: Option<String>,
    pub(crate) listen: String,
}

#[derive(Debug)]
pub(crate) struct Once {
    pub(crate) image: PathBuf,
    pub(crate) prompt: String,
    pub(crate) model: Option<PathBuf>,
}

/// The command line as typed.
#[derive(Default)]
struct Raw {
    positional: Vec<OsString>,
    config: Option<PathBuf>,
    model: Option<PathBuf>,
    prompt: Option<String>,
    source: Option<String>,
    listen: Option<String>,
    until_end: bool,
    json: bool,
}

impl Args {
    pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Parsed, String> {
        let mut raw = Raw::default();
        while let Some(arg) = parser.next().map_err(usage)? {
            match arg {
                Short('h') | Long("help") => return Ok(Parsed::Print(HELP.into())),
                Short('V') | Long("version") => return Ok(Parsed::Print(version())),
                Short('c') | Long("config") => raw.config = Some(parser.value().map_err(usage)?.into()),
                Short('m') | Long("model") => raw.model = Some(parser.value().map_err(usage)?.into()),
                Long("prompt") => raw.prompt = Some(text(&mut parser)?),
                Long("source") => raw.source = Some(text(&mut parser)?),
                Long("listen") => raw.listen = Some(text(&mut parser)?),
                Long("until-end") => raw.until_end = true,
                Long("json") => raw.json = true,
                Value(v) => raw.positional.push(v),
                other => return Err(usage(other.unexpected())),
            }
        }
        raw.check()
    }
}

impl Raw {
    fn check(mut self) -> Result<Parsed, String> {
        if self.positional.is_empty() {
            return Err(usage("no command given"));
        }
        let name = self.positional.remove(0).to_string_lossy().into_owned();
        let json = self.json;
        let command = match name.as_str() {
            "run" => Command::Run { config: self.config()?, until_end: self.until_end },
            "check" => Command::Check { config: self.config()? },
            "plan" => Command::Plan { config: self.config()? },
            "doctor" => Command::Doctor { config: self.config().ok() },
            "demo" => Command::Demo(Demo {
                model: self.model.take(),
                source: self.source.take(),
                listen: self.listen.take().unwrap_or_else(|| "127.0.0.1:8080".into()),
            }),
            "once" => {
                let image = self.positional.pop().ok_or_else(|| usage("once: name a picture"))?.into();
                let prompt = self.prompt.take().unwrap_or_else(|| "caption en".into());
                Command::Once(Once { image, prompt, model: self.model.take() })
            }
            "sample" => return Ok(Parsed::Print(config::SAMPLE.trim_end().into())),
            "schema" => Command::Schema,
            "completions" => {
                let shell = self.positional.pop().ok_or_else(|| usage("completions: name a shell"))?;
                return completions(&shell.to_string_lossy()).map(Parsed::Print);
            }
            other => {
                let names = COMMANDS.map(|(name, _)| name).join(", ");
                return Err(usage(format!("there is no command {other:?}; there are {names}")));
            }
        };
        if let Some(extra) = self.positional.first() {
            return Err(usage(format!("{name} does not take {extra:?}")));
        }
        Ok(Parsed::Run(Box::new(Args { command, json })))
    }

    fn config(&mut self) -> Result<PathBuf, String> {
        let named = self.config.take().or_else(|| std::env::var_os("PG_CAMERA_CONFIG").map(PathBuf::from));
        named.ok_or_else(|| {
            usage("name the configuration with -c FILE; `pg-camera sample` prints one to begin with")
        })
    }
}

fn text(parser: &mut lexopt::Parser) -> Result<String, String> {
    parser.value().map_err(usage)?.into_string().map_err(|v| format!("{v:?} is not UTF-8"))
}

fn usage(problem: impl std::fmt::Display) -> String {
    format!("{problem}\ntry `pg-camera --help`")
}

fn version() -> String {
    let here: Vec<&str> = pg_runtime::Kernels::available().iter().map(|k| k.name()).collect();
    let tls = if cfg!(feature = "tls") { "with TLS" } else { "without TLS" };
    format!("pg-camera {} ({tls}; kernel tables here: {})", env!("CARGO_PKG_VERSION"), here.join(", "))
}

/// What a shell needs to complete commands and options.
fn completions(shell: &str) -> Result<String, String> {
    let commands = COMMANDS.map(|(name, _)| name).join(" ");
    Ok(match shell {
        "bash" => {
            let options = OPTIONS.map(|(long, ..)| format!("--{long}")).join(" ");
            format!(
                "_pg_camera() {{\n    \
                     local word=${{COMP_WORDS[COMP_CWORD]}}\n    \
                     if [ \"$COMP_CWORD\" = 1 ]; then\n        \
                         COMPREPLY=($(compgen -W \"{commands}\" -- \"$word\"))\n    \
                     elif [[ $word == -* ]]; then\n        \
                         COMPREPLY=($(compgen -W \"{options}\" -- \"$word\"))\n    \
                     elif [ \"${{COMP_WORDS[1]}}\" = completions ]; then\n        \
                         COMPREPLY=($(compgen -W \"bash zsh fish\" -- \"$word\"))\n    \
                     else\n        \
                         COMPREPLY=($(compgen -f -- \"$word\"))\n    \
                     fi\n\
                 }}\n\
                 complete -o filenames -F _pg_camera pg-camera"
            )
        }
        "zsh" => {
            let described = COMMANDS.map(|(name, what)| format!("        '{name}:{what}'")).join("\n");
            let options = OPTIONS.map(|(long, short, takes, what)| {
                let value = if takes { format!(":{long}:_files") } else { String::new() };
                match short {
                    Some(c) => format!("        '(-{c} --{long})'{{-{c},--{long}}}'[{what}]{value}'"),
                    None => format!("        '--{long}[{what}]{value}'"),
                }
            });
            format!(
                "#compdef pg-camera\n_pg_camera() {{\n    local -a commands=(\n{described}\n    )\n    \
                 if (( CURRENT == 2 )); then\n        _describe command commands\n        return\n    fi\n    \
                 _arguments \\\n{} \\\n        '*:file:_files'\n}}\n_pg_camera \"$@\"",
                options.join(" \\\n")
            )
        }
        "fish" => {
            let mut lines: Vec<String> = COMMANDS
                .iter()
                .map(|(name, what)| {
                    format!("complete -c pg-camera -n __fish_use_subcommand -f -a {name} -d '{what}'")
                })
                .collect();
            lines.extend(OPTIONS.iter().map(|(long, short, takes, what)| {
                let short = short.map(|c| format!(" -s {c}")).unwrap_or_default();
                let takes = if *takes { " -r -F" } else { "" };
                format!("complete -c pg-camera -l {long}{short}{takes} -d '{what}'")
            }));
            lines.join("\n")
        }
        other => return Err(format!("completions: {other:?} is not known; bash, zsh and fish are")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Parsed, String> {
        Args::parse(lexopt::Parser::from_args(words))
    }

    #[test]
    fn mistakes_say_what_to_do() {
        for (words, part) in [
            (&[][..], "no command given"),
            (&["rnu"], "there is no command \"rnu\"; there are demo, run"),
            (&["check", "-c", "a", "b"], "check does not take \"b\""),
            (&["once"], "name a picture"),
            (&["completions", "tcsh"], "bash, zsh and fish are"),
            (&["run", "--frobnicate"], "--frobnicate"),
        ] {
            let message = parse(words).unwrap_err();
            assert!(message.contains(part), "{words:?}: {message}");
        }
    }

    #[test]
    fn every_command_is_in_the_help_and_in_every_completion() {
        for (name, _) in COMMANDS {
            assert!(HELP.contains(&format!("pg-camera {name}")), "{name}");
            for shell in ["bash", "zsh", "fish"] {
                assert!(completions(shell).unwrap().contains(name), "{shell}, {name}");
            }
        }
        for (long, ..) in OPTIONS {
            assert!(HELP.contains(&format!("--{long}")), "{long}");
        }
    }
}
