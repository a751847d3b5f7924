//! The process environment, read once and handed on as a value, so that settings can be tested without touching it.
//!
//! Invariant: nothing else in the broker reads environment variables.

use std::collections::BTreeMap;

/// What every variable of ours begins with.
const PREFIX: &str = "POSTPEER_";

/// Environment variables by name.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl std::fmt::Debug for Environment {
    /// Values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// The variables of this process. Those that are not UTF-8 are read with replacement characters.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
    pub fn of_process() -> Self {
        Self(
            std::env::vars_os()
                .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
                .collect(),
        )
    }

    /// A variable that is set and not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// `POSTPEER_SECTION__KEY` as (variable, path of the key, value). Empty variables count as unset, so that a
    /// container can pass on what it may not have. Names without a double underscore are not settings
    /// (`POSTPEER_CONFIG`, or what an orchestrator adds for a service of our name).
    pub(super) fn settings(&self) -> impl Iterator<Item = (&str, Vec<String>, &str)> {
        self.ours().filter_map(|(variable, rest, value)| {
            let path = rest.contains("__").then(|| rest.split("__").map(str::to_ascii_lowercase).collect())?;
            Some((variable, path, value))
        })
    }

    /// Names that would be settings if their words were joined by two underscores, and the name to use instead.
    pub(super) fn nearly_settings(&self, sections: &[String]) -> Vec<(&str, String)> {
        self.ours()
            .filter(|(_, rest, _)| !rest.contains("__"))
            .filter_map(|(variable, rest, _)| {
                let section = sections.iter().find(|section| {
                    let upper = section.to_ascii_uppercase();
                    rest.strip_prefix(upper.as_str()).is_some_and(|key| key.starts_with('_') && key.len() > 1)
                })?;
                let key = rest.get(section.len() + 1..)?;
                Some((variable, format!("{PREFIX}{}__{key}", section.to_ascii_uppercase())))
            })
            .collect()
    }

    fn ours(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.0.iter().filter_map(|(variable, value)| {
            let rest = variable.strip_prefix(PREFIX)?;
            (!value.is_empty()).then_some((variable.as_str(), rest, value.as_str()))
        })
    }

    /// The name of the variable for a key.
    pub(super) fn variable(path: &[&str]) -> String {
        format!("{PREFIX}{}", path.join("__").to_ascii_uppercase())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(variables: T) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        variables.into_iter().collect()
    }
}
