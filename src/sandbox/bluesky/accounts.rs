//! Who has an account at the sandbox's Bluesky, and the handles that lead nowhere good.
//!
//! Invariant: passwords are fixed, so that people can type them, and are of use nowhere else.

/// An account with what its owner knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlueskyAccount {
    pub handle: &'static str,
    pub did: &'static str,
    /// Empty where the profile has none.
    pub display_name: &'static str,
    /// What an app is given.
    pub app_password: &'static str,
    /// What no app should be given.
    pub password: &'static str,
    /// What is awkward about it, for people; may be empty.
    pub note: &'static str,
    pub(super) standing: Standing,
    /// Whether its app password opens direct messages too.
    pub(super) privileged: bool,
}

/// How an account stands with its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Active,
    Deactivated,
    /// Nothing is left of it but its DID.
    Deleted,
    /// Active, and the main password needs a code that was sent by mail.
    SecondFactor,
    TakenDown,
}

impl Standing {
    /// Whether it is in use.
    pub(super) const fn is_active(self) -> bool {
        matches!(self, Self::Active | Self::SecondFactor)
    }

    /// What the controls over HTTP call those that an account can be brought into.
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

/// A handle that resolves, and with which something is wrong.
pub(super) struct Stray {
    pub(super) handle: &'static str,
    pub(super) did: &'static str,
    pub(super) document: Document,
}

/// The document of a stray handle's DID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Document {
    /// Somebody else's, which does not name the handle.
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

/// By handle or DID.
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
