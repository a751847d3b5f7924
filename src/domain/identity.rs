//! The app that asks for accounts, as the hosted pages name it: the app's name, logo, colour and links.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::colour::Accent;
use super::project::DEFAULT_PROJECT;

/// Largest logo, in bytes: a page with it should still load at once on a phone.
pub const LOGO_MAX: usize = 64 * 1024;

/// One app's identity. URLs are http(s), `support_url` may also be `mailto:`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    pub app_name: Option<String>,
    pub logo: Option<Logo>,
    pub accent: Option<Accent>,
    pub home_url: Option<String>,
    pub support_url: Option<String>,
    pub privacy_url: Option<String>,
}

/// A picture in a format that browsers show.
#[derive(Clone, PartialEq, Eq)]
pub struct Logo {
    pub format: LogoFormat,
    pub bytes: Arc<[u8]>,
}

impl fmt::Debug for Logo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Logo({:?}, {} bytes)", self.format, self.bytes.len())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogoFormat {
    Png,
    Svg,
}

/// Why a file is no logo. `Display` completes a sentence that begins with the file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoLogo {
    #[error("is larger than 64 KiB: name a smaller picture")]
    TooLarge,
    #[error("is neither a PNG nor an SVG picture")]
    UnknownFormat,
}

impl Logo {
    /// Tells the format from the content, not from the file's name.
    ///
    /// # Errors
    ///
    /// It is too large, or no picture.
    pub fn new(bytes: Vec<u8>) -> Result<Self, NoLogo> {
        if bytes.len() > LOGO_MAX {
            return Err(NoLogo::TooLarge);
        }
        let is_svg = || {
            let text = std::str::from_utf8(&bytes).unwrap_or_default();
            text.trim_start_matches('\u{feff}').trim_start().starts_with('<') && text.contains("<svg")
        };
        let format = if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            LogoFormat::Png
        } else if is_svg() {
            LogoFormat::Svg
        } else {
            return Err(NoLogo::UnknownFormat);
        };
        Ok(Self { format, bytes: bytes.into() })
    }
}

/// The identities of all projects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identities {
    /// For projects without one of their own.
    pub general: Identity,
    /// By the project's name. What one leaves out is the general identity's.
    pub of_projects: BTreeMap<String, Identity>,
}

impl Identities {
    /// The name that the pages of a project show. The project's own name helps out, unless it is the one that every
    /// broker has from the start.
    #[must_use]
    pub fn app_name<'a>(&'a self, project: Option<&'a str>) -> Option<&'a str> {
        let own = project.and_then(|project| self.of_projects.get(project));
        let given = own.unwrap_or(&self.general).app_name.as_deref();
        given.or_else(|| project.filter(|name| *name != DEFAULT_PROJECT))
    }

    /// A project's identity, with the general one in place of what it leaves out.
    #[must_use]
    pub fn filled_in(&self, own: Identity) -> Identity {
        let general = self.general.clone();
        Identity {
            app_name: own.app_name.or(general.app_name),
            logo: own.logo.or(general.logo),
            accent: own.accent.or(general.accent),
            home_url: own.home_url.or(general.home_url),
            support_url: own.support_url.or(general.support_url),
            privacy_url: own.privacy_url.or(general.privacy_url),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_of_a_logo_is_told_from_its_content() {
        let format = |bytes: &[u8]| Logo::new(bytes.to_vec()).map(|logo| logo.format);
        assert_eq!(format(b"\x89PNG\r\n\x1a\nrest"), Ok(LogoFormat::Png));
        assert_eq!(format(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), Ok(LogoFormat::Svg));
        assert_eq!(format("\u{feff}\n<?xml version='1.0'?><svg/>".as_bytes()), Ok(LogoFormat::Svg));
        for other in [&b""[..], b"GIF89a", b"\xff\xd8\xff", b"<html></html>", b"text <svg>", b"\x89PNG"] {
            assert_eq!(format(other), Err(NoLogo::UnknownFormat), "{other:?}");
        }
        assert_eq!(format(&vec![b'<'; LOGO_MAX + 1]), Err(NoLogo::TooLarge));
    }

    #[test]
    fn the_app_is_named_after_its_project_only_where_nothing_else_is_given() {
        let named = |name: &str| Identity { app_name: Some(name.to_owned()), ..Identity::default() };
        let nothing = Identities::default();
        assert_eq!(nothing.app_name(Some(DEFAULT_PROJECT)), None);
        assert_eq!((nothing.app_name(Some("shop")), nothing.app_name(None)), (Some("shop"), None));
        let mut some = Identities { general: named("Acme"), ..Identities::default() };
        some.of_projects.insert("shop".to_owned(), named("Acme Shop"));
        assert_eq!(some.app_name(Some("shop")), Some("Acme Shop"));
        assert_eq!((some.app_name(Some("other")), some.app_name(None)), (Some("Acme"), Some("Acme")));
    }
}
