//! What the doctor says.

use std::fmt::Write as _;

use super::clients::{self, Client, Way, Who, Wire};
use super::facts::{Facts, Part};
use crate::auth::ChannelBinding;

/// What is offered, what is missing.
pub(super) fn overview(facts: &Facts) -> String {
    let config = &facts.config;
    let mut text = String::from("Listeners\n");
    let sealed = if config.allow_unencrypted {
        "messages in clear and passwords are taken (allow_unencrypted = true)"
    } else {
        "messages must be sealed; no passwords"
    };
    let certificate = match &facts.certificate {
        Part::Off => "a certificate is made at the first start".to_owned(),
        Part::Broken(why) => format!("NO: {why}"),
        Part::Ready(certificate) => format!("certificate SHA-256 {}", certificate.fingerprint),
    };
    for (kind, address, what) in
        [("http", config.http_address(), sealed), ("https", config.https_address(), certificate.as_str())]
    {
        let _ = match address {
            Some(address) => writeln!(text, "  {kind:6} {address:22} {what}"),
            None => writeln!(text, "  {kind:6} off"),
        };
    }
    text.push_str("\nMechanisms\n");
    for (name, way, wires) in [
        ("NTLM", Way::Ntlm, &[Wire::Sealed, Wire::Tls][..]),
        ("Kerberos", Way::Kerberos, &[Wire::Sealed, Wire::Tls]),
        ("CredSSP", Way::CredSsp, &[Wire::Sealed, Wire::Tls]),
        ("Basic", Way::Basic, &[Wire::Tls, Wire::Clear]),
        ("Certificate", Way::Certificate, &[Wire::Tls]),
    ] {
        mechanism(&mut text, facts, name, way, wires);
    }
    let _ = write!(text, "\nChannel binding over HTTPS: {}\n", binding(config.login.channel_binding));
    users(&mut text, facts);
    let names = clients::names().collect::<Vec<_>>().join(", ");
    let _ = write!(
        text,
        "\nHow a client should connect: failbackd auth doctor --client NAME [--user NAME] [--host HOST]\n  {names}\n"
    );
    text
}

/// One mechanism: over what it goes, or what keeps it from each.
fn mechanism(text: &mut String, facts: &Facts, name: &str, way: Way, wires: &[Wire]) {
    let found: Vec<(Wire, Vec<String>)> =
        wires.iter().map(|wire| (*wire, obstacles(facts, way, *wire, &Who::default()))).collect();
    let open: Vec<&str> = found.iter().filter(|(_, why)| why.is_empty()).map(|(wire, _)| wire_text(*wire)).collect();
    if open.is_empty() {
        let least = found.into_iter().map(|(_, why)| why).min_by_key(Vec::len).unwrap_or_default();
        let _ = writeln!(text, "  no   {name:12} {}", least.join("; "));
        return;
    }
    let who = match way {
        Way::Ntlm => format!("; {} users have an NT hash", facts.users_with(|user| user.has_nt_hash)),
        Way::Kerberos => format!("; keys of {}", facts.kerberos.ready().map(|it| it.join(", ")).unwrap_or_default()),
        Way::Basic => {
            format!("; {} users have a password", facts.users_with(|user| user.has_password || user.has_nt_hash))
        }
        Way::Certificate => format!("; {} rules", facts.client_certificates.ready().copied().unwrap_or_default()),
        Way::BareNtlm | Way::CredSsp => String::new(),
    };
    let _ = writeln!(text, "  yes  {name:12} over {}{who}", open.join(" and "));
}

fn users(text: &mut String, facts: &Facts) {
    text.push_str("\nUsers\n");
    let users = match &facts.users {
        Err(why) => {
            let _ = writeln!(text, "  nobody can log in: {why}");
            return;
        }
        Ok(users) => users,
    };
    if users.is_empty() {
        text.push_str("  none: failbackd user add NAME --role operator [--ntlm]\n");
    }
    let width = users.iter().map(|user| user.name.chars().count()).max().unwrap_or(0);
    for user in users {
        let mut ways = Vec::new();
        if user.has_password {
            ways.push("password");
        }
        if user.has_nt_hash {
            ways.push("NT hash");
        }
        let ways = if ways.is_empty() { "Kerberos or certificate alone".to_owned() } else { ways.join(", ") };
        let _ = writeln!(text, "  {:width$}  {:13}  {ways}", user.name, user.role.as_str());
    }
}

fn binding(mode: ChannelBinding) -> &'static str {
    match mode {
        ChannelBinding::None => "none: not looked at. Logins can be relayed to this server",
        ChannelBinding::Relaxed => {
            "relaxed: one that is sent must match. Logins of clients that send none can be relayed to this server"
        }
        ChannelBinding::Sealed => "sealed: one that is sent must match; without one, NTLM clients must seal messages",
        ChannelBinding::Strict => "strict: a matching one must be sent with NTLM and Kerberos",
    }
}

fn wire_text(wire: Wire) -> &'static str {
    match wire {
        Wire::Sealed => "HTTP (sealed)",
        Wire::Clear => "HTTP (in clear)",
        Wire::Tls => "HTTPS",
    }
}

fn way_text(way: Way) -> &'static str {
    match way {
        Way::Kerberos => "Kerberos",
        Way::Ntlm => "NTLM",
        Way::BareNtlm => "NTLM, neither sealed nor bound",
        Way::CredSsp => "CredSSP",
        Way::Basic => "Basic",
        Way::Certificate => "client certificate",
    }
}

/// How one client is to connect: the first way that works, then the others with what they lack.
pub(super) fn connect(facts: &Facts, client: &Client, who: &Who<'_>) -> String {
    let mut text = format!("{}\n", client.title);
    let mut ready = 0;
    for row in client.rows {
        let why = obstacles(facts, row.way, row.wire, who);
        let (way, wire) = (way_text(row.way), wire_text(row.wire));
        if why.is_empty() {
            ready += 1;
            let _ = write!(text, "\nyes  {way} over {wire}\n     {}\n", fill(facts, row.line, row.wire, who));
        } else {
            let _ = write!(text, "\nno   {way} over {wire}\n     {}\n", why.join("\n     "));
        }
    }
    if ready == 0 {
        text.push_str("\nThis client cannot connect as things are.\n");
    }
    if !client.note.is_empty() {
        let _ = write!(text, "\n{}\n", client.note);
    }
    text
}

fn fill(facts: &Facts, line: &str, wire: Wire, who: &Who<'_>) -> String {
    let address = if wire == Wire::Tls { facts.config.https_address() } else { facts.config.http_address() };
    let (host, port) = address.and_then(|address| address.rsplit_once(':')).unwrap_or(("HOST", "PORT"));
    let host = who.host.unwrap_or(host);
    line.replace("{host}", host).replace("{port}", port).replace("{user}", who.user.unwrap_or("USER"))
}

/// What keeps a way from working, each with what to do; empty when nothing does.
fn obstacles(facts: &Facts, way: Way, wire: Wire, who: &Who<'_>) -> Vec<String> {
    let mut found = on_the_wire(facts, way, wire);
    let login = &facts.config.login;
    match way {
        Way::Kerberos => found.extend(kerberos(facts, who)),
        Way::Ntlm => found.extend(ntlm(facts, who)),
        Way::BareNtlm => {
            found.extend(ntlm(facts, who));
            if login.require_mic {
                found.push("require_mic = true in [login] refuses it: it sends no integrity code".to_owned());
            }
            if wire == Wire::Tls && matches!(login.channel_binding, ChannelBinding::Sealed | ChannelBinding::Strict) {
                found.push(
                    "it can be relayed, so it is refused; channel_binding = \"relaxed\" in [login] takes it".to_owned(),
                );
            }
        }
        Way::CredSsp => {
            if !login.credssp {
                found.push("credssp = true in [login] turns it on; clients hand their passwords over then".to_owned());
            }
            if !facts.certificate.ready().is_some_and(|certificate| certificate.rsa) {
                found.push(
                    "clients in Python take a server's certificate with an RSA key alone here: name one in [tls], for \
                     the one that the server makes has another"
                        .to_owned(),
                );
            }
            if !ntlm(facts, who).is_empty() && !kerberos(facts, who).is_empty() {
                found.push("it needs NTLM or Kerberos within, and neither works".to_owned());
            }
        }
        Way::Basic => {
            if !login.basic {
                found.push("basic = false in [login]".to_owned());
            }
            found.extend(lacking(facts, who, |user| user.has_password || user.has_nt_hash, "a password", ""));
        }
        Way::Certificate => match &facts.client_certificates {
            Part::Off => found.push("authorities in [client_certificates] is not set".to_owned()),
            Part::Broken(why) => found.push(why.clone()),
            Part::Ready(0) => found.push("[client_certificates] has no rules, which name the users".to_owned()),
            Part::Ready(_) => {}
        },
    }
    found
}

fn on_the_wire(facts: &Facts, way: Way, wire: Wire) -> Vec<String> {
    let config = &facts.config;
    let mut found = Vec::new();
    let (key, address) =
        if wire == Wire::Tls { ("https", config.https_address()) } else { ("http", config.http_address()) };
    if address.is_none() {
        found.push(format!("{key} = \"off\""));
    }
    if wire == Wire::Clear && !config.allow_unencrypted {
        let what = if way == Way::Basic { "passwords and messages" } else { "messages" };
        found.push(format!("{what} in clear are refused; allow_unencrypted = true takes them, for networks you trust"));
    }
    if wire == Wire::Tls
        && let Part::Broken(why) = &facts.certificate
    {
        found.push(why.clone());
    }
    found
}

fn kerberos(facts: &Facts, who: &Who<'_>) -> Vec<String> {
    let mut found = negotiate(facts);
    match &facts.kerberos {
        Part::Off => found.push(
            "keytab in [kerberos] is not set: get keys of HTTP/HOST (and WSMAN/HOST) from the domain and name the file"
                .to_owned(),
        ),
        Part::Broken(why) => found.push(why.clone()),
        Part::Ready(services) => {
            let named = |service: &String, host: &str| {
                let name = service.split(['/', '@']).nth(1).unwrap_or_default();
                name.eq_ignore_ascii_case(host)
            };
            if let Some(host) = who.host
                && !services.iter().any(|service| named(service, host))
            {
                found.push(format!("the keytab has no keys of HTTP/{host} or WSMAN/{host}"));
            }
        }
    }
    found
}

fn ntlm(facts: &Facts, who: &Who<'_>) -> Vec<String> {
    let mut found = negotiate(facts);
    found.extend(lacking(facts, who, |user| user.has_nt_hash, "an NT hash", " --ntlm"));
    found
}

fn negotiate(facts: &Facts) -> Vec<String> {
    if facts.config.login.negotiate { Vec::new() } else { vec!["negotiate = false in [login]".to_owned()] }
}

/// That the user, or everybody, lacks something.
fn lacking(
    facts: &Facts,
    who: &Who<'_>,
    has: impl Fn(&crate::auth::UserEntry) -> bool,
    what: &str,
    flag: &str,
) -> Option<String> {
    let mut able = facts.users.iter().flatten().filter(|user| has(user));
    match who.user {
        Some(name) if able.any(|user| user.name.eq_ignore_ascii_case(name)) => None,
        Some(name) => {
            Some(format!("{name} has no {}: remove and add the user with failbackd user add {name}{flag}", bare(what)))
        }
        None if able.next().is_some() => None,
        None => Some(format!("no user has {what}: failbackd user add NAME{flag}")),
    }
}

fn bare(what: &str) -> &str {
    what.trim_start_matches("an ").trim_start_matches("a ")
}

#[cfg(test)]
mod tests {
    use super::super::facts::ServerCertificate;
    use super::*;
    use crate::auth::{Role, UserEntry};
    use crate::config::Config;

    fn user(name: &str, has_password: bool, has_nt_hash: bool) -> UserEntry {
        UserEntry { name: name.to_owned(), role: Role::Operator, has_password, has_nt_hash }
    }

    fn facts() -> Facts {
        Facts {
            config: Config::default(),
            users: Ok(vec![user("otto", true, false), user("nora", true, true), user("kim", false, false)]),
            kerberos: Part::Off,
            certificate: Part::Ready(ServerCertificate { fingerprint: "AA:BB".to_owned(), rsa: false }),
            client_certificates: Part::Off,
        }
    }

    fn told(facts: &Facts, client: &str, user: Option<&str>) -> Vec<String> {
        let client = clients::find(client).unwrap();
        let text = connect(facts, client, &Who { user, host: Some("home.example") });
        text.lines().filter(|line| line.starts_with("yes") || line.starts_with("no ")).map(str::to_owned).collect()
    }

    #[test]
    fn a_client_is_told_what_works_for_its_user() {
        let all = told(&facts(), "pypsrp", Some("nora"));
        assert_eq!(all.iter().filter(|line| line.starts_with("yes")).count(), 3, "{all:?}");
        assert_eq!(told(&facts(), "pypsrp", Some("otto")).iter().filter(|line| line.starts_with("yes")).count(), 1);
        assert_eq!(told(&facts(), "pypsrp", Some("kim")).iter().filter(|line| line.starts_with("yes")).count(), 0);
        let mut kerberos = facts();
        kerberos.kerberos = Part::Ready(vec!["HTTP/home.example@EXAMPLE".to_owned()]);
        assert_eq!(told(&kerberos, "pypsrp", Some("kim"))[0], "yes  Kerberos over HTTP (sealed)");
        kerberos.kerberos = Part::Ready(vec!["HTTP/other.example@EXAMPLE".to_owned()]);
        assert_eq!(told(&kerberos, "pypsrp", Some("kim"))[0], "no   Kerberos over HTTP (sealed)");
    }

    #[test]
    fn each_setting_that_stands_in_the_way_is_named() {
        let obstacles_of = |way, wire, change: &dyn Fn(&mut Facts)| {
            let mut facts = facts();
            change(&mut facts);
            obstacles(&facts, way, wire, &Who::default()).join("; ")
        };
        let relaxed = |facts: &mut Facts| facts.config.login.channel_binding = ChannelBinding::Relaxed;
        assert!(obstacles_of(Way::BareNtlm, Wire::Tls, &|_| {}).contains("channel_binding"));
        assert_eq!(obstacles_of(Way::BareNtlm, Wire::Tls, &relaxed), "");
        assert!(obstacles_of(Way::Basic, Wire::Clear, &|_| {}).contains("allow_unencrypted"));
        assert_eq!(obstacles_of(Way::Basic, Wire::Clear, &|it| it.config.allow_unencrypted = true), "");
        assert!(obstacles_of(Way::Ntlm, Wire::Sealed, &|it| it.config.http = "off".to_owned()).contains("http"));
        assert!(obstacles_of(Way::Ntlm, Wire::Tls, &|it| it.config.login.negotiate = false).contains("negotiate"));
        assert!(obstacles_of(Way::Ntlm, Wire::Tls, &|it| it.users = Ok(Vec::new())).contains("--ntlm"));
        assert!(
            obstacles_of(Way::Kerberos, Wire::Tls, &|it| it.kerberos = Part::Broken("why".to_owned())).contains("why")
        );
        assert!(obstacles_of(Way::Certificate, Wire::Tls, &|_| {}).contains("authorities"));
        let credssp = obstacles_of(Way::CredSsp, Wire::Tls, &|_| {});
        assert!(credssp.contains("credssp = true") && credssp.contains("RSA"), "{credssp}");
    }

    #[test]
    fn the_overview_names_every_mechanism_and_user() {
        let text = overview(&facts());
        for word in ["NTLM", "Kerberos", "CredSSP", "Basic", "Certificate", "otto", "nora", "AA:BB", "sealed"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(text.contains("kim   operator       Kerberos or certificate alone"), "{text}");
    }

    #[test]
    fn every_line_of_every_client_is_filled_in() {
        for name in clients::names() {
            let client = clients::find(name).unwrap();
            for row in client.rows {
                let line = fill(&facts(), row.line, row.wire, &Who { user: Some("otto"), host: Some("h") });
                assert!(!line.contains("{host}") && !line.contains("{port}") && !line.contains("{user}"), "{line}");
            }
        }
    }
}
