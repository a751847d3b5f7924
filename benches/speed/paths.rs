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
    /// The share of the hello's rate that it should have.
    pub(crate) goal: Option<f64>,
    pub(crate) load: Load,
    /// A text in the first answer, which shows that it is the one to be measured.
    pub(crate) shows: &'static str,
}

/// The name of the path that is compared with the disk as well.
pub(crate) const WHOLE_CONNECTION: &str = "a whole connection";

/// All paths. None of them changes what the later ones read, except for new accounts at the end.
pub(crate) fn all(data: &Data) -> Vec<Path> {
    let key = data.key.as_str();
    let wrong = PlainAccessKey::generate(&SystemEntropy).into_secret();
    let path = |name, goal, shows, load| Path { name, goal, load, shows };
    let get = |targets: Vec<String>| Load::get(targets, key, 200);
    let each = |after: &str| data.ids.iter().map(|id| format!("{INTEGRATIONS}/{id}{after}")).collect();
    let list = |more: String| format!("{INTEGRATIONS}?limit=20{more}");
    let search = |needles: &[&str]| get(needles.iter().map(|needle| list(format!("&q={}", encode(needle)))).collect());
    let last_names: Vec<&str> = data.last_names.iter().map(String::as_str).collect();
    vec![
        path("health", Some(0.75), r#""ok":true"#, get(vec!["/v1/health".to_owned()])),
        path("401, wrong key", Some(0.75), r#""error""#, Load::get([list(String::new())], wrong.expose_secret(), 401)),
        path("token, fresh", Some(0.50), r#""access-0"#, get(each("/token"))),
        path("one integration", Some(0.45), r#""int_"#, get(each(""))),
        path("list, newest 20", Some(0.35), r#""int_"#, get(vec![list(String::new())])),
        path("list, from the middle", None, r#""int_"#, get(vec![list(format!("&offset={}", data.accounts / 2))])),
        path("list, q of a few accounts", Some(0.10), r#""int_"#, search(&last_names)),
        path("list, q of 1 in 16", None, r#""int_"#, search(&FIRST_NAMES)),
        path("list, q of 3 characters", None, r#""int_"#, search(&["mar", "gor", "zoë", "vik"])),
        path("list, q of 2 characters", None, r#""int_"#, search(&["ma", "en", "ör", "99"])),
        path("list, q of 1 character", None, r#""int_"#, search(&["a", "x", "7", "q"])),
        path("list, q of nothing", None, r#""total":0"#, search(&["nobody", "###", "zzzz"])),
        path("connect, start", Some(0.30), "state=", Load::get([format!("/v1/connect/twitter?{DONE}")], key, 200)),
        path(
            WHOLE_CONNECTION,
            None,
            "state=",
            Load::Connections(client::get(&format!("/v1/connect/acme?{DONE}"), key)),
        ),
    ]
}

fn encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
