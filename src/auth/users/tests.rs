//! The users file and the view of it.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

const CHEAP: Cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };

fn file() -> (tempfile::TempDir, UserFile) {
    let directory = tempfile::tempdir().unwrap();
    let file = UserFile::in_directory(directory.path());
    (directory, file)
}

#[test]
fn users_are_added_listed_and_removed() {
    let (_directory, file) = file();
    assert!(file.list().unwrap().is_empty());
    file.add("Otto", Role::Operator, b"secret", [1; SALT_OCTETS], CHEAP).unwrap();
    file.add("vera", Role::Viewer, b"", [2; SALT_OCTETS], CHEAP).unwrap();
    assert!(matches!(file.add("oTTo", Role::Viewer, b"x", [3; SALT_OCTETS], CHEAP), Err(UsersError::Exists(_))));
    let names: Vec<_> = file.list().unwrap().into_iter().map(|user| (user.name, user.role)).collect();
    assert_eq!(names, [("Otto".to_owned(), Role::Operator), ("vera".to_owned(), Role::Viewer)]);
    assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
    file.remove("OTTO").unwrap();
    assert!(matches!(file.remove("otto"), Err(UsersError::Unknown(_))));
    assert_eq!(file.list().unwrap().len(), 1);
}

#[test]
fn what_root_writes_belongs_to_the_directorys_owner() {
    let (directory, file) = file();
    let owner = if rustix::process::geteuid().is_root() { 12_345 } else { rustix::process::geteuid().as_raw() };
    std::os::unix::fs::chown(directory.path(), Some(owner), None).unwrap();
    file.add("otto", Role::Operator, b"secret", [1; SALT_OCTETS], CHEAP).unwrap();
    assert_eq!(fs::metadata(file.path()).unwrap().uid(), owner);
    assert_eq!(fs::metadata(file.path().with_extension("lock")).unwrap().uid(), owner);
}

#[test]
fn one_generation_is_one_content_whoever_looks() {
    let (_directory, file) = file();
    let now = Instant::now();
    // Two files that take a while to read and disagree about otto.
    let contents = [Role::Viewer, Role::Operator].map(|role| {
        file.add("otto", role, b"x", [1; SALT_OCTETS], CHEAP).unwrap();
        let line = fs::read_to_string(file.path()).unwrap();
        let others: String = (0..200).map(|other| line.replace("otto", &format!("user{other}"))).collect();
        let content = file.path().with_extension(role.as_str());
        fs::rename(file.path(), &content).unwrap();
        fs::write(&content, others + &line).unwrap();
        content
    });
    fs::copy(&contents[1], file.path()).unwrap();
    let users = Users::open(file.clone(), Duration::ZERO, [9; SALT_OCTETS], now).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let look = || {
            let mut seen = std::collections::BTreeMap::new();
            while !stop.load(Ordering::Relaxed) {
                let snapshot = users.current(now);
                seen.insert(snapshot.generation, snapshot.find("otto").map(|known| known.entry.role));
            }
            seen
        };
        let lookers: Vec<_> = (0..4).map(|_| scope.spawn(look)).collect();
        for round in 0..400 {
            let new = file.path().with_extension(if round % 2 == 0 { "even" } else { "odd" });
            fs::copy(&contents[round % 2], &new).unwrap();
            fs::rename(&new, file.path()).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        let mut all = std::collections::BTreeMap::new();
        for (generation, role) in lookers.into_iter().flat_map(|looker| looker.join().unwrap()) {
            assert_eq!(*all.entry(generation).or_insert(role), role, "generation {generation}");
        }
    });
}

#[test]
fn names_that_nobody_may_have_are_refused() {
    let (_directory, file) = file();
    let long = "n".repeat(65);
    for name in ["", "a:b", "d\\u", "u@d", "a b", "a\u{7}", "a/b", "Local", &long] {
        let result = file.add(name, Role::Viewer, b"x", [1; SALT_OCTETS], CHEAP);
        assert!(matches!(result, Err(UsersError::Name { .. })), "{name:?}");
    }
}

#[test]
fn a_file_that_others_may_read_is_refused() {
    let (_directory, file) = file();
    file.add("otto", Role::Operator, b"secret", [1; SALT_OCTETS], CHEAP).unwrap();
    for mode in [0o640, 0o604, 0o620, 0o601] {
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(file.list(), Err(UsersError::Exposed { .. })), "{mode:o}");
    }
}

#[test]
fn a_damaged_line_is_told() {
    let (_directory, file) = file();
    file.add("otto", Role::Operator, b"secret", [1; SALT_OCTETS], CHEAP).unwrap();
    let mut text = fs::read_to_string(file.path()).unwrap();
    text.push_str("{\"name\":\"x\"\n");
    fs::write(file.path(), text).unwrap();
    let told = file.list().unwrap_err().to_string();
    assert!(told.contains("line 2"), "{told}");
}

#[test]
fn a_change_is_noticed_and_a_damaged_file_lets_nobody_in() {
    let (_directory, file) = file();
    let now = Instant::now();
    let users = Users::open(file.clone(), Duration::ZERO, [9; SALT_OCTETS], now).unwrap();
    assert!(users.is_empty());
    file.add("otto", Role::Operator, b"secret", [1; SALT_OCTETS], CHEAP).unwrap();
    let first = users.current(now).generation;
    assert!(users.current(now).find("OTTO").is_some() && users.current(now).find("ott").is_none());
    assert_eq!(users.current(now).generation, first, "unchanged, so not read again");
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(users.current(now).find("otto").is_none());
    assert_eq!(users.standing("otto", None, now), Err(UsersUnusable), "not gone: nobody knows");
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(users.current(now).find("otto").is_some());
    assert_eq!(users.standing("otto", None, now), Ok(Some(Role::Operator)));
    assert_eq!(users.standing("ott", None, now), Ok(None));
    assert!(users.current(now).generation > first);
}

#[test]
fn whoever_is_added_anew_or_has_another_password_is_another_account() {
    let (_directory, file) = file();
    let now = Instant::now();
    let users = Users::open(file.clone(), Duration::ZERO, [9; SALT_OCTETS], now).unwrap();
    assert_eq!(users.account("otto", now), Err(UsersUnusable), "no file is no word about who was in it");
    let add = || file.add_with("otto", Role::Operator, &Secrets::default()).unwrap();
    add();
    let first = users.account("otto", now).unwrap().unwrap();
    assert_eq!(users.standing("otto", Some(first), now), Ok(Some(Role::Operator)));
    assert_eq!(users.proved("otto", "kerberos", now).unwrap().account(), Some(first));
    let generation = users.generation(now);
    file.remove("otto").unwrap();
    add();
    assert!(generation < users.generation(now));
    assert_eq!(users.standing("otto", Some(first), now), Ok(None), "of the same name, without any secret");
    let second = users.account("otto", now).unwrap().unwrap();
    let text = fs::read_to_string(file.path()).unwrap();
    fs::write(file.path(), text.replace("operator", "viewer")).unwrap();
    assert_eq!(users.standing("otto", Some(second), now), Ok(Some(Role::Viewer)), "a role is none of its secrets");
    // As an earlier server wrote it, and then with a password.
    for (line, same) in [
        ("{\"name\":\"otto\",\"role\":\"viewer\"}", false),
        ("{\"name\":\"otto\",\"role\":\"operator\"}", true),
        ("{\"name\":\"otto\",\"role\":\"operator\",\"nt_hash\":\"878D8014606CDA29677A44EFA1353FC7\"}", false),
    ] {
        let before = users.account("otto", now).unwrap();
        fs::write(file.path(), line).unwrap();
        assert_eq!(users.account("otto", now).unwrap() == before, same, "{line}");
    }
    fs::remove_file(file.path()).unwrap();
    assert_eq!(users.standing("otto", Some(first), now), Err(UsersUnusable));
}

#[test]
fn a_user_may_have_an_nt_hash_and_no_password() {
    let (_directory, file) = file();
    let nt_hash = || Some(NtHash::of("secret"));
    let password = || Some(StoredPassword::create(b"secret", [1; SALT_OCTETS], CHEAP).unwrap());
    file.add_with("both", Role::Viewer, &Secrets { password: password(), nt_hash: nt_hash() }).unwrap();
    file.add_with("hash", Role::Viewer, &Secrets { password: None, nt_hash: nt_hash() }).unwrap();
    file.add_with("old", Role::Viewer, &Secrets { password: password(), nt_hash: None }).unwrap();
    file.add_with("none", Role::Viewer, &Secrets::default()).unwrap();
    let list: Vec<_> = file.list().unwrap().iter().map(|user| (user.has_password, user.has_nt_hash)).collect();
    assert_eq!(list, [(true, true), (false, true), (true, false), (false, false)]);
    let text = fs::read_to_string(file.path()).unwrap();
    let keys: Vec<_> = text.lines().map(|line| (line.contains("\"password\""), line.contains("\"nt_hash\""))).collect();
    assert_eq!(keys, list, "what is not there is not written");

    let now = Instant::now();
    let users = Users::open(file, Duration::ZERO, [9; SALT_OCTETS], now).unwrap();
    let secret = NtHash::of("secret").to_hex();
    for (name, known) in [
        ("both", true),
        ("HASH", true),
        ("DOMAIN\\both", true),
        ("both@domain", true),
        ("old", false),
        ("none", false),
        ("nobody", false),
        ("", false),
    ] {
        let candidate = users.ntlm_candidate(name, now);
        assert_eq!(candidate.hash.to_hex() == secret, known, "{name}");
        assert_eq!(candidate.proved("ntlm").is_some(), known, "{name}: nobody is nobody even when proved");
    }
    assert_eq!(users.proved("None", "kerberos", now).unwrap().mechanism(), "kerberos");
    assert!(users.proved("nobody", "kerberos", now).is_none());
}

#[test]
fn whom_somebody_else_has_proved_goes_by_the_letters_of_the_file() {
    let (_directory, file) = file();
    let now = Instant::now();
    for name in ["kurt", "j\u{f6}rg"] {
        file.add_with(name, Role::Viewer, &Secrets::default()).unwrap();
    }
    let users = Users::open(file, Duration::ZERO, [9; SALT_OCTETS], now).unwrap();
    for name in ["kurt", "KURT", "j\u{f6}rg", "J\u{f6}RG"] {
        assert!(users.proved(name, "kerberos", now).is_some(), "{name}");
    }
    // The Kelvin sign's small letter is k, and to a KDC the two are different people.
    for name in ["\u{212a}urt", "J\u{d6}RG", "kurt@R", "R\\kurt"] {
        assert!(users.proved(name, "kerberos", now).is_none(), "{name}");
    }
}

#[test]
fn a_lock_that_is_a_link_is_not_followed() {
    let (directory, file) = file();
    let target = directory.path().join("target");
    fs::write(&target, "somebody else's").unwrap();
    let lock = file.path().with_extension("lock");
    std::os::unix::fs::symlink(&target, &lock).unwrap();
    let told = file.add_with("otto", Role::Viewer, &Secrets::default()).unwrap_err().to_string();
    assert!(told.contains("users.lock"), "{told}");
    assert!(file.list().unwrap().is_empty());
    fs::remove_file(lock).unwrap();
    for name in ["otto", "vera"] {
        file.add_with(name, Role::Viewer, &Secrets::default()).unwrap();
    }
}

#[test]
fn a_lock_that_is_there_keeps_its_owner() {
    // Only root gives files away.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (directory, file) = file();
    std::os::unix::fs::chown(directory.path(), Some(4711), Some(4711)).unwrap();
    let other = directory.path().join("other");
    fs::write(&other, "root's").unwrap();
    fs::hard_link(&other, file.path().with_extension("lock")).unwrap();
    file.add_with("otto", Role::Viewer, &Secrets::default()).unwrap();
    assert_eq!(fs::metadata(&other).unwrap().uid(), 0);
    assert_eq!(fs::metadata(file.path()).unwrap().uid(), 4711, "what was made is handed over");
}

#[test]
fn an_nt_hash_that_is_none_is_told() {
    let (_directory, file) = file();
    file.add_with("otto", Role::Viewer, &Secrets { password: None, nt_hash: Some(NtHash::of("x")) }).unwrap();
    let text = fs::read_to_string(file.path()).unwrap();
    fs::write(file.path(), text.replace("\"}", "0\"}")).unwrap();
    let told = Users::open(file, Duration::ZERO, [9; SALT_OCTETS], Instant::now()).err().unwrap().to_string();
    assert!(told.contains("line 1") && told.contains("32 hexadecimal"), "{told}");
}

#[test]
fn a_login_lasts_through_changes_but_not_through_other_secrets() {
    let (_directory, file) = file();
    let now = Instant::now();
    for name in ["otto", "vera"] {
        file.add(name, Role::Operator, b"secret", [1; SALT_OCTETS], CHEAP).unwrap();
    }
    let users = Users::open(file.clone(), Duration::ZERO, [9; SALT_OCTETS], now).unwrap();
    let [otto, vera] = ["otto", "vera"].map(|name| users.proved(name, "test", now).unwrap());
    assert!(Arc::ptr_eq(&users.renew(&otto, now).unwrap(), &otto), "nothing changed");
    file.remove("vera").unwrap();
    let renewed = users.renew(&otto, now).unwrap();
    assert_eq!((renewed.name(), renewed.role(), renewed.mechanism()), ("otto", Role::Operator, "test"));
    assert!(users.renew(&vera, now).is_none(), "removed");
    // The same secrets in another role, then other secrets.
    let text = fs::read_to_string(file.path()).unwrap();
    fs::write(file.path(), text.replace("operator", "viewer")).unwrap();
    let demoted = users.renew(&renewed, now).unwrap();
    assert_eq!(demoted.role(), Role::Viewer);
    file.remove("otto").unwrap();
    file.add("otto", Role::Viewer, b"other", [2; SALT_OCTETS], CHEAP).unwrap();
    assert!(users.renew(&demoted, now).is_none(), "the password was changed");
}
