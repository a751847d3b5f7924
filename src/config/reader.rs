//! Reads typed values from the merged settings and collects all mistakes, so that the user sees them at once.
//!
//! A value from the file must have its TOML type. Values from the environment are text, parsed as the key's type. Every
//! key that is read becomes known; [`Reader::finish`] reports the others.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::value::Value;
use url::Url;

use super::Files;
use super::error::{Mistake, Mistakes, Origin, Warning};
use super::exposure::{self, Exposure};
use super::keys::KnownKeys;
use super::layers::{Layer, Layers};
use super::secrets::has_quotes;
use crate::domain::bounds;
use crate::domain::redirect::is_loopback;
use crate::domain::scopes::split;
use crate::domain::shell::quoted;
use crate::domain::time::parse_duration;
use crate::platforms::{NO_ENDPOINT, is_endpoint};

pub(super) const QUOTED: &str = "begins and ends with a quotation mark, which is sent along: remove both, unless the platform shows \
                      them as a part of it. Environment files of containers keep quotation marks";

const NO_SCOPES: &str = "is empty: people grant nothing, and the platform will not say who they are. Remove the key for the \
                         usual scopes";

pub(super) struct Reader {
    layers: Layers,
    pub(super) known: KnownKeys,
    /// Directory that relative paths are relative to.
    base: PathBuf,
    mistakes: Vec<Mistake>,
    warnings: Vec<Warning>,
    pub(super) files: Files,
}

impl Reader {
    pub(super) fn new(layers: Layers, base: &Path) -> Self {
        Self {
            layers,
            known: KnownKeys::default(),
            base: base.to_owned(),
            mistakes: Vec::new(),
            warnings: Vec::new(),
            files: Files::default(),
        }
    }

    /// Returns the warnings, or all mistakes. Keys that nothing read are mistakes.
    pub(super) fn finish(mut self) -> Result<Vec<Warning>, Mistakes> {
        let mut mistakes = self.unknown_keys();
        mistakes.append(&mut self.mistakes);
        if mistakes.is_empty() { Ok(self.warnings) } else { Err(Mistakes(mistakes)) }
    }

    /// Notes an environment variable that almost names a setting.
    pub(super) fn note_misnamed(&mut self, variable: &str, right: &str) {
        self.mistakes.push(Mistake {
            origin: Origin::Environment(variable.to_owned()),
            key: variable.trim_start_matches("POSTPEER_").to_ascii_lowercase(),
            problem: format!("is not a setting: did you mean {right}, with two underscores?"),
            file: None,
        });
    }

    /// Notes an environment variable that names a setting without its section.
    pub(super) fn note_without_effect(&mut self, variable: &str, right: &str) {
        self.warnings.push(Warning {
            origin: Origin::Environment(variable.to_owned()),
            path: vec![variable.trim_start_matches("POSTPEER_").to_ascii_lowercase()],
            what: format!("is not a setting and has no effect: did you mean {right}?").into(),
        });
    }

    /// A mistake for each key that nothing read, and for each value where a table was expected.
    fn unknown_keys(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut note = |path: &[&str], problem| {
            mistakes.push(Mistake { origin: self.layers.origin(path), key: path.join("."), problem, file: None });
        };
        for (table, known) in self.known.tables() {
            let Some(value) = self.layers.at(&table) else { continue };
            let Some(written) = value.as_dict() else {
                let remedy = match (self.layers.origin(&table), known.first()) {
                    (Origin::Environment(variable), Some(key)) => {
                        format!("set a variable for each of its keys, such as {variable}__{}", key.to_uppercase())
                    }
                    _ => format!("write [{}] and its keys below", table.join(".")),
                };
                note(&table, format!("must be a table: {remedy}"));
                continue;
            };
            for key in written.keys().map(String::as_str).filter(|key| !known.contains(key)) {
                let remedy = self.known.remedy(&table, &known, key);
                note(&[&table, &[key][..]].concat(), format!("is not a known key: {remedy}"));
            }
        }
        mistakes
    }

    /// Number of mistakes so far.
    pub(super) fn mistakes(&self) -> usize {
        self.mistakes.len()
    }

    /// Notes a mistake at a key. `problem` completes a sentence that begins with the key.
    pub(super) fn mistake(&mut self, path: &[&str], problem: impl Into<String>) {
        let origin = self.layers.origin(path);
        self.mistakes.push(Mistake { origin, key: path.join("."), problem: problem.into(), file: None });
    }

    /// Notes a mistake in the file that a key names, or that it cannot be read.
    pub(super) fn mistake_in_file(&mut self, path: &[&str], file: &Path, problem: &str) {
        let (origin, problem) = (self.layers.origin(path), format!("names {}, which {problem}", file.display()));
        self.mistakes.push(Mistake { origin, key: path.join("."), problem, file: Some(file.to_owned()) });
    }

    /// Notes a mistake in a variable that is not one of ours, and stands for a key. Once for each variable.
    pub(super) fn mistake_in_environment(&mut self, variable: &str, path: &[&str], problem: String) {
        let origin = Origin::Environment(variable.to_owned());
        let mistake = Mistake { origin, key: path.join("."), problem, file: None };
        if !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }

    /// Notes a setting that is valid but risky.
    pub(super) fn warn(&mut self, path: &[&str], what: &'static str) {
        self.warn_with(path, Cow::Borrowed(what));
    }

    fn warn_with(&mut self, path: &[&str], what: Cow<'static, str>) {
        let (origin, path) = (self.layers.origin(path), path.iter().map(ToString::to_string).collect());
        self.warnings.push(Warning { origin, path, what });
    }

    /// The keys of a table in which any key is allowed.
    pub(super) fn keys(&mut self, path: &[&str]) -> Vec<String> {
        let keys = self.layers.keys(path);
        for key in &keys {
            self.known.add(&[path, &[key]].concat());
        }
        keys
    }

    /// The keys of a section in which any key is allowed. Makes the section known.
    pub(super) fn sections(&mut self, path: &[&str]) -> Vec<String> {
        if self.at(path).is_some_and(|(value, _)| value.as_dict().is_none()) {
            self.mistake(path, format!("must be a table: write [{}.NAME] and its keys below", path.join(".")));
        }
        self.keys(path)
    }

    /// The value at a path and its layer. Makes the key known.
    pub(super) fn at(&mut self, path: &[&str]) -> Option<(&Value, Layer)> {
        self.known.add(path);
        self.layers.at(path).map(|value| (value, self.layers.layer(value)))
    }

    /// Reads a text; an empty one counts as absent.
    pub(super) fn text(&mut self, path: &[&str]) -> Option<String> {
        let (Value::String(_, text), _) = self.at(path)? else {
            self.mistake(path, "must be text: put it in quotes");
            return None;
        };
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// Reads a text that is copied from a page, such as a client id.
    pub(super) fn copied(&mut self, path: &[&str]) -> Option<String> {
        self.text(path).inspect(|text| {
            if has_quotes(text) {
                self.warn(path, QUOTED);
            }
        })
    }

    /// Reads a name for people, which pages, terminals and the log show.
    pub(super) fn label(&mut self, path: &[&str]) -> Option<String> {
        let label = self.text(path)?;
        if label.contains(char::is_control) {
            self.mistake(path, "must be one line, without control characters");
        }
        Some(label)
    }

    /// Reads scopes. A text may hold several, as platforms' pages show them.
    pub(super) fn scopes(&mut self, path: &[&str]) -> Option<Vec<String>> {
        let texts = self.list(path)?;
        let scopes: Vec<String> = texts.iter().flat_map(|text| split(text)).map(str::to_owned).collect();
        let is_odd = |scope: &&String| !bounds::is_scope(scope) || scope.contains(['"', '\\']);
        if let Some(odd) = scopes.iter().find(is_odd) {
            let shown: String = odd.chars().filter(|c| !c.is_control()).take(40).collect();
            let how = unbracketed(self.layer(path));
            self.mistake(
                path,
                format!("has the entry {shown}, which is no scope: it has a quotation mark, or is too long{how}"),
            );
            return None;
        }
        Some(scopes)
    }

    /// Reads the scopes of a built-in platform. `are_elsewhere`: none are missed where there are none.
    pub(super) fn needed_scopes(&mut self, path: &[&str], are_elsewhere: bool) -> Option<Vec<String>> {
        self.scopes(path).inspect(|scopes| {
            if scopes.is_empty() && !are_elsewhere {
                self.warn(path, NO_SCOPES);
            }
        })
    }

    /// The same with its white space.
    pub(super) fn untrimmed(&mut self, path: &[&str]) -> Option<String> {
        self.text(path).or_else(|| self.at(path)?.0.as_str().map(str::to_owned)).filter(|text| !text.is_empty())
    }

    pub(super) fn flag(&mut self, path: &[&str]) -> Option<bool> {
        let (value, layer) = self.at(path)?;
        let read = match value {
            Value::Bool(_, flag) => Some(*flag),
            Value::String(_, text) if layer != Layer::File => text.trim().parse().ok(),
            _ => None,
        };
        if read.is_none() {
            let problem = format!("must be true or false{}", unquoted(layer));
            self.mistake(path, problem);
        }
        read
    }

    pub(super) fn number(&mut self, path: &[&str], within: RangeInclusive<u32>) -> Option<u32> {
        let (value, layer) = self.at(path)?;
        let read = match value {
            Value::Num(_, number) => number.to_u128_lossy().and_then(|number| u32::try_from(number).ok()),
            Value::String(_, text) if layer != Layer::File => text.trim().parse().ok(),
            _ => None,
        };
        let read = read.filter(|number| within.contains(number));
        if read.is_none() {
            let (least, most) = (within.start(), within.end());
            let problem = format!("must be a whole number from {least} to {most}{}", unquoted(layer));
            self.mistake(path, problem);
        }
        read
    }

    /// Reads a list of texts. Outside the file, commas or spaces separate its items.
    pub(super) fn list(&mut self, path: &[&str]) -> Option<Vec<String>> {
        let (value, layer) = self.at(path)?;
        let read = match value {
            Value::Array(_, items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            Value::String(_, text) if layer != Layer::File => Some(
                text.split(|c: char| c == ',' || c.is_whitespace())
                    .filter(|item| !item.is_empty())
                    .map(str::to_owned)
                    .collect(),
            ),
            _ => None,
        };
        if read.is_none() {
            self.mistake(path, "must be a list of texts, such as [\"one\", \"two\"]");
        }
        read
    }

    /// Reads a table of texts. A text may be empty.
    pub(super) fn pairs(&mut self, path: &[&str]) -> Vec<(String, String)> {
        if self.at(path).is_some_and(|(value, _)| value.as_dict().is_none()) {
            let example = match (self.layers.origin(path), path.last()) {
                (Origin::Environment(variable), _) => format!("{variable}__NAME, each in a variable of its own"),
                (_, Some(&"errors")) => "{ token_gone = \"reconnect\" }".to_owned(),
                (_, Some(&"identity_headers")) => "{ Client-Id = \"{client_id}\" }".to_owned(),
                _ => "{ prompt = \"consent\" }".to_owned(),
            };
            self.mistake(path, format!("must be a table of texts, such as {example}"));
        }
        let keys = self.keys(path);
        keys.into_iter()
            .filter_map(|key| {
                let full = [path, &[key.as_str()]].concat();
                let (Value::String(_, text), _) = self.at(&full)? else {
                    self.mistake(&full, "must be text: put it in quotes");
                    return None;
                };
                let text = text.trim().to_owned();
                Some((key, text))
            })
            .collect()
    }

    /// Reads one of several words.
    pub(super) fn word<T: Copy + Into<&'static str>>(&mut self, path: &[&str], words: &[T]) -> Option<T> {
        let text = self.text(path)?;
        let found = words.iter().copied().find(|&word| word.into() == text);
        if found.is_none() {
            let allowed = words.iter().map(|&word| format!("\"{}\"", word.into())).collect::<Vec<_>>();
            self.mistake(path, format!("must be {}", allowed.join(" or ")));
        }
        found
    }

    pub(super) fn address(&mut self, path: &[&str]) -> Option<SocketAddr> {
        let text = self.text(path)?;
        let address = text.parse().ok();
        if address.is_none() {
            self.mistake(path, "must be an IP address and a port, such as 127.0.0.1:8080 or [::]:8080");
        }
        address
    }

    /// True when a table is there, even an empty one.
    pub(super) fn has_table(&mut self, path: &[&str]) -> bool {
        self.at(path).is_some_and(|(value, _)| value.as_dict().is_some())
    }

    /// Reads a number with a unit, such as `24h`.
    pub(super) fn duration(&mut self, path: &[&str], allowed: RangeInclusive<Duration>) -> Option<Duration> {
        let text = self.text(path)?;
        let duration = parse_duration(&text).filter(|duration| allowed.contains(duration));
        if duration.is_none() {
            let (least, most) = (allowed.start().as_secs() / 60, allowed.end().as_secs() / 86_400);
            self.mistake(
                path,
                format!("must be a number and a unit (m, h or d), such as 24h, from {least}m to {most}d"),
            );
        }
        duration
    }

    /// Reads a path, which is relative to the base directory.
    pub(super) fn path(&mut self, path: &[&str]) -> Option<PathBuf> {
        let text = self.text(path)?;
        Some(self.base.join(text))
    }

    /// Reads an absolute http(s) URL that the broker calls or sends browsers to.
    pub(super) fn endpoint(&mut self, path: &[&str]) -> Option<String> {
        let text = self.text(path)?;
        match Url::parse(&text) {
            Ok(url) if is_endpoint(&url) => {
                self.warn_if_plain(path, &url);
                Some(text)
            }
            _ => {
                self.mistake(path, NO_ENDPOINT);
                None
            }
        }
    }

    /// Warns about a URL to which secrets would travel unencrypted.
    pub(super) fn warn_if_plain(&mut self, path: &[&str], url: &Url) {
        if url.scheme() == "http" && !is_loopback(url) {
            self.warn(path, "is plain http: secrets and tokens can be read in transit");
        }
    }

    /// Refuses a file that every user can change, and warns of one that every user can read.
    pub(super) fn check_exposure(&mut self, path: &[&str], file: &Path) {
        let (shown, quoted) = (file.display(), quoted(file));
        match exposure::of(file) {
            None => {}
            Some(Exposure::Changeable) => self.mistake(
                path,
                format!("names {shown}, which every user of this machine can change: chmod o= {quoted}"),
            ),
            Some(Exposure::Readable) => {
                let what = format!("names {shown}, which every user of this machine can read: chmod o= {quoted}");
                self.files.readable.push(file.to_owned());
                self.warn_with(path, what.into());
            }
        }
    }

    pub(super) fn layer(&self, path: &[&str]) -> Layer {
        self.layers.at(path).map_or(Layer::File, |value| self.layers.layer(value))
    }
}

/// Only the file has lists in brackets.
fn unbracketed(layer: Layer) -> &'static str {
    if layer == Layer::File { "" } else { ". Write the scopes with spaces between them, without brackets and quotes" }
}

/// Only in the file do quotes matter.
fn unquoted(layer: Layer) -> &'static str {
    if layer == Layer::File { ", without quotes" } else { "" }
}
