//! The paths that are measured, with their goals.

use postpeer::domain::access_key::PlainAccessKey;
use postpeer::domain::entropy::SystemEntropy;
use secrecy::ExposeSecret as _;

use super::client::{self, Load};
use super::data::{Data, FIRST_NAMES};

const INTEGRATIONS: &str = "/v1/connect/integrations";
const DONE: &str = "redirectUri=https%3A%2F%2Fapp.example%2Fconnected";

/// Something to ask the broker.
pub(crate) struct Path {
    pub(crate) name: &'static str,
    pub(crate) goals: Goals,
    pub(crate) load: Load,
    /// A text in the first answer, which shows that it is the one to be measured.
    pub(crate) shows: &'static str,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Goals {
    /// Least share of the hello's rate, at the fewest accounts.
    pub(crate) of_hello: Option<f64>,
    /// Least part of that share that is left at the most accounts.
    pub(crate) kept: Option<f64>,
}

/// The name of the path that is compared with the disk as well.
pub(crate) const WHOLE_CONNECTION: &str = "a whole connection";

/// All paths. None of them changes what the later ones read, except for new accounts at the end.
pub(crate) fn all(data: &Data) -> Vec<Path> {
    let key = data.key.as_str();
    let wrong = PlainAccessKey::generate(&SystemEntropy).into_secret();
    let path = |name, goals, shows, load| Path { name, goals, load, shows };
    let goal = |of_hello| Goals { of_hello: Some(of_hello), kept: None };
    let goals = |of_hello, kept| Goals { of_hello: Some(of_hello), kept: Some(kept) };
    let none = Goals::default();
    let get = |targets: Vec<String>| Load::get(targets, key, 200);
    let each = |after: &str| data.ids.iter().map(|id| format!("{INTEGRATIONS}/{id}{after}")).collect();
    let list = |more: String| format!("{INTEGRATIONS}?limit=20{more}");
    let search = |needles: &[&str]| get(needles.iter().map(|needle| list(format!("&q={}", encode(needle)))).collect());
    let last_names: Vec<&str> = data.last_names.iter().map(String::as_str).collect();
    vec![
        path("health", goal(0.75), r#""ok":true"#, get(vec!["/v1/health".to_owned()])),
        path("401, wrong key", goal(0.75), r#""error""#, Load::get([list(String::new())], wrong.expose_secret(), 401)),
        path("token, fresh", goal(0.50), r#""access-0"#, get(each("/token"))),
        path("one integration", goal(0.45), r#""int_"#, get(each(""))),
        path("list, newest 20", goals(0.35, 0.8), r#""int_"#, get(vec![list(String::new())])),
        path("list, from the middle", none, r#""int_"#, get(vec![list(format!("&offset={}", data.accounts / 2))])),
        path("list, q of a few accounts", goals(0.10, 0.5), r#""int_"#, search(&last_names)),
        path("list, q of 1 in 16", none, r#""int_"#, search(&FIRST_NAMES)),
        path("list, q of 3 characters", none, r#""int_"#, search(&["mar", "gor", "zoë", "vik"])),
        path("list, q of 2 characters", none, r#""int_"#, search(&["ma", "en", "ör", "99"])),
        path("list, q of 1 character", none, r#""int_"#, search(&["a", "x", "7", "q"])),
        path("list, q of nothing", none, r#""total":0"#, search(&["nobody", "###", "zzzz"])),
        path("connect, start", goal(0.30), "state=", Load::get([format!("/v1/connect/twitter?{DONE}")], key, 200)),
        path(
            WHOLE_CONNECTION,
            none,
            "state=",
            Load::Connections(client::get(&format!("/v1/connect/acme?{DONE}"), key)),
        ),
    ]
}

fn encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
