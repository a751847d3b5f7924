//! The environment variables, read once and passed on as a value, so that tests need not change the process.
//!
//! Invariant: nothing else in the broker reads environment variables.

use std::collections::BTreeMap;

use super::keys::KnownKeys;

/// Prefix of all our variables.
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
    /// The variables of this process, with replacement characters where they are not UTF-8.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
    pub fn of_process() -> Self {
        Self(
            std::env::vars_os()
                .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
                .collect(),
        )
    }

    /// The variable's value; `None` when it is unset or empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The settings: (variable, path of the key, value) for each `POSTPEER_SECTION__KEY`. Empty variables count as
    /// unset, so that a container can pass on variables that may be missing. Names without a double underscore are not
    /// settings: `POSTPEER_CONFIG`, or variables that an orchestrator sets for a service named postpeer.
    pub(super) fn settings(&self) -> impl Iterator<Item = (&str, Vec<String>, &str)> {
        self.ours().filter_map(|(variable, rest, value)| {
            let path = rest.contains("__").then(|| rest.split("__").map(str::to_ascii_lowercase).collect())?;
            Some((variable, path, value))
        })
    }

    /// The variables that name a setting but for the number of underscores, each with its right name.
    ///
    /// Nothing else without a double underscore is a mistake. Kubernetes sets variables such as `POSTPEER_SERVER_PORT`
    /// in every pod that runs beside a service named postpeer-server.
    pub(super) fn nearly_settings(&self, known: &KnownKeys) -> BTreeMap<&str, String> {
        let right: BTreeMap<String, String> =
            known.settings().map(|path| Self::variable(&path)).map(|name| (single_underscores(&name), name)).collect();
        self.ours()
            .filter_map(|(variable, ..)| Some((variable, right.get(&single_underscores(variable))?)))
            .filter(|(variable, right)| variable != right)
            .map(|(variable, right)| (variable, right.clone()))
            .collect()
    }

    /// A copy without some of the variables.
    pub(super) fn without(&self, variables: &BTreeMap<&str, String>) -> Self {
        self.0.iter().filter(|(name, _)| !variables.contains_key(name.as_str())).collect()
    }

    fn ours(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.0.iter().filter_map(|(variable, value)| {
            let rest = variable.strip_prefix(PREFIX)?;
            (!value.is_empty()).then_some((variable.as_str(), rest, value.as_str()))
        })
    }

    /// Name of the variable for a key.
    pub(super) fn variable(path: &[&str]) -> String {
        format!("{PREFIX}{}", path.join("__").to_ascii_uppercase())
    }
}

fn single_underscores(name: &str) -> String {
    name.split('_').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_")
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
