//! Names that a caller misspelt.
//!
//! An unknown name is ignored, unless it is so close to a known one that the caller meant that: a `redirect_uri` that
//! is ignored leaves a person on the broker's own page.

/// Shortest known name for which a wrong letter counts as a misspelling. Shorter ones are too close to other words.
const LONG_ENOUGH: usize = 5;

/// The known name that was meant: it differs in case, `_` and `-` only, or in one letter besides. `None` if `given` is
/// a known name, or close to none.
pub(super) fn meant<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    if known.contains(&given) {
        return None;
    }
    let letters = letters(given);
    known.iter().copied().find(|name| is_close(&letters, &self::letters(name)))
}

/// The known name that differs from `given` in case, `_` and `-` only.
pub(super) fn same_letters<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let letters = letters(given);
    known.iter().copied().find(|name| *name != given && self::letters(name) == letters)
}

fn is_close(given: &str, name: &str) -> bool {
    // Comparing long texts letter by letter is slow.
    let comparable = name.len() >= LONG_ENOUGH && given.len().abs_diff(name.len()) <= 1;
    given == name || (comparable && strsim::osa_distance(given, name) == 1)
}

fn letters(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_name_finds_the_one_that_was_meant() {
        let known = ["redirectUri", "cancelRedirectUri", "headless", "limit", "page", "q"];
        for (name, close) in [
            ("redirectUri", &["redirect_uri", "redirect-uri", "RedirectURI", "redirecturi", "redirect_url"][..]),
            ("redirectUri", &["redirctUri", "redirectUris", "rediretcUri", "_redirectUri"]),
            ("cancelRedirectUri", &["cancel_redirect_uri", "cancelRedirectUrl"]),
            ("headless", &["Headless", "headles", "headlees"]),
            ("limit", &["LIMIT", "limits", "limt", "lmiit"]),
            ("page", &["Page", "pa-ge"]),
            ("q", &["Q"]),
        ] {
            for given in close {
                assert_eq!(meant(given, &known), Some(name), "{given}");
            }
        }
        let long = "redirectUri".repeat(500);
        for other in
            ["redirectUri", "q", "pages", "pag", "", "_", "p", "lim", "redirect", "redirect_to", "state", &long]
        {
            assert_eq!(meant(other, &known), None, "{other}");
        }
    }
}
