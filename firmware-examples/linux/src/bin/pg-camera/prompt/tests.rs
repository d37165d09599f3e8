//! Texts that people and programs send, and what becomes of them.

use super::*;

fn mapped(text: &str) -> (String, Why) {
    let prompt = map(text, &Settings::default()).unwrap();
    (prompt.text, prompt.why)
}

#[test]
fn tasks_pass_as_they_are() {
    for text in [
        "caption",
        "caption en",
        "cap de",
        "describe",
        "describe en",
        "ocr",
        "ocr en",
        "answer en what is it?",
        "answer en where is the cow standing?",
        "question en a cow",
        "detect cat",
        "detect cat ; red car",
        "detect person;dog",
        "segment left shoe",
        "detect person with a red hat on",
    ] {
        assert_eq!(mapped(text), (text.into(), Why::Task));
    }
    assert_eq!(mapped("Detect Eiffel tower\n"), ("detect Eiffel tower".into(), Why::Task));
    assert_eq!(mapped("  CAPTION  en "), ("caption en".into(), Why::Task));
}

#[test]
fn questions_become_answers() {
    for text in [
        "What is the man doing?",
        "is the gate open",
        "How many cars are there",
        "Ist das Tor offen?",
        "¿Quién está ahí",
        "门开着吗？",
        "The gate is open, isn't it?",
        "answer the question: who is there?",
        "what's this",
        "What’s in the box",
        "(Is it raining?)",
        "describe en or de, which?",
    ] {
        assert_eq!(mapped(text), (format!("answer en {text}"), Why::Question));
    }
    let german = Settings { language: "de".into(), ..Settings::default() };
    assert_eq!(map("Ist das Tor offen?", &german).unwrap().text, "answer de Ist das Tor offen?");
}

#[test]
fn instructions_become_descriptions() {
    for text in [
        "Describe this image",
        "describe the picture in detail",
        "caption this",
        "Caption EN now please",
        "detect whether the gate is open",
        "Detect if there is a person",
        "detect everything.",
        "detect",
        "detect cat ; ",
        "Write a poem.",
        "answer en",
        "question",
        "isolated house",
        "whatever you like",
        "segment one two three four five six seven",
    ] {
        assert_eq!(mapped(text), ("describe en".into(), Why::Instruction), "{text}");
    }
    assert_eq!(mapped(""), ("describe en".into(), Why::Empty));
    assert_eq!(mapped(" \n\u{0}\t "), ("describe en".into(), Why::Empty));
}

#[test]
fn long_instructions_are_not_cut_in_the_middle() {
    let long = "Analyse the sequence of pictures of the person. Say what the person may do next, and why. "
        .repeat(3)
        + "What?";
    assert_eq!(mapped(&long), ("describe en".into(), Why::TooLong));
    let caption = Settings { fallback: Some("caption de".into()), ..Settings::default() };
    caption.validate().unwrap();
    assert_eq!(map(&long, &caption).unwrap().text, "caption de");
    // Megabytes are not copied; spaces alone are no text, and spaces after a text do not make it long.
    assert_eq!(mapped(&"x".repeat(10 << 20)), ("describe en".into(), Why::TooLong));
    let exact = format!("is{}?", "s".repeat(197));
    assert_eq!(mapped(&format!("{exact}   ")), (format!("answer en {exact}"), Why::Question));
    assert_eq!(mapped(&format!("x{exact}")).1, Why::TooLong);
}

#[test]
fn line_breaks_and_control_characters_do_not_reach_the_model() {
    assert_eq!(
        mapped("what is\r\n\tthis\u{1b}[31m?\n"),
        ("answer en what is this [31m?".into(), Why::Question)
    );
    assert_eq!(mapped("detect cat\n;\ndog"), ("detect cat ; dog".into(), Why::Task));
}

#[test]
fn tasks_alone_in_mode_task() {
    let only = Settings { mode: Mode::Task, ..Settings::default() };
    assert_eq!(map("detect cat", &only).unwrap().why, Why::Task);
    for text in ["What is this?", "Describe this image", ""] {
        let error = map(text, &only).unwrap_err();
        assert!(error.contains("is no task: begin with caption, describe, ocr"), "{error}");
    }
    assert!(map(&"x".repeat(1 << 20), &only).unwrap_err().len() < 400);
}

#[test]
fn lists_of_things_that_are_too_long_are_refused_in_both_modes() {
    let list = format!("detect {}", vec!["person"; 50].join(" ; "));
    for mode in [Mode::Task, Mode::Map] {
        let error = map(&list, &Settings { mode, ..Settings::default() }).unwrap_err();
        assert!(error.contains("longer than 200 characters: ask for fewer things"), "{error}");
    }
}

#[test]
fn whatever_comes_a_prompt_is_one_line_of_limited_length() {
    let mut seed = 11_u64;
    let pieces = [
        "detect ",
        "?",
        "\n",
        " ; ",
        "answer en ",
        "é",
        "\u{202e}",
        "cat",
        " ",
        "\0",
        "<loc0001>",
        "what ",
        "字",
    ];
    for _ in 0..2000 {
        let mut text = String::new();
        for _ in 0..40 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text += pieces[(seed >> 33) as usize % pieces.len()];
        }
        if let Ok(prompt) = map(&text, &Settings::default()) {
            let prompt = prompt.text;
            assert!(!prompt.is_empty() && prompt.chars().count() <= 200 + "answer en ".len(), "{prompt:?}");
            assert!(!prompt.contains(char::is_control) && prompt.trim() == prompt, "{prompt:?}");
        }
    }
}

#[test]
fn settings_are_read_and_refused_in_words() {
    let read = |text: &str| serde_json::from_str::<Settings>(text).map_err(|e| e.to_string());
    assert_eq!(read("{}").unwrap(), Settings::default());
    let set = read(r#"{"mode": "task", "images": "grid", "fallback": "ocr"}"#).unwrap();
    assert_eq!((set.mode, set.images, set.validate()), (Mode::Task, Images::Grid, Ok(())));
    assert!(
        read(r#"{"mode": "free"}"#).unwrap_err().contains("unknown variant `free`, expected `task` or `map`")
    );
    assert!(read(r#"{"lang": "en"}"#).unwrap_err().contains("unknown field `lang`"));
    for (text, expected) in [
        (r#"{"language": "English"}"#, "language is \"English\": give one of ar, bn"),
        (r#"{"max_chars": 5}"#, "max_chars is 5: give 20 to 1000"),
        (r#"{"fallback": "tell me"}"#, "fallback is \"tell me\": give a task"),
        (r#"{"fallback": "Caption en"}"#, "fallback is \"Caption en\""),
    ] {
        let error = read(text).unwrap().validate().unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}
