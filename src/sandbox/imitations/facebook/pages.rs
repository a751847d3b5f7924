//! The Pages at the sandbox's Facebook, the people who manage them, and their businesses.
//!
//! Invariant: ids are of one platform-wide space, so that no two Pages, businesses or people share one.

use super::Persona;

/// Tasks of a full role.
const ALL: &[&str] = &["ADVERTISE", "ANALYZE", "CREATE_CONTENT", "MESSAGING", "MODERATE", "MANAGE"];

/// A Page as one person sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) username: Option<&'static str>,
    pub(super) has_picture: bool,
    /// The person's tasks there.
    pub(super) tasks: &'static [&'static str],
    pub(super) place: Place,
    pub(super) token: Token,
}

/// Listing in which a Page appears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Below `/{business}/client_pages` alone.
    Client(&'static str),
    /// Below `/{business}/owned_pages` alone.
    Owned(&'static str),
    /// Below `/me/accounts`.
    Own,
}

/// Calls that yield a Page's access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// Any listing of the Page.
    Listed,
    Never,
    /// A call for the Page itself, not a listing.
    OnRequest,
}

/// A business with its name.
pub(super) const BUSINESSES: &[(&str, &str)] =
    &[("201000000000001", "Quince & Co Holding"), ("201000000000002", "An empty business")];

fn page(id: &str, name: &str, username: Option<&'static str>) -> Page {
    Page {
        id: id.to_owned(),
        name: name.to_owned(),
        username,
        has_picture: true,
        tasks: ALL,
        place: Place::Own,
        token: Token::Listed,
    }
}

/// All Pages on which a person has a role.
pub(super) fn of(persona: &Persona) -> Vec<Page> {
    let businesses = |at: usize| BUSINESSES.get(at).map_or("", |(id, _)| *id);
    match persona.id {
        "ada" => vec![
            page("101000000000001", "Marlow & Daughters", Some("marlowdaughters")),
            page("101000000000002", "Harbour Lights", None),
            page("101000000000003", "Riverside Market", Some("riverside.market")),
        ],
        "agency" => (1..=250)
            .map(|number| page(&format!("102000000000{number:03}"), &format!("Client no. {number}"), None))
            .collect(),
        "analyst" => vec![
            page("103000000000001", "Ana's Notebook", Some("anasnotebook")),
            Page { tasks: &["ADVERTISE", "ANALYZE"], ..page("103000000000002", "Only to look at", None) },
        ],
        "basil" => {
            vec![Page { has_picture: false, ..page("104000000000001", "Basil <b>Quince</b> & Söhne 🦊", None) }]
        }
        "business" => vec![
            Page {
                place: Place::Owned(businesses(0)),
                ..page("105000000000001", "Quince Flagship", Some("quinceflag"))
            },
            Page {
                place: Place::Owned(businesses(0)),
                token: Token::OnRequest,
                ..page("105000000000002", "Quince Outlet", None)
            },
            Page {
                place: Place::Client(businesses(0)),
                token: Token::Never,
                ..page("105000000000003", "Somebody's Page", None)
            },
        ],
        _ => Vec::new(),
    }
}
