//! Schemas that are filled, and those that are refused.

use super::*;
use crate::event::Timing;

fn answer(text: &str) -> Answer {
    let object = Object {
        label: "car".into(),
        score: 0.5,
        bbox: [0.0, 0.25, 0.5, 1.0],
        box_px: [0, 25, 50, 100],
        zones: Vec::new(),
    };
    Answer {
        text: text.into(),
        objects: vec![object],
        n_tokens: 3,
        timing: Timing::default(),
        is_whole: true,
        is_cut: false,
    }
}

fn schema(properties: Value, required: &[&str]) -> Value {
    let schema = json!({ "type": "object", "properties": properties, "required": required });
    json!({ "type": "json_schema", "json_schema": { "name": "x", "strict": true, "schema": schema } })
}

fn refusal(format: &Value, kind: Kind) -> String {
    let failure = Shape::read(Some(format), kind).unwrap_err();
    assert_eq!(
        (failure.status().as_u16(), &failure.json()["error"]["param"]),
        (400, &json!("response_format"))
    );
    failure.json()["error"]["message"].as_str().unwrap().to_string()
}

#[test]
fn fixed_shapes() {
    let format = json!({ "type": "json_object" });
    let fill = |kind| Shape::read(Some(&format), kind).unwrap().fill(&answer(" a car ")).unwrap();
    assert_eq!(fill(Kind::Caption), json!({ "caption": "a car" }));
    assert_eq!(fill(Kind::Answer), json!({ "answer": "a car" }));
    let object =
        json!({ "label": "car", "score": 0.5, "box": [0.0, 0.25, 0.5, 1.0], "box_px": [0, 25, 50, 100] });
    assert_eq!(fill(Kind::Detect), json!({ "objects": [object] }));
    assert_eq!(Shape::read(None, Kind::Detect).unwrap(), Shape::Text);
}

#[test]
fn strings_are_filled_and_shortened_at_a_word() {
    let format = schema(
        json!({
            "title": { "type": "string", "maxLength": 12 },
            "scene": { "anyOf": [{ "type": "string" }, { "type": "null" }] },
            "notes": { "type": "array", "items": { "type": "string" } },
            "threat": { "type": "integer" },
        }),
        &["title", "scene"],
    );
    let shape = Shape::read(Some(&format), Kind::Caption).unwrap();
    let filled = shape.fill(&answer("a red car, parked outside")).unwrap();
    let scene = "a red car, parked outside";
    assert_eq!(filled, json!({ "title": "a red car…", "scene": scene, "notes": [scene] }));
    assert_eq!(shape.filled().unwrap(), json!(["title", "scene", "notes"]));
}

#[test]
fn what_would_have_to_be_made_up_is_refused_by_name() {
    let string = json!({ "type": "string" });
    for (name, demanded) in [
        ("confidence", json!({ "type": "number" })),
        ("potential_threat_level", json!({ "type": "integer", "minimum": 0 })),
        ("is_safe", json!({ "type": "boolean" })),
        ("observations", json!({ "type": "array", "minItems": 3, "items": { "type": "string" } })),
        ("nested", json!({ "type": "object" })),
        ("either", json!({ "anyOf": [{ "type": "string" }, { "type": "number" }] })),
        ("mail", json!({ "type": "string", "format": "email" })),
    ] {
        let format = schema(json!({ "scene": string, name: demanded }), &["scene", name]);
        let message = refusal(&format, Kind::Caption);
        assert!(message.contains(&format!("property {name:?} cannot be filled")), "{message}");
    }
    refusal(&schema(json!({ "scene": string }), &["other"]), Kind::Caption);
    refusal(&schema(json!({ "n": { "type": "integer" } }), &[]), Kind::Caption);
    refusal(&json!({ "type": "json_schema" }), Kind::Caption);
    refusal(&schema(json!({ "scene": string }), &["scene"]), Kind::Detect);
}

#[test]
fn boxes_fill_lists_of_objects() {
    let items = json!({ "type": "object", "required": ["label", "x_min"], "properties": {
        "label": { "type": "string" }, "x_min": { "type": "number" }, "y_max": { "type": "number" },
        "colour": { "type": "string" },
    }});
    let format = schema(json!({ "cars": { "type": "array", "items": items } }), &["cars"]);
    let filled = Shape::read(Some(&format), Kind::Detect).unwrap().fill(&answer("")).unwrap();
    assert_eq!(filled, json!({ "cars": [{ "label": "car", "x_min": 0.0, "y_max": 1.0 }] }));
    let items =
        json!({ "type": "object", "required": ["colour"], "properties": { "colour": { "type": "string" } } });
    let format = schema(json!({ "cars": { "type": "array", "items": items } }), &["cars"]);
    assert!(refusal(&format, Kind::Detect).contains("\"colour\""));
}

#[test]
fn words_that_do_not_fit_are_told_instead_of_bent() {
    let choice = schema(json!({ "a": { "type": "string", "enum": ["Yes", "No"] } }), &["a"]);
    let shape = Shape::read(Some(&choice), Kind::Answer).unwrap();
    assert_eq!(shape.fill(&answer("yes")).unwrap(), json!({ "a": "Yes" }));
    assert_eq!(shape.fill(&answer("maybe")).unwrap_err().status(), 422);
    let long = schema(json!({ "scene": { "type": "string", "minLength": 150 } }), &["scene"]);
    let shape = Shape::read(Some(&long), Kind::Caption).unwrap();
    assert_eq!(shape.fill(&answer("a car")).unwrap_err().status(), 422);
}
