//! The console in German.

use super::super::grouped;
use super::{ConsoleWords, Done, NoSignIn, Refused};
use crate::broker::console::PlatformState;
use crate::domain::audit::Actor;
use crate::domain::integration::TokenState;
use crate::http::error::Code;

pub(in super::super) static WORDS: ConsoleWords = ConsoleWords {
    title: "postpeer-Konsole",
    home: "Überblick",
    done: |done| match done {
        Done::Disconnected => "Getrennt. Die Plattform hat die Tokens widerrufen, und hier sind sie gelöscht.",
        Done::DisconnectedNot => {
            "Das Konto wurde inzwischen neu verbunden und bleibt deshalb: Trennen Sie es noch einmal, um das zu beenden."
        }
        Done::DisconnectedShared => {
            "Getrennt. Die Zustimmung bei der Plattform blieb bestehen, weil andere verbundene Konten sie brauchen."
        }
        Done::DisconnectedUnconfirmed => {
            "Getrennt, und die Tokens sind hier gelöscht. Die Plattform hat den Widerruf nicht bestätigt: Wem das Konto \
             gehört, kann die App dort in den Einstellungen entfernen."
        }
        Done::DisconnectedUnsupported => {
            "Getrennt, und die Tokens sind hier gelöscht. Die Plattform kann sie nicht widerrufen: Wem das Konto gehört, kann \
             die App dort in den Einstellungen entfernen."
        }
        Done::AppDeleted => "Die App ist gelöscht.",
        Done::AppMade => "Die App ist angelegt.",
        Done::AppMadeBefore => {
            "Seit das Formular geöffnet wurde, ist eine App mit dieser Plattform und Client-Id angelegt worden, deshalb keine \
             weitere. Haben Sie inzwischen ein anderes Geheimnis eingegeben, ersetzen Sie das der App."
        }
        Done::RemovedBefore => {
            "Das war schon geschehen, deshalb wurde jetzt nichts getan. Im Protokoll steht, von wem und wann."
        }
        Done::KeyMadeBefore => {
            "Seit das Formular geöffnet wurde, ist ein Schlüssel dieses Namens angelegt worden, deshalb kein weiterer. Haben Sie ihn \
             nicht kopiert, widerrufen Sie ihn und legen Sie einen neuen an: Ein Schlüssel wird einmal gezeigt."
        }
        Done::KeyRevoked => "Der Schlüssel ist widerrufen.",
        Done::ProfileChanged => "Das Profil ist geändert.",
        Done::ProfileDeleted => "Das Profil ist gelöscht. Seine Konten bleiben verbunden.",
        Done::ProfileMade => "Das Profil ist angelegt.",
        Done::ProfileMadeBefore => {
            "Seit das Formular geöffnet wurde, ist ein Profil dieses Namens angelegt worden, deshalb kein weiteres. Wollen Sie \
             zwei, senden Sie das Formular noch einmal."
        }
        Done::SecretReplaced => "Das Geheimnis ist ersetzt.",
        Done::Moved => "Das Konto ist verschoben.",
    },
    refused: |refused| match refused {
        Refused::Broken => {
            ("Hier ist etwas schiefgegangen", "Im Protokoll steht mehr unter der Nummer der Anfrage unten.")
        }
        Refused::NotAllowed => (
            "Dieser Schlüssel darf das nicht",
            "Melden Sie sich mit einem an, der es darf, oder lassen Sie einen anlegen.",
        ),
        Refused::NotDone => (
            "Das wurde nicht getan",
            "Gehen Sie zurück, ändern Sie, was der Satz oben nennt, und senden Sie es noch einmal.",
        ),
        Refused::NotFromHere => (
            "Nichts wurde geändert",
            "Das Formular kam nicht aus dieser Sitzung. Öffnen Sie die Seite neu und nutzen Sie ihre Knöpfe.",
        ),
        Refused::NotThere => {
            ("Hier ist nichts", "Das Ziel gibt es nicht mehr, oder es gehört zu einem anderen Projekt.")
        }
        Refused::TooMuch => ("Zu viele Anfragen", "Warten Sie eine Minute und versuchen Sie es dann noch einmal."),
    },
    sentence,

    sign_in: "Anmelden",
    sign_in_lead: "Mit einem Zugriffsschlüssel mit dem Recht manage. Die Konsole tut dann acht Stunden lang, was dieser \
                   Schlüssel darf.",
    no_sign_in: |why| match why {
        NoSignIn::Ended => "Ihre Sitzung ist zu Ende.",
        NoSignIn::EndedUnchanged => {
            "Ihre Sitzung war zu Ende, deshalb wurde nichts geändert. Melden Sie sich an und tun Sie es dann noch einmal."
        }
        NoSignIn::Expired => "Dieser Schlüssel ist abgelaufen. Einen neuen legt an: postpeer access-key create",
        NoSignIn::MayNotManage => "Diesem Schlüssel fehlt das Recht manage, das die Konsole braucht.",
        NoSignIn::NoCookies => {
            "Der Schlüssel stimmt, aber Ihr Browser behält für diese Adresse keine Cookies, die die Konsole braucht. Erlauben \
             Sie sie und melden Sie sich noch einmal an."
        }
        NoSignIn::OtherAddress => {
            "Sie wurden nicht angemeldet: Die Konsole lässt sich nur unter ihrer eigenen Adresse nutzen."
        }
        NoSignIn::OtherNetwork => "Dieser Schlüssel gilt nicht für Ihre Adresse: Er ist an andere Netze gebunden.",
        NoSignIn::WrongKey => {
            "Das ist kein Zugriffsschlüssel dieses Brokers. Prüfen Sie, ob Sie ihn ganz kopiert haben."
        }
    },
    sign_out: "Abmelden",
    signed_in: "Angemeldet",
    access_key: "Zugriffsschlüssel",
    project: "Projekt",
    scopes: "Rechte",
    only_profile: "Nur dieses Profil",
    other_profile: "Oder ein anderes Profil, nach seiner Id",

    last_day: "Die letzten 24 Stunden",
    refreshed: "Erneuerungen",
    failed: "Misslungene Erneuerungen",
    token_reads: "Abrufe von Tokens",
    chart: |name, total, most| match most {
        Some((most, from)) => {
            format!("{name} in den letzten 24 Stunden: {total}, höchstens {most} in der Stunde ab {from}.")
        }
        None => format!("{name} in den letzten 24 Stunden: {total}."),
    },

    accounts: "Konten",
    no_account: "Noch ist kein Konto verbunden.",
    failing: |failing, counted| match failing {
        0 => "Alle Konten funktionieren.".to_owned(),
        1 => "Ein Konto ist gestört.".to_owned(),
        failing if failing >= counted => format!("{} Konten oder mehr sind gestört.", grouped(failing, '.')),
        failing => format!("{} Konten sind gestört.", grouped(failing, '.')),
    },
    search: "Name, Kontoname oder Id",
    all: "Alle",
    no_profile: "Ohne Profil",
    failing_only: "Nur gestörte",
    next_refresh: "Nächste Erneuerung",
    pages: "Seiten",
    next_page: "Nächste Seite",
    health: |state| match state {
        TokenState::Ok => "Funktioniert",
        TokenState::ReconnectRequired => "Muss neu verbunden werden",
        TokenState::RefreshFailing => "Erneuerung misslingt",
        TokenState::RefreshInDoubt => "Erneuerung brach ab",
    },
    number: |number| grouped(number, '.'),

    last_seen: "Zuletzt",
    app_at: |label| format!("Die App bei {label}"),
    reconnect: "Neu verbinden",
    reconnect_by_password: |label| {
        format!("Zum Neuverbinden gibt die Person der App ein neues App-Passwort: {label} hat keine Seite dafür.")
    },
    reconnect_lead: "Wem das Konto gehört, meldet sich bei der Plattform an, und nur dieses Konto kann zurückkommen. Der Link \
                     gilt einige Minuten, und bis jemand ihn zu Ende gegangen ist.",
    reconnect_here: "In diesem Browser weiter",
    reconnect_elsewhere: "Oder senden Sie diesen Link der Person, der das Konto gehört:",
    server: "Server des Kontos, etwa mastodon.social",
    user_id: "Id bei der Plattform",
    id: "Id hier",
    app: "OAuth-App",
    connected_at: "Verbunden",
    tokens: "Tokens",
    issued: "Ausgestellt",
    never: "Nie: Das Konto wird neu verbunden",
    no_refresh_needed: "Nicht nötig: Ein Ende des Zugriffstokens ist nicht bekannt",
    not_known: "Nicht bekannt",
    access_expires: "Zugriffstoken läuft ab",
    refresh_expires: "Erneuerungstoken läuft ab",
    granted: "Erteilte Berechtigungen",
    missing: "Fehlende Berechtigungen",
    past_refreshes: "Letzte Erneuerungen",
    no_past_refreshes: "Bisher ist keine verzeichnet.",
    when: "Wann",
    outcome: "Ergebnis",
    new_tokens: "Neue Tokens",
    reads: "Wer das Token gelesen hat",
    nobody_read: "In den letzten 90 Tagen niemand.",
    reads_count: "Abrufe",
    last_read: "Zuletzt",
    trail: "Was geschah",
    no_entries: "Es gibt noch keine Einträge.",
    actor: |actor| match actor {
        Actor::AccessKey => "Zugriffsschlüssel",
        Actor::CommandLine => "Befehlszeile",
        Actor::DemoPage => "Demoseite",
        Actor::Link => "Verbindungslink, erstellt mit Schlüssel",
        Actor::Person => "Person mit dem Konto, für Schlüssel",
        Actor::Schedule => "Zeitplan der Sicherungen",
    },
    change: "Ändern",
    move_to: "In ein Profil verschieben",
    move_button: "Verschieben",
    disconnect: "Dieses Konto trennen",
    disconnect_asks: |label| {
        format!(
            "Seine Tokens werden hier gelöscht und bei {label} widerrufen, wo das geht. Apps können es nicht mehr nutzen."
        )
    },
    disconnect_button: "Jetzt trennen",

    profiles: "Profile",
    profiles_lead: "Ein Profil fasst Konten zusammen: für eine Marke, einen Kunden, eine Person.",
    search_name: "Nach Namen suchen",
    nothing: "Hier ist noch nichts, oder nichts mit diesem Namen.",
    name: "Name",
    description: "Beschreibung",
    save: "Speichern",
    delete: "Löschen",
    delete_now: "Jetzt löschen",
    delete_profile_asks: "Seine Konten bleiben verbunden und behalten seine Id. Neue lassen sich dafür nicht mehr verbinden.",
    new_profile: "Neues Profil",
    make: "Anlegen",

    apps: "OAuth-Apps",
    apps_lead: "Eigene Apps dieses Projekts, unter denen Konten verbunden werden, wenn ein Aufruf sie nennt. Die Apps des Betreibers stehen in der Konfiguration.",
    client_id: "Client-Id",
    client_secret: "Client-Geheimnis",
    replace_secret: "Geheimnis ersetzen",
    replace_secret_lead: "Das vorige wird noch 24 Stunden versucht, wo die Plattform das neue ablehnt. Gezeigt wird keines.",
    delete_app_asks: "Nur eine App ohne verbundene Konten lässt sich löschen.",
    new_app: "Neue OAuth-App",
    whole_project_only: "Dieser Schlüssel ist an ein Profil gebunden, und Apps gehören dem ganzen Projekt.",

    keys: "Zugriffsschlüssel",
    keys_lead: "Ein Schlüssel erzeugt und widerruft nur Schlüssel, die nicht mehr dürfen als er selbst.",
    revoked: "Widerrufen",
    networks: "Netze",
    networks_help: "Etwa 10.0.0.0/8, durch Kommas getrennt. Leer: wie beim Schlüssel Ihrer Anmeldung.",
    made: "Angelegt",
    last_used: "Zuletzt benutzt",
    not_yet: "noch nie",
    expires: "Läuft ab",
    expires_help: "Etwa 90d oder 2027-03-01. Leer: wie beim Schlüssel Ihrer Anmeldung.",
    revoke: "Widerrufen",
    revoke_asks: "Wer ihn benutzt, wird ab der nächsten Anfrage abgewiesen. Konten bleiben verbunden.",
    revoke_own_asks: "Das ist der Schlüssel Ihrer Anmeldung: Sie werden damit auch abgemeldet.",
    revoke_now: "Jetzt widerrufen",
    new_key: "Neuer Zugriffsschlüssel",
    whole_project: "Das ganze Projekt",
    key_made: "Neuer Schlüssel",
    key_made_lead: "Kopieren Sie ihn jetzt: Er wird nicht gespeichert und nie wieder gezeigt.",

    platforms: "Plattformen",
    platforms_lead: "Tragen Sie jede Callback-URL bei ihrer Plattform Zeichen für Zeichen ein. postpeer check --probe fragt die Plattformen, ob sie die Zugangsdaten annehmen.",
    callback_url: "Callback-URL",
    warning: "Warnung",
    note: "Hinweis",
    audit: "Protokoll",
    audit_lead: "Wer etwas geändert oder ein Token gelesen hat, das Neueste zuerst.",
    platform_state: |state| match state {
        PlatformState::NoCredentials => "Ohne Zugangsdaten: nur mit einer App des Projekts",
        PlatformState::Off => "Abgeschaltet",
        PlatformState::Ready => "Eingerichtet",
    },
};

fn sentence(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::AddressNotAllowed => "Der Schlüssel gilt nicht für diese Adresse: Er ist an andere Netze gebunden.",
        Code::AppInUse => {
            "Unter der App sind noch Konten verbunden. Trennen Sie diese zuerst, oder verbinden Sie sie ohne die App neu."
        }
        Code::AppNotFound => "Dieses Projekt hat keine solche App.",
        Code::CredentialsMissing => "Für diese Plattform hat der Betreiber keine Zugangsdaten eingetragen.",
        Code::CrossSite => "Die Anfrage kam nicht von einer Seite dieses Dienstes.",
        Code::DuplicateApp => "Dieses Projekt hat schon eine App mit dieser Plattform und Client-Id.",
        Code::DuplicateIntegration => {
            "Dasselbe Konto ist unter jenem Profil schon verbunden. Trennen Sie eines von beiden."
        }
        Code::InsufficientScope => "Dem Schlüssel fehlt ein Recht, das dafür nötig ist.",
        Code::IntegrationNotFound => "Dieses Projekt hat kein solches Konto.",
        Code::Internal => "Der Broker ist gescheitert. Der Betreiber findet die Ursache im Protokoll.",
        Code::KeyBoundToProfile => "Der Schlüssel ist an ein Profil gebunden, und dies betrifft auch andere.",
        Code::LimitReached | Code::TooManyAttempts => "Das waren zu viele Anfragen dieser Art.",
        Code::MethodNotAllowed | Code::NotFound => "Unter dieser Adresse ist nichts.",
        Code::NotReady | Code::StorageUnavailable => {
            "Der Broker kann gerade nicht arbeiten, und es wurde nichts geändert. Den Grund findet der Betreiber im Protokoll."
        }
        Code::Overloaded => "Der Broker hat gerade zu viel zu tun.",
        Code::PlatformUnreachable => "Die Plattform ist nicht zu erreichen oder hat selbst ein Problem.",
        Code::ProfileNotFound => "Dieses Projekt hat kein solches Profil.",
        Code::RequestTimeout => "Die Anfrage kam nicht rechtzeitig vollständig an.",
        Code::SealedValueRejected => "Ein hierfür gespeichertes Geheimnis ist beschädigt und wird nicht benutzt.",
        Code::StorageFull => {
            "Der Datenträger des Brokers ist voll: Bis der Betreiber Platz schafft, lässt sich nichts ändern."
        }
        Code::TooManyFlows => "Zu viele Verbindungen warten darauf, abgeschlossen zu werden.",
        // The API's sentence names the field, or what else is wrong.
        _ => return None,
    })
}
