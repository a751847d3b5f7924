//! The findings of `check` and `doctor`, and the warnings of a start: one shape for all, as text or JSON, and the exit
//! code that follows from it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::failure::{Exit, Failure};

/// How bad a finding is. From an error, the exit code follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    Ok,
    /// Good to know; nothing needs to be done.
    Note,
    /// The broker works, and something should be done.
    Warning,
    Error(Exit),
}

impl Severity {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error(_) => "error",
        }
    }

    /// Of several errors, the exit code is that of the first in this order: what cannot be repaired comes before what
    /// can be corrected.
    const fn rank(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Note => 1,
            Self::Warning => 2,
            Self::Error(Exit::Usage | Exit::CannotCreate | Exit::Software) => 3,
            Self::Error(Exit::Unavailable) => 4,
            Self::Error(Exit::Busy) => 5,
            Self::Error(Exit::Io) => 6,
            Self::Error(Exit::Config) => 7,
            Self::Error(Exit::NoInput) => 8,
            Self::Error(Exit::Data) => 9,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// The thing that was looked at, in one word for scripts: `sealed_values`.
    pub(super) check: &'static str,
    pub(super) severity: Severity,
    /// Where: a file, a setting, a platform.
    pub(super) subject: String,
    /// Sentences without the last full stop.
    pub(super) message: String,
    /// The command to run or the change to make. Empty where the message says it, or nothing needs to be done.
    pub(super) remedy: String,
}

impl Finding {
    #[expect(clippy::needless_pass_by_value, reason = "a text or the display of a path, made for this call")]
    pub(super) fn ok(check: &'static str, subject: impl ToString, message: impl Into<String>) -> Self {
        Self {
            check,
            severity: Severity::Ok,
            subject: subject.to_string(),
            message: message.into(),
            remedy: String::new(),
        }
    }

    pub(super) fn note(check: &'static str, subject: impl ToString, message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::ok(check, subject, message) }
    }

    pub(super) fn warning(check: &'static str, subject: impl ToString, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::ok(check, subject, message) }
    }

    pub(super) fn error(exit: Exit, check: &'static str, subject: impl ToString, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error(exit), ..Self::ok(check, subject, message) }
    }

    /// Makes a finding of a failure that would end a command. Its message says what to do.
    pub(super) fn failure(check: &'static str, subject: impl ToString, failure: Failure) -> Self {
        Self::error(failure.exit, check, subject, failure.message)
    }

    pub(super) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }

    fn json(&self) -> Value {
        let Self { check, severity, subject, message, remedy } = self;
        json!({"check": check, "severity": severity.name(), "subject": subject, "message": message, "remedy": remedy})
    }
}

fn worst(findings: &[Finding]) -> Severity {
    findings.iter().map(|finding| finding.severity).max_by_key(|severity| severity.rank()).unwrap_or(Severity::Ok)
}

/// One JSON object.
pub(super) fn as_json(findings: &[Finding]) -> Value {
    json!({"findings": findings.iter().map(Finding::json).collect::<Vec<_>>(), "worst": worst(findings).name()})
}

/// A line for each finding, with its remedy below.
pub(super) fn as_text(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Finding { check, severity, subject, message, remedy } in findings {
        // Some sentences name it already. One word, as the name of a platform is, may be there by chance.
        let is_word = subject.bytes().all(|byte| byte.is_ascii_lowercase());
        let is_named = !is_word && message.split(' ').any(|word| word.trim_end_matches([',', ':', '.']) == subject);
        let place = if subject.is_empty() || is_named { String::new() } else { format!("{subject}: ") };
        // Writing to a String does not fail.
        let _ = writeln!(text, "{:<7}  {check:<width$}  {place}{message}", severity.name());
        if !remedy.is_empty() {
            let _ = writeln!(text, "{:<7}  {:<width$}  -> {remedy}", "", "");
        }
    }
    text.trim_end().to_owned()
}

/// The end of a command after its findings were printed.
pub(super) fn conclude(findings: &[Finding]) -> Result<(), Failure> {
    let count = |name: &str| findings.iter().filter(|finding| finding.severity.name() == name).count();
    let (errors, warnings) = (plural(count("error"), "error"), plural(count("warning"), "warning"));
    match worst(findings) {
        Severity::Error(exit) => Err(Failure::new(exit, format!("{errors}, {warnings}: see the report"))),
        Severity::Warning => {
            say!("No errors, {warnings}.");
            Ok(())
        }
        Severity::Ok | Severity::Note => {
            say!("No errors, no warnings.");
            Ok(())
        }
    }
}

/// `1 error`, `2 errors`.
pub(super) fn plural(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides_the_exit_code() {
        let ok = Finding::ok("a", "x", "fine");
        let note = Finding::note("a", "x", "known");
        let warning = Finding::warning("b", "", "soon").remedy("do it");
        assert_eq!(conclude(&[]).ok(), Some(()));
        assert_eq!(conclude(&[ok.clone(), note.clone(), warning.clone()]).ok(), Some(()));
        let errors = |exits: &[Exit]| {
            let errors = exits.iter().map(|exit| Finding::error(*exit, "c", "y", "broken"));
            conclude(&errors.chain([warning.clone()]).collect::<Vec<_>>()).unwrap_err()
        };
        assert_eq!(errors(&[Exit::Io]).exit, Exit::Io);
        assert_eq!(errors(&[Exit::Config, Exit::Data, Exit::Io]).exit, Exit::Data);
        assert_eq!(errors(&[Exit::Config, Exit::NoInput]).exit, Exit::NoInput);
        assert_eq!(errors(&[Exit::Unavailable, Exit::Config]).message, "2 errors, 1 warning: see the report");

        let all = [ok, note, warning, Finding::error(Exit::Data, "longer", "a.db", "the file a.db: broken")];
        insta::assert_snapshot!(as_text(&all), @"
        ok       a       x: fine
        note     a       x: known
        warning  b       soon
                         -> do it
        error    longer  the file a.db: broken
        ");
        insta::assert_snapshot!(as_text(&[Finding::ok("probe", "it", "it cannot be reached")]), @"ok       probe  it: it cannot be reached");
        let json = as_json(&all);
        assert_eq!(json["worst"], "error");
        assert_eq!(
            json["findings"][2],
            serde_json::json!({"check": "b", "severity": "warning", "subject": "", "message": "soon", "remedy": "do it"})
        );
    }
}
