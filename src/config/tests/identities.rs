//! Who may call, and the file of keys.

use super::*;
use crate::units::UnixMs;

fn named(name: &str) -> NewKey {
    NewKey {
        name: name.to_owned(),
        ..NewKey::default()
    }
}

#[test]
fn a_key_goes_round() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identities.toml");
    std::fs::write(
        &path,
        "# kept\n[[identity]]\nname = \"old\" # and this\nkey_sha256 = \"",
    )
    .unwrap();
    let broken = append(&path, &named("crew"), "k");
    assert!(matches!(broken, Err(KeyringError::Faults(_))));
    std::fs::remove_file(&path).unwrap();

    let key = new_key().unwrap();
    assert_eq!(key.len(), "bursar_".len() + 64);
    let new = NewKey {
        owner: Some("research".to_owned()),
        agent: Some("a-1".to_owned()),
        role: Some("researcher".to_owned()),
        models: vec!["gpt-*".to_owned(), "o\"dd".to_owned()],
        expires: Some(UnixMs(2_000_000_000_000)),
        may_say_on_behalf_of: true,
        ..named("crew")
    };
    append(&path, &new, &key).unwrap();
    append(&path, &named("other"), "bursar_other").unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains(&key));
    let identities = Identities::parse(&text, &path).unwrap();
    let who = identities.authenticate(key.as_bytes(), UnixMs(0)).unwrap();
    assert_eq!(
        (who.name.as_str(), who.owner.as_str()),
        ("crew", "research")
    );
    assert!(who.may_say_on_behalf_of && who.may_use("gpt-4o") && !who.may_use("claude"));
    let expired = identities.authenticate(key.as_bytes(), UnixMs(2_000_000_000_000));
    assert_eq!(expired, Err(AuthError::Expired));
    assert_eq!(
        identities.authenticate(b"", UnixMs(0)),
        Err(AuthError::Unknown)
    );
    assert_eq!(
        identities.authenticate(b"bursar_", UnixMs(0)),
        Err(AuthError::Unknown)
    );
    assert!(matches!(
        append(&path, &named("crew"), "x"),
        Err(KeyringError::Taken(_))
    ));
}

#[test]
fn a_revoked_key_is_unknown_and_the_rest_of_the_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identities.toml");
    append(&path, &named("a"), "key-a").unwrap();
    append(&path, &named("b"), "key-b").unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let commented = format!("# why a exists\n{text}# the end");
    std::fs::write(&path, &commented).unwrap();
    revoke(&path, "a").unwrap();
    let after = std::fs::read_to_string(&path).unwrap();
    assert_eq!(after.replacen("revoked = true\n", "", 1), commented);
    let identities = Identities::parse(&after, &path).unwrap();
    assert_eq!(
        identities.authenticate(b"key-a", UnixMs(0)),
        Err(AuthError::Unknown)
    );
    assert!(identities.authenticate(b"key-b", UnixMs(0)).is_ok());
    revoke(&path, "a").unwrap();
    revoke(&path, "b").unwrap();
    let last = Identities::parse(&std::fs::read_to_string(&path).unwrap(), &path).unwrap();
    assert!(!last.is_local(), "revoking the last key opens nothing");
    assert!(matches!(revoke(&path, "c"), Err(KeyringError::Absent(_))));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn what_cannot_be_marked_in_place_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identities.toml");
    let text = format!(
        "identity = [{{ name = \"a\", key_sha256 = \"{}\" }}]\n",
        "ab".repeat(32)
    );
    std::fs::write(&path, &text).unwrap();
    assert!(matches!(
        revoke(&path, "a"),
        Err(KeyringError::Unwritable(_))
    ));
    assert!(matches!(
        append(&path, &named("b"), "k"),
        Err(KeyringError::Rejected(_))
    ));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn without_identities_everybody_here_is_local() {
    let open = Identities::parse("# none\n", Path::new("i.toml")).unwrap();
    assert!(open.is_local() && !open.is_configured());
    let who = open.authenticate(b"whatever", UnixMs(0)).unwrap();
    assert_eq!(who.name.as_str(), "local");
    assert!(open.authenticate(b"", UnixMs(0)).is_ok());
    let keyed = Identities::without(Some("secret"));
    assert!(!keyed.is_local() && !keyed.is_configured());
    assert!(keyed.authenticate(b"secret", UnixMs(0)).is_ok());
    assert_eq!(keyed.authenticate(b"", UnixMs(0)), Err(AuthError::Unknown));
}

#[test]
fn faults_of_identities_have_lines() {
    let digest = "ab".repeat(32);
    let text = format!(
        r#"[[identity]]
name = "a"
key_sha256 = "{digest}"
expires = 2027-01-01

[[identity]]
name = "a"
key_sha256 = "{digest}"
modells = []

[[identity]]
name = "b c"
key_sha256 = "bursar_secret"
"#
    );
    let faults = lines(Identities::parse(&text, Path::new("i.toml")).err());
    insta::assert_snapshot!(faults.join("\n"), @r###"
    4: `expires`: `2027-01-01` is no instant with its offset, such as 2027-01-01T00:00:00Z
    7: line 1 has an identity `a` already
    8: the identity of line 1 has this key already
    9: unknown key `modells` in [identity]; did you mean `models`?
    12: `name`: an id is visible ASCII without spaces
    13: `key_sha256`: this is the key itself; only its SHA-256 belongs here. Revoke it
    "###);
}
