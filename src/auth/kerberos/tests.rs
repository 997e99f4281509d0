//! What needs no KDC: set-ups that cannot work, and names that are no user's.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// A keytab of keys for `service/host` in the realm R.
fn keytab(names: &[(&str, &str)]) -> Vec<u8> {
    let counted = |text: &str| [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
    let mut out = vec![5, 2];
    for (service, host) in names {
        let mut record = [&[0, 2][..], &counted("R"), &counted(service), &counted(host)].concat();
        record.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 18, 0, 32]);
        record.extend_from_slice(&[0x5A; 32]);
        out.extend_from_slice(&u32::try_from(record.len()).unwrap().to_be_bytes());
        out.extend_from_slice(&record);
    }
    out
}

/// What comes of opening a keytab of these octets and this mode.
fn open(octets: &[u8], mode: u32) -> Result<Kerberos, KerberosError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("server.keytab");
    fs::write(&path, octets).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    Kerberos::open(&KerberosSettings {
        keytab: path,
        services: SERVICES.map(str::to_owned).to_vec(),
        realms: Vec::new(),
        replay_cache: directory.path().join("r"),
    })
}

#[track_caller]
fn check_refused(octets: &[u8], mode: u32, expected: &str) {
    let text = open(octets, mode).unwrap_err().to_string();
    assert!(text.contains("server.keytab") && text.contains(expected), "{text}");
}

#[test]
fn set_ups_that_cannot_work_say_why() {
    check_refused(&keytab(&[("HTTP", "a")]), 0o644, "mode 0644: whoever reads it can pose as any user");
    check_refused(b"", 0o600, "it is no keytab of format 2");
    check_refused(&[5, 2], 0o600, "it holds no key");
    check_refused(&[5, 2, 0, 0, 0, 9], 0o600, "it is damaged at octet 2");
    let others = keytab(&[("host", "b"), ("host", "a"), ("host", "a")]);
    check_refused(&others, 0o600, "no key of HTTP/HOST or WSMAN/HOST, it has host/a@R, host/b@R");
    let absent = PathBuf::from("/nonexistent/server.keytab");
    let settings = KerberosSettings {
        keytab: absent,
        services: SERVICES.map(str::to_owned).to_vec(),
        realms: Vec::new(),
        replay_cache: PathBuf::from("/nonexistent/r"),
    };
    let text = Kerberos::open(&settings).unwrap_err().to_string();
    assert!(text.starts_with("keytab /nonexistent/server.keytab: No such file"), "{text}");
    assert_eq!(Kerberos::open(&settings).unwrap_err().why(), "Kerberos is not set up");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("server.keytab");
    fs::write(&path, keytab(&[("HTTP", "a")])).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    for replay_cache in [directory.path().to_owned(), directory.path().join("absent/r")] {
        let settings = KerberosSettings {
            keytab: path.clone(),
            services: SERVICES.map(str::to_owned).to_vec(),
            realms: Vec::new(),
            replay_cache,
        };
        let error = Kerberos::open(&settings).unwrap_err();
        assert!(matches!(error, KerberosError::ReplayCache { .. }), "{error}");
    }
}

#[test]
fn services_and_realms_are_those_of_the_keytab() {
    match open(&keytab(&[("host", "a"), ("WSMAN", "a"), ("HTTP", "b"), ("HTTP", "a"), ("http", "a")]), 0o640) {
        Ok(kerberos) => {
            assert_eq!(kerberos.services().collect::<Vec<_>>(), ["HTTP", "WSMAN", "http"]);
            assert_eq!(kerberos.realms().collect::<Vec<_>>(), ["R"]);
            assert_eq!(format!("{kerberos:?}"), r#"Kerberos { services: ["HTTP", "WSMAN", "http"], realms: {"R"} }"#);
        }
        // A machine without the library, which is as good a machine.
        Err(error) => assert!(matches!(error, KerberosError::Library(_)), "{error}"),
    }
}

#[test]
fn paths_for_the_library_have_no_nul() {
    assert_eq!(residual("FILE:", Path::new("/a b")).unwrap().as_bytes(), b"FILE:/a b");
    assert!(matches!(residual("FILE:", Path::new("/a\0b")), Err(KerberosError::Path(_))));
}

#[test]
fn only_plain_principals_of_allowed_realms_have_a_user_name() {
    let realms = ["R", "r.example"].map(str::to_owned).into();
    let ready = Ready { credentials: Vec::new(), realms };
    let user = |principal: &[u8]| match ready.user(principal, false) {
        Ok((user, client)) => {
            assert_eq!(client.as_bytes(), principal);
            Ok(user)
        }
        Err(error) => Err(error.why()),
    };
    assert_eq!(user(b"alice@R").as_deref(), Ok("alice"));
    assert_eq!(user("j\u{f6}rg o'neill@r.example".as_bytes()).as_deref(), Ok("j\u{f6}rg o'neill"));
    for other in ["alice@OTHER", "alice@r", "alice@R.", "alice@", "alice@R@OTHER"] {
        assert_eq!(user(other.as_bytes()), Err("the principal is of another realm"), "{other}");
    }
    for instance in ["alice/admin@R", "/alice@R", "alice/@R", "HTTP/host@R", "alice@R@R"] {
        assert_eq!(user(instance.as_bytes()), Err("the principal has an instance"), "{instance}");
    }
    assert_eq!(user(b"@R"), Err("the principal has no name"));
    let unusual: [&[u8]; 9] = [
        b"alice",
        b"",
        b"alice\\@R",
        b"alice\\/admin@R",
        b"a\\@R@R",
        b"alice\n@R",
        b"alice\0@R",
        b"al\x7fice@R",
        b"\xff@R",
    ];
    for principal in unusual {
        assert_eq!(user(principal), Err("the principal's name has unusual characters"), "{principal:?}");
    }
    let anonymous = ready.user(b"alice@R", true).unwrap_err();
    assert_eq!((anonymous.why(), anonymous.client()), ("the client is anonymous", Some("alice@R")));
    let shown = ready.user(b"a\n\x1b[2J@R", false).unwrap_err().to_string();
    assert!(!shown.contains(['\n', '\x1b']), "{shown:?}");
}
