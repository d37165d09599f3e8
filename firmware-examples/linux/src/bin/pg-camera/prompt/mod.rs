//! What the model is asked, made of what somebody wrote.
//!
//! The checkpoints know a few tasks by their first words, such as `detect` and `caption en`, and little else. People, and
//! programs made for other models, write questions and instructions. Here is decided which task a text becomes; the answer
//! says so beside it. `images` chooses among several pictures. What is absent: tokens, and what tasks answer.

pub(crate) mod images;
#[cfg(test)]
mod tests;

use images::Images;
use serde::Deserialize;

/// Characters of a prompt, at most; settings may ask for fewer.
const MOST_CHARS: usize = 1000;
/// Words of one thing to detect or segment. What is longer is a sentence.
const MOST_WORDS: usize = 6;
/// Languages that the checkpoints saw captions in, by their codes in prompts. Only these are language codes: `answer the
/// question` begins with none.
const LANGUAGES: [&str; 37] = [
    "ar", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fil", "fr", "he", "hi", "hr", "hu", "id",
    "it", "iw", "ja", "ko", "mi", "nl", "no", "pl", "pt", "quz", "ro", "ru", "sv", "sw", "te", "th", "tr",
    "uk", "vi", "zh",
];
/// Marks with which questions end, in several scripts.
const QUESTION_MARKS: [char; 4] = ['?', '？', '؟', '\u{37e}'];
/// Words with which English questions begin.
const QUESTION_WORDS: [&str; 34] = [
    "what", "who", "whom", "whose", "where", "when", "why", "which", "how", "is", "are", "was", "were", "am",
    "do", "does", "did", "can", "could", "will", "would", "should", "shall", "may", "might", "must", "has",
    "have", "had", "isn't", "aren't", "doesn't", "what's", "who's",
];
/// Words after `detect` that begin a sentence instead of naming a thing.
const SENTENCE_WORDS: [&str; 10] =
    ["if", "whether", "when", "any", "all", "every", "everything", "how", "and", "what"];

/// What happens to prompts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Whether only tasks are taken, or other texts made into tasks.
    pub(crate) mode: Mode,
    /// The language of answers, as a code such as `en`, `de` or `zh`.
    pub(crate) language: String,
    /// The task that stands for an instruction: any task without a blank to fill in, such as `describe en`. Left out:
    /// `describe` in the language.
    pub(crate) fallback: Option<String>,
    /// Characters of a text, above which it is an instruction rather than a question. 20 to 1000.
    pub(crate) max_chars: usize,
    /// What is looked at if a request has several pictures.
    pub(crate) images: Images,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            mode: Mode::Map,
            language: "en".into(),
            fallback: None,
            max_chars: 200,
            images: Images::Middle,
        }
    }
}

/// What is taken as a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// Tasks that the checkpoints know, and nothing else.
    Task,
    /// Anything: what is no task becomes one.
    #[default]
    Map,
}

impl Settings {
    /// Says in words what is wrong with them.
    pub(crate) fn validate(&self) -> Result<(), String> {
        if !is_language(&self.language) {
            return Err(format!("language is {:?}: give one of {}", self.language, LANGUAGES.join(", ")));
        }
        if !(20..=MOST_CHARS).contains(&self.max_chars) {
            return Err(format!("max_chars is {}: give 20 to {MOST_CHARS} characters", self.max_chars));
        }
        match &self.fallback {
            Some(text) if task(text).as_deref() != Some(text) || text.chars().count() > self.max_chars => {
                Err(format!(
                    "fallback is {text:?}: give a task that the model knows, such as \"describe en\" or \"caption en\""
                ))
            }
            _ => Ok(()),
        }
    }

    /// The task that stands for what is none.
    fn fallback(&self) -> String {
        self.fallback.clone().unwrap_or_else(|| format!("describe {}", self.language))
    }
}

/// What the model is asked, and why that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prompt {
    /// The text for the model, on one line.
    pub(crate) text: String,
    /// Why it is this one.
    pub(crate) why: Why,
}

/// Why a prompt was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// It was a task already.
    Task,
    /// It was a question.
    Question,
    /// It was something else, for which the fallback stands.
    Instruction,
    /// It was longer than a question, so the fallback stands for it.
    TooLong,
    /// There was none.
    Empty,
}

impl Why {
    /// For people.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Why::Task => "the prompt is a task that the model knows",
            Why::Question => "the prompt is a question",
            Why::Instruction => "the prompt is neither a task nor a question: the fallback was used",
            Why::TooLong => "the prompt is too long for this model: the fallback was used",
            Why::Empty => "there was no prompt: the fallback was used",
        }
    }
}

/// Makes a prompt of a text. Only `Mode::Task` refuses one, and tasks that are too long are refused always: to answer
/// something else instead of a list of things would be wrong.
pub(crate) fn map(text: &str, settings: &Settings) -> Result<Prompt, String> {
    let (line, whole) = one_line(text, settings.max_chars);
    let prompt = |text, why| Ok(Prompt { text, why });
    if let Some(task) = task(&line) {
        return match whole {
            true => prompt(task, Why::Task),
            false => Err(format!(
                "the prompt {:?}… is longer than {} characters: ask for fewer things at once",
                line.chars().take(40).collect::<String>(),
                settings.max_chars
            )),
        };
    }
    if settings.mode == Mode::Task {
        return Err(format!(
            "{:?} is no task: begin with caption, describe, ocr, answer and a language (`answer en what is it?`), or \
             with detect or segment and things separated by ` ; `",
            line.chars().take(40).collect::<String>()
        ));
    }
    let why = match (line.is_empty(), whole) {
        (true, _) => Why::Empty,
        (_, false) => Why::TooLong,
        _ if is_question(&line) => Why::Question,
        _ => Why::Instruction,
    };
    match why {
        Why::Question => prompt(format!("answer {} {line}", settings.language), why),
        _ => prompt(settings.fallback(), why),
    }
}

/// A text without line breaks, control characters and more than one space at a time, which the model was not trained with
/// inside a prompt; and whether that is all of it or only `most` characters.
fn one_line(text: &str, most: usize) -> (String, bool) {
    let mut line = String::new();
    let mut n = 0;
    // However long a text is, not much more than is used is looked at.
    let mut rest = text.chars();
    for c in rest.by_ref().take(4 * MOST_CHARS) {
        let space = c.is_whitespace() || c.is_control();
        if space && (line.is_empty() || line.ends_with(' ')) {
            continue;
        }
        if n == most {
            if space {
                continue;
            }
            return (line.trim_end().into(), false);
        }
        line.push(if space { ' ' } else { c });
        n += 1;
    }
    let whole = rest.next().is_none();
    (line.trim_end().into(), whole)
}

/// The task that a text is, its first word in small letters; `None` if it is none.
fn task(line: &str) -> Option<String> {
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    let first = first.to_lowercase();
    let (second, more) = rest.split_once(' ').unwrap_or((rest, ""));
    let fits = match first.as_str() {
        "caption" | "cap" | "describe" | "ocr" => rest.is_empty() || is_language(rest),
        "answer" | "question" => is_language(second) && !more.is_empty(),
        "detect" | "segment" => rest.split(';').all(|thing| is_thing(thing.trim())),
        _ => false,
    };
    fits.then(|| if rest.is_empty() { first } else { format!("{first} {rest}") })
}

/// Whether this names a thing, such as `red car`, rather than saying something.
fn is_thing(text: &str) -> bool {
    let words = text.split(' ').filter(|w| !w.is_empty()).count();
    let first = text.split(' ').next().unwrap_or_default().to_lowercase();
    (1..=MOST_WORDS).contains(&words)
        && !SENTENCE_WORDS.contains(&first.as_str())
        && !text.ends_with(['?', '.', '!', ':'])
}

fn is_language(text: &str) -> bool {
    LANGUAGES.contains(&text)
}

/// Whether a text asks something: by its mark, in any language, or by its first word, in English.
fn is_question(line: &str) -> bool {
    let first: String = line
        .chars()
        .take_while(|c| c.is_alphabetic() || "'’".contains(*c))
        .collect::<String>()
        .to_lowercase();
    let first = first.replace('’', "'");
    line.starts_with('¿')
        || line.trim_end_matches(['"', '\'', ')', ' ']).ends_with(QUESTION_MARKS)
        || QUESTION_WORDS.contains(&first.as_str())
}
