//! `/console`: the number of failing accounts, the last day in numbers, and the key that is signed in.

use std::fmt::Write as _;

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::accounts;
use super::session::SignedIn;
use super::view::{Section, View};
use crate::domain::activity::{Hour, begins};
use crate::http::Current;
use crate::http::error::ApiError;
use crate::http::pages::frame::Frame;

#[derive(Template)]
#[template(path = "console/home.html")]
struct Home<'a> {
    frame: &'a Frame<'a>,
    at: &'a View<'a>,
    project: String,
    key: String,
    profile: Option<String>,
    scopes: String,
    /// Number of failing accounts in words, and the address of their list.
    failing: String,
    failing_href: String,
    charts: Vec<Chart>,
}

/// Numbers of the last day as bars, with the same in words.
struct Chart {
    name: &'static str,
    total: String,
    /// For those who do not see the picture.
    told: String,
    /// The bars, as the `d` of an SVG path in a field of 240 by 40.
    bars: String,
}

impl Chart {
    fn new(at: &View<'_>, name: &'static str, hours: &[Hour], of: impl Fn(&Hour) -> u64) -> Self {
        let most = hours.iter().max_by_key(|hour| of(hour));
        let highest = most.map_or(0, &of).max(1);
        let mut bars = String::new();
        for (number, hour) in hours.iter().enumerate().filter(|(_, hour)| of(hour) > 0) {
            // At least one unit high, so that a single one is seen beside thousands.
            let height = (of(hour).saturating_mul(40) / highest).max(1);
            let _ = write!(bars, "M{} 40v-{height}h8v{height}z", number * 10 + 1);
        }
        let total: u64 = hours.iter().map(&of).sum();
        let number = at.words.number;
        let most = most.filter(|hour| of(hour) > 0).map(|hour| (number(of(hour)), at.time(begins(hour.hour)).shown));
        Self { name, total: number(total), told: (at.words.chart)(name, &number(total), most), bars }
    }
}

pub(crate) async fn show(state: Current, req: HttpRequest, signed_in: SignedIn) -> Result<HttpResponse, ApiError> {
    let at = &View::new(&state, &req, Section::Home);
    let of = state.broker.describe_caller(&signed_in.caller).await?;
    let scopes: Vec<&str> = signed_in.caller.scopes.iter().map(|scope| <&str>::from(*scope)).collect();
    let (failing, told) = accounts::count_failing(&state, at, &signed_in.caller).await?;
    let page = Home {
        frame: &at.frame,
        at,
        project: of.project,
        key: of.key_name,
        profile: of.profile_name,
        scopes: scopes.join(", "),
        failing: told,
        charts: state.broker.last_day(&signed_in.caller).await?.map_or_else(Vec::new, |hours| {
            let chart = |name, of: fn(&Hour) -> u64| Chart::new(at, name, &hours, of);
            vec![
                chart(at.words.refreshed, |hour| hour.refreshed),
                chart(at.words.failed, |hour| hour.failed),
                chart(at.words.token_reads, |hour| hour.reads),
            ]
        }),
        failing_href: at.with("/accounts", &[("failing", if failing > 0 { "true" } else { "" })]),
    };
    at.show(&page)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[test]
    fn the_highest_bar_fills_the_picture_and_one_of_thousands_is_seen() {
        let [en, _] = crate::http::pages::words::LANGUAGES;
        let looks = crate::http::pages::look::Looks::new(&crate::domain::identity::Identities::default());
        let frame = Frame {
            words: en,
            look: looks.of(None),
            base: "",
            app: None,
            languages: Vec::new(),
            request_id: String::new(),
        };
        let at = crate::http::console::tests::view(frame, "");
        let hours = [0, 4000, 1].map(|reads| Hour { hour: 493_833, reads, ..Hour::default() });
        let chart = Chart::new(&at, "Reads", &hours, |hour| hour.reads);
        assert_eq!(chart.bars, "M11 40v-40h8v40zM21 40v-1h8v1z");
        assert_eq!(chart.total, "4,001");
        assert!(
            chart.told.starts_with("Reads in the last 24 hours: 4,001, at most 4,000 in the hour from "),
            "{}",
            chart.told
        );
        let nothing = Chart::new(&at, "Reads", &[Hour::default()], |hour| hour.reads);
        assert_eq!((nothing.bars.as_str(), nothing.told.as_str()), ("", "Reads in the last 24 hours: 0."));
    }

    pub(in super::super) fn page(at: &View<'_>, text: &str) -> String {
        let text = || text.to_owned();
        let (project, key, profile, scopes) = (text(), text(), Some(text()), text());
        let (failing, failing_href) = (text(), at.to("/accounts"));
        let charts = vec![Chart { name: "", total: text(), told: text(), bars: "M1 40v-1h8v1z".to_owned() }];
        Home { frame: &at.frame, at, project, key, profile, scopes, failing, failing_href, charts }.render().unwrap()
    }
}
