//! Settings of an operator's own platform that a failure may come from. A built-in platform's are known to be right.

use super::failure::Failure;

/// A sentence to add to the next step, with a space before it; empty for failures that say enough.
pub(super) const fn to_check(failure: Failure) -> &'static str {
    match failure {
        Failure::AppOrGrantRejected | Failure::CredentialsRejected => {
            " If the credentials are right, the server may take them otherwise: try another client_auth (\"body\" or \
             \"basic\"); of a private key, compare private_key_audience, private_key_algorithm and private_key_id."
        }
        Failure::AuthorizationRefused => {
            " The server may also want pkce or authorize_params set otherwise. Of an issuer whose section has no scopes, the \
             broker asks for openid, profile and offline_access: set scopes where the server refuses one of them."
        }
        Failure::IdTokenRejected => {
            " A server whose id_tokens have no nonce, or are signed with the client secret unannounced, can be connected without \
             issuer: set the endpoints and identity_url in its place."
        }
        Failure::IdentityUnavailable | Failure::PermissionMissing => {
            " The server may also want another call: compare identity_url, identity_method and identity_headers with its \
             documentation."
        }
        Failure::PlatformAnswerUnreadable | Failure::RequestRefused => {
            " If its server has moved the endpoints that its issuer publishes, reload the broker (SIGHUP): it reads them once."
        }
        _ => "",
    }
}
