//! A chat completion as it is asked, and what of it can be done.

use super::shape::Shape;
use super::stop::Stops;
use crate::event::Kind;
use crate::http::Failure;
use crate::prompt::{self, Prompt, Settings};
use serde::Deserialize;
use serde_json::Value;

/// What is read of a request; other keys are passed over.
#[derive(Debug, Deserialize)]
pub(super) struct Chat {
    messages: Vec<Message>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    stop: Option<OneOrMore>,
    n: Option<i64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    presence_penalty: Option<f64>,
    frequency_penalty: Option<f64>,
    response_format: Option<Value>,
    logprobs: Option<bool>,
    top_logprobs: Option<Value>,
    tools: Option<Value>,
    functions: Option<Value>,
    logit_bias: Option<Value>,
    audio: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Debug, Deserialize)]
struct Message {
    role: Role,
    content: Option<Content>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    System,
    Developer,
    User,
    Assistant,
    Tool,
    Function,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    image_url: Option<ImageUrl>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum ImageUrl {
    Plain(String),
    Object { url: String },
}

/// What is to be done.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) prompt: Prompt,
    /// Their addresses, in the order of the request.
    pub(super) pictures: Vec<String>,
    pub(super) has_system: bool,
    pub(super) is_stream: bool,
    pub(super) with_usage: bool,
    pub(super) max_tokens: Option<usize>,
    pub(super) stops: Stops,
    pub(super) shape: Shape,
}

impl Chat {
    /// What of it can be done.
    ///
    /// # Errors
    /// 400 with the name of what cannot.
    pub(super) fn check(&mut self, settings: &Settings) -> Result<Wanted, Failure> {
        self.refuse_what_is_not_done()?;
        self.check_numbers()?;
        let max_tokens =
            match self.max_completion_tokens.or(self.max_tokens) {
                // As llama-server reads it: as many as there is room for.
                None | Some(-1) => None,
                Some(n) => Some(usize::try_from(n).ok().filter(|n| *n > 0).ok_or_else(|| {
                    Failure::bad("max_tokens", format!("max_tokens: {n} is not 1 or more"))
                })?),
            };
        let stops = match self.stop.take() {
            None => Vec::new(),
            Some(OneOrMore::One(stop)) => vec![stop],
            Some(OneOrMore::More(stops)) => stops,
        };
        let (text, has_system) = self.text()?;
        let prompt = prompt::map(&text, settings).map_err(|e| Failure::bad("messages", e))?;
        let shape = Shape::read(self.response_format.as_ref(), Kind::of_prompt(&prompt.text))?;
        Ok(Wanted {
            prompt,
            pictures: self.pictures()?,
            has_system,
            is_stream: self.stream.unwrap_or(false),
            with_usage: self.stream_options.as_ref().and_then(|o| o.include_usage).unwrap_or(false),
            max_tokens,
            stops: Stops::new(stops)?,
            shape,
        })
    }

    fn refuse_what_is_not_done(&self) -> Result<(), Failure> {
        let is_set = |value: &Option<Value>| match value {
            None | Some(Value::Null) => false,
            Some(Value::Array(list)) => !list.is_empty(),
            Some(Value::Object(map)) => !map.is_empty(),
            Some(_) => true,
        };
        let refused = [
            ("n", self.n.is_some_and(|n| n != 1), "there is one most likely answer: ask for 1"),
            ("tools", is_set(&self.tools), "this model calls no tools"),
            ("functions", is_set(&self.functions), "this model calls no functions"),
            ("logprobs", self.logprobs == Some(true), "probabilities of tokens are not told"),
            ("top_logprobs", is_set(&self.top_logprobs), "probabilities of tokens are not told"),
            ("logit_bias", is_set(&self.logit_bias), "tokens cannot be favoured"),
            ("audio", is_set(&self.audio), "this model does not speak"),
        ];
        match refused.iter().find(|(_, is_set, _)| *is_set) {
            Some((name, _, why)) => Err(Failure::bad(name, format!("{name}: {why}"))),
            None => Ok(()),
        }
    }

    fn check_numbers(&self) -> Result<(), Failure> {
        let ranges = [
            ("temperature", self.temperature, 0.0, 2.0),
            ("top_p", self.top_p, 0.0, 1.0),
            ("presence_penalty", self.presence_penalty, -2.0, 2.0),
            ("frequency_penalty", self.frequency_penalty, -2.0, 2.0),
        ];
        for (name, value, least, most) in ranges {
            if let Some(value) = value.filter(|v| !(least..=most).contains(v)) {
                return Err(Failure::bad(name, format!("{name}: {value} is not between {least} and {most}")));
            }
        }
        Ok(())
    }

    /// What is asked last, and whether there is a system prompt that is left out. A system prompt counts only where
    /// nothing else is said: the model knows tasks and questions, and would take it for one.
    fn text(&self) -> Result<(String, bool), Failure> {
        if let Some(part) = self.messages.iter().flat_map(Message::parts).find(|p| !p.is_known()) {
            let message =
                format!("messages: a part of type {:.40?} is not taken; text and image_url are", part.kind);
            return Err(Failure::bad("messages", message));
        }
        let last_of = |is: fn(Role) -> bool| {
            let text = self.messages.iter().rev().find(|m| is(m.role)).map(Message::text);
            text.filter(|text| !text.trim().is_empty())
        };
        let system = last_of(|role| matches!(role, Role::System | Role::Developer));
        let user = last_of(|role| role == Role::User);
        let has_system = system.is_some() && user.is_some();
        Ok((user.or(system).unwrap_or_default(), has_system))
    }

    /// The pictures of the newest message that has some.
    fn pictures(&mut self) -> Result<Vec<String>, Failure> {
        let newest = self.messages.iter_mut().rev().find(|m| m.parts().any(|p| p.image_url.is_some()));
        let Some(Content::Parts(parts)) = newest.and_then(|m| m.content.as_mut()) else {
            let message = "messages: a picture is needed, as a part {\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/jpeg;base64,…\"}}";
            return Err(Failure::bad("messages", message));
        };
        let urls = parts.iter_mut().filter_map(|part| part.image_url.take());
        Ok(urls
            .map(|url| match url {
                ImageUrl::Plain(url) | ImageUrl::Object { url } => url,
            })
            .collect())
    }
}

impl Message {
    fn parts(&self) -> impl Iterator<Item = &Part> {
        let parts = if let Some(Content::Parts(parts)) = &self.content { &parts[..] } else { &[] };
        parts.iter()
    }

    fn text(&self) -> String {
        match &self.content {
            None => String::new(),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => {
                parts.iter().filter_map(|p| p.text.as_deref()).collect::<Vec<_>>().join("\n")
            }
        }
    }
}

impl Part {
    fn is_known(&self) -> bool {
        match self.kind.as_str() {
            "text" => self.text.is_some(),
            "image_url" => self.image_url.is_some(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(extra: Value) -> Result<Wanted, Failure> {
        let mut request = json!({ "model": "x", "messages": [{ "role": "user", "content": [
            { "type": "text", "text": "detect car" },
            { "type": "image_url", "image_url": { "url": "data:1", "detail": "low" } },
            { "type": "image_url", "image_url": { "url": "data:2" } },
        ]}]});
        for (key, value) in extra.as_object().unwrap() {
            request[key] = value.clone();
        }
        serde_json::from_value::<Chat>(request).unwrap().check(&Settings::default())
    }

    #[test]
    fn what_clients_send_is_understood() {
        let wanted = check(json!({
            "temperature": 0.7, "top_p": 1, "seed": 3, "stop": ["\n"], "max_completion_tokens": 7, "user": "x",
            "stream": true, "stream_options": { "include_usage": true }, "tools": [], "n": 1, "logprobs": false,
        }))
        .unwrap();
        assert_eq!(wanted.prompt.text, "detect car");
        assert_eq!(wanted.pictures, ["data:1", "data:2"]);
        assert_eq!((wanted.max_tokens, wanted.is_stream, wanted.with_usage), (Some(7), true, true));
        assert_eq!(check(json!({ "max_tokens": -1 })).unwrap().max_tokens, None);
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        let refused = [
            ("n", json!(2)),
            ("tools", json!([{ "type": "function" }])),
            ("functions", json!([{}])),
            ("logprobs", json!(true)),
            ("top_logprobs", json!(3)),
            ("logit_bias", json!({ "1": 2 })),
            ("temperature", json!(-1)),
            ("temperature", json!(2.1)),
            ("top_p", json!(1.5)),
            ("max_tokens", json!(0)),
            ("stop", json!(["a", "b", "c", "d", "e"])),
            ("messages", json!([])),
            ("messages", json!([{ "role": "user", "content": "hello?" }])),
            ("messages", json!([{ "role": "user", "content": [{ "type": "input_audio" }] }])),
            ("response_format", json!({ "type": "yaml" })),
        ];
        for (name, value) in refused {
            let failure = check(json!({ name: value })).unwrap_err();
            assert_eq!(failure.json()["error"]["param"], name, "{failure:?}");
            assert_eq!(failure.status(), 400);
        }
    }

    #[test]
    fn system_prompts_count_only_where_nothing_else_is_said() {
        let picture = json!({ "type": "image_url", "image_url": { "url": "data:1" } });
        let text = json!({ "type": "text", "text": "What is it?" });
        let wanted = |parts: Value| {
            let system = json!({ "role": "system", "content": "caption en" });
            check(json!({ "messages": [system, { "role": "user", "content": parts }] })).unwrap()
        };
        let both = wanted(json!([text, picture]));
        assert_eq!((both.prompt.text.as_str(), both.has_system), ("answer en What is it?", true));
        let alone = wanted(json!([picture]));
        assert_eq!((alone.prompt.text.as_str(), alone.has_system), ("caption en", false));
    }
}
