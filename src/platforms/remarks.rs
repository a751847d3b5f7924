//! Remarks on the settings of platforms: risky ones, API versions that end, and advice. `postpeer check` prints them,
//! and the console shows them, in the same sentences.
//!
//! Invariant: whoever holds an access key may read a remark. It has no path, no address and no value of a setting.
//! Risks that concern no single platform (the listeners, files and proxies of the machine) have no place here: they are
//! for whoever runs the broker, who need not be whoever manages a project.

use jiff::civil::Date;

use super::Registry;

/// The reason for a remark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The version of the platform's API in use ends soon, or has ended.
    ApiVersion,
    /// The platform could prove more than it is asked for.
    Issuer,
    /// A setting is valid, and risky or without effect.
    Setting,
}

/// Something to know, or to do, about the settings of a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The platform's name in the configuration.
    pub platform: String,
    pub about: About,
    /// Sentences without the last full stop.
    pub sentence: String,
    /// The change to make; empty where the sentence says it.
    pub remedy: &'static str,
}

impl Remark {
    /// True when something should be done. Otherwise it is good to know.
    #[must_use]
    pub const fn is_warning(&self) -> bool {
        matches!(self.about, About::ApiVersion | About::Setting)
    }
}

impl Registry {
    /// The same with what the configuration says of the platforms' settings: names of platforms, and sentences.
    #[must_use]
    pub fn with_warnings(mut self, warnings: Vec<(String, String)>) -> Self {
        self.warnings = warnings;
        self
    }

    /// Remarks on all platforms, warnings first. A platform that is switched off has none but on its settings.
    #[must_use]
    pub fn remarks(&self, today: Date) -> Vec<Remark> {
        let setting = |(platform, sentence): &(String, String)| Remark {
            platform: platform.clone(),
            about: About::Setting,
            sentence: sentence.clone(),
            remedy: "",
        };
        let ending =
            self.iter().filter_map(|configured| configured.platform().ending_version(today)).map(|ending| Remark {
                platform: ending.platform.name.to_string(),
                about: About::ApiVersion,
                sentence: ending.what_to_do(),
                remedy: "",
            });
        // A preset has the issuer where its server has one.
        let unchecked = self.iter().filter(|configured| {
            let platform = configured.platform();
            // A server that a person names is its own issuer.
            let has_issuer = platform.issuer.is_some() || configured.has_servers();
            configured.is_own() && !has_issuer && platform.guide.facts.is_none()
        });
        let unchecked = unchecked.map(|configured| Remark {
            platform: configured.platform().name.to_string(),
            about: About::Issuer,
            sentence: "it has no issuer, so a callback that another server sends is not recognised by its iss"
                .to_owned(),
            remedy: "set issuer, where the server has one and its id_tokens have the nonce of the connection",
        });
        self.warnings.iter().map(setting).chain(ending).chain(unchecked).collect()
    }
}
