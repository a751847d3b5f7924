//! Pages that tell of trouble with a request, and what to do about accounts that are missing, in German.

use super::TroubleWords;
use crate::http::error::Trouble;

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn words(trouble: Trouble) -> TroubleWords {
    const LOOK: &str =
        "Sehen Sie in der App nach, ob Ihr Konto verbunden ist. Wenn nicht, beginnen Sie dort noch einmal.";
    let (heading, happened, advice) = match trouble {
        Trouble::AlreadyFinished => (
            "Diese Verbindung ist schon abgeschlossen",
            "Sie wurde schon einmal abgeschlossen, mit einer anderen Antwort. Jetzt wurde nichts geändert.",
            LOOK,
        ),
        Trouble::Broken => (
            "Hier ist etwas schiefgegangen",
            "Der Fehler liegt bei uns. Ob etwas gespeichert wurde, lässt sich nicht sicher sagen.",
            "Sehen Sie in der App nach, ob Ihr Konto verbunden ist. Wenn nicht, beginnen Sie dort noch einmal. Passiert es \
             immer wieder, melden Sie es dem Betreiber dieses Dienstes.",
        ),
        Trouble::Busy => (
            "Gerade zu viel los",
            "Dieser Dienst hat im Moment zu viel zu tun. Es wurde nichts verbunden und nichts gespeichert.",
            "Warten Sie einen Augenblick und laden Sie dann diese Seite neu.",
        ),
        Trouble::ChoiceGone => (
            "Hier gibt es nichts mehr auszuwählen",
            "Die Auswahl wurde schon getroffen oder ist abgelaufen.",
            "Sehen Sie in der App nach, ob Ihre Konten verbunden sind. Wenn nicht, beginnen Sie dort noch einmal.",
        ),
        Trouble::Garbled => (
            "Die Antwort war nicht zu lesen",
            "Die Antwort der Plattform kam unvollständig an. Es wurde nichts verbunden und nichts gespeichert.",
            "Gehen Sie zurück zur App und beginnen Sie noch einmal, ohne die Adresse zu ändern.",
        ),
        Trouble::Gone => (
            "Das ist nicht mehr verfügbar",
            "Etwas, das die Verbindung braucht, wurde inzwischen entfernt oder abgeschaltet. Jetzt wurde nichts verbunden.",
            "Gehen Sie zurück zur App. Beginnen Sie dort noch einmal, wenn sie das noch anbietet.",
        ),
        Trouble::LinkExpired => (
            "Dieser Link ist abgelaufen",
            "Über ihn lässt sich nichts mehr verbinden. Was verbunden wurde, bleibt verbunden.",
            "Bitten Sie um einen neuen, wo Sie den Link bekommen haben.",
        ),
        Trouble::LinkRevoked => (
            "Dieser Link wurde zurückgezogen",
            "Über ihn lässt sich nichts mehr verbinden. Was verbunden wurde, bleibt verbunden.",
            "Bitten Sie um einen neuen, wo Sie den Link bekommen haben.",
        ),
        Trouble::LinkUnknown => (
            "Dieser Link ist nicht bekannt",
            "Die Adresse ist unvollständig, oder der Link ist seit Längerem beendet. Es wurde nichts geändert.",
            "Öffnen Sie den ganzen Link, wie Sie ihn bekommen haben. Geht das nicht, bitten Sie dort um einen neuen.",
        ),
        Trouble::NotFromHere => (
            "Es wurde nichts geändert",
            "Die Anfrage kam von einer anderen Website und wurde deshalb abgelehnt.",
            "Öffnen Sie die Seite selbst und benutzen Sie die Schaltflächen dort.",
        ),
        Trouble::NothingHere => (
            "Hier ist nichts",
            "Die Adresse ist falsch, oder es gibt nicht mehr, wohin sie führte.",
            "Prüfen Sie die Adresse oder gehen Sie zurück zur App.",
        ),
        Trouble::OtherBrowser => (
            "Das wurde in einem anderen Browser begonnen",
            "Nur der Browser, in dem die Verbindung begonnen wurde, kann sie abschließen. Es wurde nichts verbunden und nichts \
             gespeichert.",
            "Haben Sie sie begonnen, schließen Sie sie in jenem Browser ab, oder gehen Sie zurück zur App und beginnen Sie in \
             diesem noch einmal; der Browser muss Cookies annehmen. Hat Sie jemand hierher geschickt, schließen Sie diese \
             Seite: Vielleicht wollte jemand an Ihr Konto kommen.",
        ),
        Trouble::OtherBrowserOfLink => (
            "Sie haben in einem anderen Browser angefangen",
            "Nur der Browser, in dem Sie zur Plattform gegangen sind, kann die Verbindung abschließen. Es wurde nichts \
             verbunden und nichts gespeichert.",
            "Öffnen Sie den Link, den Sie bekommen haben, in diesem Browser und beginnen Sie dort noch einmal; der Browser muss \
             Cookies annehmen. Hat Sie jemand anderes hierher geschickt, schließen Sie diese Seite: Vielleicht wollte jemand \
             an Ihr Konto kommen.",
        ),
        Trouble::OtherPlatform => (
            "Diese Antwort gehört zu einer anderen Plattform",
            "Es wurde nichts verbunden und nichts gespeichert.",
            "Gehen Sie zurück zur App und beginnen Sie noch einmal.",
        ),
        Trouble::Prefetched => (
            "Noch nicht",
            "Ihr Browser hat diese Seite vorab geladen. Bisher ist nichts geschehen.",
            "Laden Sie diese Seite neu, um die Verbindung abzuschließen.",
        ),
        Trouble::Refused => (
            "Das hat nicht geklappt",
            "Die Anfrage war nicht zu verstehen. Es wurde nichts geändert.",
            "Gehen Sie zurück und beginnen Sie noch einmal. Passiert es immer wieder, melden Sie es dem Betreiber dieses \
             Dienstes.",
        ),
        Trouble::ResultGone => (
            "Diese Seite ist abgelaufen",
            "Sie zeigte einige Minuten lang, wie eine Verbindung ausging. Es wurde nichts geändert.",
            LOOK,
        ),
        Trouble::UnknownLink => (
            "Dieser Link ist abgelaufen oder wurde schon benutzt",
            "Ein solcher Link gilt einmal, nur einige Minuten und nur mit seiner ganzen Adresse. Jetzt wurde nichts verbunden.",
            LOOK,
        ),
    };
    TroubleWords { heading, happened, advice }
}

pub(super) fn missing_advice(platform: &str, label: &str) -> String {
    match platform {
        "facebook" | "instagram" => format!(
            "{label} bietet nur die Seiten an, die Sie dort angekreuzt haben und verwalten dürfen. Um das zu ändern, beginnen \
             Sie in der App noch einmal, wählen Sie bei {label} „Einstellungen bearbeiten“ und kreuzen Sie die fehlenden \
             Seiten an. Sie brauchen auf der Seite eine Rolle, die Inhalte erstellen darf."
        ),
        "googlebusiness" => format!(
            "{label} bietet die Standorte an, die Ihnen gehören oder die Sie verwalten, und zwar mit dem Google-Konto, mit dem \
             Sie angemeldet waren. Fehlt einer, beginnen Sie noch einmal mit dem Konto, das ihn verwaltet, oder lassen Sie \
             sich einladen, ihn zu verwalten."
        ),
        "linkedin" => format!(
            "{label} bietet die Organisationen an, die Sie als Administrator verwalten. Lassen Sie sich für die fehlende Seite \
             als Administrator eintragen und beginnen Sie dann in der App noch einmal."
        ),
        _ => format!(
            "{label} bietet nur an, was Sie dort angekreuzt haben und verwalten dürfen. Gehen Sie zurück zur App, beginnen Sie \
             noch einmal und lassen Sie bei {label} alle Konten und Berechtigungen angekreuzt."
        ),
    }
}
