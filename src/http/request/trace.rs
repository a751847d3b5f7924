//! The caller's trace (W3C Trace Context): its id is in the log lines of a request, and goes nowhere else.

use actix_web::http::header::{HeaderMap, HeaderName};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Returns the trace id of a valid `traceparent`: 32 hexadecimal digits. One that is not valid, or one of several, is
/// ignored, so that nobody can forge log lines with it.
pub(crate) fn id(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(TRACEPARENT);
    let text = values.next()?.to_str().ok().filter(|_| values.next().is_none())?;
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_known = version != "ff" && (version != "00" || parts.next().is_none());
    let is_valid = is_known
        && is_hex(version, 2)
        && is_hex(flags, 2)
        && [(trace, 32), (parent, 16)].iter().all(|(id, length)| is_hex(id, *length) && id.bytes().any(|b| b != b'0'));
    is_valid.then_some(trace)
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::fixture::headers;

    #[test]
    fn only_one_valid_traceparent_is_taken_over() {
        const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        let of = |values: &[&str]| {
            let pairs: Vec<_> = values.iter().map(|value| ("traceparent", value.as_bytes())).collect();
            id(&headers(&pairs)).map(str::to_owned)
        };
        let valid = format!("00-{TRACE}-00f067aa0ba902b7-01");
        for good in
            [valid.clone(), format!("01-{TRACE}-00f067aa0ba902b7-01"), format!("cc-{TRACE}-00f067aa0ba902b7-00-more")]
        {
            assert_eq!(of(&[&good]).as_deref(), Some(TRACE), "{good}");
        }
        for wrong in [
            String::new(),
            TRACE.to_owned(),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("0-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{TRACE}0-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7-0g"),
        ] {
            assert_eq!(of(&[&wrong]), None, "{wrong}");
        }
        assert_eq!(of(&[&valid, &valid]), None);
    }
}
