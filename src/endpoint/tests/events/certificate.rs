//! Sinks that want to see a certificate of the server: which requests are taken, and how the others are refused.

use super::lab::{ALL, EVENTING, JOBS, Lab, PULL_MODE, PUSH_MODE, WQL, envelope, number};
use crate::auth::Role;
use crate::endpoint::{Pace, Step, SubscriptionChange};
use crate::wsman::eventing::{Constraint, SourceCertificate, Thumbprint, WantedCertificate};

const PROFILE: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile";
const TRUST: &str = "http://schemas.xmlsoap.org/ws/2005/02/trust";
const POLICY: &str = "http://schemas.xmlsoap.org/ws/2002/12/policy";
const ASSERTION: &str = "http://schemas.microsoft.com/wbem/wsman/1/authentication";
const HTTPS: &str = "https://127.0.0.1:9/s";

const AUTHORIZATION_MODE: u32 = 2_150_858_852;
const SECURITY_TOKEN: u32 = 2_150_858_867;
const CANNOT_COMPLY: u32 = 2_150_859_102;
const TOO_COMPLEX: u32 = 2_150_859_101;
const ADDRESSING_MODE: u32 = 2_150_858_870;

fn thumbprint(digit: &str) -> Thumbprint {
    Thumbprint::parse(&digit.repeat(40)).unwrap()
}

/// A lab whose server shows its sinks the certificate `aa…`, issued by `bb…`.
fn lab() -> Lab {
    let lab = Lab::new();
    let certificate = SourceCertificate { own: thumbprint("a"), issuers: vec![thumbprint("b")] };
    lab.endpoint.set_source_certificate(Some(certificate));
    lab
}

/// `w:Auth` of a profile.
fn auth(profile: &str) -> String {
    format!("<w:Auth Profile=\"{PROFILE}/{profile}\"/>")
}

/// `IssuedTokens` with these tokens.
fn issued(tokens: &[&str]) -> String {
    let responses = tokens.iter().map(|token| {
        format!(
            "<t:RequestSecurityTokenResponse><t:RequestedSecurityToken>{token}</t:RequestedSecurityToken>\
             </t:RequestSecurityTokenResponse>"
        )
    });
    format!("<t:IssuedTokens xmlns:t=\"{TRUST}\">{}</t:IssuedTokens>", responses.collect::<String>())
}

/// The token of DSP0226 that names a certificate.
fn named(digits: &str) -> String {
    format!("<w:CertificateThumbprint>{digits}</w:CertificateThumbprint>")
}

const USER: &str =
    "<o:UsernameToken xmlns:o=\"urn:o\"><o:Username>u</o:Username><o:Password>p</o:Password></o:UsernameToken>";

/// A policy with these alternatives.
fn policy(alternatives: &str) -> String {
    format!(
        "<c:Policy xmlns:c=\"{POLICY}\" xmlns:h=\"{ASSERTION}\"><c:ExactlyOne>{alternatives}</c:ExactlyOne></c:Policy>"
    )
}

/// An alternative with an assertion of a profile.
fn asserted(profile: &str, inner: &str) -> String {
    format!("<c:All><h:Authentication Profile=\"{PROFILE}/{profile}\">{inner}</h:Authentication></c:All>")
}

fn constraint(role: &str, digit: &str) -> String {
    let digits = digit.repeat(40);
    format!("<h:ClientCertificate><h:Thumbprint{role}>{digits}</h:Thumbprint></h:ClientCertificate>")
}

const ISSUER: &str = " Role=\"issuer\"";

/// A Subscribe for a sink, with its policy, and with this in the delivery and in the header.
fn subscribe((address, policy): (&str, &str), delivery: &str, header: &str) -> String {
    let body = format!(
        "<e:Subscribe><e:Delivery Mode=\"{PUSH_MODE}\"><e:NotifyTo><a:Address>{address}</a:Address>{policy}\
         </e:NotifyTo>{delivery}</e:Delivery><w:Filter Dialect=\"{WQL}\">{JOBS}</w:Filter></e:Subscribe>"
    );
    envelope(ALL, &format!("{EVENTING}Subscribe"), header, &body)
}

/// What is stored of a subscription that is taken, or the number of the fault.
fn outcome(lab: &Lab, request: &str) -> Result<(Option<WantedCertificate>, bool), u32> {
    match lab.step("tester", request, Pace::Brief) {
        Step::Durable(durable) => {
            let SubscriptionChange::Open(record, ..) = durable.change else { panic!("no subscription") };
            let stored: crate::wsman::eventing::Delivery =
                serde_json::from_slice(&serde_json::to_vec(&record.delivery).unwrap()).unwrap();
            assert_eq!(stored, record.delivery, "what is asked for outlives a restart");
            Ok((record.delivery.certificate.clone(), record.credentials.is_some()))
        }
        Step::Respond(answer) => Err(number(&String::from_utf8(answer.octets).unwrap())),
        step => panic!("{step:?}"),
    }
}

//= EVT-33
#[test]
fn a_certificate_is_asked_for_by_profile_by_token_and_by_policy() {
    let lab = lab();
    let wanted = |one_of: &[Constraint], named: Option<&str>, by_policy: bool| {
        Some(WantedCertificate { one_of: one_of.to_vec(), named: named.map(thumbprint), by_policy })
    };
    let taken = |policy: &str, delivery: &str, header: &str| {
        outcome(&lab, &subscribe((HTTPS, policy), delivery, header))
            .unwrap_or_else(|number| panic!("{number}: {policy}"))
    };
    assert_eq!(taken("", "", ""), (None, false));
    assert_eq!(taken("", &auth("https/mutual"), ""), (wanted(&[], None, false), false));
    assert_eq!(taken("", &auth("https/mutual/basic"), &issued(&[USER])), (wanted(&[], None, false), true));
    let spaced = "aa ".repeat(20);
    for digits in ["A".repeat(40), "a".repeat(40), spaced] {
        let header = issued(&[&named(&digits)]);
        assert_eq!(taken("", &auth("https/mutual"), &header), (wanted(&[], Some("a"), false), false), "{digits}");
    }
    let twice = issued(&[&(named(&"a".repeat(40)) + &named(&"A".repeat(40))), &named(&"a".repeat(40))]);
    assert_eq!(taken("", &auth("https/mutual"), &twice), (wanted(&[], Some("a"), false), false));
    assert_eq!(taken("", &auth("https/basic"), &issued(&[USER, USER])), (None, true));
    let both = issued(&[USER, &named(&"a".repeat(40))]);
    assert_eq!(taken("", &auth("https/mutual/basic"), &both), (wanted(&[], Some("a"), false), true));

    let [own, root, other] = [("a", false), ("b", true), ("c", true)].map(|(digit, issuer)| {
        if issuer { Constraint::Issuer(thumbprint(digit)) } else { Constraint::Certificate(thumbprint(digit)) }
    });
    let by_root = asserted("https/mutual", &constraint(ISSUER, "b"));
    assert_eq!(taken(&policy(&by_root), "", "").0, wanted(&[root], None, true));
    assert_eq!(taken(&policy(&by_root), &auth("https/mutual"), "").0, wanted(&[root], None, false));
    let others = [asserted("http/spnego-kerberos", ""), asserted("https/mutual", &constraint(ISSUER, "c")), by_root];
    assert_eq!(taken(&policy(&others.concat()), "", "").0, wanted(&[other, root], None, true));
    let several = constraint("", "a") + &constraint(ISSUER, "c");
    assert_eq!(taken(&policy(&asserted("https/mutual", &several)), "", "").0, wanted(&[own, other], None, true));
    let free = asserted("https/mutual", &constraint(ISSUER, "c")) + &asserted("https/mutual", "");
    assert_eq!(taken(&policy(&free), "", "").0, wanted(&[], None, true));
    let most = (0..15).map(|_| constraint(ISSUER, "c")).collect::<String>() + &constraint(ISSUER, "b");
    let taken_at_most = taken(&policy(&asserted("https/mutual", &most)), "", "").0;
    assert_eq!(taken_at_most.map(|wanted| wanted.one_of.len()), Some(16));
    for nothing in ["<c:All/>".to_owned(), format!("<c:All/>{free}"), "<c:All/>".repeat(8)] {
        assert_eq!(taken(&policy(&nothing), "", "").0, None);
    }
    // As MS-WSMV writes it, the namespaces and the small letter included.
    let written = format!(
        "<p:Policy xmlns:p=\"http://schemas.xmlsoap.org/ws/2004/09/policy\"><p:ExactlyOne><p:all><w:Authentication \
         Profile=\"{PROFILE}/https/mutual\"/></p:all></p:ExactlyOne></p:Policy>"
    );
    assert_eq!(taken(&written, "", "").0, wanted(&[], None, true));
}

//= EVT-33
#[test]
fn what_cannot_be_shown_is_refused_and_the_fault_says_why() {
    let lab = lab();
    let named_other = issued(&[&named(&"c".repeat(40))]);
    let mutual = auth("https/mutual");
    let by_root = policy(&asserted("https/mutual", &constraint(ISSUER, "b")));
    let refused = |sink: (&str, &str), delivery: &str, header: &str| outcome(&lab, &subscribe(sink, delivery, header));
    let (https, http) = ((HTTPS, ""), ("http://127.0.0.1:9/s", ""));
    for (expected, sink, delivery, header) in [
        (AUTHORIZATION_MODE, http, mutual.clone(), String::new()),
        (AUTHORIZATION_MODE, http, auth("https/mutual/basic"), issued(&[USER])),
        (AUTHORIZATION_MODE, https, auth("https/mutual/digest"), String::new()),
        (AUTHORIZATION_MODE, https, auth("https/spnego-kerberos"), String::new()),
        (AUTHORIZATION_MODE, https, auth("http/mutual"), String::new()),
        (SECURITY_TOKEN, https, auth("https/mutual/basic"), String::new()),
        (SECURITY_TOKEN, https, mutual.clone(), named_other),
        (SECURITY_TOKEN, https, mutual.clone(), issued(&[&named("12")])),
        (SECURITY_TOKEN, https, mutual.clone(), issued(&[&named(&"a".repeat(40)), &named(&"b".repeat(40))])),
        (SECURITY_TOKEN, https, mutual.clone(), issued(&[&named(&"a".repeat(40)), "<x xmlns=\"urn:x\"/>"])),
        (SECURITY_TOKEN, https, mutual.clone(), issued(&[&(named(&"a".repeat(40)) + &named(&"b".repeat(40)))])),
        (SECURITY_TOKEN, https, mutual.clone(), issued(&[USER])),
        (SECURITY_TOKEN, https, mutual.clone(), issued(&[USER, &named(&"a".repeat(40))])),
        (SECURITY_TOKEN, (HTTPS, &by_root), String::new(), issued(&[USER])),
        (SECURITY_TOKEN, https, String::new(), issued(&[USER])),
        (SECURITY_TOKEN, http, String::new(), issued(&[USER])),
        (SECURITY_TOKEN, https, auth("https/basic"), issued(&[USER, &USER.replace(">u<", ">v<")])),
        (SECURITY_TOKEN, https, auth("https/basic"), issued(&[&(USER.to_owned() + &USER.replace(">p<", ">q<"))])),
        (SECURITY_TOKEN, https, String::new(), issued(&[&named(&"a".repeat(40))])),
        (SECURITY_TOKEN, https, auth("https/basic"), issued(&[USER, &named(&"a".repeat(40))])),
        (CANNOT_COMPLY, ("http://127.0.0.1:9/s", &by_root), String::new(), String::new()),
    ] {
        assert_eq!(refused(sink, &delivery, &header), Err(expected), "{sink:?} {delivery} {header}");
    }
    let ours = |inner: &str| policy(&asserted("https/mutual", inner));
    let many = (0..17).map(|_| constraint(ISSUER, "b")).collect::<String>();
    let two = format!("<c:All>{0}{0}</c:All>", "<h:Authentication/>");
    for (expected, policy) in [
        (CANNOT_COMPLY, ours(&constraint(ISSUER, "a"))),
        (CANNOT_COMPLY, ours(&constraint("", "b"))),
        (CANNOT_COMPLY, ours("<h:ClientCertificate><h:Thumbprint>12</h:Thumbprint></h:ClientCertificate>")),
        (CANNOT_COMPLY, policy(&asserted("http/spnego-kerberos", ""))),
        (CANNOT_COMPLY, policy(&asserted("https/basic", ""))),
        (TOO_COMPLEX, ours(&constraint(" Role=\"root\"", "b"))),
        (TOO_COMPLEX, ours(&constraint(" Store=\"my\"", "b"))),
        (TOO_COMPLEX, ours("<h:ClientCertificate/>")),
        (TOO_COMPLEX, ours("<h:Subject/>")),
        (TOO_COMPLEX, ours(&many)),
        (TOO_COMPLEX, policy(&two)),
        (TOO_COMPLEX, policy("<c:All><k:Other xmlns:k=\"urn:k\"/></c:All>")),
        (TOO_COMPLEX, policy("<k:Other xmlns:k=\"urn:k\"/>")),
        (TOO_COMPLEX, policy(&"<c:All/>".repeat(9))),
        (TOO_COMPLEX, by_root.replace("ExactlyOne", "OneOrMore")),
    ] {
        assert_eq!(refused((HTTPS, &policy), "", ""), Err(expected), "{policy}");
    }
    assert_eq!(lab.endpoint.subscriptions(), 0);
}

//= EVT-33
#[test]
fn without_a_certificate_nobody_is_promised_one() {
    let lab = Lab::new();
    let by_root = policy(&asserted("https/mutual", &constraint(ISSUER, "b")));
    let mutual = auth("https/mutual");
    let answer = lab.answer("tester", &subscribe((HTTPS, ""), &mutual, ""));
    assert!(answer.contains("AuthorizationMode") && answer.contains("eventing.certificate"), "{answer}");
    assert_eq!(number(&answer), AUTHORIZATION_MODE);
    let answer = lab.answer("tester", &subscribe((HTTPS, &by_root), "", ""));
    assert!(answer.contains("EventDeliverToUnusable") && answer.contains("CannotComplyWithPolicy"), "{answer}");
    assert_eq!(number(&answer), CANNOT_COMPLY);
    let pulled = |delivery: &str, header: &str| {
        let body = format!("<e:Subscribe><e:Delivery Mode=\"{PULL_MODE}\">{delivery}</e:Delivery></e:Subscribe>");
        let uri = ALL.replace('*', "Msvm_ConcreteJob");
        outcome(&lab, &envelope(&uri, &format!("{EVENTING}Subscribe"), header, &body))
    };
    assert_eq!(pulled(&mutual, ""), Err(AUTHORIZATION_MODE), "no sink, nobody to see it");
    assert_eq!(pulled("", &issued(&[&named(&"a".repeat(40))])), Err(SECURITY_TOKEN));
    // Who may not have events pushed is told that, and nothing of the certificate.
    lab.role.set(Role::Viewer);
    let answer = lab.answer("tester", &subscribe((HTTPS, ""), &mutual, ""));
    assert!(answer.contains("AccessDenied"), "{answer}");
}

//= EVT-03, EVT-33
#[test]
fn the_end_is_told_under_the_same_conditions_as_events() {
    let lab = lab();
    let by_root = policy(&asserted("https/mutual", &constraint(ISSUER, "b")));
    let by_own = policy(&asserted("https/mutual", &constraint("", "a")));
    let ask = |notify: &str, end: (&str, &str), delivery: &str| {
        let (address, policy) = end;
        let end = format!("<e:EndTo><a:Address>{address}</a:Address>{policy}</e:EndTo>");
        let request = subscribe((HTTPS, notify), delivery, "").replace("<e:Subscribe>", &format!("<e:Subscribe>{end}"));
        outcome(&lab, &request).map(|(certificate, _)| certificate.is_some())
    };
    assert_eq!(ask(&by_root, (HTTPS, &by_root), ""), Ok(true));
    assert_eq!(ask(&by_root, (HTTPS, ""), ""), Ok(true));
    assert_eq!(ask(&by_root, (HTTPS, &by_own), ""), Err(CANNOT_COMPLY));
    assert_eq!(ask("", (HTTPS, &by_root), ""), Err(CANNOT_COMPLY));
    assert_eq!(ask("", ("http://127.0.0.1:9/s", ""), &auth("https/mutual")), Err(ADDRESSING_MODE));
}
