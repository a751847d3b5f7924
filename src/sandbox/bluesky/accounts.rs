//! The accounts at the sandbox's Bluesky, and handles with broken identities.
//!
//! Invariant: passwords are fixed, so that people can type them, and open nothing else.

/// An account with its owner's passwords.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlueskyAccount {
    pub handle: &'static str,
    pub did: &'static str,
    /// Empty where the profile has no name.
    pub display_name: &'static str,
    /// The password for apps.
    pub app_password: &'static str,
    /// The account's own password, which no app should get.
    pub password: &'static str,
    /// Why the account is awkward, for people; may be empty.
    pub note: &'static str,
    pub(super) standing: Standing,
    /// True when its app password also opens direct messages.
    pub(super) privileged: bool,
}

/// Standing of an account at its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Active,
    Deactivated,
    /// Only its DID remains.
    Deleted,
    /// Active, and the main password needs a code sent by mail.
    SecondFactor,
    TakenDown,
}

impl Standing {
    /// True when the account is in use.
    pub(super) const fn is_active(self) -> bool {
        matches!(self, Self::Active | Self::SecondFactor)
    }

    /// Names for the controls over HTTP, of the standings that can be set.
    pub(in crate::sandbox) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "active" => Self::Active,
            "deactivated" => Self::Deactivated,
            "deleted" => Self::Deleted,
            "takendown" => Self::TakenDown,
            _ => return None,
        })
    }
}

const PLAIN: BlueskyAccount = BlueskyAccount {
    handle: "",
    did: "",
    display_name: "",
    app_password: "",
    password: "",
    note: "",
    standing: Standing::Active,
    privileged: false,
};

pub(super) const ACCOUNTS: &[BlueskyAccount] = &[
    BlueskyAccount {
        handle: "ada.test",
        did: "did:plc:adamarlowsandbox2345672a",
        display_name: "Ada Marlow",
        app_password: "mara-low2-ada3-sky4",
        password: "main password of Ada",
        ..PLAIN
    },
    BlueskyAccount {
        handle: "basil.test",
        did: "did:plc:basilquincesandbox234567",
        app_password: "quin-ce22-basi-sky5",
        password: "main password of Basil",
        note: "no profile; the app password opens direct messages too",
        privileged: true,
        ..PLAIN
    },
    BlueskyAccount {
        handle: "cleo.test",
        did: "did:plc:cleofactorsandbox2345672",
        display_name: "Cleo <b>Factor</b> & Söhne 🦊",
        app_password: "cleo-fac2-tor3-sky6",
        password: "main password of Cleo",
        note: "the main password needs a code from a mail",
        standing: Standing::SecondFactor,
        ..PLAIN
    },
    BlueskyAccount {
        handle: "dora.test",
        did: "did:plc:doradormantsandbox234567",
        display_name: "Dora Dormant",
        app_password: "dora-dor2-man3-sky7",
        password: "main password of Dora",
        note: "deactivated: it gets a session nevertheless",
        standing: Standing::Deactivated,
        ..PLAIN
    },
    BlueskyAccount {
        handle: "theo.test",
        did: "did:plc:theotakendownsandbox2345",
        display_name: "Theo Takendown",
        app_password: "theo-tak2-en33-sky2",
        password: "main password of Theo",
        note: "taken down",
        standing: Standing::TakenDown,
        ..PLAIN
    },
];

/// A handle that resolves to a broken identity.
pub(super) struct Stray {
    pub(super) handle: &'static str,
    pub(super) did: &'static str,
    pub(super) document: Document,
}

/// The document of a stray handle's DID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Document {
    /// The document of another account, which does not name the handle.
    Foreign,
    /// None is registered.
    Missing,
    /// The server's address has a path.
    ServerWithPath,
    /// No server is named.
    WithoutServer,
}

pub(super) const STRAYS: &[Stray] = &[
    Stray { handle: "ghost.test", did: "did:plc:ghostghostghostghost2345", document: Document::Missing },
    Stray { handle: "impostor.test", did: "did:plc:adamarlowsandbox2345672a", document: Document::Foreign },
    Stray { handle: "noserver.test", did: "did:plc:noservernoservernoserver", document: Document::WithoutServer },
    Stray { handle: "path.test", did: "did:plc:pathpathpathpathpathpath", document: Document::ServerWithPath },
];

/// Finds an account by handle or DID.
pub(in crate::sandbox) fn find(actor: &str) -> Option<&'static BlueskyAccount> {
    ACCOUNTS.iter().find(|account| account.handle == actor || account.did == actor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dids_and_app_passwords_have_their_shapes() {
        let base32 = |text: &str| text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'));
        let dids = ACCOUNTS.iter().map(|account| account.did).chain(STRAYS.iter().map(|stray| stray.did));
        for did in dids {
            let id = did.strip_prefix("did:plc:").unwrap();
            assert!(id.len() == 24 && base32(id), "{did}");
        }
        for account in ACCOUNTS {
            let groups: Vec<&str> = account.app_password.split('-').collect();
            assert!(groups.len() == 4 && groups.iter().all(|group| group.len() == 4 && base32(group)), "{account:?}");
        }
    }
}
