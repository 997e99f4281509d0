//! Sinks over TLS that want to see a certificate of the server, and those that must not see it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use failbackd::config::Config;
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{WantsServerCert, WebPkiClientVerifier};
use rustls::{ConfigBuilder, RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::authority::Authority;

use super::sink::{Manner, Message, Sink};
use super::{Bench, EVENTING, NEW_VMS, PULL_MODE, PUSH, PUSH_WITH_ACK, context_of, names};

const PROFILE: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual";
const TOKENS: &str = "<t:IssuedTokens xmlns:t=\"http://schemas.xmlsoap.org/ws/2005/02/trust\">\
     <t:RequestSecurityTokenResponse><o:UsernameToken xmlns:o=\"urn:o\"><o:Username>u</o:Username>\
     <o:Password>p</o:Password></o:UsernameToken></t:RequestSecurityTokenResponse></t:IssuedTokens>";

impl Authority {
    /// A certificate for this machine, PEM, and its key.
    fn for_this_machine(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let (certificate, key) = self.sign(name, |params| {
            params.subject_alt_names = vec![SanType::IpAddress(Ipv4Addr::LOCALHOST.into())];
            params.extended_key_usages = vec![usage];
        });
        (certificate.pem(), key.serialize_pem())
    }

    /// What a sink shows, which lets in whoever shows a certificate that `clients` issued; with `lenient` also who
    /// shows none.
    fn sink(&self, clients: &Self, lenient: bool) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(clients.certificate.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let verifier = if lenient { verifier.allow_unauthenticated() } else { verifier };
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        self.named(config.with_client_cert_verifier(verifier.build().unwrap()))
    }

    /// What a sink shows that asks nobody for a certificate.
    fn careless_sink(&self, version: &'static SupportedProtocolVersion) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        self.named(config.with_no_client_auth())
    }

    fn named(&self, config: ConfigBuilder<ServerConfig, WantsServerCert>) -> Arc<ServerConfig> {
        let (certificate, key) = self.for_this_machine("sink", ExtendedKeyUsagePurpose::ServerAuth);
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        Arc::new(config.with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap())
    }
}

/// A lab's authority, and the files that the server is given.
struct Lab {
    authority: Authority,
    directory: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let lab = Self { authority: Authority::new("lab"), directory: tempfile::tempdir().unwrap() };
        std::fs::write(lab.file("authorities.pem"), lab.authority.certificate.pem()).unwrap();
        lab.renew("home");
        lab
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Gives the server a certificate with this name.
    fn renew(&self, name: &str) {
        let (certificate, key) = self.authority.for_this_machine(name, ExtendedKeyUsagePurpose::ClientAuth);
        std::fs::write(self.file("sinks.pem"), certificate + &self.authority.certificate.pem()).unwrap();
        std::fs::write(self.file("sinks.key"), key).unwrap();
    }

    fn start(&self, data_dir: &Path) -> Bench {
        Bench::start(data_dir, |config| {
            self.trust(config);
            config.eventing.certificate = self.file("sinks.pem");
            config.eventing.key = self.file("sinks.key");
        })
    }

    fn trust(&self, config: &mut Config) {
        config.eventing.delivery_timeout_ms = 5_000;
        config.eventing.authorities = self.file("authorities.pem");
    }

    /// Takes the server's certificate away, and leaves one with this name; what puts the old one back.
    fn swap(&self, name: &str) -> impl FnOnce() + use<> {
        let old = ["sinks.pem", "sinks.key"].map(|name| (self.file(name), std::fs::read(self.file(name)).unwrap()));
        self.renew(name);
        move || {
            for (file, octets) in old {
                std::fs::write(file, octets).unwrap();
            }
        }
    }

    /// The thumbprint of the server's certificate, or of the authority's.
    fn thumbprint(&self, file: &str) -> String {
        use std::fmt::Write as _;
        let certificate = CertificateDer::from_pem_file(self.file(file)).unwrap();
        let hash = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &certificate);
        hash.as_ref().iter().fold(String::new(), |mut text, octet| {
            write!(text, "{octet:02X}").unwrap();
            text
        })
    }
}

/// Subscribes a sink, with this at the end of the delivery and in the header.
fn subscribe(bench: &Bench, (mode, sink): (&str, &Sink), (inner, delivery): (&str, &str), header: &str) -> String {
    let url = sink.url();
    let body = format!(
        "<e:Subscribe><e:EndTo><a:Address>{url}</a:Address></e:EndTo><e:Delivery Mode=\"{mode}\"><e:NotifyTo>\
         <a:Address>{url}</a:Address>{inner}</e:NotifyTo>{delivery}</e:Delivery><w:Filter \
         Dialect=\"http://schemas.microsoft.com/wbem/wsman/1/WQL\">{NEW_VMS}</w:Filter></e:Subscribe>"
    );
    bench.ask(&format!("{EVENTING}Subscribe"), header, &body)
}

fn taken(answer: &str) {
    assert!(answer.contains("SubscribeResponse"), "{answer}");
}

fn auth(more: &str) -> String {
    format!("<w:Auth Profile=\"{PROFILE}{more}\"/>")
}

fn named(thumbprint: &str) -> String {
    format!(
        "<t:IssuedTokens xmlns:t=\"http://schemas.xmlsoap.org/ws/2005/02/trust\"><t:RequestSecurityTokenResponse>\
         <t:TokenType>http://schemas.dmtf.org/wbem/wsman/1/wsman/token/certificateThumbprint</t:TokenType>\
         <t:RequestedSecurityToken><w:CertificateThumbprint>{thumbprint}</w:CertificateThumbprint>\
         </t:RequestedSecurityToken></t:RequestSecurityTokenResponse></t:IssuedTokens>"
    )
}

/// The subject of the certificate that came with a message.
fn subject(message: &Message) -> Option<String> {
    use der::Decode as _;
    let certificate = x509_cert::Certificate::from_der(message.shown.as_ref()?).unwrap();
    Some(certificate.tbs_certificate.subject.to_string())
}

//= EVT-33
#[test]
fn the_certificate_is_shown_to_those_sinks_that_ask_for_it_and_to_no_other() {
    let (lab, directory) = (Lab::new(), tempfile::tempdir().unwrap());
    let bench = lab.start(directory.path());
    let sink = || Sink::start_over_tls(Manner::Ack, lab.authority.sink(&lab.authority, true));
    // Two that ask and one that does not, at one sink: connections of one kind are not used for the other.
    let (shared, by_policy, by_name) = (sink(), sink(), sink());
    taken(&subscribe(&bench, (PUSH, &shared), ("", &auth("")), ""));
    taken(&subscribe(&bench, (PUSH_WITH_ACK, &shared), ("", &auth("/basic")), TOKENS));
    taken(&subscribe(&bench, (PUSH, &shared), ("", ""), ""));
    let policy = format!(
        "<c:Policy xmlns:c=\"http://schemas.xmlsoap.org/ws/2002/12/policy\" \
         xmlns:auth=\"http://schemas.microsoft.com/wbem/wsman/1/authentication\"><c:ExactlyOne><c:All>\
         <auth:Authentication Profile=\"{PROFILE}\"><auth:ClientCertificate><auth:Thumbprint \
         Role=\"issuer\">{}</auth:Thumbprint></auth:ClientCertificate></auth:Authentication></c:All></c:ExactlyOne>\
         </c:Policy>",
        lab.thumbprint("authorities.pem")
    );
    taken(&subscribe(&bench, (PUSH, &by_policy), (&policy, ""), ""));
    taken(&subscribe(&bench, (PUSH, &by_name), ("", &auth("")), &named(&lab.thumbprint("sinks.pem"))));
    for round in 1..=3 {
        bench.vm(&format!("vm{round}"));
        shared.wait(|messages| messages.len() == 3 * round);
        by_policy.wait(|messages| messages.len() == round);
        by_name.wait(|messages| messages.len() == round);
    }
    let home = Some("CN=home".to_owned());
    let shown: Vec<_> = shared.received().iter().map(|message| (subject(message), scheme(message))).collect();
    for expected in [(home.clone(), PROFILE.to_owned()), (home.clone(), "Basic dTpw".to_owned()), (None, String::new())]
    {
        assert_eq!(shown.iter().filter(|it| **it == expected).count(), 3, "{expected:?} in {shown:#?}");
    }
    assert!(by_policy.received().iter().chain(&by_name.received()).all(|message| subject(message) == home));
    let refused = subscribe(&bench, (PUSH, &by_name), ("", &auth("")), &named(&lab.thumbprint("authorities.pem")));
    assert!(refused.contains("FormatSecurityToken") && refused.contains(&lab.thumbprint("sinks.pem")), "{refused}");
    let over_http = subscribe(&bench, (PUSH, &Sink::start(Manner::Accept)), ("", &auth("")), "");
    assert!(over_http.contains("AuthorizationMode"), "{over_http}");
    bench.stop();
}

/// What a message says of its sender.
fn scheme(message: &Message) -> String {
    let line = message.head.lines().find(|line| line.to_lowercase().starts_with("authorization: "));
    line.and_then(|line| line.split_once(": ")).map(|(_, value)| value.to_owned()).unwrap_or_default()
}

//= EVT-33
#[test]
fn a_sink_that_does_not_take_the_certificate_gets_nothing() {
    let (lab, directory) = (Lab::new(), tempfile::tempdir().unwrap());
    let bench = lab.start(directory.path());
    let strangers = Authority::new("strangers");
    let choosy = Sink::start_over_tls(Manner::Accept, lab.authority.sink(&strangers, false));
    let strict = Sink::start_over_tls(Manner::Accept, lab.authority.sink(&lab.authority, false));
    // One that is not who it should be: its certificate is of an authority that nobody here trusts.
    let false_one = Sink::start_over_tls(Manner::Accept, strangers.sink(&lab.authority, true));
    let retry = "<w:ConnectionRetry Total=\"1\">PT0.1S</w:ConnectionRetry>";
    let answers =
        [&choosy, &false_one].map(|sink| subscribe(&bench, (PUSH, sink), ("", &format!("{}{retry}", auth(""))), ""));
    // A sink that wants a certificate of those whom nobody told to show it.
    let untold = subscribe(&bench, (PUSH, &strict), ("", retry), "");
    taken(&subscribe(&bench, (PUSH, &strict), ("", &auth("")), ""));
    bench.vm("web01");
    strict.wait(|messages| messages.len() == 1);
    for answer in answers.iter().chain([&untold]) {
        taken(answer);
        let identifier = super::between(answer, "eventing\">", "<").unwrap();
        let header = format!("<e:Identifier>{identifier}</e:Identifier>");
        let mut left = 200;
        while !bench.ask(&format!("{EVENTING}GetStatus"), &header, "<e:GetStatus/>").contains("Fault>") {
            assert_ne!(left, 0, "the subscription does not end");
            left -= 1;
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    assert!(choosy.received().is_empty() && false_one.received().is_empty());
    assert_eq!(strict.received().len(), 1, "neither the event nor the end came without the certificate");
    bench.stop();
}

//= EVT-33
#[test]
fn a_sink_that_asks_for_no_certificate_gets_nothing_from_those_who_are_to_show_one() {
    let (lab, directory) = (Lab::new(), tempfile::tempdir().unwrap());
    let bench = lab.start(directory.path());
    let retry = "<w:ConnectionRetry Total=\"1\">PT0.1S</w:ConnectionRetry>";
    for (version, vms) in [(&rustls::version::TLS12, ["a", "b"]), (&rustls::version::TLS13, ["c", "d"])] {
        let careless = Sink::start_over_tls(Manner::Accept, lab.authority.careless_sink(version));
        let answer = subscribe(&bench, (PUSH, &careless), ("", &format!("{}{retry}", auth(""))), "");
        taken(&answer);
        taken(&subscribe(&bench, (PUSH, &careless), ("", ""), ""));
        bench.vm(vms[0]);
        careless.wait(|messages| messages.len() == 1);
        // Longer than its retry would take; the second try is after a second.
        std::thread::sleep(Duration::from_millis(1_300));
        bench.vm(vms[1]);
        careless.wait(|messages| messages.len() == 2);
        assert_eq!(super::told(&careless), vms, "{version:?}: those that need no certificate, once");
        assert!(careless.received().iter().all(|message| scheme(message).is_empty()));
        let identifier = super::between(&answer, "eventing\">", "<").unwrap();
        let header = format!("<e:Identifier>{identifier}</e:Identifier>");
        let status = bench.ask(&format!("{EVENTING}GetStatus"), &header, "<e:GetStatus/>");
        assert!(status.contains("GetStatusResponse"), "the events wait: {status}");
    }
    bench.stop();
}

//= EVT-33
#[test]
fn without_the_certificate_nothing_is_delivered_until_it_is_back() {
    let (lab, directory) = (Lab::new(), tempfile::tempdir().unwrap());
    let sink = Sink::start_over_tls(Manner::Accept, lab.authority.sink(&lab.authority, true));
    let other = Sink::start_over_tls(Manner::Accept, lab.authority.sink(&lab.authority, true));
    let bench = lab.start(directory.path());
    taken(&subscribe(&bench, (PUSH, &sink), ("", &auth("")), ""));
    taken(&subscribe(&bench, (PUSH, &other), ("", ""), ""));
    let changes = NEW_VMS.replace("Creation", "Operation");
    let body = format!(
        "<e:Subscribe><e:Delivery Mode=\"{PULL_MODE}\"/><w:Filter \
         Dialect=\"http://schemas.microsoft.com/wbem/wsman/1/WQL\">{changes}</w:Filter></e:Subscribe>"
    );
    let changes = context_of(&bench.ask(&format!("{EVENTING}Subscribe"), "", &body));
    bench.vm("first");
    sink.wait(|messages| messages.len() == 1);
    other.wait(|messages| messages.len() == 1);
    bench.stop();

    let stored = super::versions(directory.path());
    assert_eq!(stored, [(false, 1), (false, 1), (true, 2)], "an older server delivers nothing without the certificate");
    // The sink would take the event from anybody, and the other one, which did not ask for the certificate, gets it.
    let bench = Bench::start(directory.path(), |config| lab.trust(config));
    bench.vm("second");
    other.wait(|messages| messages.len() == 2);
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(sink.received().len(), 1, "nothing without the certificate");
    let refused = subscribe(&bench, (PUSH, &sink), ("", &auth("")), "");
    assert!(refused.contains("AuthorizationMode"), "{refused}");
    bench.stop();

    let bench = lab.start(directory.path());
    bench.vm("third");
    sink.wait(|messages| messages.iter().any(|message| names(&message.body) == ["third"]));
    let received = sink.received();
    assert_eq!(super::told(&sink), ["first", "third"], "what was new before the start is told as changed");
    let page = bench.pull(&changes, 9, "PT5S");
    let kept = page.contains("__InstanceModificationEvent") && names(&page).contains(&"second".to_owned());
    assert!(kept, "{page}");
    assert!(received.iter().all(|message| subject(message).as_deref() == Some("CN=home")));
    bench.stop();
}

//= EVT-33
#[test]
fn a_certificate_that_was_renewed_is_shown_after_a_reload() {
    let (lab, directory) = (Lab::new(), tempfile::tempdir().unwrap());
    let sink = Sink::start_over_tls(Manner::Accept, lab.authority.sink(&lab.authority, true));
    let bound = Sink::start_over_tls(Manner::Accept, lab.authority.sink(&lab.authority, true));
    let bench = lab.start(directory.path());
    taken(&subscribe(&bench, (PUSH, &sink), ("", &auth("")), ""));
    taken(&subscribe(&bench, (PUSH, &bound), ("", &auth("")), &named(&lab.thumbprint("sinks.pem"))));
    bench.vm("first");
    sink.wait(|messages| messages.len() == 1);
    bound.wait(|messages| messages.len() == 1);
    lab.renew("renewed");
    let key = std::fs::read(lab.file("sinks.key")).unwrap();
    std::fs::write(lab.file("sinks.key"), "no key").unwrap();
    bench.live.server.reload_certificate();
    bench.vm("second");
    sink.wait(|messages| messages.len() == 2);
    bound.wait(|messages| messages.len() == 2);
    std::fs::write(lab.file("sinks.key"), key).unwrap();
    bench.live.server.reload_certificate();
    bench.vm("third");
    sink.wait(|messages| messages.len() == 3);
    let shown: Vec<_> = sink.received().iter().filter_map(subject).collect();
    assert_eq!(shown, ["CN=home", "CN=home", "CN=renewed"], "one that cannot be used changes nothing");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(bound.received().len(), 2, "the certificate that was named is not there any more");
    bench.stop();
}

//= EVT-33
#[test]
fn events_that_waited_for_the_certificate_arrive_when_it_is_back() {
    let (lab, directory) = (Lab::new(), tempfile::tempdir().unwrap());
    let sink = || Sink::start_over_tls(Manner::Accept, lab.authority.sink(&lab.authority, true));
    let (bound, other) = (sink(), sink());
    let bench = lab.start(directory.path());
    let impatient = "<w:ConnectionRetry Total=\"2\">PT0.1S</w:ConnectionRetry><w:Heartbeats>PT1S</w:Heartbeats>";
    let delivery = auth("") + impatient;
    taken(&subscribe(&bench, (PUSH, &bound), ("", &delivery), &named(&lab.thumbprint("sinks.pem"))));
    taken(&subscribe(&bench, (PUSH, &other), ("", &auth("")), ""));
    bound.wait(|messages| !messages.is_empty());
    let put_back = lab.swap("another");
    bench.live.server.reload_certificate();
    bench.vm("first");
    other.wait(|messages| messages.len() == 1);
    // Longer than all its retries would take.
    std::thread::sleep(Duration::from_secs(2));
    bench.vm("second");
    other.wait(|messages| messages.len() == 2);
    assert!(super::told(&bound).is_empty(), "the certificate that was named is not there");
    put_back();
    bench.live.server.reload_certificate();
    bound.wait(|messages| messages.iter().map(|message| names(&message.body).len()).sum::<usize>() == 2);
    assert_eq!(super::told(&bound), ["first", "second"]);
    assert!(bound.received().iter().all(|message| subject(message).as_deref() == Some("CN=home")));
    bench.stop();
}
