//! Logins with certificates that the tests issue themselves.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, OtherNameValue, SanType};

use super::super::password::{Cost, SALT_OCTETS};
use super::super::principal::Role;
use super::super::users::UserFile;
use super::*;

const CHEAP: Cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };

fn authority(name: &str) -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    Issuer::new(params, KeyPair::generate().unwrap())
}

/// A certificate for client authentication, DER.
fn issue(issuer: &Issuer<'_, KeyPair>, name: &str, upns: &[&str], usage: &[ExtendedKeyUsagePurpose]) -> Vec<u8> {
    let mut params = CertificateParams::new(vec!["client.example".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Example, Inc.");
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = usage.to_vec();
    for upn in upns {
        let value = OtherNameValue::Utf8String((*upn).to_owned());
        params.subject_alt_names.push(SanType::OtherName((vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3], value)));
    }
    params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap().der().to_vec()
}

fn client(issuer: &Issuer<'_, KeyPair>, upns: &[&str]) -> Vec<u8> {
    issue(issuer, "otto", upns, &[ExtendedKeyUsagePurpose::ClientAuth])
}

struct Fixture {
    _directory: tempfile::TempDir,
    file: UserFile,
    users: Arc<Users>,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = UserFile::in_directory(directory.path());
        file.add("Otto", Role::Operator, b"x", [1; SALT_OCTETS], CHEAP).unwrap();
        let users = Users::open(file.clone(), Duration::from_hours(1), [9; SALT_OCTETS], Instant::now()).unwrap();
        Self { _directory: directory, file, users: Arc::new(users) }
    }

    /// What comes of a request with this certificate: the name and the mechanism, or why not.
    fn login(&self, rules: &[CertificateRule], certificate: Option<&[u8]>) -> Result<String, Refusal> {
        let channel = Channel { encrypted: true, certificate: certificate.map(Into::into), ..Channel::default() };
        self.login_on(rules, SCHEME, &channel)
    }

    fn login_on(&self, rules: &[CertificateRule], header: &str, channel: &Channel) -> Result<String, Refusal> {
        let rules = CertificateRules::parse(rules).unwrap();
        let clock: Clock = Arc::new(|| SystemTime::UNIX_EPOCH.elapsed().unwrap());
        self.login_at(clock, rules, header, channel)
    }

    fn login_at(
        &self,
        clock: Clock,
        rules: CertificateRules,
        header: &str,
        channel: &Channel,
    ) -> Result<String, Refusal> {
        let mechanism = Arc::new(Certificate::new(Arc::clone(&self.users), rules, clock));
        assert_eq!((mechanism.challenge(), mechanism.sends_secret()), (None, false));
        match mechanism.begin().step(header.as_bytes(), channel, Instant::now()) {
            Step::Done(Outcome::Accepted(Accepted { principal, token: None, proof: Proof::Request })) => {
                Ok(format!("{} {} {}", principal.name(), principal.role(), principal.mechanism()))
            }
            Step::Done(Outcome::Rejected(refusal)) => Err(refusal),
            _ => panic!("neither let in nor refused"),
        }
    }
}

fn by_subject() -> CertificateRule {
    let subject = Some("CN=otto,O=Example\\, Inc.".to_owned());
    CertificateRule { user: "otto".to_owned(), subject, ..CertificateRule::default() }
}

fn by_upn() -> CertificateRule {
    let (issuer, upn) = (Some("CN=ca".to_owned()), Some("*@example.com".to_owned()));
    CertificateRule { user: "{upn}".to_owned(), issuer, upn, ..CertificateRule::default() }
}

#[test]
fn a_rule_gives_a_certificate_to_a_user() {
    let fixture = Fixture::new();
    let ca = authority("ca");
    let certificate = client(&ca, &["OTTO@example.com"]);
    let fingerprint = Some(hex(&<sha2::Sha256 as sha2::Digest>::digest(&certificate)));
    let by_fingerprint = CertificateRule { user: "otto".to_owned(), fingerprint, ..CertificateRule::default() };
    let whole = CertificateRule { user: "otto".to_owned(), upn: Some("otto@example.com".into()), ..by_upn() };
    for rule in [by_subject(), by_upn(), by_fingerprint.clone(), whole] {
        let found = fixture.login(std::slice::from_ref(&rule), Some(&certificate));
        assert_eq!(found.as_deref(), Ok("Otto operator certificate"), "{rule:?}");
    }
    let other = client(&ca, &["otto@example.com"]);
    let refused = fixture.login(&[by_fingerprint], Some(&other)).unwrap_err();
    assert_eq!(refused.user.as_deref(), Some("CN=otto,O=Example\\, Inc."), "the log says whose it was");
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().concat()
}

#[test]
fn what_is_not_the_holders_is_refused() {
    let fixture = Fixture::new();
    let (ca, other) = (authority("ca"), authority("other"));
    for certificate in [
        client(&other, &["otto@example.com"]),
        client(&ca, &["otto@example.org"]),
        client(&ca, &["otto@example.com", "vera@example.com"]),
        client(&ca, &[]),
        client(&ca, &["otto"]),
    ] {
        let refused = fixture.login(&[by_upn()], Some(&certificate)).unwrap_err();
        assert_eq!(refused.why, "no rule gives this certificate to a user");
    }
    for upn in ["vera@example.com", "\u{212a}urt@example.com", "otto\0@example.com"] {
        let refused = fixture.login(&[by_upn()], Some(&client(&ca, &[upn]))).unwrap_err();
        assert!(refused.why.contains("not in the users file"), "{upn}");
    }
}

#[test]
fn letters_of_other_alphabets_are_not_taken_for_ours() {
    let fixture = Fixture::new();
    let ca = authority("ca");
    let kurt = client(&ca, &["kurt@example.com"]);
    let kelvin = client(&ca, &["\u{212a}urt@example.com"]);
    assert!(fixture.login(&[by_upn()], Some(&kurt)).is_err());
    fixture.file.add("kurt", Role::Viewer, b"x", [1; SALT_OCTETS], CHEAP).unwrap();
    assert_eq!(fixture.login(&[by_upn()], Some(&kurt)).as_deref(), Ok("kurt viewer certificate"), "noticed at once");
    assert!(fixture.login(&[by_upn()], Some(&kelvin)).is_err());
}

#[test]
fn a_certificate_must_be_for_clients() {
    let fixture = Fixture::new();
    let ca = authority("ca");
    let both = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    assert!(fixture.login(&[by_subject()], Some(&issue(&ca, "otto", &[], &both))).is_ok());
    for usage in [&[][..], &[ExtendedKeyUsagePurpose::ServerAuth], &[ExtendedKeyUsagePurpose::Any]] {
        let refused = fixture.login(&[by_subject()], Some(&issue(&ca, "otto", &[], usage))).unwrap_err();
        assert!(refused.why.contains("extended key usage"), "{usage:?}: {}", refused.why);
    }
}

#[test]
fn without_a_certificate_in_a_sealed_channel_nobody_is_let_in() {
    let fixture = Fixture::new();
    let certificate = client(&authority("ca"), &[]);
    assert_eq!(fixture.login(&[by_subject()], None).unwrap_err().why, "the client presented no certificate");
    let clear = Channel { certificate: Some(certificate.as_slice().into()), ..Channel::default() };
    assert!(fixture.login_on(&[by_subject()], SCHEME, &clear).is_err(), "there is no certificate over clear text");
    let channel = Channel { encrypted: true, ..clear };
    assert!(fixture.login_on(&[by_subject()], &SCHEME.to_uppercase(), &channel).is_ok());
    for header in [format!("{SCHEME} x"), format!("{SCHEME}x")] {
        assert!(fixture.login_on(&[by_subject()], &header, &channel).is_err(), "{header}");
    }
}

#[test]
fn a_certificate_holds_no_longer_than_it_says() {
    const ENDS: u64 = 1_800_000_000;
    let fixture = Fixture::new();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "otto");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_after = time::OffsetDateTime::UNIX_EPOCH + Duration::from_secs(ENDS);
    let certificate = params.signed_by(&KeyPair::generate().unwrap(), &authority("ca")).unwrap();
    let certificate = Some(certificate.der().as_ref().into());
    let channel = Channel { encrypted: true, certificate, ..Channel::default() };
    let at = |seconds| {
        let rule = CertificateRule { subject: Some("CN=otto".to_owned()), ..by_subject() };
        let rules = CertificateRules::parse(&[rule]).unwrap();
        fixture.login_at(Arc::new(move || Duration::from_secs(seconds)), rules, SCHEME, &channel)
    };
    assert_eq!(at(ENDS).as_deref(), Ok("Otto operator certificate"));
    let refused = at(ENDS + 1).unwrap_err();
    assert_eq!((refused.user.as_deref(), refused.why.contains("expired")), (Some("CN=otto"), true));
}

#[test]
fn damaged_certificates_are_refused() {
    let fixture = Fixture::new();
    let certificate = client(&authority("ca"), &["otto@example.com"]);
    for length in 0..certificate.len() {
        assert!(fixture.login(&[by_subject()], Some(&certificate[..length])).is_err());
    }
    let long = [certificate.as_slice(), &vec![0; 70_000]].concat();
    assert_eq!(fixture.login(&[by_subject()], Some(&long)).unwrap_err().why, "the certificate is too long");
    // A subject of any length takes a bounded place in the log.
    let endless = issue(&authority("ca"), &"x".repeat(5000), &[], &[ExtendedKeyUsagePurpose::ClientAuth]);
    let refused = fixture.login(&[by_subject()], Some(&endless)).unwrap_err();
    assert_eq!(refused.user.unwrap().chars().count(), SHOWN_CHARS_MAX);
}

/// Run by hand: `cargo test --release --lib auth::certificate -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn how_long_a_login_takes() {
    let fixture = Fixture::new();
    let certificate = client(&authority("ca"), &["otto@example.com"]);
    let rules = CertificateRules::parse(&[by_upn()]).unwrap();
    let mechanism = Arc::new(Certificate::new(Arc::clone(&fixture.users), rules, Arc::new(Duration::default)));
    let channel = Channel { encrypted: true, certificate: Some(certificate.into()), ..Channel::default() };
    let started = Instant::now();
    for _ in 0..10_000 {
        assert!(mechanism.judge(SCHEME.as_bytes(), &channel, started).is_ok());
    }
    println!("{:?} a login", started.elapsed() / 10_000);
}
