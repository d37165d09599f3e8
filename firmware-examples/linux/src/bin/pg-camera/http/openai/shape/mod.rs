//! JSON in answers: fixed shapes, or those of a schema as far as they can be filled honestly.
//!
//! The model says a text, or boxes with names. That fills strings, lists of strings and lists of objects. A schema that
//! demands anything else (a confidence, a judgement) is refused with the name of what cannot be filled, because a
//! number made up would be worse than none.

use crate::event::{Kind, Object};
use crate::http::Failure;
use crate::http::ask::Answer;
use hyper::StatusCode;
use serde_json::{Map, Value, json};

/// What an answer looks like.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// The model's words.
    Text,
    /// `{"objects": […]}`, `{"caption": …}` or `{"answer": …}`.
    Fixed(Kind),
    /// Properties of a schema.
    Properties(Vec<(String, Fill)>),
}

/// What fills a property.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fill {
    Words(Words),
    /// A list with the words as its only item.
    ListOfWords(Words),
    /// What was found, with these keys each.
    Objects(Vec<(String, Part)>),
}

/// A string in a schema.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Words {
    min: usize,
    max: Option<usize>,
    choices: Option<Vec<String>>,
}

/// What is known of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Label,
    Score,
    Box,
    BoxInPixels,
    Side(usize),
}

impl Shape {
    /// The shape that `response_format` demands of an answer of this kind.
    ///
    /// # Errors
    /// 400 if it cannot be filled.
    pub(super) fn read(format: Option<&Value>, kind: Kind) -> Result<Self, Failure> {
        let bad = |what: String| Failure::bad("response_format", format!("response_format: {what}"));
        let Some(format) = format.filter(|f| !f.is_null()) else { return Ok(Shape::Text) };
        let schema = match format["type"].as_str() {
            Some("text") => return Ok(Shape::Text),
            Some("json_object") if format["schema"].is_null() => return Ok(Shape::Fixed(kind)),
            Some("json_object") => &format["schema"],
            Some("json_schema") => &format["json_schema"]["schema"],
            other => {
                return Err(bad(format!(
                    "type {other:.40?} is not known; text, json_object and json_schema are"
                )));
            }
        };
        let Some(properties) = schema["properties"].as_object().filter(|p| !p.is_empty()) else {
            return Err(bad("the schema must be that of an object with properties".into()));
        };
        let required = required(schema);
        let mut filled = Vec::new();
        for (name, schema) in properties {
            match Fill::read(schema, kind) {
                Ok(fill) => filled.push((name.clone(), fill)),
                Err(why) if required.contains(&name.as_str()) => {
                    return Err(bad(format!("property {name:?} cannot be filled: {why}")));
                }
                Err(_) => {}
            }
        }
        match required.iter().find(|name| !properties.contains_key(**name)) {
            Some(name) => {
                Err(bad(format!("property {name:?} is required, but the schema does not describe it")))
            }
            None if filled.is_empty() => Err(bad("none of the schema's properties can be filled".into())),
            None => Ok(Shape::Properties(filled)),
        }
    }

    /// The answer in this shape.
    ///
    /// # Errors
    /// 422 if what the model said does not fit.
    pub(super) fn fill(&self, answer: &Answer) -> Result<Value, Failure> {
        let text = answer.text.trim();
        Ok(match self {
            Shape::Text => json!(text),
            Shape::Fixed(Kind::Detect) => {
                json!({ "objects": answer.objects.iter().map(object).collect::<Vec<_>>() })
            }
            Shape::Fixed(Kind::Caption) => json!({ "caption": text }),
            Shape::Fixed(_) => json!({ "answer": text }),
            Shape::Properties(properties) => {
                let mut map = Map::new();
                for (name, fill) in properties {
                    map.insert(name.clone(), fill.value(name, answer)?);
                }
                Value::Object(map)
            }
        })
    }

    /// Names of a schema's properties that are filled.
    pub(super) fn filled(&self) -> Option<Value> {
        let Shape::Properties(properties) = self else { return None };
        Some(properties.iter().map(|(name, _)| name.as_str()).collect())
    }
}

fn required(schema: &Value) -> Vec<&str> {
    schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn object(o: &Object) -> Value {
    json!({ "label": o.label, "score": o.score, "box": o.bbox, "box_px": o.box_px })
}

/// The type of a schema, and the part that says more of it: one that may be null is as good as one that may not.
fn typed(schema: &Value) -> (Option<&str>, &Value) {
    let choices = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array());
    if let Some(choices) = choices {
        let mut real = choices.iter().filter(|c| c["type"] != "null");
        return match (real.next(), real.next()) {
            (Some(only), None) => (only["type"].as_str(), only),
            _ => (None, schema),
        };
    }
    match &schema["type"] {
        Value::Array(types) => {
            let mut real = types.iter().filter(|t| *t != "null");
            (real.next().filter(|_| types.len() <= 2).and_then(Value::as_str), schema)
        }
        kind => (kind.as_str(), schema),
    }
}

impl Fill {
    fn read(schema: &Value, kind: Kind) -> Result<Self, String> {
        let has_words = kind != Kind::Detect;
        match typed(schema) {
            (Some("string"), schema) if has_words => Ok(Fill::Words(Words::read(schema)?)),
            (Some("array"), schema) => {
                let at_least = schema["minItems"].as_u64().unwrap_or(0);
                match typed(&schema["items"]) {
                    (Some("string"), items) if has_words && at_least <= 1 => {
                        Ok(Fill::ListOfWords(Words::read(items)?))
                    }
                    (Some("string"), _) if has_words => {
                        Err(format!("it wants {at_least} items at least, and the model says one"))
                    }
                    (Some("object"), items) if !has_words && at_least == 0 => parts(items).map(Fill::Objects),
                    _ => Err(said(kind)),
                }
            }
            _ => Err(said(kind)),
        }
    }

    fn value(&self, name: &str, answer: &Answer) -> Result<Value, Failure> {
        let text = answer.text.trim();
        let fail = |why| {
            let message = format!("response_format: property {name:?} cannot be filled: {why}");
            Failure::new(StatusCode::UNPROCESSABLE_ENTITY, message)
        };
        Ok(match self {
            Fill::Words(words) => json!(words.fit(text).map_err(fail)?),
            Fill::ListOfWords(words) => json!([words.fit(text).map_err(fail)?]),
            Fill::Objects(parts) => {
                let filled = |o: &Object| -> Value {
                    parts
                        .iter()
                        .map(|(name, part)| (name.clone(), part.value(o)))
                        .collect::<Map<_, _>>()
                        .into()
                };
                answer.objects.iter().map(filled).collect()
            }
        })
    }
}

/// What the model has to say.
fn said(kind: Kind) -> String {
    match kind {
        Kind::Detect => "the model says boxes with names, which fill a list of objects".into(),
        _ => "the model says words, which fill strings and lists of strings".into(),
    }
}

fn parts(schema: &Value) -> Result<Vec<(String, Part)>, String> {
    let properties = schema["properties"].as_object().ok_or("its items have no properties")?;
    let required = required(schema);
    let mut parts = Vec::new();
    for (name, schema) in properties {
        let (kind, part) = match name.as_str() {
            "label" | "name" | "class" => ("string", Part::Label),
            "score" => ("number", Part::Score),
            "box" | "bbox" => ("array", Part::Box),
            "box_px" => ("array", Part::BoxInPixels),
            "x_min" => ("number", Part::Side(0)),
            "y_min" => ("number", Part::Side(1)),
            "x_max" => ("number", Part::Side(2)),
            "y_max" => ("number", Part::Side(3)),
            _ => ("", Part::Label),
        };
        if typed(schema).0 == Some(kind) {
            parts.push((name.clone(), part));
        } else if required.contains(&name.as_str()) {
            return Err(format!(
                "{name:?} of its items is not known; label, score, box, box_px, x_min, y_min, x_max and y_max are"
            ));
        }
    }
    Ok(parts)
}

impl Part {
    fn value(self, o: &Object) -> Value {
        match self {
            Part::Label => json!(o.label),
            Part::Score => json!(o.score),
            Part::Box => json!(o.bbox),
            Part::BoxInPixels => json!(o.box_px),
            Part::Side(i) => json!(o.bbox[i]),
        }
    }
}

impl Words {
    fn read(schema: &Value) -> Result<Self, String> {
        if !schema["pattern"].is_null() || !schema["format"].is_null() || !schema["const"].is_null() {
            return Err("the model's words fit no pattern".into());
        }
        let choices = schema["enum"].as_array();
        let choices = choices.map(|c| c.iter().filter_map(Value::as_str).map(String::from).collect());
        let length = |key: &str| schema[key].as_u64().map(|n| n as usize);
        Ok(Words { min: length("minLength").unwrap_or(0), max: length("maxLength"), choices })
    }

    fn fit(&self, text: &str) -> Result<String, String> {
        if let Some(choices) = &self.choices {
            let fits = choices.iter().find(|choice| choice.eq_ignore_ascii_case(text));
            return fits
                .cloned()
                .ok_or_else(|| format!("the model says {text:?}, which is none of its values"));
        }
        let n = text.chars().count();
        if n < self.min {
            return Err(format!("the model says {text:?}, {n} characters; it wants {} at least", self.min));
        }
        match self.max {
            Some(max) if n > max => Ok(shortened(text, max)),
            _ => Ok(text.to_string()),
        }
    }
}

/// The first words, with an ellipsis, in so many characters.
fn shortened(text: &str, max: usize) -> String {
    let Some(room) = max.checked_sub(1) else { return String::new() };
    let end = text.char_indices().nth(room).map_or(text.len(), |(i, _)| i);
    let start = &text[..end];
    let words = start.rsplit_once(' ').map_or(start, |(words, _)| words);
    format!("{}…", words.trim_end_matches([' ', ',', '.']))
}

#[cfg(test)]
mod tests;
