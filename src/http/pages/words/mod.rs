//! Every text that people read on a page, one table per language.
//!
//! A table is a value of [`Words`], so a text that a language lacks does not compile. Texts with a name or a number in
//! them are functions. Names from outside are passed in as they are: the template escapes them. Technical details stay
//! English and are marked as such: they are for whoever runs the broker.

pub(crate) mod console;
mod de;
mod en;

use actix_web::http::header::{self, HeaderMap};

use super::super::error::{Code, Trouble};
use super::super::request::{Query, cookies};
use crate::broker::finished::CancelledAt;
use crate::domain::account::AccountKind;
use crate::domain::failure::Failure;
use crate::domain::integration::TokenState;
use crate::domain::time::Timestamp;

/// All languages. The first is the default.
pub(crate) static LANGUAGES: [&Words; 2] = [&en::WORDS, &de::WORDS];

/// What happened, and what its reader can do.
pub(crate) struct Told {
    pub(crate) happened: String,
    pub(crate) advice: &'static str,
}

/// What a page says instead of what it was asked for.
pub(crate) struct TroubleWords {
    pub(crate) heading: &'static str,
    pub(crate) happened: &'static str,
    pub(crate) advice: &'static str,
}

/// A sentence with a number in the button that submits a choice: "Connect", "account", "accounts", "".
pub(crate) struct CountedButton {
    pub(crate) before: &'static str,
    pub(crate) one: &'static str,
    pub(crate) many: &'static str,
    pub(crate) after: &'static str,
}

/// The texts of a language. `label` is a platform's name for people, `app` the name of the app that asks.
pub(crate) struct Words {
    /// For the `lang` attribute and `?lang=`.
    pub(crate) code: &'static str,
    /// The language's name for itself.
    pub(crate) name: &'static str,

    // Every page.
    pub(crate) foot: &'static str,
    pub(crate) support: &'static str,
    pub(crate) privacy: &'static str,
    pub(crate) back: fn(app: Option<&str>) -> String,
    pub(crate) close_tab: &'static str,
    pub(crate) for_support: &'static str,
    pub(crate) request_id: &'static str,
    pub(crate) connection_id: &'static str,
    pub(crate) error_code: &'static str,
    pub(crate) next_step: &'static str,
    pub(crate) asks: &'static str,
    /// To the minute, in UTC.
    pub(crate) time: fn(Timestamp) -> String,

    // Before the platform is asked.
    pub(crate) confirm: fn(label: &str, app: Option<&str>) -> String,
    pub(crate) confirm_lead: fn(label: &str, app: Option<&str>) -> String,
    pub(crate) asked_by: &'static str,
    pub(crate) confirm_only: &'static str,
    pub(crate) confirm_else: &'static str,
    pub(crate) continue_to: fn(label: &str) -> String,

    // Before the app confirms who came back.
    pub(crate) completion: fn(label: &str) -> String,
    pub(crate) completion_lead: fn(label: &str, app: Option<&str>) -> String,
    pub(crate) completion_only: &'static str,
    pub(crate) completion_else: &'static str,

    // How a connection ended.
    pub(crate) connected: fn(label: &str) -> String,
    pub(crate) may_use: fn(app: Option<&str>, accounts: usize) -> String,
    pub(crate) withdraw: fn(label: &str) -> String,
    pub(crate) accounts: fn(usize) -> &'static str,
    pub(crate) platform: &'static str,
    pub(crate) profile: &'static str,
    pub(crate) missing_permissions: fn(label: &str) -> String,
    pub(crate) missing_permissions_advice: &'static str,
    /// For a result that is looked at again.
    pub(crate) disconnected: fn(label: &str) -> String,
    pub(crate) disconnected_since: &'static str,
    pub(crate) not_connected: fn(label: &str) -> String,
    pub(crate) cancelled: fn(CancelledAt, label: &str) -> String,
    pub(crate) nothing_stored: &'static str,
    pub(crate) perhaps_stored: &'static str,
    pub(crate) start_again: &'static str,
    pub(crate) try_again: &'static str,
    pub(crate) needed: &'static str,
    pub(crate) failure: fn(Failure, label: &str) -> Told,
    /// For a person who did not give the account that was to be connected again.
    pub(crate) not_among: fn(label: &str) -> Told,
    /// Advice where there is no account to connect, and what was looked for follows.
    pub(crate) none_found: &'static str,
    /// For [`Failure::AccountMismatch`] where the account to connect again was disconnected meanwhile.
    pub(crate) account_gone: fn(label: &str) -> Told,
    /// Why an account fails, for the operator. In English, the sentence of the API and the log.
    pub(crate) cause: fn(Failure, label: &str, backup_taken_at: Option<Timestamp>) -> String,
    /// The next step for it, by the platform's name in the configuration and the page where the app is managed. In
    /// English, the sentence of the API and the log.
    pub(crate) remedy: fn(Failure, platform: &str, console: Option<&str>) -> String,
    pub(crate) trouble: fn(Trouble) -> TroubleWords,

    // The choice of accounts.
    pub(crate) choose: &'static str,
    pub(crate) choose_lead: fn(label: &str, total: usize) -> String,
    pub(crate) minutes: fn(u64) -> String,
    pub(crate) tick_one: &'static str,
    pub(crate) search: &'static str,
    pub(crate) search_button: &'static str,
    pub(crate) no_match: &'static str,
    pub(crate) shown: fn(shown: usize, total: usize) -> String,
    pub(crate) ticked: fn(ticked: usize, hidden: usize) -> String,
    pub(crate) to_the_buttons: &'static str,
    pub(crate) tick_all: fn(filtered: bool) -> &'static str,
    pub(crate) untick_all: fn(filtered: bool) -> &'static str,
    pub(crate) connect_ticked: &'static str,
    pub(crate) connect_counted: CountedButton,
    pub(crate) cancel: &'static str,
    pub(crate) kind: fn(AccountKind) -> &'static str,
    pub(crate) missing: &'static str,
    /// By the platform's name in the configuration.
    pub(crate) missing_advice: fn(platform: &str, label: &str) -> String,
    pub(crate) unusable: &'static str,
    pub(crate) looked_at: &'static str,
    pub(crate) granted: fn(label: &str) -> String,

    // The page of a connect link.
    pub(crate) link: LinkWords,

    // The demo.
    pub(crate) demo: DemoWords,

    // The operator's console.
    pub(crate) console: &'static console::ConsoleWords,
}

pub(crate) struct LinkWords {
    pub(crate) title: fn(app: Option<&str>) -> String,
    pub(crate) lead: fn(app: Option<&str>) -> String,
    pub(crate) only: &'static str,
    pub(crate) nothing: &'static str,
    pub(crate) none: &'static str,
    pub(crate) connect: fn(label: &str, another: bool) -> String,
    pub(crate) reconnect: &'static str,
    pub(crate) health: fn(TokenState) -> &'static str,
    pub(crate) server: &'static str,
    pub(crate) server_like: &'static str,
    pub(crate) server_wrong: &'static str,
    pub(crate) handle_like: &'static str,
    pub(crate) password_help: fn(label: &str) -> String,
    pub(crate) password_make: &'static str,
    pub(crate) password_like: &'static str,
    /// Why handle and app password did not work, where its person can mend that.
    pub(crate) refused: fn(Code) -> Option<&'static str>,
    /// For what the general advice sends back to the app.
    pub(crate) try_here: &'static str,
    /// The same where the account may be connected by then.
    pub(crate) look_here: &'static str,
    /// After a button of what is not there any more.
    pub(crate) outdated: &'static str,
    pub(crate) done: &'static str,
    pub(crate) leave: &'static str,
    pub(crate) all_done: &'static str,
    pub(crate) left: &'static str,
    pub(crate) again: &'static str,
}

pub(crate) struct DemoWords {
    pub(crate) title: &'static str,
    pub(crate) lead: &'static str,
    pub(crate) api: &'static str,
    pub(crate) console: &'static str,
    /// How to sign in to it.
    pub(crate) console_help: &'static str,
    pub(crate) connected: &'static str,
    pub(crate) newest_of: fn(total: u64) -> String,
    pub(crate) platforms: &'static str,
    pub(crate) connect: fn(label: &str) -> String,
    pub(crate) bluesky_help: &'static str,
    pub(crate) handle: &'static str,
    pub(crate) app_password: &'static str,
    pub(crate) active: &'static str,
    pub(crate) reconnect: &'static str,
    pub(crate) token: &'static str,
    pub(crate) details: &'static str,
    pub(crate) disconnect: &'static str,
    pub(crate) home: &'static str,
    pub(crate) token_lead: &'static str,
    pub(crate) details_lead: &'static str,
    pub(crate) the_account: &'static str,
    pub(crate) stored: &'static str,
    pub(crate) disconnected: fn(label: &str) -> String,
    pub(crate) disconnected_more: &'static str,
    pub(crate) log_says: &'static str,
}

impl Words {
    /// How a connection failed. `is_explained`: it is told where accounts were looked for, and for the account to
    /// reconnect that is done only where it may be the right person who signed in.
    pub(crate) fn ended(&self, failure: Failure, is_explained: bool, label: &str) -> Told {
        match failure {
            Failure::AccountMismatch if is_explained => (self.not_among)(label),
            Failure::NoAccount if is_explained => Told { advice: self.none_found, ..(self.failure)(failure, label) },
            failure => (self.failure)(failure, label),
        }
    }

    /// The language of a page: `?lang=`, else that of the cookie that a callback brings, else the first one of
    /// `Accept-Language` that there is, else English.
    pub(crate) fn choose(query: &str, headers: &HeaderMap) -> &'static Self {
        let asked = Query::new(query).texts("lang").next().and_then(Result::ok);
        let [default, ..] = LANGUAGES;
        let asked = asked.and_then(|code| find(&code)).or_else(|| find(cookies::language(headers)?));
        asked.or_else(|| accepted(headers)).unwrap_or(default)
    }
}

fn find(code: &str) -> Option<&'static Words> {
    let primary = code.split('-').next()?.trim();
    LANGUAGES.into_iter().find(|words| words.code.eq_ignore_ascii_case(primary))
}

/// The language that the browser prefers (RFC 9110, section 12.5.4).
fn accepted(headers: &HeaderMap) -> Option<&'static Words> {
    let mut best: Option<(f32, &'static Words)> = None;
    for value in headers.get_all(header::ACCEPT_LANGUAGE).filter_map(|value| value.to_str().ok()) {
        for range in value.split(',') {
            let (tag, weight) = range.split_once(';').unwrap_or((range, "q=1"));
            let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse().ok()).unwrap_or(0.0);
            if let Some(words) = find(tag)
                && weight > best.map_or(0.0, |(best, _)| best)
            {
                best = Some((weight, words));
            }
        }
    }
    best.map(|(_, words)| words)
}

/// Groups digits by thousands.
fn grouped(number: u64, separator: char) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(separator);
        }
        text.push(digit);
    }
    text
}

/// Day, month (by its name in `months`), year, hour and minute in UTC.
fn parts(time: Timestamp, months: [&'static str; 12]) -> (i8, &'static str, i16, String) {
    let day = time.day();
    let month = usize::try_from(day.month() - 1).ok().and_then(|at| months.get(at)).copied().unwrap_or_default();
    let minute = time.to_string().get(11..16).unwrap_or_default().to_owned();
    (day.day(), month, day.year(), minute)
}

#[cfg(test)]
mod tests {
    use strum::VariantArray as _;

    use super::*;
    use crate::http::tests::fixture::headers;

    #[test]
    fn the_parameter_wins_over_the_browser_and_english_is_the_rest() {
        for (query, accept, expected) in [
            ("", "", "en"),
            ("", "de", "de"),
            ("", "de-AT,de;q=0.9,en;q=0.8", "de"),
            ("", "en-GB,en;q=0.9,de;q=0.8", "en"),
            ("", "fr,de;q=0.3,en;q=0.2", "de"),
            ("", "de;q=0, fr", "en"),
            ("", "fr,*;q=0.1", "en"),
            ("", "de;q=x,en;q=0.1", "en"),
            ("lang=de", "en", "de"),
            ("x=1&lang=en", "de", "en"),
            ("lang=DE-ch", "", "de"),
            ("lang=fr", "de", "de"),
            ("lang=%ff", "de", "de"),
            ("lang=<script>", "", "en"),
        ] {
            let accept: &'static str = accept;
            let chosen = Words::choose(query, &headers(&[("accept-language", accept.as_bytes())]));
            assert_eq!(chosen.code, expected, "{query} {accept}");
        }
    }

    #[test]
    fn numbers_and_times_follow_the_language() {
        let time = Timestamp::from_millis(1_777_797_216_445);
        let [en, de] = LANGUAGES;
        let counted = |number| grouped(number, '.');
        assert_eq!([7, 100, 1000, 1_234_567].map(counted), ["7", "100", "1.000", "1.234.567"]);
        assert!((en.choose_lead)("X", 1234).contains("1,234") && (de.choose_lead)("X", 1234).contains("1.234"));
        assert_eq!((en.time)(time), "3 May 2026, 08:33 UTC");
        assert_eq!((de.time)(time), "3. Mai 2026, 08:33 UTC");
    }

    /// What happened and what to do are whole sentences, different in each language.
    #[test]
    fn every_failure_and_trouble_is_told_in_every_language() {
        let mut seen = std::collections::BTreeSet::new();
        let (mut operators, mut steps) = (seen.clone(), std::collections::BTreeMap::new());
        for words in LANGUAGES {
            let gone = (words.account_gone)("X");
            assert!(seen.insert(gone.happened) && gone.advice.ends_with('.'), "{}", words.code);
            for failure in Failure::OF_CONNECTION {
                let told = (words.failure)(failure, "X");
                for sentence in [&*told.happened, told.advice] {
                    assert!(sentence.ends_with('.') && sentence.len() > 20, "{} {failure:?}: {sentence}", words.code);
                }
                assert!(seen.insert(told.happened.clone()), "{} {failure:?}: {}", words.code, told.happened);
            }
            let told = (words.not_among)("X");
            assert!(told.happened.ends_with('.') && told.advice.ends_with('.') && seen.insert(told.happened));
            for failure in Failure::VARIANTS {
                let (cause, remedy) = ((words.cause)(*failure, "X", None), (words.remedy)(*failure, "acme", None));
                for sentence in [&cause, &remedy] {
                    let is_whole = sentence.ends_with('.') && sentence.len() > 20 && !sentence.contains(['{', '}']);
                    assert!(is_whole, "{} {failure:?}: {sentence}", words.code);
                }
                assert!(operators.insert(cause.clone()), "{} {failure:?}: {cause}", words.code);
                assert_eq!(*steps.entry(remedy).or_insert(words.code), words.code, "{failure:?}");
            }
            for refused in console::Refused::VARIANTS {
                let (heading, advice) = (words.console.refused)(*refused);
                assert!(seen.insert(advice.to_owned()) && advice.ends_with('.'), "{} {heading}", words.code);
            }
            for done in console::Done::VARIANTS {
                let told = (words.console.done)(*done);
                assert!(seen.insert(told.to_owned()) && told.ends_with('.'), "{} {done:?}: {told}", words.code);
            }
            for why in console::NoSignIn::VARIANTS {
                assert!(seen.insert((words.console.no_sign_in)(*why).to_owned()), "{} {why:?}", words.code);
            }
            for trouble in Trouble::VARIANTS {
                let told = (words.trouble)(*trouble);
                assert!(seen.insert(told.heading.to_owned()), "{} {trouble:?}: {}", words.code, told.heading);
                for sentence in [told.happened, told.advice] {
                    assert!(sentence.ends_with('.'), "{} {trouble:?}: {sentence}", words.code);
                }
            }
        }
    }
}
