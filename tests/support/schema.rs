//! A validator for the part of JSON Schema 2020-12 that our schemas use. It is stricter than the
//! standard in one way: it refuses what a schema does not describe.
#![allow(dead_code, reason = "no test target uses all of it")]

use regex_automata::nfa::thompson::pikevm::PikeVM;
use serde_json::{Map, Value};

const CHECK_V1: &str = include_str!("../../docs/check-v1.schema.json");
const DEPLOY_V1: &str = include_str!("../../docs/deploy-v1.schema.json");
const IMAGES_V1: &str = include_str!("../../docs/images-v1.schema.json");
const IMPORT_V1: &str = include_str!("../../docs/import-v1.schema.json");

/// Keywords that say nothing about validity.
const ANNOTATIONS: &[&str] = &["$schema", "$defs", "title", "description"];

/// A schema.
#[derive(Debug)]
pub struct Schema(Value);

/// The schema of what a check prints with `--json`.
pub fn check_v1() -> Schema {
    Schema(serde_json::from_str(CHECK_V1).expect("the schema is JSON"))
}

/// The schema of what a deployment prints with `--json`.
pub fn deploy_v1() -> Schema {
    Schema(serde_json::from_str(DEPLOY_V1).expect("the schema is JSON"))
}

/// The schema of what `verb`, one of those on the images of a repo, prints with `--json`.
pub fn images_v1(verb: &str) -> Schema {
    let mut schema: Value = serde_json::from_str(IMAGES_V1).expect("the schema is JSON");
    let schema = schema.as_object_mut().expect("an object");
    schema.remove("anyOf").expect("one of several");
    schema.insert("$ref".to_owned(), format!("#/$defs/{verb}").into());
    Schema(Value::Object(schema.clone()))
}

/// The schema of what an import prints with `--json`.
pub fn import_v1() -> Schema {
    Schema(serde_json::from_str(IMPORT_V1).expect("the schema is JSON"))
}

impl Schema {
    /// What is wrong with `value`; nothing if it is valid.
    pub fn check(&self, value: &Value) -> Vec<String> {
        let mut wrong = Vec::new();
        self.check_at("", &self.0, value, &mut wrong);
        wrong
    }

    /// Properties and definitions that have no description.
    pub fn undescribed(&self) -> Vec<String> {
        fn search(at: &str, schema: &Value, found: &mut Vec<String>) {
            if schema["description"].as_str().is_none_or(str::is_empty) {
                found.push(at.to_owned());
            }
            for group in ["properties", "$defs"] {
                for (name, schema) in schema[group].as_object().into_iter().flatten() {
                    search(&format!("{at}/{name}"), schema, found);
                }
            }
        }
        let mut found = Vec::new();
        search("", &self.0, &mut found);
        found
    }

    fn check_at(&self, at: &str, schema: &Value, value: &Value, wrong: &mut Vec<String>) {
        let schema = schema.as_object().expect("a schema is an object");
        for (keyword, argument) in schema {
            let valid = match &**keyword {
                "$ref" => {
                    self.check_at(at, self.definition(argument), value, wrong);
                    true
                }
                "anyOf" => array(argument).iter().any(|schema| {
                    let mut wrong = Vec::new();
                    self.check_at(at, schema, value, &mut wrong);
                    wrong.is_empty()
                }),
                "type" => match argument {
                    Value::Array(types) => types.iter().any(|t| has_type(value, t)),
                    _ => has_type(value, argument),
                },
                "const" => value == argument,
                "enum" => array(argument).contains(value),
                "minimum" => value.as_i64() >= argument.as_i64(),
                "pattern" => value
                    .as_str()
                    .is_none_or(|text| matches(argument.as_str().expect("a pattern"), text)),
                "required" => value.as_object().is_none_or(|object| {
                    let mut names = array(argument).iter().filter_map(Value::as_str);
                    names.all(|name| object.contains_key(name))
                }),
                "properties" => {
                    let properties = argument.as_object().expect("properties");
                    self.check_properties(at, properties, value, wrong);
                    true
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check_at(&format!("{at}/{index}"), argument, item, wrong);
                    }
                    true
                }
                other => {
                    assert!(ANNOTATIONS.contains(&other), "{other} is not known here");
                    true
                }
            };
            if !valid {
                wrong.push(format!("{at}: {value} is against {keyword} {argument}"));
            }
        }
    }

    fn check_properties(
        &self,
        at: &str,
        properties: &Map<String, Value>,
        value: &Value,
        wrong: &mut Vec<String>,
    ) {
        for (name, value) in value.as_object().into_iter().flatten() {
            let at = format!("{at}/{name}");
            match properties.get(name) {
                Some(schema) => self.check_at(&at, schema, value, wrong),
                None => wrong.push(format!("{at} is not described")),
            }
        }
    }

    fn definition(&self, reference: &Value) -> &Value {
        let reference = reference.as_str().expect("a reference is text");
        let pointer = reference.strip_prefix('#').expect("a local reference");
        self.0
            .pointer(pointer)
            .unwrap_or_else(|| panic!("{reference} leads nowhere"))
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().expect("an array")
}

fn has_type(value: &Value, name: &Value) -> bool {
    match name.as_str().expect("the name of a type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("type {other} is not known here"),
    }
}

/// ECMA-262 and Rust's syntax agree on what our patterns use.
fn matches(pattern: &str, text: &str) -> bool {
    let regex = PikeVM::new(pattern).expect("a valid pattern");
    regex.is_match(&mut regex.create_cache(), text)
}
