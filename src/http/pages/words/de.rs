//! German.

mod failures;
mod trouble;

use super::{CountedButton, DemoWords, LinkWords, Told, TroubleWords, Words, grouped, parts};
use crate::broker::finished::CancelledAt;
use crate::domain::account::AccountKind;
use crate::domain::failure::Failure;
use crate::domain::integration::TokenState;
use crate::domain::time::Timestamp;
use crate::http::error::Code;

pub(super) static WORDS: Words = Words {
    code: "de",
    name: "Deutsch",

    foot: "Zu dieser Seite",
    support: "Hilfe",
    privacy: "Datenschutz",
    back: |app| format!("Zurück zu {}", app.unwrap_or("Ihrer App")),
    close_tab: "Sie können diesen Tab jetzt schließen.",
    for_support: "Angaben für den Support",
    request_id: "Anfrage",
    connection_id: "Verbindung",
    error_code: "Fehler",
    next_step: "Nächster Schritt für den Betreiber",
    asks: "Konten verbinden",
    time,

    confirm: |label, app| format!("Ihr Konto bei {label} mit {} verbinden?", app.unwrap_or("der App")),
    confirm_lead: |label, app| {
        format!("Als Nächstes fragt {label} Sie, ob {} Ihr Konto dort nutzen darf.", app.unwrap_or("die App"))
    },
    asked_by: "Anfrage von",
    confirm_only: "Fahren Sie nur fort, wenn Sie das selbst begonnen haben.",
    confirm_else: "Hat Ihnen jemand diesen Link geschickt, schließen Sie die Seite: Ihr Konto würde für diese Person verbunden.",
    continue_to: |label| format!("Weiter zu {label}"),

    completion: |label| format!("Noch ein Schritt für {label}"),
    completion_lead: |label, app| {
        let app = app.unwrap_or("die App");
        format!(
            "{label} hat zugestimmt. Ihr Konto wird verbunden, sobald {app} bestätigt, dass Sie darum gebeten haben."
        )
    },
    completion_only: "Gehen Sie dorthin zurück, wo Sie begonnen haben. Sonst wird nichts verbunden, und nach zehn Minuten wird \
                      die Erlaubnis zurückgegeben.",
    completion_else: "Hat Sie jemand hierher geschickt, schließen Sie diese Seite.",

    connected: |label| format!("{label} ist verbunden"),
    may_use: |app, accounts| {
        let what = if accounts == 1 { "dieses Konto" } else { "diese Konten" };
        format!("{} kann {what} ab jetzt nutzen.", app.unwrap_or("Die App"))
    },
    withdraw: |label| {
        format!("Sie können das jederzeit widerrufen, in der App oder in Ihren Einstellungen bei {label}.")
    },
    accounts: |count| if count == 1 { "Konto" } else { "Konten" },
    platform: "Plattform",
    profile: "Profil",
    missing_permissions: |label| format!("Einige Berechtigungen wurden bei {label} nicht erteilt:"),
    missing_permissions_advice: "Was sie braucht, wird nicht funktionieren. Um sie zu erteilen, verbinden Sie das Konto noch \
                                 einmal und lassen Sie alles angekreuzt.",
    disconnected: |label| format!("{label} ist nicht mehr verbunden"),
    disconnected_since: "Das Konto wurde hier verbunden und ist inzwischen getrennt worden.",
    not_connected: |label| format!("{label} wurde nicht verbunden"),
    cancelled: |at, label| match at {
        CancelledAt::Choice => {
            format!("Sie haben hier abgebrochen, nachdem {label} zugestimmt hatte. Die Erlaubnis wurde zurückgegeben.")
        }
        CancelledAt::Confirmation => format!("Sie haben hier abgebrochen, bevor {label} nach etwas gefragt wurde."),
        CancelledAt::Platform => format!("Sie haben bei {label} abgelehnt."),
    },
    nothing_stored: "Es wurde nichts verbunden und nichts gespeichert.",
    perhaps_stored: "Vielleicht wird Ihr Konto in den nächsten Minuten noch verbunden.",
    start_again: "Wenn Sie das Konto doch verbinden möchten, beginnen Sie noch einmal.",
    try_again: "Noch einmal versuchen",
    needed: "Diese Berechtigungen sind nötig:",
    failure,
    not_among: |label| Told {
        happened: format!(
            "Das Konto, das neu verbunden werden soll, ist nicht unter denen, die Sie bei {label} freigegeben haben."
        ),
        advice: "Beginnen Sie noch einmal und kreuzen Sie dort dieses Konto an. Hat es jemand anderes verbunden, bitten Sie \
                 diese Person darum.",
    },
    none_found: "Achten Sie darauf, dass Sie dort mit dem richtigen Konto angemeldet sind. Was es sonst braucht, steht unten.",
    account_gone: |label| Told {
        happened: format!("Das Konto bei {label}, das neu verbunden werden sollte, ist hier nicht mehr verbunden."),
        advice: "Gehen Sie zurück zur App und verbinden Sie es dort als neues Konto.",
    },
    cause: failures::cause,
    remedy: failures::remedy,
    trouble: trouble::words,

    choose: "Welche Konten möchten Sie verbinden?",
    choose_lead: |label, total| {
        let accounts = if total == 1 { "Konto" } else { "Konten" };
        let total = grouped(total as u64, '.');
        format!("{label} bietet {total} {accounts} von Ihnen an. Was Sie nicht ankreuzen, bleibt, wie es ist.")
    },
    minutes: |minutes| format!("Sie haben dafür etwa {minutes} Minute{} Zeit.", if minutes == 1 { "" } else { "n" }),
    tick_one: "Kreuzen Sie zuerst mindestens ein Konto an.",
    search: "Nach Name, Handle oder Kennung suchen",
    search_button: "Suchen",
    no_match: "Kein Konto passt dazu.",
    shown: |shown, total| format!("{shown} von {total} angezeigt."),
    ticked: |ticked, hidden| match hidden {
        0 => format!("{ticked} angekreuzt."),
        hidden => format!("{ticked} angekreuzt, davon {hidden} nicht angezeigt."),
    },
    to_the_buttons: "Zu den Schaltflächen springen",
    tick_all: |filtered| if filtered { "Alle angezeigten ankreuzen" } else { "Alle ankreuzen" },
    untick_all: |filtered| if filtered { "Kein angezeigtes ankreuzen" } else { "Keines ankreuzen" },
    connect_ticked: "Angekreuzte Konten verbinden",
    connect_counted: CountedButton { before: "", one: " Konto", many: " Konten", after: " verbinden" },
    cancel: "Abbrechen",
    kind: |kind| match kind {
        AccountKind::Location => "Standort",
        AccountKind::Organization => "Organisation",
        AccountKind::Page => "Seite",
        AccountKind::Person => "Persönliches Profil",
    },
    missing: "Fehlt etwas?",
    missing_advice: trouble::missing_advice,
    unusable: "Gefunden, aber nicht zu verbinden",
    looked_at: "Wo nach Konten gesucht wurde",
    granted: |label| format!("Berechtigungen, die {label} erteilt hat"),

    link: LinkWords {
        title: |app| match app {
            Some(app) => format!("Ihre Konten mit {app} verbinden"),
            None => "Ihre Konten verbinden".to_owned(),
        },
        lead: |app| {
            let app = app.unwrap_or("Die App");
            format!("{app} möchte Konten von Ihnen nutzen. Verbinden Sie eines nach dem anderen, so viele Sie möchten.")
        },
        only: "Verbinden Sie Konten nur, wenn Sie dem Absender dieses Links vertrauen: Er kann sie danach nutzen.",
        nothing: "Hier lässt sich im Moment nichts verbinden. Sagen Sie es dort, wo Sie den Link bekommen haben.",
        none: "Nicht verbunden",
        connect: |label, another| {
            if another { format!("Weiteres Konto bei {label} verbinden") } else { format!("{label} verbinden") }
        },
        reconnect: "Neu verbinden",
        health: |state| match state {
            TokenState::Ok => "Funktioniert",
            TokenState::ReconnectRequired => "Funktioniert nicht mehr: neu verbinden",
            TokenState::RefreshFailing | TokenState::RefreshInDoubt => "Zurzeit gestört: Sie müssen nichts tun",
        },
        server: "Ihr Server",
        server_like: "zum Beispiel mastodon.social",
        server_wrong: "Dieser Server wurde nicht gefunden oder antwortet nicht. Prüfen Sie den Namen, oder versuchen Sie es in \
                       einer Minute noch einmal.",
        handle_like: "zum Beispiel alice.bsky.social",
        password_help: |label| {
            format!(
                "{label} braucht ein App-Passwort. Erstellen Sie dort eines und geben Sie es hier mit Ihrem Handle ein: Es geht einmal \
                 an den Server Ihres Kontos und wird nicht gespeichert."
            )
        },
        password_make: "App-Passwort erstellen",
        password_like: "nie Ihr eigenes Passwort",
        refused: link_refused,
        try_here: "Versuchen Sie es hier noch einmal.",
        look_here: "Öffnen Sie diese Seite in einigen Minuten wieder. Ist Ihr Konto nicht da, versuchen Sie es hier noch einmal.",
        outdated: "Diese Seite war nicht mehr aktuell, deshalb wurde nichts getan. Jetzt zeigt sie, was verbunden werden kann.",
        done: "Fertig",
        leave: "Ohne zu verbinden verlassen",
        all_done: "Alles erledigt",
        left: "Es wurde nichts verbunden",
        again: "Sie können den Link noch einmal öffnen, um mehr zu verbinden, solange er gilt.",
    },

    demo: DemoWords {
        title: "Ein Konto verbinden",
        lead: "Der Broker läuft mit einer Nachbildung jeder Plattform: Die Konten sind erfunden, und nichts verlässt diesen \
               Rechner. Zwei Klicks verbinden ein Konto.",
        api: "API lesen",
        console: "Konsole öffnen",
        console_help: "Anmelden mit dem Zugriffsschlüssel, den die Demo beim Start ausgab.",
        connected: "Verbundene Konten",
        newest_of: |total| format!("Das sind die neuesten von {}.", grouped(total, '.')),
        platforms: "Plattformen",
        connect: |label| format!("{label} verbinden"),
        bluesky_help: "Hier gibt es keine Seite zum Zustimmen: Eine App bekommt ein Handle und ein App-Passwort. Diese gehören \
                       zur Nachbildung.",
        handle: "Handle",
        app_password: "App-Passwort",
        active: "Funktioniert",
        reconnect: "Neu verbinden",
        token: "Token",
        details: "Einzelheiten",
        disconnect: "Trennen",
        home: "Zurück zu allen Konten",
        token_lead: "So antwortet der Broker, wenn eine App nach dem Zugriffstoken des Kontos fragt. Es ist erfunden und gilt nur \
                     bei der Nachbildung.",
        details_lead: "So antwortet der Broker, wenn eine App nach dem Konto fragt. Ein Token steht nie darin.",
        the_account: "Das Konto",
        stored: "Seine Token sind versiegelt gespeichert. Das Konto steht unten in der Liste.",
        disconnected: |label| format!("{label} ist getrennt."),
        disconnected_more: "Seine Token sind gelöscht.",
        log_says: "Im Protokoll des Brokers steht, warum.",
    },

    console: &super::console::de::WORDS,
};

fn link_refused(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::AccountInactive => {
            "Dieses Konto ist deaktiviert oder gesperrt. Klären Sie das zuerst und versuchen Sie es dann noch einmal."
        }
        Code::AppPasswordRequired => {
            "Das ist Ihr eigenes Passwort. Erstellen Sie ein App-Passwort und geben Sie dieses ein."
        }
        Code::BlueskyCredentialsRejected => {
            "Handle und App-Passwort gehören nicht zusammen. Prüfen Sie beide, oder erstellen Sie ein neues App-Passwort."
        }
        Code::DidMismatch | Code::UnsafeHost => "Der Server Ihres Kontos lässt sich von hier aus nicht nutzen.",
        Code::IdentityUnresolved | Code::InvalidIdentifier => {
            "Zu diesem Handle wurde kein Konto gefunden. Prüfen Sie, ob es richtig geschrieben ist."
        }
        Code::LimitReached | Code::TooManyAttempts => {
            "Das waren zu viele Versuche. Warten Sie fünf Minuten und versuchen Sie es dann noch einmal."
        }
        Code::PdsUnreachable => {
            "Der Server Ihres Kontos oder ein anderer auf dem Weg dorthin antwortet nicht. Versuchen Sie es in einer Minute noch einmal."
        }
        _ => return None,
    })
}

const MONTHS: [&str; 12] = [
    "Januar",
    "Februar",
    "März",
    "April",
    "Mai",
    "Juni",
    "Juli",
    "August",
    "September",
    "Oktober",
    "November",
    "Dezember",
];

fn time(time: Timestamp) -> String {
    let (day, month, year, minute) = parts(time, MONTHS);
    format!("{day}. {month} {year}, {minute} UTC")
}

const AGAIN: &str = "Gehen Sie zurück zur App und beginnen Sie noch einmal.";
const LATER: &str = "Warten Sie einige Minuten und beginnen Sie dann noch einmal. Passiert es wieder, melden Sie es dem \
                     Betreiber dieses Dienstes.";
const OPERATOR: &str = "Das kann nur der Betreiber dieses Dienstes beheben. Bitte melden Sie es ihm: Vorher hilft es nicht, \
                        es noch einmal zu versuchen.";
const TOMORROW: &str = "Warten Sie zehn Minuten und beginnen Sie dann noch einmal. Steht hier dann dasselbe, versuchen Sie es \
                        morgen.";

fn failure(failure: Failure, label: &str) -> Told {
    use Failure as F;
    let (happened, advice) = match failure {
        F::AccessNotApproved => (format!("{label} hat diesen Dienst noch nicht zugelassen."), OPERATOR),
        F::AccountInactive => (
            format!("Ihr Konto bei {label} ist deaktiviert oder gesperrt."),
            "Klären Sie das zuerst dort und beginnen Sie dann noch einmal.",
        ),
        F::AccountMismatch => (
            format!(
                "Sie haben sich bei {label} mit einem anderen Konto angemeldet als dem, das neu verbunden werden soll."
            ),
            "Melden Sie sich dort ab, beginnen Sie noch einmal und melden Sie sich mit dem Konto an, das schon verbunden ist. \
             Möchten Sie auch dieses andere Konto verbinden, fügen Sie es in der App hinzu.",
        ),
        F::AccountThrottled => (format!("{label} lässt für dieses Konto im Moment keine Anfragen mehr zu."), TOMORROW),
        F::ApiNotEnabled => (format!("Dieser Dienst ist bei {label} nicht vollständig eingerichtet."), OPERATOR),
        F::ApiVersionRetired => {
            (format!("Dieser Dienst nutzt eine Version von {label}, die es nicht mehr gibt."), OPERATOR)
        }
        F::AppMissing => {
            (format!("Dieser Dienst nutzt die App bei {label} nicht mehr, mit der diese Verbindung begann."), OPERATOR)
        }
        F::AppNotPublic => (
            format!("{label} öffnet diesen Dienst bisher nur für eingeladene Personen."),
            "Wurden Sie dort eingeladen, nehmen Sie zuerst die Einladung an und beginnen Sie dann noch einmal. Wenn nicht, \
             fragen Sie den Betreiber dieses Dienstes.",
        ),
        F::AuthorizationRefused => (format!("{label} lehnt ab, worum dieser Dienst bittet."), OPERATOR),
        F::BillingLimitReached => (format!("Dieser Dienst hat verbraucht, wofür er bei {label} bezahlt."), OPERATOR),
        F::BlockedByAdministrator => (
            format!("Ihre Organisation erlaubt diesen Dienst bei {label} nicht."),
            "Bitten Sie die Administration Ihrer Organisation, ihn zu erlauben, und beginnen Sie dann noch einmal.",
        ),
        F::CallbackUrlRejected => (format!("{label} kennt die Adresse dieses Dienstes nicht."), OPERATOR),
        F::CredentialsRejected => {
            (format!("{label} hat diesen Dienst nicht angenommen. An Ihrem Konto liegt es nicht."), OPERATOR)
        }
        F::ExchangeRejected => (format!("Die Erlaubnis von {label} war abgelaufen oder schon benutzt."), AGAIN),
        F::FlowExpired => (
            format!("Das hat zu lange gedauert: Die Verbindung zu {label} wurde nicht rechtzeitig abgeschlossen."),
            "Gehen Sie zurück zur App und beginnen Sie noch einmal. Von dort bis hierher haben Sie einige Minuten Zeit.",
        ),
        F::IdTokenRejected => (format!("{label} hat nicht nachgewiesen, wessen Konto es ist."), OPERATOR),
        F::IdentityUnavailable => (format!("{label} hat nicht gesagt, wessen Konto es ist."), LATER),
        F::Interrupted => (
            format!("Dieser Dienst wurde angehalten, während er Ihr Konto bei {label} verband."),
            "Sehen Sie in einigen Minuten in der App nach. Ist Ihr Konto nicht da, beginnen Sie noch einmal.",
        ),
        F::NoAccount => (
            format!("{label} hat kein Konto von Ihnen, das verbunden werden kann."),
            "Achten Sie darauf, dass Sie dort mit dem richtigen Konto angemeldet sind. Ein YouTube-Konto braucht einen Kanal, \
             ein Instagram-Konto muss ein professionelles sein. Beginnen Sie dann noch einmal.",
        ),
        F::PermissionMissing => (
            format!("Eine Berechtigung fehlte. Deshalb hat {label} nicht gesagt, wessen Konto es ist."),
            "Beginnen Sie noch einmal und lassen Sie alle Berechtigungen angekreuzt.",
        ),
        F::PlatformThrottled => (format!("{label} bekommt gerade zu viele Anfragen."), TOMORROW),
        F::PlatformUnavailable => (
            format!("{label} ist nicht zu erreichen oder hat selbst ein Problem."),
            "Hier kann das niemand beheben. Warten Sie einige Minuten und beginnen Sie dann noch einmal.",
        ),
        F::StorageFailed => ("Ihr Konto konnte nicht gespeichert werden.".to_owned(), OPERATOR),
        F::AppOrGrantRejected => (format!("{label} hat die Verbindung abgelehnt und sagt nicht, warum."), LATER),
        F::PlatformAnswerUnreadable => {
            (format!("{label} hat eine Antwort geschickt, die nicht zu verstehen war."), LATER)
        }
        // These end no connection.
        F::ConsentExpired
        | F::ConsentRevoked
        | F::ListingTooLong
        | F::NoRefreshToken
        | F::PermissionWithdrawn
        | F::RefreshAnswerUnread
        | F::RefreshInterrupted
        | F::RefreshRejected
        | F::RequestRefused
        | F::RestoredFromBackup
        | F::SecurityInvalidation
        | F::TestingConsentExpired
        | F::KeyringLost
        | F::TokensUnreadable => (format!("Die Verbindung zu {label} ist beendet."), AGAIN),
    };
    Told { happened, advice }
}
