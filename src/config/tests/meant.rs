//! Settings that are valid, or look it, and are not what somebody meant.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use super::read;

#[test]
fn settings_that_work_and_are_not_what_was_meant_are_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, "\u{201c}never-shown\u{201d}\n").unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let toml = format!(
        r#"
        [server]
        trusted_proxies = ["10.0.0.0/8", "0.0.0.0/0"]
        [platforms.tiktok]
        client_id = "id"
        client_secret_file = "{}"
        [platforms.twitter]
        client_id = "'id'"
        client_secret = "\"never-shown\""
        scopes = []
        [platforms.youtube]
        client_id = "id"
        client_secrets = ["good", "`never-shown`"]
        "#,
        file.display()
    );
    let config = read(&toml).unwrap();
    assert_eq!(config.files.secrets, [file]);
    insta::assert_snapshot!(config.warnings.join("\n"), @"
    postpeer.toml: server.trusted_proxies trusts everybody: any client can claim any address with X-Forwarded-For. Name the address of your proxy only
    postpeer.toml: platforms.tiktok.client_secret_file begins and ends with a quotation mark, which is sent along: remove both, unless the platform shows them as a part of it. Environment files of containers keep quotation marks
    postpeer.toml: platforms.twitter.client_id begins and ends with a quotation mark, which is sent along: remove both, unless the platform shows them as a part of it. Environment files of containers keep quotation marks
    postpeer.toml: platforms.twitter.client_secret begins and ends with a quotation mark, which is sent along: remove both, unless the platform shows them as a part of it. Environment files of containers keep quotation marks
    postpeer.toml: platforms.twitter.scopes is empty: people grant nothing, and the platform will not say who they are. Remove the key for the usual scopes
    postpeer.toml: platforms.youtube.client_secrets begins and ends with a quotation mark, which is sent along: remove both, unless the platform shows them as a part of it. Environment files of containers keep quotation marks
    ");
    let quote = read("[platforms.twitter]\nclient_id = \"id\"\nclient_secret = \"it's\"").unwrap();
    assert_eq!(quote.warnings, [""; 0]);
    let business = "[platforms.facebook]\nclient_id = \"id\"\nclient_secret = \"it's\"\nscopes = []\n\
        authorize_params = { config_id = \"7\" }";
    assert_eq!(read(business).unwrap().warnings, [""; 0], "its configuration has them");
}

#[test]
fn a_wildcard_in_a_redirect_is_a_mistake() {
    let told = read("[connect]\nallowed_redirects = [\"https://*.app.example\"]").unwrap_err().to_string();
    insta::assert_snapshot!(told, @r#"postpeer.toml: connect.allowed_redirects has the entry "https://*.app.example", which has a *, and there are no wildcards: list each origin, such as https://app.example"#);
}
