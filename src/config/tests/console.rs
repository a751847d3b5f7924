//! `[console]`: off without its section, and on an address of its own only where that is free.

use super::*;

#[test]
fn there_is_a_console_where_the_section_is_there() {
    let listen =
        |toml: &str| read(toml).unwrap().console.map(|console| console.listen.map(|listen| listen.to_string()));
    assert_eq!(listen(""), None);
    assert_eq!(listen("[console]"), Some(None));
    assert_eq!(listen("[console]\nlisten = \"\""), Some(None));
    assert_eq!(listen("[console]\nlisten = \"127.0.0.1:8090\""), Some(Some("127.0.0.1:8090".to_owned())));
    let environment = Environment::from([("POSTPEER_CONSOLE__LISTEN", "127.0.0.1:0")]);
    assert!(read_with("", &environment).unwrap().console.unwrap().listen.is_some());
    let environment = Environment::from([("POSTPEER_CONSOLE__LISTEN", "\"\"")]);
    assert_eq!(read_with("", &environment).unwrap().console.unwrap().listen, None);
    let environment = Environment::from([("POSTPEER_CONSOLE__LISTEN", "")]);
    assert!(read_with("", &environment).unwrap().console.is_none(), "unset");
    let warnings = read("[console]\nlisten = \"0.0.0.0:8090\"").unwrap().warnings.join("\n");
    insta::assert_snapshot!(warnings, @"postpeer.toml: console.listen is not on loopback, and this listener has no TLS: let a firewall choose who reaches it, and a proxy encrypt the way");
    for taken in [
        "[console]\nlisten = \"127.0.0.1:8080\"",
        "[server]\nmetrics_listen = \"[::1]:9464\"\n[console]\nlisten = \"[::1]:9464\"",
    ] {
        let said = complaint(taken);
        assert!(said.contains("console.listen is in use by server.listen or server.metrics_listen"), "{said}");
    }
    assert!(complaint("[console]\nlisten = \"8090\"").contains("console.listen must be an IP address and a port"));
}
