//! The enums for quirks that several platforms share.

use std::time::Duration;

use super::Text;

/// Accounts that a consent covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accounts {
    /// The Facebook Pages that the person works on, each with a token of its own.
    FacebookPages,
    /// The Google Business Profile locations of all accounts that the person manages. The two APIs have separate
    /// hosts; an operator's `api_url` replaces both.
    GoogleLocations { accounts_url: Text, locations_url: Text },
    /// The account that consented.
    Itself,
    /// The account that consented, and the LinkedIn organizations that it posts for where the scopes let the app list
    /// them.
    LinkedInOrganizations,
}

impl Accounts {
    /// True when each account has a token of its own, and the grant's is the person's.
    #[must_use]
    pub const fn have_own_tokens(&self) -> bool {
        match self {
            Self::FacebookPages => true,
            Self::GoogleLocations { .. } | Self::Itself | Self::LinkedInOrganizations => false,
        }
    }

    /// The APIs with hosts of their own, as the keys `accounts_url` and `locations_url` have them. `None` where
    /// accounts are listed at the platform's `api_url`.
    #[must_use]
    pub const fn hosts(&self) -> Option<[&Text; 2]> {
        match self {
            Self::GoogleLocations { accounts_url, locations_url } => Some([accounts_url, locations_url]),
            Self::FacebookPages | Self::Itself | Self::LinkedInOrganizations => None,
        }
    }

    /// [`hosts`](Self::hosts), to be replaced by the operator's.
    pub(super) const fn hosts_mut(&mut self) -> Option<[&mut Text; 2]> {
        match self {
            Self::GoogleLocations { accounts_url, locations_url } => Some([accounts_url, locations_url]),
            Self::FacebookPages | Self::Itself | Self::LinkedInOrganizations => None,
        }
    }
}

/// How the client authenticates at the token endpoint, and where else a server wants to know who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ClientAuth {
    /// `Authorization: Basic`.
    Basic,
    /// Client id and secret in the body.
    Body,
    /// The client id in the body: a public client, which has no secret and proves itself with PKCE.
    None,
    /// An assertion that the client signs with its private key (RFC 7523).
    PrivateKeyJwt,
}

/// Where the platform says which scopes the person granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantedScopes {
    /// In the token answer. Where it says nothing, the requested ones were granted (RFC 6749 section 5.1).
    Answer,
    /// In `data.scopes` of `GET {api_url}{path}?input_token=…&access_token=…`.
    DebugToken { path: &'static str },
    /// In `data[]` of `GET {api_url}{path}`, those with `status: granted`.
    Permissions { path: &'static str },
}

/// The exchange of a short-lived token for a long-lived one: `GET
/// {api_url}{path}?grant_type=…&client_secret=…&access_token=…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongLived {
    pub path: &'static str,
    pub grant_type: &'static str,
    /// Name of the parameter with the short-lived token.
    pub token_name: &'static str,
    /// True when the client id is sent as well.
    pub names_client: bool,
}

/// Where the account is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum IdentityFrom {
    /// In the id_token that comes with the tokens.
    IdToken,
    /// In the answer to the identity call.
    Userinfo,
}

/// Verification of id_tokens (OpenID Connect Core 1.0, section 3.1.3.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdTokens {
    /// Where the platform publishes its keys.
    pub jwks_url: Option<Text>,
    /// True when they name the account, and no call does.
    pub are_identity: bool,
    /// True when the platform announces signatures by the client's secret.
    pub may_be_hmac: bool,
}

/// Method of the identity call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum IdentityMethod {
    #[default]
    Get,
    /// `POST` without a body.
    Post,
}

/// RFC 7636, and TikTok's deviation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Pkce {
    /// The platform does not take it.
    None,
    /// `code_challenge` is the base64url of SHA-256.
    S256,
    /// `code_challenge` is the hexadecimal SHA-256 (still called `S256`).
    S256Hex,
    /// The same where the callback is on loopback. Elsewhere none is sent.
    S256HexOnLoopback,
}

/// How an access token is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// By the long-lived exchange again, with the long-lived token itself (see
    /// [`Platform::long_lived`](super::Platform)).
    ExchangedAgain,
    /// Not at all: the account's owner reconnects.
    Never,
    /// With a refresh token at the token endpoint, where the platform gave one.
    RefreshToken { rotation: Rotation },
    /// With the access token itself: `GET {api_url}{path}?grant_type=…&access_token=…`. The platform refuses a token
    /// younger than `not_before`.
    SelfRenewing { path: &'static str, grant_type: &'static str, not_before: Duration },
}

/// How a platform counts the lifetime of a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshLife {
    Seconds,
    /// Documented as seconds and shown in minutes: a lifetime shorter than the access token's is unknown.
    SecondsOrMinutes,
}

/// How a grant is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revocation {
    /// `DELETE` with the access token, answered with `{"success": true}`.
    Delete { url: Text },
    /// RFC 7009 or close to it.
    Endpoint { url: Text, client_auth: RevocationAuth, token: RevokedToken },
    /// The platform has no endpoint for it.
    Unsupported,
}

impl Revocation {
    /// The endpoint, where there is one.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        match self {
            Self::Delete { url } | Self::Endpoint { url, .. } => Some(url),
            Self::Unsupported => None,
        }
    }
}

/// How the client authenticates when it revokes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevocationAuth {
    /// As at the token endpoint.
    AsToken,
    /// Not at all: the token suffices.
    None,
}

/// The tokens that a revocation ends besides the one that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevocationReach {
    /// The person's whole consent to the client, with every token of it, in any project of the broker and at any
    /// platform of the same authority. The broker does not revoke while another account depends on it. Where
    /// [`Platform::project_of`](super::Platform::project_of) is set, the consent is to all clients of a project.
    Consent,
    /// The same, where a consent is known to be to one client id alone.
    ConsentToClient,
    /// The tokens that one exchange issued, and those that they were refreshed to.
    Tokens,
}

/// The token that is sent to be revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum RevokedToken {
    Access,
    /// The refresh token where there is one, which ends the whole grant; else the access token.
    #[default]
    Refresh,
}

/// Fate of a refresh token that was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// It stays valid.
    None,
    /// It is dead, and the answer holds the next one: losing that answer loses the grant.
    SingleUse,
    /// It may be dead: no documentation says so of the server. Taken for [`SingleUse`](Self::SingleUse).
    Unknown,
}

/// Between scopes in the authorize URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScopeSeparator {
    Comma,
    #[default]
    Space,
}

impl ScopeSeparator {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Comma => ",",
            Self::Space => " ",
        }
    }
}

/// Meaning of the subject's id of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Subject {
    /// It is an account's. The same person may have others, and nothing tells.
    Account,
    /// It is the person's, at their authority: two grants with different subjects are of different people.
    Person,
}

/// How the token endpoint takes its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum TokenBody {
    #[default]
    Form,
    Json,
    Multipart,
}

/// Where an API call carries the access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenPlace {
    Bearer,
    /// The query parameter `access_token`.
    Query,
}
