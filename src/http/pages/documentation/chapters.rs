//! The order in which a newcomer needs the operations: begin a connection first. An operation that no chapter lists is
//! shown all the same, in the first chapter of its tag.

/// A chapter of the page, before its operations are read.
pub(super) struct Heading {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// Operations of this tag that no chapter lists come to the first chapter with it.
    pub(super) tag: &'static str,
    pub(super) operations: &'static [&'static str],
}

pub(super) const CHAPTERS: [Heading; 10] = [
    Heading {
        name: "Connect an account",
        about: "Begin here: get a URL, send the person there, and get them back with an account that you can use.",
        tag: "Connect",
        operations: &["getOAuthUrl", "connectBluesky", "createLink", "getLink", "revokeLink"],
    },
    Heading {
        name: "Use connected accounts",
        about: "Find the accounts, see how they are doing, get an access token, disconnect.",
        tag: "",
        operations: &["listIntegrations", "getIntegration", "getToken", "moveIntegration", "disconnectIntegration"],
    },
    Heading {
        name: "Confirm who came back",
        about: "Only for connections that were begun with `completion=true`: nothing is connected before you say so.",
        tag: "",
        operations: &["completeFlow"],
    },
    Heading {
        name: "Let people choose accounts",
        about: "Only for connections that were begun with `headless=true`: your own page offers the choice.",
        tag: "",
        operations: &[
            "getFacebookSelection",
            "submitFacebookSelection",
            "getGoogleBusinessSelection",
            "submitGoogleBusinessSelection",
            "getLinkedInSelection",
            "submitLinkedInSelection",
        ],
    },
    Heading {
        name: "Profiles",
        about: "Group connected accounts under a label, such as a customer or a team.",
        tag: "Profiles",
        operations: &["listProfiles", "createProfile", "getProfile", "updateProfile", "deleteProfile"],
    },
    Heading {
        name: "Platforms",
        about: "See what can be connected here.",
        tag: "Platforms",
        operations: &["listPlatforms"],
    },
    Heading {
        name: "Your own OAuth apps",
        about: "Connect under apps of your own instead of the operator's.",
        tag: "Apps",
        operations: &["listApps", "createApp", "getApp", "updateApp", "deleteApp"],
    },
    Heading {
        name: "Audit trail",
        about: "See who changed what, and who was handed which token.",
        tag: "Audit",
        operations: &["listAudit"],
    },
    Heading {
        name: "Health",
        about: "See whether the broker and your key work.",
        tag: "Health",
        operations: &["healthCheck", "healthCheckAuth", "isAlive", "isReady"],
    },
    Heading {
        name: "Pages and files",
        about: "Browsers come here. Your program never calls these; the OpenAPI document has their errors as well.",
        tag: "Documentation",
        operations: &[
            "finishConnection",
            "showConfirmation",
            "submitConfirmation",
            "showLink",
            "submitLink",
            "showResult",
            "retryConnection",
            "showSelectionPage",
            "submitSelectionPage",
            "getPagePicture",
            "readDocumentation",
            "getApiDocument",
        ],
    },
];
