//! Reads the text fields of a `multipart/form-data` body (RFC 7578), strictly.

/// The fields in order, or `None` when the body does not fit its content type. A part with a file name is refused: no
/// platform's token endpoint takes files.
pub(super) fn fields(content_type: &str, body: &[u8]) -> Option<Vec<(String, String)>> {
    let boundary = content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.trim().split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then(|| value.trim_matches('"'))
    })?;
    let text = std::str::from_utf8(body).ok()?;
    let delimiter = format!("--{boundary}");
    let mut parts = text.split(delimiter.as_str());
    if !parts.next()?.trim().is_empty() {
        return None;
    }
    let mut fields = Vec::new();
    for part in parts {
        if part.trim_end() == "--" {
            return Some(fields);
        }
        let (head, value) = part.strip_prefix("\r\n")?.split_once("\r\n\r\n")?;
        fields.push((name(head)?, value.strip_suffix("\r\n")?.to_owned()));
    }
    None
}

fn name(head: &str) -> Option<String> {
    let disposition = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-disposition").then(|| value.trim())
    })?;
    let mut parameters = disposition.split(';').map(str::trim);
    if parameters.next() != Some("form-data") || disposition.contains("filename") {
        return None;
    }
    let quoted = parameters.find_map(|parameter| parameter.strip_prefix("name="))?;
    Some(quoted.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=\"x y\"";

    #[test]
    fn text_fields_are_read_in_order() {
        let body = b"--x y\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n2\r\n--x y\r\ncontent-disposition: form-data; name=b\r\nContent-Type: text/plain\r\n\r\n\r\n--x y--\r\n";
        let read = fields(TYPE, body).unwrap();
        assert_eq!(read, [("a".to_owned(), "1\r\n2".to_owned()), ("b".to_owned(), String::new())]);
    }

    #[test]
    fn a_truncated_body_or_a_file_is_refused() {
        for bad in [
            "",
            "--x y\r\n",
            "--x y\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n",
            "--x y\r\nContent-Disposition: form-data; name=\"a\"; filename=\"f\"\r\n\r\n1\r\n--x y--",
            "--x y\r\nContent-Type: text/plain\r\n\r\n1\r\n--x y--",
            "preamble--x y--",
        ] {
            assert_eq!(fields(TYPE, bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(fields("multipart/form-data", b"--x--"), None);
    }
}
