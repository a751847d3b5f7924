//! Pages that tell of trouble with a request, and what to do about accounts that are missing, in English.

use super::TroubleWords;
use crate::http::error::Trouble;

pub(super) fn words(trouble: Trouble) -> TroubleWords {
    let (heading, happened, advice) = match trouble {
        Trouble::AlreadyFinished => (
            "This connection is already finished",
            "It was finished before, with another answer. Nothing was changed now.",
            "Look in the app whether your account is connected. If it is not, start again there.",
        ),
        Trouble::Broken => (
            "Something went wrong here",
            "The fault is on our side. We cannot say for certain whether anything was stored.",
            "Look in the app whether your account is connected. If it is not, start again there; if it keeps happening, \
             tell the people who run this service.",
        ),
        Trouble::Busy => (
            "Too busy right now",
            "This service has too much to do at the moment. Nothing was connected, and nothing was stored.",
            "Wait a moment, then load this page again.",
        ),
        Trouble::ChoiceGone => (
            "There is nothing to choose here any more",
            "The choice was made already, or it has expired.",
            "Look in the app whether your accounts are connected. If they are not, start again there.",
        ),
        Trouble::Garbled => (
            "The answer could not be read",
            "The platform's answer arrived incomplete. Nothing was connected, and nothing was stored.",
            "Go back to the app and start again, without editing the address.",
        ),
        Trouble::Gone => (
            "This is not available any more",
            "Something that the connection needs was removed or switched off meanwhile. Nothing was connected now.",
            "Go back to the app. Start again there if it still offers this.",
        ),
        Trouble::LinkExpired => (
            "This link has expired",
            "Nothing can be connected through it any more. What was connected stays connected.",
            "Ask whoever sent you the link for a new one.",
        ),
        Trouble::LinkRevoked => (
            "This link was withdrawn",
            "Nothing can be connected through it any more. What was connected stays connected.",
            "Ask whoever sent you the link for a new one.",
        ),
        Trouble::LinkUnknown => (
            "This link is not known",
            "The address is incomplete, or the link ended some time ago. Nothing was changed.",
            "Open the whole link as you got it. If it does not work, ask whoever sent it for a new one.",
        ),
        Trouble::NotFromHere => (
            "Nothing was changed",
            "The request came from another website, so it was refused.",
            "Open the page itself and use the buttons there.",
        ),
        Trouble::NothingHere => (
            "There is nothing here",
            "The address is wrong, or what it led to is gone.",
            "Check the address, or go back to the app.",
        ),
        Trouble::OtherBrowser => (
            "This was started in another browser",
            "Only the browser in which the connection was started can finish it. Nothing was connected, and nothing was \
             stored.",
            "If you started it, finish it in that browser, or go back to the app and start again in this one; the browser \
             must accept cookies. If somebody sent you here, close this page: they may have wanted to get hold of your account.",
        ),
        Trouble::OtherBrowserOfLink => (
            "You started in another browser",
            "Only the browser in which you left for the platform can finish the connection. Nothing was connected, and \
             nothing was stored.",
            "Open the link that you were sent in this browser and start again there; the browser must accept cookies. If \
             somebody else sent you here, close this page: they may have wanted to get hold of your account.",
        ),
        Trouble::OtherPlatform => (
            "This answer belongs to another platform",
            "Nothing was connected, and nothing was stored.",
            "Go back to the app and start again.",
        ),
        Trouble::Prefetched => (
            "Not yet",
            "Your browser loaded this page ahead of you. Nothing has happened so far.",
            "Load this page again to finish the connection.",
        ),
        Trouble::Refused => (
            "That did not work",
            "The request could not be understood. Nothing was changed.",
            "Go back and start again. If it keeps happening, tell the people who run this service.",
        ),
        Trouble::ResultGone => (
            "This page has expired",
            "It showed for a few minutes how a connection ended. Nothing was changed.",
            "Look in the app whether your account is connected. If it is not, start again there.",
        ),
        Trouble::UnknownLink => (
            "This link has expired or was already used",
            "Such a link works once, and for a few minutes, and only with its whole address. Nothing was connected now.",
            "Look in the app whether your account is connected. If it is not, start again there.",
        ),
    };
    TroubleWords { heading, happened, advice }
}

pub(super) fn missing_advice(platform: &str, label: &str) -> String {
    match platform {
        "facebook" | "instagram" => format!(
            "{label} offers only the Pages that you ticked there and may manage. To change that, start again in the \
             app, choose \"Edit settings\" at {label}, and tick the Pages that are missing. You need a role on the Page \
             that may create content."
        ),
        "googlebusiness" => format!(
            "{label} offers the locations that you own or manage with the Google account that you signed in with. Is one \
             missing, then start again with the account that manages it, or let its owner invite you as a manager."
        ),
        "linkedin" => format!(
            "{label} offers the organizations of which you are an administrator. Ask an administrator of the page that \
             is missing to add you, then start again in the app."
        ),
        _ => format!(
            "{label} offers only what you ticked there and may manage. Go back to the app, start again, and leave all \
             accounts and permissions ticked at {label}."
        ),
    }
}
