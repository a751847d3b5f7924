//! The settings of file and environment, merged, and the origin of each value.

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Tag, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::environment::Environment;
use super::error::{Error, Origin};
use super::presets;
use crate::platforms::built_in_names;

const ENVIRONMENT: &str = "environment";

/// The source of a value. A later one overrides an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layer {
    File,
    Environment,
}

/// The merged settings.
pub(super) struct Layers {
    root: Value,
    figment: Figment,
    /// Name of the file in messages.
    file: String,
}

impl Layers {
    pub(super) fn merge(file: &str, toml: &str, environment: &Environment) -> Result<Self, Error> {
        let broken = |error: &figment::Error| Error::NotToml { file: file.to_owned(), problem: without_source(error) };
        let toml = Toml::string(toml);
        toml.data().map_err(|error| broken(&error))?;
        let figment = Figment::from(toml).merge(Variables(environment));
        let mut root = figment.find_value("").map_err(|error| broken(&error))?;
        presets::fill_in(&mut root, &built_in_names());
        Ok(Self { root, figment, file: file.to_owned() })
    }

    /// The value at a path.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(&self.root, |value, key| value.as_dict()?.get(*key))
    }

    /// The keys of the table at a path; none when there is no table.
    pub(super) fn keys(&self, path: &[&str]) -> Vec<String> {
        self.at(path).and_then(Value::as_dict).map(|table| table.keys().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn layer(&self, value: &Value) -> Layer {
        match self.figment.get_metadata(value.tag()).map(|metadata| metadata.name.as_ref()) {
            Some(ENVIRONMENT) => Layer::Environment,
            _ => Layer::File,
        }
    }

    /// The place where the value at a path was written; for a missing value, the place where it belongs.
    pub(super) fn origin(&self, path: &[&str]) -> Origin {
        let layer = match self.at(path) {
            Some(value) => self.lowest_layer(value),
            None => path
                .split_last()
                .and_then(|(_, parent)| self.at(parent))
                .map_or(Layer::File, |parent| self.lowest_layer(parent)),
        };
        match layer {
            Layer::Environment => Origin::Environment(Environment::variable(path)),
            Layer::File => Origin::File(self.file.clone()),
        }
    }

    /// A table may come from several layers. It counts as the file's if any of its keys does.
    fn lowest_layer(&self, value: &Value) -> Layer {
        match value {
            Value::Dict(_, table) => table.values().map(|value| self.lowest_layer(value)).min().unwrap_or(Layer::File),
            other => self.layer(other),
        }
    }
}

/// A parser's error without the lines that quote the file.
fn without_source(error: &figment::Error) -> String {
    let text = error.to_string();
    let kept: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| {
            let gutter = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
            !line.is_empty() && !gutter.starts_with('|')
        })
        .collect();
    kept.join(", ").trim_start_matches("TOML parse error ").to_owned()
}

/// The settings of the environment, in which every value is text.
struct Variables<'a>(&'a Environment);

impl Provider for Variables<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named(ENVIRONMENT)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut root = Dict::new();
        for (_, path, text) in self.0.settings() {
            insert(&mut root, &path, text);
        }
        Ok(Map::from([(Profile::Default, root)]))
    }
}

fn insert(table: &mut Dict, path: &[String], text: &str) {
    match path {
        [] => {}
        [key] => {
            table.insert(key.clone(), Value::from(text));
        }
        [key, rest @ ..] => {
            let entry = table.entry(key.clone()).or_insert_with(|| Value::Dict(Tag::Default, Dict::new()));
            if entry.as_dict().is_none() {
                *entry = Value::Dict(Tag::Default, Dict::new());
            }
            if let Value::Dict(_, below) = entry {
                insert(below, rest, text);
            }
        }
    }
}
