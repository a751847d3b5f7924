//! The environment variables, read once and passed on as a value, so that tests need not change the process.
//!
//! Invariant: nothing else in the broker reads environment variables.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use super::error::Error;
use super::keys::{KnownKeys, nearest_word};

/// Prefix of all our variables.
const PREFIX: &str = "POSTPEER_";

/// Value of a variable that sets a key to the empty text.
const EMPTY: &str = "\"\"";

/// Variables of other programs that the broker follows, in upper or lower case.
const FOLLOWED: [&str; 6] = ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_DIR", "SSL_CERT_FILE"];

/// Environment variables.
#[derive(Clone, Default)]
pub struct Environment {
    by_name: BTreeMap<String, String>,
    /// Names of those of the broker's whose value is not UTF-8.
    not_text: Vec<String>,
}

impl std::fmt::Debug for Environment {
    /// Values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

impl Environment {
    /// The variables of this process.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
    pub fn of_process() -> Self {
        Self::of(std::env::vars_os())
    }

    fn of(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            let name = name.to_string_lossy().into_owned();
            if let Ok(value) = value.into_string() {
                environment.by_name.insert(name, value);
            } else if name.starts_with(PREFIX) || FOLLOWED.iter().any(|followed| followed.eq_ignore_ascii_case(&name)) {
                environment.not_text.push(name);
            }
        }
        environment
    }

    /// Checks that the broker can read its variables. With a part of a path replaced, it would take another file.
    ///
    /// # Errors
    ///
    /// A value is not UTF-8.
    pub fn check(&self) -> Result<(), Error> {
        self.not_text.first().map_or(Ok(()), |variable| Err(Error::NotText { variable: variable.clone() }))
    }

    /// The variable's value; `None` when it is unset or empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.by_name.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The variable of that name in lower case, or else in upper case, with its value.
    pub(super) fn of_any_case(&self, name: &str) -> Option<(String, &str)> {
        let names = [name.to_ascii_lowercase(), name.to_ascii_uppercase()];
        names.into_iter().find_map(|name| self.get(&name).map(|value| (name.clone(), value)))
    }

    /// True when a variable sets a key.
    #[must_use]
    pub fn has_settings(&self) -> bool {
        self.settings().next().is_some()
    }

    /// The settings: (variable, path of the key, value) for each `POSTPEER_SECTION__KEY`. Empty variables count as
    /// unset, so that a container can pass on variables that may be missing. Names without a double underscore are not
    /// settings: `POSTPEER_CONFIG`, or variables that an orchestrator sets for a service named postpeer.
    pub(super) fn settings(&self) -> impl Iterator<Item = (&str, Vec<String>, &str)> {
        self.ours().filter_map(|(variable, rest, value)| {
            let path = rest.contains("__").then(|| rest.split("__").map(str::to_ascii_lowercase).collect())?;
            Some((variable, path, if value == EMPTY { "" } else { value }))
        })
    }

    /// The variables that name a setting but for the number of underscores, or with them in the place of hyphens, or but
    /// for a slip in the section's name, each with its right name.
    ///
    /// Nothing else without a double underscore is a mistake. Kubernetes sets variables such as `POSTPEER_SERVER_PORT`
    /// in every pod that runs beside a service named postpeer-server.
    pub(super) fn nearly_settings(&self, known: &KnownKeys) -> BTreeMap<&str, String> {
        let names: BTreeSet<String> = known.settings().map(|path| Self::variable(&path)).collect();
        let right: BTreeMap<String, &String> = names.iter().map(|name| (single_underscores(name), name)).collect();
        let sections: BTreeSet<_> =
            known.settings().filter_map(|path| path.first().map(|it| Self::variable(&[it]))).collect();
        let sections: Vec<&str> = sections.iter().filter_map(|name| name.strip_prefix(PREFIX)).collect();
        let in_section = |name: &str| {
            let (section, rest) = name.strip_prefix(PREFIX)?.split_once('_')?;
            Some(format!("{PREFIX}{}_{rest}", nearest_word(section, &sections)?))
        };
        self.ours()
            .filter(|(variable, ..)| !names.contains(*variable))
            .filter_map(|(variable, ..)| {
                let name = single_underscores(variable);
                Some((variable, *right.get(&name).or_else(|| right.get(&in_section(&name)?))?))
            })
            .map(|(variable, right)| (variable, right.clone()))
            .collect()
    }

    /// The variables that name a setting but for its section, each with the right name. They have no effect, and may be
    /// another program's.
    pub(super) fn without_section(&self, known: &KnownKeys) -> Vec<(&str, String)> {
        let settings: Vec<_> = known.settings().collect();
        let rests = settings.iter().filter_map(|path| {
            let (_, rest) = path.split_first()?;
            // A single word, such as PORT, is anybody's.
            let name = single_underscores(&rest.join("_").to_ascii_uppercase());
            name.contains('_').then(|| (name, Self::variable(path)))
        });
        let mut right: BTreeMap<String, Option<String>> = BTreeMap::new();
        for (name, variable) in rests {
            right.entry(name).and_modify(|known| *known = None).or_insert(Some(variable));
        }
        self.ours().filter_map(|(variable, rest, _)| Some((variable, right.get(rest)?.clone()?))).collect()
    }

    /// A copy without some of the variables.
    pub(super) fn without(&self, variables: &BTreeMap<&str, String>) -> Self {
        self.by_name.iter().filter(|(name, _)| !variables.contains_key(name.as_str())).collect()
    }

    fn ours(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.by_name.iter().filter_map(|(variable, value)| {
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
    name.split(['_', '-']).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_")
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(variables: T) -> Self {
        let by_name = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { by_name, not_text: Vec::new() }
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        variables.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;
    use std::path::Path;

    use super::*;
    use crate::config::{Config, from_str};

    fn read(toml: &str, environment: &Environment) -> Result<Config, Error> {
        from_str("postpeer.toml", toml, Path::new(""), environment)
    }

    #[test]
    fn a_variable_that_is_not_text_is_named_unless_it_is_of_no_concern() {
        for (name, is_refused) in [
            ("POSTPEER_CONFIG", true),
            ("POSTPEER_DATABASE__PATH", true),
            ("SSL_CERT_FILE", true),
            ("https_proxy", true),
            ("HOME", false),
        ] {
            let garbled = OsString::from_vec(b"/srv/\xff".to_vec());
            let environment = Environment::of([(name.into(), garbled), ("POSTPEER_A".into(), "b".into())].into_iter());
            assert_eq!(environment.get("POSTPEER_A"), Some("b"));
            let told = environment.check().map_err(|error| error.to_string());
            assert_eq!(told.is_err(), is_refused, "{name}");
            assert!(told.err().is_none_or(|told| told.contains(name)));
        }
    }

    #[test]
    fn variables_of_services_beside_the_broker_are_not_settings() {
        let services = [
            "postpeer",
            "postpeer-connect",
            "postpeer-database",
            "postpeer-keyring",
            "postpeer-log",
            "postpeer-outbound",
            "postpeer-platform",
            "postpeer-platforms",
            "postpeer-platforms-twitter",
            "postpeer-refresh",
            "postpeer-server",
        ];
        let mut variables = Vec::new();
        for service in services {
            let service = service.to_uppercase().replace('-', "_");
            for (suffix, value) in [
                ("PORT", "tcp://10.0.0.1:8080"),
                ("PORT_8080_TCP", "tcp://10.0.0.1:8080"),
                ("PORT_8080_TCP_ADDR", "10.0.0.1"),
                ("PORT_8080_TCP_PORT", "8080"),
                ("PORT_8080_TCP_PROTO", "tcp"),
                ("SERVICE_HOST", "10.0.0.1"),
                ("SERVICE_PORT", "8080"),
                ("SERVICE_PORT_HTTP", "8080"),
            ] {
                variables.push((format!("{service}_{suffix}"), value));
            }
        }
        let config = read("", &variables.into_iter().collect()).unwrap();
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }

    #[test]
    fn a_variable_without_its_section_is_told_and_has_no_effect() {
        let variables = ["METRICS_LISTEN", "PUBLIC_URL", "TWITTER_CLIENT_ID", "API_KEY", "LISTEN", "SERVER"];
        let environment = variables.map(|name| (format!("POSTPEER_{name}"), "x")).into_iter().collect();
        let told = read("", &environment).unwrap().warnings;
        assert_eq!(told.len(), 3, "{told:?}");
        for (told, right) in
            told.iter().zip(["SERVER__METRICS_LISTEN", "SERVER__PUBLIC_URL", "PLATFORMS__TWITTER__CLIENT_ID"])
        {
            assert!(told.ends_with(&format!("has no effect: did you mean POSTPEER_{right}?")), "{told}");
        }
    }

    /// `identity_url` and `identity.url` are both settings.
    #[test]
    fn a_variable_that_is_right_is_not_mistaken_for_another() {
        let acme = Environment::from([
            ("POSTPEER_PLATFORMS__ACME__AUTHORIZE_URL", "https://a.example/a"),
            ("POSTPEER_PLATFORMS__ACME__TOKEN_URL", "https://a.example/t"),
            ("POSTPEER_PLATFORMS__ACME__IDENTITY_URL", "https://a.example/i"),
            ("POSTPEER_PLATFORMS__ACME__IDENTITY__ID", "/id"),
            ("POSTPEER_PLATFORMS__ACME__IDENTITY__URL", "/url"),
        ]);
        assert!(read("", &acme).is_ok(), "{:?}", read("", &acme).err());
    }

    #[test]
    fn a_variable_with_other_underscores_is_told_its_right_name() {
        let acme = "[platforms.acme_2]\nauthorize_url = \"https://a.example/a\"\ntoken_url = \"https://a.example/t\"\n\
                    identity_url = \"https://a.example/i\"\nidentity = { id = \"/id\" }";
        for (wrong, key, right) in [
            ("SERVER_PUBLIC_URL", "server_public_url", "SERVER__PUBLIC_URL"),
            ("SERVER___PUBLIC_URL", "server___public_url", "SERVER__PUBLIC_URL"),
            ("_SERVER__PUBLIC_URL", "_server__public_url", "SERVER__PUBLIC_URL"),
            ("SERVER__PUBLIC__URL", "server__public__url", "SERVER__PUBLIC_URL"),
            ("PLATFORMS_TWITTER_CLIENT_SECRET", "platforms_twitter_client_secret", "PLATFORMS__TWITTER__CLIENT_SECRET"),
            (
                "PLATFORMS__TWITTER_CLIENT_SECRET",
                "platforms__twitter_client_secret",
                "PLATFORMS__TWITTER__CLIENT_SECRET",
            ),
            (
                "PLATFORMS_TWITTER__CLIENT_SECRET",
                "platforms_twitter__client_secret",
                "PLATFORMS__TWITTER__CLIENT_SECRET",
            ),
            (
                "PLATFORMS_YOUTUBE_CLIENT_SECRET_FILE",
                "platforms_youtube_client_secret_file",
                "PLATFORMS__YOUTUBE__CLIENT_SECRET_FILE",
            ),
            ("PLATFORMS_ACME_2_CLIENT_ID", "platforms_acme_2_client_id", "PLATFORMS__ACME_2__CLIENT_ID"),
            ("PLATFORMS_ACME_2_IDENTITY_NAME", "platforms_acme_2_identity_name", "PLATFORMS__ACME_2__IDENTITY__NAME"),
            ("REFRESH_AHEAD_SECONDS", "refresh_ahead_seconds", "REFRESH__AHEAD_SECONDS"),
            ("KEYRING_PATH", "keyring_path", "KEYRING__PATH"),
        ] {
            let variable = format!("POSTPEER_{wrong}");
            assert_eq!(
                read(acme, &Environment::from([(variable.as_str(), "never-shown")])).unwrap_err().to_string(),
                format!(
                    "environment variable {variable}: {key} is not a setting: did you mean POSTPEER_{right}, with two underscores?"
                ),
            );
        }
        for (wrong, right) in [
            ("PLATFORM__TWITTER__CLIENT_ID", "PLATFORMS__TWITTER__CLIENT_ID"),
            ("PLATFORM_TWITTER_CLIENT_ID", "PLATFORMS__TWITTER__CLIENT_ID"),
            ("PLATFROMS__ACME_2__CLIENT_SECRET", "PLATFORMS__ACME_2__CLIENT_SECRET"),
            ("SEVER__LISTEN", "SERVER__LISTEN"),
            ("SEVER_LISTEN", "SERVER__LISTEN"),
            ("LOGS_LEVEL", "LOG__LEVEL"),
        ] {
            let variable = format!("POSTPEER_{wrong}");
            let told = read(acme, &Environment::from([(variable.as_str(), "never-shown")])).unwrap_err().to_string();
            assert!(told.starts_with(&format!("environment variable {variable}: ")), "{told}");
            assert!(told.contains(&format!("did you mean POSTPEER_{right}, with two")), "{told}");
        }
        let hyphen = Environment::from([("POSTPEER_PLATFORMS_MY_APP_CLIENT_ID", "x")]);
        let told = read(&acme.replace("acme_2", "my-app"), &hyphen).unwrap_err().to_string();
        assert!(told.contains("did you mean POSTPEER_PLATFORMS__MY-APP__CLIENT_ID"), "{told}");
        let beside = "POSTPEER_SERVER__LISTEN";
        let both = Environment::from([("POSTPEER_SERVER_LISTEN", "127.0.0.1:1"), (beside, "127.0.0.1:2")]);
        let told = read("", &both).unwrap_err().to_string();
        assert!(told.contains("POSTPEER_SERVER_LISTEN") && told.contains(beside), "{told}");
    }
}
