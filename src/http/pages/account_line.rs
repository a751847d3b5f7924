//! An account, as people recognise it on a page.

use std::collections::HashMap;

use crate::domain::account::Account;

/// How an account looks to people.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct AccountLine<'a> {
    pub(super) name: &'a str,
    /// `None` if it equals the name. The platform's id where other accounts beside it look the same.
    pub(super) handle: Option<&'a str>,
    /// Tells apart the locations of a chain, which share a name.
    pub(super) address: Option<&'a str>,
}

impl<'a> From<&'a Account> for AccountLine<'a> {
    fn from(account: &'a Account) -> Self {
        Self {
            name: account.label(),
            handle: account.handle(),
            address: account.metadata.get("address").and_then(serde_json::Value::as_str),
        }
    }
}

/// The lines of accounts that are shown beside each other, so that no two look the same.
pub(super) fn lines<'a>(accounts: impl IntoIterator<Item = &'a Account>) -> Vec<AccountLine<'a>> {
    let lines: Vec<_> = accounts.into_iter().map(|account| (AccountLine::from(account), account)).collect();
    let mut times = HashMap::<_, u32>::new();
    for (line, _) in &lines {
        *times.entry(*line).or_default() += 1;
    }
    let told_apart = |(line, account): (AccountLine<'a>, &'a Account)| match times.get(&line) {
        Some(2..) => AccountLine { handle: Some(&account.platform_user_id), ..line },
        _ => line,
    };
    lines.into_iter().map(told_apart).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_draws_the_handle_draws_the_address() {
        for page in [
            include_str!("../../../templates/link.html"),
            include_str!("../../../templates/link_done.html"),
            include_str!("../../../templates/selection.html"),
            include_str!("../../../templates/success.html"),
        ] {
            let times = |part: &str| page.matches(part).count();
            assert!(times("{{ handle }}") > 0 && times("{{ handle }}") == times("{{ address }}"), "{page}");
        }
    }

    #[test]
    fn accounts_of_one_look_show_their_ids() {
        let account = |id: &str, username: Option<&str>, address: Option<&str>| Account {
            platform_user_id: id.to_owned(),
            username: username.map(str::to_owned),
            display_name: Some("Harbour Lights".to_owned()),
            profile_url: None,
            image_url: None,
            metadata: address.map(|it| ("address".to_owned(), it.into())).into_iter().collect(),
        };
        let all = [
            account("1", None, None),
            account("2", Some("harbour"), None),
            account("3", None, None),
            account("4", None, Some("Pier 1")),
        ];
        let handles: Vec<_> = lines(&all).into_iter().map(|line| line.handle).collect();
        assert_eq!(handles, [Some("1"), Some("harbour"), Some("3"), None]);
    }
}
