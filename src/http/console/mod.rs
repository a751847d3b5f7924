//! The operator's pages at `/console`: accounts and what is wrong with them, profiles, OAuth apps, access keys,
//! platforms and the audit trail.
//!
//! A file for each page or group of pages, with its templates in `templates/console`; [`view`] has what is around them,
//! [`session`] who is signed in, [`returned`] what becomes of a form with a mistake. A new page is a template that
//! extends `console/layout.html`, a struct with the fields `frame` and `at`, a line in `routes`, and its texts in
//! `pages::words::console`.
//!
//! Invariant: a page shows and changes what the API would show and change for the same key, through the same use cases.
//! It has no script, and no secret but a new access key, once. A form is taken from the console's own pages only, with
//! the value that only a page of the same session has.

pub(crate) mod account;
pub(crate) mod accounts;
pub(crate) mod apps;
mod entries;
mod fields;
pub(crate) mod home;
pub(crate) mod keys;
pub(crate) mod platforms;
pub(crate) mod problem;
pub(crate) mod profiles;
pub(crate) mod returned;
pub(crate) mod session;
pub(crate) mod sign_in;
pub(crate) mod trail;
pub(crate) mod view;

/// Held from the look whether a form was sent before until what it makes is stored. A double click sends it twice at
/// once.
static MAKING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[cfg(test)]
pub(crate) mod tests {
    use super::view::View;
    use super::{account, accounts, apps, home, keys, platforms, problem, profiles, sign_in, trail};

    pub(crate) use super::view::tests::view;

    /// Every page of the console with this text in every field.
    pub(crate) fn pages(at: &View<'_>, mark: &str, text: &str) -> Vec<String> {
        let mut drawn = vec![
            accounts::tests::page(at, mark, text),
            apps::tests::page(at, mark, text),
            home::tests::page(at, text),
            platforms::tests::page(at, mark, text),
            profiles::tests::page(at, text),
            trail::tests::page(at, text),
            problem::tests::page(at, text),
            sign_in::tests::page(at, text),
        ];
        drawn.extend(account::tests::pages(at, mark, text));
        drawn.extend(keys::tests::pages(at, text));
        drawn
    }
}
