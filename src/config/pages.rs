//! `[pages]` and `[projects.NAME.pages]`: who asks, as the hosted pages say it.

use std::io::Read as _;
use std::path::Path;

use url::Url;

use super::reader::Reader;
use super::secrets::{NO_FILE, is_special};
use crate::domain::colour::Accent;
use crate::domain::identity::{Identities, Identity, LOGO_MAX, Logo};

/// Longest name of an app, in characters: it stands in headings.
const NAME_MAX: usize = 60;

pub(super) fn read(reader: &mut Reader) -> Identities {
    let mut identities = Identities { general: identity(reader, &["pages"]), ..Identities::default() };
    for project in reader.sections(&["projects"]) {
        let own = identity(reader, &["projects", &project, "pages"]);
        let own = identities.filled_in(own);
        identities.of_projects.insert(project, own);
    }
    identities
}

fn identity(reader: &mut Reader, section: &[&str]) -> Identity {
    let path = |key| [section, &[key][..]].concat();
    Identity {
        app_name: app_name(reader, &path("app_name")),
        logo: logo(reader, &path("logo_file")),
        accent: accent(reader, &path("accent")),
        home_url: link(reader, &path("home_url"), &["http", "https"]),
        support_url: link(reader, &path("support_url"), &["http", "https", "mailto"]),
        privacy_url: link(reader, &path("privacy_url"), &["http", "https"]),
    }
}

fn app_name(reader: &mut Reader, path: &[&str]) -> Option<String> {
    let name = reader.text(path)?;
    if name.chars().count() > NAME_MAX || name.contains(char::is_control) {
        reader.mistake(path, format!("must be at most {NAME_MAX} characters, in one line"));
        return None;
    }
    Some(name)
}

fn accent(reader: &mut Reader, path: &[&str]) -> Option<Accent> {
    let text = reader.text(path)?;
    Accent::parse(&text).map_err(|unfit| reader.mistake(path, unfit.to_string())).ok()
}

fn link(reader: &mut Reader, path: &[&str], schemes: &[&str]) -> Option<String> {
    let text = reader.text(path)?;
    match Url::parse(&text) {
        Ok(url) if schemes.contains(&url.scheme()) && (url.has_host() || url.scheme() == "mailto") => Some(url.into()),
        _ => {
            let also = if schemes.contains(&"mailto") { ", or mailto:help@acme.example" } else { "" };
            reader.mistake(path, format!("must be a whole URL, such as https://acme.example/{also}"));
            None
        }
    }
}

fn logo(reader: &mut Reader, path: &[&str]) -> Option<Logo> {
    let file = reader.path(path)?;
    let read = read_file(&file)
        .map_err(|error| format!("cannot be read ({error}): check the path and its permissions"))
        .and_then(|bytes| Logo::new(bytes).map_err(|why| why.to_string()));
    let logo = read.map_err(|problem| reader.mistake_in_file(path, &file, &problem)).ok();
    reader.files.logos.extend(logo.is_some().then_some(file));
    logo
}

/// Reads no more than it takes to see that a file is too large.
fn read_file(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if is_special(&std::fs::metadata(file)?) {
        return Err(std::io::Error::other(NO_FILE));
    }
    std::fs::File::open(file)?.take(LOGO_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment, Error, from_str};

    fn load(base: &Path, toml: &str) -> Result<Config, Error> {
        from_str("postpeer.toml", toml, base, &Environment::default())
    }

    #[test]
    fn a_project_takes_from_the_general_identity_what_it_leaves_out() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("logo.svg"), "<svg xmlns='http://www.w3.org/2000/svg'/>").unwrap();
        let toml = r#"
            [pages]
            app_name = "Acme"
            logo_file = "logo.svg"
            accent = "rebeccapurple"
            home_url = "https://acme.example"
            support_url = "mailto:help@acme.example"
            [projects.shop.pages]
            app_name = "Acme Shop"
            privacy_url = "https://shop.example/privacy"
        "#;
        let pages = load(dir.path(), toml).unwrap().pages;
        let shop = &pages.of_projects["shop"];
        assert_eq!(shop.app_name.as_deref(), Some("Acme Shop"));
        assert_eq!(shop.home_url.as_deref(), Some("https://acme.example/"));
        assert_eq!(shop.logo, pages.general.logo);
        assert!(shop.logo.is_some() && shop.accent.is_some() && pages.general.privacy_url.is_none());
        assert_eq!(load(dir.path(), "").unwrap().pages, Identities::default());
    }

    #[test]
    fn the_section_of_projects_is_known_and_is_a_table() {
        let told = |toml: &str| load(Path::new(""), toml).unwrap_err().to_string();
        let unknown = told("zebra = 1");
        assert!(unknown.contains("platforms, projects, refresh"), "{unknown}");
        assert!(told("project = 1").contains("did you mean projects?"));
        assert!(told("projects = 1").contains("projects must be a table: write [projects.NAME]"));
    }

    #[test]
    fn every_mistake_says_what_would_do() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("logo.gif"), "GIF89a").unwrap();
        let toml = r#"
            [pages]
            app_name = "two\nlines"
            logo_file = "logo.gif"
            accent = "yellow"
            home_url = "javascript:alert(1)"
            support_url = "acme.example/help"
            privacy_url = "mailto:x@acme.example"
            [projects.shop.pages]
            acent = "navy"
            logo_file = "none.png"
        "#;
        let error = load(dir.path(), toml).unwrap_err().to_string();
        for told in [
            "pages.app_name must be at most 60 characters",
            "logo.gif, which is neither a PNG nor an SVG picture",
            "pages.accent has a contrast of only 1.0:1",
            "the nearest that would do is #",
            "pages.home_url must be a whole URL",
            "or mailto:help@acme.example",
            "pages.privacy_url must be a whole URL",
            "did you mean projects.shop.pages.accent?",
            "none.png, which cannot be read",
        ] {
            assert!(error.contains(told), "{told} is not in:\n{error}");
        }
    }
}
