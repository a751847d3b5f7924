//! Asks a platform whether it accepts the operator's OAuth app, without a person: by the exchange of a code that it
//! never issued.
//!
//! A server authenticates the client before it looks at the code (RFC 6749, section 4.1.3). So a refusal of the client
//! and a refusal of the code tell a wrong secret from a right one. Invariant: nothing is spent or begun by this, and
//! nothing is concluded from an answer that names neither.

use secrecy::SecretString;
use serde_json::Value;
use zeroize::Zeroizing;

use super::error_answer::ErrorAnswer;
use super::exchange::Exchanged;
use super::{CodeExchange, OauthClient, takes_pkce};
use crate::domain::echo::Code;
use crate::domain::failure::Failure;
use crate::domain::platform_error::{PlatformError, Step};
use crate::outbound;
use crate::platforms::Platform;

/// The setting that a platform seems to refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspect {
    ClientId,
    ClientSecret,
    /// The platform names neither.
    Either,
}

/// What a platform's answer says of the OAuth app.
#[derive(Debug)]
pub enum Verdict {
    /// It refused the code: it had accepted the client.
    Accepted,
    /// It said so of something that is not the client's id or secret: the callback URL, approval, payment, load.
    Failed(Failure),
    Refused(Suspect),
    /// The answer fits a right secret and a wrong one.
    Untold,
    Unreachable(outbound::Error),
}

/// An answer, with what was read from it.
#[derive(Debug)]
pub struct Probed {
    pub verdict: Verdict,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// The platform's own code.
    pub code: Option<Code>,
}

impl OauthClient<'_> {
    /// Sends a made-up code, once. With several secrets, a later one is tried where an earlier one is refused.
    ///
    /// # Errors
    ///
    /// The token endpoint is no URL.
    pub async fn probe(&self, redirect_uri: &str) -> Result<Probed, PlatformError> {
        let (code, verifier) = (self.made_up(), self.made_up());
        let exchange = CodeExchange {
            code: &code,
            redirect_uri,
            pkce_verifier: takes_pkce(&self.platform, redirect_uri).then_some(&verifier),
        };
        let step = Step::CodeExchange;
        let sent = self.send_as_client(step, |client| client.token_request(&Exchanged::Code(&exchange))).await?;
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => return Ok(Probed { verdict: Verdict::Unreachable(error), status: None, code: None }),
        };
        // Tokens for any code prove nothing.
        let error = self.error_in(&answer).unwrap_or_else(|| ErrorAnswer::read(&Value::Null, &answer.sent));
        let verdict = verdict(&self.platform, answer.status, &error);
        Ok(Probed { verdict, status: Some(answer.status), code: error.code })
    }

    /// A text that is no code, and could be a PKCE verifier (RFC 7636, section 4.1).
    fn made_up(&self) -> SecretString {
        let mut random = Zeroizing::new([0_u8; 32]);
        self.engine.entropy.fill(random.as_mut());
        SecretString::from(hex::encode(random.as_ref()))
    }
}

fn verdict(platform: &Platform, status: u16, error: &ErrorAnswer) -> Verdict {
    let step = Step::CodeExchange;
    match error.failure(platform, step, status) {
        Failure::CredentialsRejected => Verdict::Refused(error.suspect()),
        Failure::ExchangeRejected if error.refuses_code(platform, status) => Verdict::Accepted,
        Failure::AppOrGrantRejected
        | Failure::AuthorizationRefused
        | Failure::ExchangeRejected
        | Failure::PlatformAnswerUnreadable => Verdict::Untold,
        failure => Verdict::Failed(failure),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::echo::Sent;
    use crate::platforms::BUILT_IN;

    #[test]
    fn a_platforms_answer_to_a_made_up_code_tells_whether_it_accepted_the_client() {
        for (name, status, answer, expected) in [
            (
                "facebook",
                400,
                json!({"error": {"code": 100, "message": "Invalid verification code format."}}),
                "Accepted",
            ),
            (
                "facebook",
                400,
                json!({"error": {"code": 1, "message": "Error validating client secret."}}),
                "Refused(ClientSecret)",
            ),
            (
                "facebook",
                400,
                json!({"error": {"code": 101, "message": "Error validating application."}}),
                "Refused(ClientId)",
            ),
            ("facebook", 400, json!({"error": {"code": 100, "message": "(#100) Missing parameter"}}), "Untold"),
            (
                "facebook",
                400,
                json!({"error": {"code": 100, "error_subcode": 36008, "message": "x"}}),
                "Failed(CallbackUrlRejected)",
            ),
            ("googlebusiness", 400, json!({"error": "invalid_grant"}), "Accepted"),
            (
                "instagram",
                400,
                json!({"error_type": "OAuthException", "code": 400, "error_message": "Invalid platform app"}),
                "Refused(Either)",
            ),
            ("instagram", 400, json!({"error_message": "Matching code was not found or was already used"}), "Accepted"),
            (
                "linkedin",
                401,
                json!({"error": "invalid_request", "error_description": "authorization code not found"}),
                "Accepted",
            ),
            (
                "linkedin",
                401,
                json!({"error": "invalid_client", "error_description": "Client authentication failed"}),
                "Refused(Either)",
            ),
            ("pinterest", 401, json!({"code": 2, "message": "Authentication failed."}), "Refused(Either)"),
            ("pinterest", 401, json!({"code": 283, "message": "x"}), "Accepted"),
            ("reddit", 401, json!({"message": "Unauthorized", "error": 401}), "Refused(Either)"),
            ("reddit", 200, json!({"error": "invalid_grant"}), "Accepted"),
            ("threads", 400, json!({"error_message": "Error validating client secret."}), "Refused(ClientSecret)"),
            ("tiktok", 200, json!({"error": "invalid_client"}), "Refused(Either)"),
            ("tiktok", 200, json!({"error": "invalid_grant"}), "Accepted"),
            ("twitter", 401, json!({"error": "unauthorized_client"}), "Refused(Either)"),
            (
                "twitter",
                400,
                json!({"error": "invalid_request", "error_description": "Value passed for the authorization code was invalid."}),
                "Accepted",
            ),
            (
                "twitter",
                400,
                json!({"error": "invalid_request", "error_description": "Missing required parameter"}),
                "Untold",
            ),
            (
                "youtube",
                401,
                json!({"error": "invalid_client", "error_description": "The OAuth client was not found."}),
                "Refused(ClientId)",
            ),
            (
                "youtube",
                401,
                json!({"error": "invalid_client", "error_description": "The provided client secret is invalid."}),
                "Refused(ClientSecret)",
            ),
            ("youtube", 429, json!(null), "Failed(PlatformThrottled)"),
            ("youtube", 503, json!(null), "Failed(PlatformUnavailable)"),
            ("youtube", 404, json!(null), "Untold"),
            ("youtube", 401, json!(null), "Untold"),
            ("youtube", 200, json!(null), "Untold"),
        ] {
            let platform = BUILT_IN.iter().map(|definition| definition()).find(|found| found.name == name).unwrap();
            let read = verdict(&platform, status, &ErrorAnswer::read(&answer, &Sent::default()));
            assert_eq!(format!("{read:?}"), expected, "{name} {status} {answer}");
        }
    }
}
