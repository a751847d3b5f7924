//! A mark for each platform: a coloured tile with a simple shape, drawn here and not copied from any logo. A platform
//! without one gets the first letter of its name.

const OPEN: &str = "<svg class=\"mark\" viewBox=\"0 0 24 24\" aria-hidden=\"true\">";

/// The mark as inline SVG. `platform`: its name in the configuration; `label`: its name for people.
pub(crate) fn svg(platform: &str, label: &str) -> String {
    let (colour, shape) = match platform {
        "bluesky" => (
            "#0a6be0",
            "<g fill=\"#fff\"><circle cx=\"8\" cy=\"9\" r=\"3.4\"/><circle cx=\"16\" cy=\"9\" r=\"3.4\"/>\
             <circle cx=\"9.6\" cy=\"15\" r=\"2.4\"/><circle cx=\"14.4\" cy=\"15\" r=\"2.4\"/></g>",
        ),
        "facebook" => ("#1664d9", "<path d=\"M16 6h-1c-2 0-3 1-3 3v10M8.5 12.5H16\"/>"),
        "googlebusiness" => (
            "#1a6fe0",
            "<path d=\"M5 10.5 6.5 6h11l1.5 4.5a2.3 2.3 0 0 1-4.6 0 2.3 2.3 0 0 1-4.7 0 2.3 2.3 0 0 1-4.7 0M7 14v4.5h10V14\"/>",
        ),
        "instagram" => (
            "#c42a6f",
            "<rect x=\"5.5\" y=\"5.5\" width=\"13\" height=\"13\" rx=\"4\"/><circle cx=\"12\" cy=\"12\" r=\"3\"/>\
             <path d=\"M15.6 8.4h.01\"/>",
        ),
        "linkedin" => {
            ("#0a5fb4", "<path d=\"M7.5 11v6.5M7.5 7h.01M11.5 17.5V11m0 2.8c0-1.8 1-2.8 2.6-2.8s2.4 1 2.4 2.8v3.7\"/>")
        }
        "pinterest" => ("#c4122f", "<circle cx=\"12\" cy=\"9.5\" r=\"4\"/><path d=\"M12 9.5 10 19\"/>"),
        "reddit" => (
            "#cf3a02",
            "<ellipse cx=\"12\" cy=\"14\" rx=\"6\" ry=\"4.3\"/><path d=\"M9.8 13.4h.01M14.2 13.4h.01M12 9.7 13 6l3 .8\"/>",
        ),
        "threads" => (
            "#17191c",
            "<circle cx=\"12\" cy=\"12\" r=\"2.6\"/>\
             <path d=\"M14.6 9.6v3c0 1.3.8 2 1.8 2 1.2 0 1.9-1 1.9-2.6a6.3 6.3 0 1 0-2.5 5\"/>",
        ),
        "tiktok" => (
            "#17191c",
            "<g stroke=\"#2fd5cf\" transform=\"translate(-.8 -.5)\"><path d=\"M13 6v9a2.8 2.8 0 1 1-2.8-2.8\"/></g>\
             <g stroke=\"#f5365f\" transform=\"translate(.8 .5)\"><path d=\"M13 6c.2 2.3 1.7 3.7 4 3.9\"/></g>\
             <path d=\"M13 6v9a2.8 2.8 0 1 1-2.8-2.8M13 6c.2 2.3 1.7 3.7 4 3.9\"/>",
        ),
        "twitter" => ("#17191c", "<path d=\"m7 7 10 10M17 7 7 17\"/>"),
        "youtube" => ("#cc0a0a", "<path fill=\"#fff\" d=\"M10 8.5v7l6-3.5z\"/>"),
        _ => {
            let letter =
                label.chars().find(|c| c.is_alphanumeric()).map_or('?', |c| c.to_uppercase().next().unwrap_or(c));
            return format!(
                "{OPEN}<rect width=\"24\" height=\"24\" rx=\"5\" fill=\"#59616b\"/><text x=\"12\" y=\"16.7\" \
                 text-anchor=\"middle\" font-size=\"13\" font-weight=\"700\" fill=\"#fff\">{letter}</text></svg>"
            );
        }
    };
    format!(
        "{OPEN}<rect width=\"24\" height=\"24\" rx=\"5\" fill=\"{colour}\"/><g fill=\"none\" stroke=\"#fff\" \
         stroke-width=\"2\" stroke-linecap=\"round\" stroke-linejoin=\"round\">{shape}</g></svg>"
    )
}

/// The broker's own sign, as inline SVG.
pub(crate) const OWN: &str = "<svg aria-hidden=\"true\" viewBox=\"0 0 24 24\"><rect width=\"24\" height=\"24\" rx=\"6\" \
     fill=\"#0b57b0\"/><g fill=\"none\" stroke=\"#fff\" stroke-width=\"2\"><circle cx=\"8.5\" cy=\"12\" r=\"3.5\"/><circle \
     cx=\"15.5\" cy=\"12\" r=\"3.5\"/></g></svg>";

/// The same as a file: the icon of pages without a logo.
pub(crate) fn own_file() -> String {
    OWN.replacen("<svg ", "<svg xmlns=\"http://www.w3.org/2000/svg\" ", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_without_a_mark_gets_its_letter_and_nothing_that_acts() {
        for (label, letter) in
            [("Acme", 'A'), ("\u{fc}ber", '\u{dc}'), ("<script>", 'S'), ("\"><svg onload=", 'S'), ("", '?')]
        {
            let drawn = svg("acme", label);
            assert!(drawn.contains(&format!(">{letter}</text>")), "{drawn}");
            assert_eq!(drawn.matches('<').count(), 5, "{drawn}");
        }
    }
}
