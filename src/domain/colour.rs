//! Colours that can be read: the operator's accent in both themes of the pages, and how much it stands out.
//!
//! The accent colours links, buttons, ticks and the ring around the focus. The light theme shows it as the operator
//! chose it, so it must stand out there. The dark theme shows the nearest lighter tint that does.

use std::fmt;

/// Contrast that text needs (WCAG 2.2, 1.4.3).
pub const READABLE: f64 = 4.5;

/// Background of the light theme: `--page` of the stylesheet. The sheets on it are white.
pub const LIGHT_PAGE: Colour = Colour([0xf5, 0xf6, 0xf8]);
/// The lightest background of the dark theme: `--sheet` of the stylesheet.
pub const DARK_SHEET: Colour = Colour([0x1d, 0x21, 0x27]);

const BLACK: Colour = Colour([0; 3]);
const WHITE: Colour = Colour([0xff; 3]);

/// An opaque colour in sRGB. Shown as `#rrggbb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour([u8; 3]);

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

/// Why a text is no accent. `Display` completes a sentence that begins with the key.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Unfit {
    #[error("is not a CSS colour: write it like #0b57b0, rgb(11 87 176), hsl(212 88% 37%) or navy")]
    Unknown,
    #[error("lets the background shine through: take an opaque colour")]
    Translucent,
    #[error(
        "has a contrast of only {contrast:.1}:1 on the light theme's background, and text needs 4.5:1: the nearest that \
         would do is {nearest}"
    )]
    Faint { contrast: f64, nearest: Colour },
}

/// A colour that can be read in both themes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accent {
    pub light: Colour,
    pub dark: Colour,
}

impl Accent {
    /// Reads any CSS colour.
    ///
    /// # Errors
    ///
    /// It is no colour, or does not stand out.
    pub fn parse(text: &str) -> Result<Self, Unfit> {
        let colour = csscolorparser::parse(text).map_err(|_| Unfit::Unknown)?;
        let [red, green, blue, alpha] = colour.to_rgba8();
        if alpha != u8::MAX {
            return Err(Unfit::Translucent);
        }
        let light = Colour([red, green, blue]);
        let contrast = light.contrast(LIGHT_PAGE);
        if contrast < READABLE {
            return Err(Unfit::Faint { contrast, nearest: light.towards(BLACK, LIGHT_PAGE) });
        }
        Ok(Self { light, dark: light.towards(WHITE, DARK_SHEET) })
    }
}

impl Colour {
    /// From red, green and blue.
    #[must_use]
    pub const fn new(channels: [u8; 3]) -> Self {
        Self(channels)
    }

    /// Contrast ratio (WCAG 2.2), from 1 to 21.
    #[must_use]
    pub fn contrast(self, other: Self) -> f64 {
        let (one, two) = (self.luminance(), other.luminance());
        (one.max(two) + 0.05) / (one.min(two) + 0.05)
    }

    fn luminance(self) -> f64 {
        let [red, green, blue] = self.0.map(|channel| {
            let channel = f64::from(channel) / 255.0;
            if channel <= 0.04045 { channel / 12.92 } else { ((channel + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    /// The first mixture with `end` that can be read on `background`.
    fn towards(self, end: Self, background: Self) -> Self {
        let mixed = |share: u16| {
            let mut channels = self.0;
            for (channel, end) in channels.iter_mut().zip(end.0) {
                let sum = u16::from(*channel) * (255 - share) + u16::from(end) * share;
                *channel = u8::try_from(sum / 255).unwrap_or(end);
            }
            Self(channels)
        };
        (0..255).map(mixed).find(|mixed| mixed.contrast(background) >= READABLE).unwrap_or(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_colour_is_read() {
        for same in ["#0b57b0", "0b57b0", "#0B57B0ff", "rgb(11, 87, 176)", "rgb(11 87 176)", " #0b57b0 "] {
            assert_eq!(Accent::parse(same.trim()).unwrap().light, Colour([0x0b, 0x57, 0xb0]), "{same}");
        }
        assert_eq!(Accent::parse("hsl(0 0% 0%)").unwrap().light.to_string(), "#000000");
        assert_eq!(Accent::parse("rebeccapurple").unwrap().light.to_string(), "#663399");
        for bad in ["", "nocolour", "#12", "red; background: url(x)", "var(--x)", "url(x)", "}"] {
            assert_eq!(Accent::parse(bad), Err(Unfit::Unknown), "{bad}");
        }
        for clear in ["#0b57b080", "rgba(0,0,0,0.5)", "transparent"] {
            assert_eq!(Accent::parse(clear), Err(Unfit::Translucent), "{clear}");
        }
    }

    #[test]
    fn a_faint_accent_is_refused_with_the_nearest_that_would_do() {
        for faint in ["yellow", "white", "#ff8800", "hsl(120 100% 40%)", "lightblue", "#7f7f7f"] {
            let Err(Unfit::Faint { contrast, nearest }) = Accent::parse(faint) else { panic!("{faint}") };
            assert!(contrast < READABLE, "{faint}");
            assert!(Accent::parse(&nearest.to_string()).is_ok(), "{faint}: {nearest}");
            assert!(nearest.contrast(LIGHT_PAGE) < 4.7, "{faint}: {nearest} is darker than it has to be");
        }
    }

    #[test]
    fn an_accent_can_be_read_in_both_themes() {
        for accent in ["black", "navy", "#0b57b0", "#8a0000", "darkgreen", "#666666", "purple"] {
            let Accent { light, dark } = Accent::parse(accent).unwrap();
            assert!(light.contrast(LIGHT_PAGE) >= READABLE && light.contrast(WHITE) >= READABLE, "{accent}");
            assert!(dark.contrast(DARK_SHEET) >= READABLE, "{accent}: {dark}");
        }
        assert!((BLACK.contrast(WHITE) - 21.0).abs() < 0.01);
    }
}
