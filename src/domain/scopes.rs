//! OAuth scopes: reads several in a text, and finds those that a person left out, told from those that platforms only
//! name differently.

/// Scopes that servers leave out of their answers, or that nobody can decline.
const NEVER_MISSED: [&str; 5] = ["offline", "offline.access", "offline_access", "openid", "public_profile"];

/// The scopes in a text, between commas or white space: neither is part of a scope here.
pub fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c == ',' || c.is_whitespace()).filter(|scope| !scope.is_empty())
}

/// The requested scopes that were not granted, in the order in which they were asked for. Empty when no granted scope
/// is known: then nothing is known of the others either.
#[must_use]
pub fn missing(requested: &[String], granted: &[String]) -> Vec<String> {
    if granted.is_empty() {
        return Vec::new();
    }
    let is_granted = |scope: &&String| granted.iter().any(|granted| covers(granted, scope));
    let is_missing = |scope: &&String| !NEVER_MISSED.contains(&scope.as_str()) && !is_granted(scope);
    requested.iter().filter(is_missing).cloned().collect()
}

/// True when a granted scope is the requested one by another name, or contains it: GitHub grants `user` for
/// `user:email`.
fn covers(granted: &str, requested: &str) -> bool {
    let (granted, requested) = (short(granted), short(requested));
    // Reddit grants `*`, all of them.
    granted == "*"
        || granted.eq_ignore_ascii_case(requested)
        || requested.split_once(':').is_some_and(|(whole, _)| granted.eq_ignore_ascii_case(whole))
}

/// The end of a scope that is a URL. Google spells `email` as `https://www.googleapis.com/auth/userinfo.email`, and
/// Microsoft `User.Read` as `https://graph.microsoft.com/User.Read`.
fn short(scope: &str) -> &str {
    let end = scope.split_once("://").and_then(|(_, path)| path.rsplit('/').next()).filter(|end| !end.is_empty());
    end.map_or(scope, |end| end.strip_prefix("userinfo.").unwrap_or(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_was_left_out_is_missing_and_nothing_else() {
        const YOUTUBE: &str = "https://www.googleapis.com/auth/youtube.upload";
        for (requested, granted, expected) in [
            ("user.info.basic video.publish video.upload", "user.info.basic", "video.publish video.upload"),
            ("user.info.basic video.publish", "video.publish user.info.basic", ""),
            ("a b", "", ""),
            ("identity submit", "*", ""),
            ("", "a", ""),
            ("tweet.read offline.access", "tweet.read", ""),
            ("openid profile offline_access offline", "profile", ""),
            ("public_profile pages_show_list", "pages_show_list", ""),
            (
                "openid email profile",
                "https://www.googleapis.com/auth/userinfo.email https://www.googleapis.com/auth/userinfo.profile openid",
                "",
            ),
            ("https://www.googleapis.com/auth/userinfo.email", "email", ""),
            ("openid email https://www.googleapis.com/auth/youtube.upload", "email", YOUTUBE),
            (YOUTUBE, "https://www.googleapis.com/auth/youtube.readonly", YOUTUBE),
            ("User.Read Mail.Read", "https://graph.microsoft.com/User.Read", "Mail.Read"),
            ("https://mail.google.com/", "https://mail.google.com/", ""),
            ("https://mail.google.com/", "email", "https://mail.google.com/"),
            ("user:email repo", "user", "repo"),
            ("boards:read pins:read", "boards:read", "pins:read"),
            ("Read", "read", ""),
        ] {
            assert_eq!(missing(&list(requested), &list(granted)), list(expected), "{requested} | {granted}");
        }
    }
}
