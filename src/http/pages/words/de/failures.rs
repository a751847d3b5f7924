//! Causes of failures and the operator's next steps, in German. The English sentences are those of the API and the log:
//! [`Failure::what_happened_after`] and [`Failure::next_step`].

use crate::domain::failure::Failure;
use crate::domain::time::Timestamp;

pub(super) fn cause(failure: Failure, label: &str, backup_taken_at: Option<Timestamp>) -> String {
    let cause = sentences(failure).0.replace("{label}", label);
    match backup_taken_at {
        Some(taken_at) => cause.replacen("aus einer Sicherung", &format!("aus einer Sicherung vom {taken_at}"), 1),
        None => cause,
    }
}

pub(super) fn remedy(failure: Failure, platform: &str, console: Option<&str>) -> String {
    let is_own = console.is_none();
    let console = console.map_or_else(|| "bei der Plattform".to_owned(), |console| format!("unter {console}"));
    let more = if is_own { to_check(failure) } else { "" };
    format!("{}{more}", sentences(failure).1).replace("{platform}", platform).replace("{console}", &console)
}

const RECONNECT: &str = "Die Person, der das Konto gehört, verbindet es neu.";
const LATER: &str = "Nichts zu tun: Erneuerungen werden von selbst wiederholt, und eine Verbindung lässt sich später noch \
                     einmal beginnen.";

/// A sentence about the settings of an operator's own platform, with a space before it.
const fn to_check(failure: Failure) -> &'static str {
    match failure {
        Failure::AppOrGrantRejected | Failure::CredentialsRejected => {
            " Stimmen die Zugangsdaten, nimmt der Server sie vielleicht anders an: Versuchen Sie ein anderes \
             client_auth (\"body\" oder \"basic\"); bei einem privaten Schlüssel vergleichen Sie private_key_audience, \
             private_key_algorithm und private_key_id."
        }
        Failure::AuthorizationRefused => {
            " Vielleicht will der Server auch pkce oder authorize_params anders. Hat der Abschnitt eines issuer keine scopes, \
             bittet der Broker um openid, profile und offline_access: Setzen Sie scopes, wenn der Server einen davon ablehnt."
        }
        Failure::IdTokenRejected => {
            " Ein Server, dessen id_tokens keine nonce haben oder unangekündigt mit dem Client-Geheimnis signiert sind, lässt sich \
             ohne issuer verbinden: Setzen Sie stattdessen die Endpunkte und identity_url."
        }
        Failure::IdentityUnavailable | Failure::PermissionMissing => {
            " Vielleicht will der Server auch einen anderen Aufruf: Vergleichen Sie identity_url, identity_method und \
             identity_headers mit seiner Dokumentation."
        }
        Failure::PlatformAnswerUnreadable | Failure::RequestRefused => {
            " Hat der Server die Endpunkte verlegt, die sein issuer nennt, laden Sie den Broker neu (SIGHUP): Er liest sie einmal."
        }
        _ => "",
    }
}

/// Cause and next step. `{label}` stands for the platform's name for people, `{platform}` for its name in the
/// configuration, `{console}` for the place where the operator manages the app, with its preposition.
#[expect(clippy::too_many_lines, reason = "a table")]
const fn sentences(failure: Failure) -> (&'static str, &'static str) {
    use Failure as F;
    match failure {
        F::AccessNotApproved => (
            "{label} hat diesen Dienst noch nicht für seine API zugelassen.",
            "Beantragen Sie den Zugang zur API von {platform} {console} (bei Google mit dem Formular „Application for Basic API \
             Access“ der Business Profile APIs; bei X mit einer App in einem Projekt, das für API v2 angemeldet ist). Bei Meta muss außerdem \
             „Require App Secret“ in den Einstellungen der App unter „Advanced“ ausgeschaltet sein.",
        ),
        F::AccountInactive => (
            "Das Konto ist bei {label} deaktiviert, gesperrt oder entfernt.",
            "Die Person, der es gehört, klärt das dort und verbindet es dann neu.",
        ),
        F::AccountMismatch => (
            "Das ist ein anderes Konto bei {label} als das, das neu verbunden werden soll. Es wurde nichts geändert.",
            "Die Person, der das Konto gehört, meldet sich bei {platform} ab, beginnt noch einmal und meldet sich mit diesem \
             Konto an.",
        ),
        F::AccountThrottled => ("{label} bekommt für dieses Konto gerade zu viele Anfragen.", LATER),
        F::ApiNotEnabled => (
            "Die API von {label} ist für diesen Dienst nicht eingeschaltet.",
            "Schalten Sie die API von {platform} für das Projekt der App {console} ein und beginnen Sie in einigen Minuten noch \
             einmal.",
        ),
        F::ApiVersionRetired => (
            "{label} hat die Version der API abgeschaltet, die dieser Dienst nutzt.",
            "Setzen Sie api_version in [platforms.{platform}] auf eine Version, die die Plattform als aktuell nennt (LinkedIn: \
             JJJJMM).",
        ),
        F::AppMissing => (
            "Die OAuth-App dieser Verbindung ist hier nicht mehr eingerichtet.",
            "Sehen Sie nach, ob [platforms.{platform}] eingeschaltet ist und die Client-Id hat, mit der die Verbindung \
             begann, oder verbinden Sie das Konto neu.",
        ),
        F::AppNotPublic => (
            "{label} öffnet diesen Dienst nur für Personen, die sein Betreiber dort zugelassen hat.",
            "Veröffentlichen Sie die App {console}, oder lassen Sie das Konto dort zu: als Tester, der dann die Einladung \
             annimmt, oder als Mitglied der Organisation der App.",
        ),
        F::AppOrGrantRejected => (
            "{label} hat abgelehnt und sagt nicht, ob es an den Zugangsdaten dieses Dienstes oder an der Erlaubnis für das Konto \
             liegt.",
            "Sind alle Konten der App betroffen, vergleichen Sie client_id und client_secret in [platforms.{platform}] mit der \
             App {console}; ist es nur dieses, verbindet die Person, der es gehört, es neu.",
        ),
        F::AuthorizationRefused => (
            "{label} lehnt ab, worum dieser Dienst bittet.",
            "Prüfen Sie, ob die Scopes in [platforms.{platform}] für die App {console} eingeschaltet sind. Im Protokoll steht \
             der Code der Plattform, falls sie einen nannte.",
        ),
        F::BillingLimitReached => (
            "Was dieser Dienst bei {label} bezahlt, ist aufgebraucht.",
            "Kaufen Sie Guthaben, oder erhöhen Sie {console} die Grenze der Ausgaben.",
        ),
        F::BlockedByAdministrator => (
            "Die Administration der Organisation, zu der das Konto gehört, erlaubt diesen Dienst bei {label} nicht.",
            "Die Person, der das Konto gehört, bittet die Administration, die App zu erlauben, und verbindet es dann neu.",
        ),
        F::CallbackUrlRejected => (
            "{label} kennt die Adresse nicht, an die es Personen zurückschicken soll.",
            "Tragen Sie die Callback-URL, die `postpeer check` für {platform} ausgibt, Zeichen für Zeichen bei der App \
             {console} ein.",
        ),
        F::ConsentExpired => ("Die Zeit, für die {label} ein Konto verbunden lässt, ist vorbei.", RECONNECT),
        F::ConsentRevoked => {
            ("Die Person, der das Konto gehört, hat der App bei {label} den Zugriff entzogen.", RECONNECT)
        }
        F::CredentialsRejected => (
            "{label} hat die Zugangsdaten dieses Dienstes nicht angenommen.",
            "Vergleichen Sie client_id und client_secret in [platforms.{platform}] (oder die Ihrer eigenen App) mit der App \
             {console}; sobald das Geheimnis geändert ist, gehen die Erneuerungen weiter.",
        ),
        F::ExchangeRejected => (
            "{label} hat die Erlaubnis nicht angenommen: Sie war abgelaufen oder schon benutzt.",
            "Passiert es bei allen, vergleichen Sie die Callback-URL, die `postpeer check` für {platform} ausgibt, mit der dort \
             eingetragenen.",
        ),
        F::FlowExpired => (
            "Das hat zu lange gedauert: Die Verbindung zu {label} wurde nicht rechtzeitig abgeschlossen.",
            "Die Person, der das Konto gehört, beginnt noch einmal. Passiert es vielen, erhöhen Sie state_ttl_seconds oder \
             selection_ttl_seconds in [connect].",
        ),
        F::IdTokenRejected => (
            "{label} hat nicht nachgewiesen, welches Konto verbunden wurde. Es wurde nichts behalten.",
            "Im Protokoll steht, was am id_token nicht stimmt. Prüfen Sie issuer und client_id in [platforms.{platform}] und \
             die Uhr dieses Rechners.",
        ),
        F::IdentityUnavailable => (
            "{label} hat nicht gesagt, welches Konto verbunden wurde. Es wurde nichts behalten.",
            "Passiert es bei allen, prüfen Sie, ob die Scopes in [platforms.{platform}] für die App {console} eingeschaltet sind \
             und ausreichen, um zu erfahren, wer verbunden hat.",
        ),
        F::Interrupted => (
            "Der Dienst wurde angehalten, während das Konto verbunden wurde.",
            "Die Person, der das Konto gehört, beginnt noch einmal.",
        ),
        F::KeyringLost => (
            "Der Broker hat den Schlüssel zu den gespeicherten Tokens dieses Kontos verloren und sie gelöscht.",
            RECONNECT,
        ),
        F::ListingTooLong => (
            "{label} führt mehr Konten auf, als dieser Dienst liest.",
            "Nichts zu tun: Die gelesenen Konten werden angeboten.",
        ),
        F::NoAccount => (
            "{label} hat für diese Person kein Konto, das sich verbinden lässt.",
            "Hier ist nichts zu tun: Die Person braucht bei {platform} ein Konto, das sich verbinden lässt.",
        ),
        F::NoRefreshToken => (
            "Das Zugriffstoken ist abgelaufen, und {label} hat dazu kein Refresh-Token gegeben.",
            "Bitten Sie in [platforms.{platform}] darum: mit dem Offline-Scope in scopes (etwa offline_access) oder mit \
             authorize_params (etwa access_type = \"offline\"). Dann verbindet die Person, der das Konto gehört, es neu.",
        ),
        F::PermissionMissing => (
            "{label} durfte nicht sagen, welches Konto verbunden wurde.",
            "Prüfen Sie, ob die Scopes in [platforms.{platform}] für die App {console} eingeschaltet sind und ob die Person sie \
             angekreuzt hat.",
        ),
        F::PermissionWithdrawn => (
            "Eine Berechtigung, die die Verbindung braucht, wurde bei {label} entzogen.",
            "Die Person, der das Konto gehört, verbindet es neu und lässt alle Berechtigungen angekreuzt.",
        ),
        F::PlatformAnswerUnreadable => (
            "{label} hat eine Antwort geschickt, die nicht zu verstehen war.",
            "Hält das an, prüfen Sie token_url und api_url in [platforms.{platform}]; stimmen sie, hat die Plattform ihre \
             Antworten geändert. Erneuerungen werden von selbst wiederholt, und ihre Antworten werden aufbewahrt.",
        ),
        F::PlatformThrottled => ("{label} bekommt gerade zu viele Anfragen.", LATER),
        F::PlatformUnavailable => ("{label} ist nicht zu erreichen oder hat selbst ein Problem.", LATER),
        F::RefreshAnswerUnread => (
            "{label} lehnt das Erneuerungstoken ab, nachdem die Antwort auf eine frühere Erneuerung nicht zu verstehen war: Das \
             neue Token steht sehr wahrscheinlich in dieser Antwort, die 30 Tage aufbewahrt wird.",
            "Prüfen Sie token_url und api_url (bei einer eigenen Plattform token_pointer) in [platforms.{platform}], und laden \
             Sie den Broker dann neu (SIGHUP) oder starten Sie ihn neu: Er liest die Antwort noch einmal, und das Konto geht \
             wieder, sobald sie zu verstehen ist. Sonst verbindet die Person, der das Konto gehört, es neu.",
        ),
        F::RefreshInterrupted => (
            "{label} lehnt das Erneuerungstoken ab, nachdem eine frühere Erneuerung abbrach, bevor ihre Antwort ankam: Das neue \
             Token stand sehr wahrscheinlich in dieser Antwort.",
            RECONNECT,
        ),
        F::RefreshRejected => {
            ("{label} lehnt das Erneuerungstoken ab: Es ist abgelaufen oder wurde widerrufen.", RECONNECT)
        }
        F::RequestRefused => (
            "{label} hat eine Anfrage abgelehnt, ohne dass es am Konto liegt.",
            "Sie wird wiederholt, in immer größeren Abständen. Prüfen Sie die Einstellungen in [platforms.{platform}] und die \
             App {console}; im Protokoll steht der Code der Plattform, falls sie einen nannte.",
        ),
        F::RestoredFromBackup => (
            "{label} lehnt das Erneuerungstoken ab: Dieses Konto wurde aus einer Sicherung wiederhergestellt, und sein Token \
             wurde sehr wahrscheinlich danach noch erneuert.",
            RECONNECT,
        ),
        F::SecurityInvalidation => {
            ("{label} hat die Verbindung zur Sicherheit des Kontos beendet, etwa nach einem neuen Passwort.", RECONNECT)
        }
        F::StorageFailed => (
            "Das Konto konnte nicht gespeichert werden.",
            "Im Protokoll steht, warum die Datenbank versagte; danach beginnt die Person, der das Konto gehört, noch einmal.",
        ),
        F::TestingConsentExpired => (
            "{label} hat die Verbindung nach sieben Tagen beendet, weil der Zustimmungsbildschirm der App noch im Test ist.",
            "Veröffentlichen Sie den Zustimmungsbildschirm {console} und verbinden Sie das Konto dann neu.",
        ),
        F::TokensUnreadable => (
            "Die gespeicherten Tokens dieses Kontos lassen sich nicht öffnen.",
            "Stellen Sie eine frühere Sicherung mit dem jetzigen Schlüsselbund wieder her, oder verbinden Sie das Konto neu.",
        ),
    }
}
