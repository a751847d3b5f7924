//! How the pages of a project look: the stylesheet with its accent, the logo and the icon, and where those are served.
//!
//! Everything is made once, when the configuration is read. A file's address carries the digest of its content, so a
//! browser may keep it for ever.

use std::collections::{BTreeMap, HashMap};

use actix_web::web::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::marks;
use crate::domain::identity::{Identities, Identity, LogoFormat};

/// The path of all files, before the name of one.
pub(crate) const FILES: &str = "/assets/";

/// The stylesheet of all pages, as it is written: see its first lines.
const SHEET: &str = include_str!("../../../templates/style.css");

/// The look of one project's pages.
pub(crate) struct Look {
    pub(crate) identity: Identity,
    /// The stylesheet, inlined in every page.
    pub(crate) style: String,
    /// Its hash, for the content security policy.
    style_hash: String,
    /// Path of the logo.
    pub(crate) logo: Option<String>,
    /// Path of the icon that browsers show beside the title.
    pub(crate) icon: String,
}

/// A file that pages name.
pub(crate) struct File {
    pub(crate) content_type: &'static str,
    pub(crate) bytes: Bytes,
}

/// The looks of all projects.
pub(crate) struct Looks {
    identities: Identities,
    general: Look,
    of_projects: BTreeMap<String, Look>,
    /// By name.
    files: HashMap<String, File>,
}

impl Looks {
    pub(crate) fn new(identities: &Identities) -> Self {
        let mut files = HashMap::new();
        let general = Look::new(&identities.general, &mut files);
        let of_projects = identities.of_projects.iter();
        let of_projects = of_projects.map(|(name, own)| (name.clone(), Look::new(own, &mut files))).collect();
        Self { identities: identities.clone(), general, of_projects, files }
    }

    /// The look of a project; the general one where it is not known which.
    pub(crate) fn of(&self, project: Option<&str>) -> &Look {
        project.and_then(|project| self.of_projects.get(project)).unwrap_or(&self.general)
    }

    /// The name of the app that asks.
    pub(crate) fn app_name<'a>(&'a self, project: Option<&'a str>) -> Option<&'a str> {
        self.identities.app_name(project)
    }

    pub(crate) fn file(&self, name: &str) -> Option<&File> {
        self.files.get(name)
    }
}

impl Look {
    fn new(identity: &Identity, files: &mut HashMap<String, File>) -> Self {
        let mut style = compact(SHEET);
        if let Some(accent) = identity.accent {
            let (light, dark) = (accent.light.to_string(), accent.dark.to_string());
            let parts = [":root{--accent:", &light, "}@media(prefers-color-scheme:dark){:root{--accent:", &dark, "}}"];
            style.extend(parts);
        }
        let mut add = |kind: &str, extension: &str, content_type, bytes: Bytes| {
            let digest = hex::encode(Sha256::digest(&bytes));
            let name = format!("{kind}-{}.{extension}", digest.get(..16).unwrap_or(&digest));
            let path = format!("{FILES}{name}");
            files.insert(name, File { content_type, bytes });
            path
        };
        let logo = identity.logo.as_ref().map(|logo| {
            let bytes = Bytes::copy_from_slice(&logo.bytes);
            match logo.format {
                LogoFormat::Png => add("logo", "png", "image/png", bytes),
                LogoFormat::Svg => add("logo", "svg", "image/svg+xml", bytes),
            }
        });
        let own = || add("icon", "svg", "image/svg+xml", Bytes::from(marks::own_file()));
        let icon = logo.clone().unwrap_or_else(own);
        let style_hash = STANDARD.encode(Sha256::digest(&style));
        Self { identity: identity.clone(), style, style_hash, logo, icon }
    }

    /// The content security policy of a page.
    pub(crate) fn policy(&self, forms: Forms<'_>) -> String {
        policy(&self.style_hash, forms)
    }
}

/// Where the forms of a page may lead. Browsers hold the form's address and every redirect after it against the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forms<'a> {
    /// No limit. An app's page may redirect to any host, and to schemes such as those of apps on phones.
    Anywhere,
    None,
    Own,
    /// The broker and this source, in the policy's syntax.
    OwnAnd(&'a str),
}

/// The content security policy of a page whose stylesheet has this SHA-256 hash, in base64.
pub(crate) fn policy(style_hash: &str, forms: Forms<'_>) -> String {
    let form_action = match forms {
        Forms::Anywhere => String::new(),
        Forms::None => "; form-action 'none'".to_owned(),
        Forms::Own => "; form-action 'self'".to_owned(),
        Forms::OwnAnd(source) => format!("; form-action 'self' {source}"),
    };
    format!(
        "default-src 'none'; style-src 'sha256-{style_hash}'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'{form_action}"
    )
}

/// The stylesheet without comments and the space that only people need.
pub(crate) fn compact(sheet: &str) -> String {
    let mut text = String::with_capacity(sheet.len());
    for piece in sheet.split("/*").enumerate().map(|(at, piece)| match at {
        0 => piece,
        _ => piece.split_once("*/").map_or("", |(_, rest)| rest),
    }) {
        piece.lines().map(str::trim).for_each(|line| text.push_str(line));
    }
    [(" {", "{"), ("{ ", "{"), ("; ", ";"), (";}", "}"), (": ", ":"), (", ", ","), (":0.", ":."), (" 0.", " .")]
        .iter()
        .fold(text, |text, (long, short)| text.replace(long, short))
}

/// The rules of a compact stylesheet that may apply to a page with these classes. Every `@media` stays.
pub(crate) fn used(sheet: &str, has_class: impl Fn(&str) -> bool) -> String {
    let mut kept = String::with_capacity(sheet.len());
    let mut rest = sheet;
    while let Some(open) = rest.find('{') {
        let mut depth = 0_u32;
        let close = rest.char_indices().skip_while(|(at, _)| *at < open).find(|(_, letter)| {
            depth = if *letter == '{' { depth + 1 } else { depth - u32::from(*letter == '}') };
            depth == 0
        });
        let (rule, after) = rest.split_at(close.map_or(rest.len(), |(at, _)| at + 1));
        let (selectors, _) = rule.split_at(open);
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
        let applies = |selector: &str| {
            let mut classes =
                selector.split('.').skip(1).map(|part| part.split(|c| !is_name(c)).next().unwrap_or(part));
            classes.all(&has_class)
        };
        if selectors.starts_with('@') || selectors.split(',').any(applies) {
            kept.push_str(rule);
        }
        rest = after;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::colour::{Accent, DARK_SHEET, LIGHT_PAGE, READABLE};
    use crate::domain::identity::Logo;

    fn look(identity: &Identity) -> (Look, HashMap<String, File>) {
        let mut files = HashMap::new();
        (Look::new(identity, &mut files), files)
    }

    #[test]
    fn the_stylesheet_is_sent_without_its_explanations() {
        assert_eq!(compact("/* why */\na {\n  b: c;\n}\n/* x */ d { e: f; }\n"), "a{b:c}d{e:f}");
        assert_eq!(compact("a, b c { d: 0.5rem 10.5rem 0.25rem; }"), "a,b c{d:.5rem 10.5rem .25rem}");
        let (look, _) = look(&Identity::default());
        assert!(!look.style.contains("/*") && look.style.len() > 1000);
        assert!(look.style.len() < 12 * 1024, "{} bytes", look.style.len());
        for never in ["url(", "@import", "//", "</"] {
            assert!(!look.style.contains(never), "{never}");
        }
    }

    #[test]
    fn a_page_can_leave_out_the_rules_of_classes_that_it_has_not() {
        let sheet = "a { b: c; }.in { d: e; }.out, p { f: g; }.out { h: i; }.in .out { j: k; }:is(.out, .off) a { l: m; }\
            @media print {.out { n: o; }}.in.in-too { p: q; }";
        let kept = "a { b: c; }.in { d: e; }.out, p { f: g; }@media print {.out { n: o; }}.in.in-too { p: q; }";
        assert_eq!(used(sheet, |class| ["in", "in-too"].contains(&class)), kept);
        assert_eq!(used(sheet, |_| true), sheet);
    }

    /// The colours that accents are measured against are the stylesheet's.
    #[test]
    fn the_stylesheet_has_the_backgrounds_that_accents_are_measured_against() {
        assert!(SHEET.contains(&format!("--page: {LIGHT_PAGE};")), "{LIGHT_PAGE}");
        assert!(SHEET.contains(&format!("--sheet: {DARK_SHEET};")), "{DARK_SHEET}");
    }

    /// Every pair of text and background that the stylesheet's variables make, in both themes.
    #[test]
    fn every_text_can_be_read() {
        let blocks: Vec<&str> = SHEET.split(":root {").skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
        assert_eq!(blocks.len(), 2, "a light and a dark theme");
        for block in blocks {
            let colour = |name: &str| {
                let value = block.split(&format!("--{name}: ")).nth(1).unwrap_or_else(|| panic!("{name}"));
                let digits = value.split(';').next().unwrap().trim_start_matches('#');
                let channel = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
                crate::domain::colour::Colour::new([channel(0), channel(2), channel(4)])
            };
            for (text, background) in [
                ("ink", "page"),
                ("ink", "sheet"),
                ("quiet", "page"),
                ("quiet", "sheet"),
                ("accent", "page"),
                ("accent", "sheet"),
                ("on-accent", "accent"),
                ("good", "sheet"),
                ("good", "good-page"),
                ("bad", "sheet"),
                ("bad", "bad-page"),
                ("ink", "picked"),
                ("quiet", "picked"),
            ] {
                let contrast = colour(text).contrast(colour(background));
                assert!(contrast >= READABLE, "{text} on {background}: {contrast:.2}");
            }
        }
    }

    #[test]
    fn a_logo_is_served_under_its_digest_and_is_the_icon_too() {
        let svg = b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec();
        let logo = Some(Logo::new(svg.clone()).unwrap());
        let accent = Some(Accent::parse("navy").unwrap());
        let (with, files) = look(&Identity { logo, accent, ..Identity::default() });
        let path = with.logo.unwrap();
        assert_eq!(path, with.icon);
        assert_eq!(files[path.strip_prefix(FILES).unwrap()].bytes, svg);
        assert!(with.style.contains("--accent:#000080"), "{}", with.style);
        let (without, files) = look(&Identity::default());
        assert_eq!((without.logo, files.len()), (None, 1));
        assert_ne!(with.style_hash, without.style_hash);
    }
}
