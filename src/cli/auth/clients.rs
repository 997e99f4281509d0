//! The clients that people have: by which ways each can log in, best first, and a line for each way.

/// A way of logging in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Way {
    /// Kerberos under Negotiate or Kerberos.
    Kerberos,
    /// NTLM with sealed messages or with channel bindings.
    Ntlm,
    /// NTLM by a client that neither seals nor binds.
    BareNtlm,
    /// CredSSP.
    CredSsp,
    /// Basic.
    Basic,
    /// A client certificate.
    Certificate,
}

/// How it goes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wire {
    /// HTTP, with messages that the client seals.
    Sealed,
    /// HTTP with messages in clear.
    Clear,
    /// HTTPS.
    Tls,
}

/// One way of one client.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) way: Way,
    pub(super) wire: Wire,
    /// The line to type or write; `{host}`, `{port}` and `{user}` are filled in.
    pub(super) line: &'static str,
}

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    /// The word on the command line.
    pub(super) name: &'static str,
    /// What it is.
    pub(super) title: &'static str,
    /// Its ways, best first.
    pub(super) rows: &'static [Row],
    /// What else to know.
    pub(super) note: &'static str,
}

/// Who connects where, as far as it was said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Who<'w> {
    pub(super) user: Option<&'w str>,
    pub(super) host: Option<&'w str>,
}

const fn row(way: Way, wire: Wire, line: &'static str) -> Row {
    Row { way, wire, line }
}

/// Every client that is known here.
pub(super) const CLIENTS: &[Client] = &[
    Client {
        name: "pypsrp",
        title: "pypsrp (Python)",
        rows: &[
            row(
                Way::Kerberos,
                Wire::Sealed,
                "WSMan('{host}', port={port}, ssl=False, auth='kerberos', negotiate_service='HTTP')",
            ),
            row(
                Way::Ntlm,
                Wire::Sealed,
                "WSMan('{host}', port={port}, ssl=False, auth='negotiate', username='{user}', password=...)",
            ),
            row(
                Way::Ntlm,
                Wire::Tls,
                "WSMan('{host}', port={port}, ssl=True, auth='negotiate', username='{user}', password=..., \
                 cert_validation='server.pem')",
            ),
            row(
                Way::Certificate,
                Wire::Tls,
                "WSMan('{host}', port={port}, ssl=True, auth='certificate', certificate_pem='user.pem', \
                 certificate_key_pem='user.key', cert_validation='server.pem')",
            ),
            row(
                Way::CredSsp,
                Wire::Sealed,
                "WSMan('{host}', port={port}, ssl=False, auth='credssp', username='{user}', password=...)",
            ),
            row(
                Way::Basic,
                Wire::Tls,
                "WSMan('{host}', port={port}, ssl=True, auth='basic', username='{user}', password=..., \
                 cert_validation='server.pem')",
            ),
        ],
        note: "Without negotiate_service it asks for a ticket for the service host, which is taken only where \
               services in [kerberos] names host.",
    },
    Client {
        name: "pywinrm",
        title: "pywinrm (Python)",
        rows: &[
            row(
                Way::Kerberos,
                Wire::Sealed,
                "Protocol(endpoint='http://{host}:{port}/wsman', transport='kerberos', message_encryption='always')",
            ),
            row(
                Way::Ntlm,
                Wire::Sealed,
                "Protocol(endpoint='http://{host}:{port}/wsman', transport='ntlm', username='{user}', password=..., \
                 message_encryption='always')",
            ),
            row(
                Way::Ntlm,
                Wire::Tls,
                "Protocol(endpoint='https://{host}:{port}/wsman', transport='ntlm', username='{user}', password=..., \
                 ca_trust_path='server.pem')",
            ),
            row(
                Way::Certificate,
                Wire::Tls,
                "Protocol(endpoint='https://{host}:{port}/wsman', transport='certificate', cert_pem='user.pem', \
                 cert_key_pem='user.key', ca_trust_path='server.pem')",
            ),
            row(
                Way::CredSsp,
                Wire::Sealed,
                "Protocol(endpoint='http://{host}:{port}/wsman', transport='credssp', username='{user}', password=...)",
            ),
            row(
                Way::Basic,
                Wire::Tls,
                "Protocol(endpoint='https://{host}:{port}/wsman', transport='basic', username='{user}', password=..., \
                 ca_trust_path='server.pem')",
            ),
        ],
        note: "Envelopes go by Protocol.send_message(xml).",
    },
    Client {
        name: "ansible",
        title: "Ansible (connection plugins psrp and winrm)",
        rows: &[
            row(
                Way::Kerberos,
                Wire::Sealed,
                "ansible_connection=psrp ansible_psrp_protocol=http ansible_port={port} ansible_psrp_auth=kerberos",
            ),
            row(
                Way::Ntlm,
                Wire::Sealed,
                "ansible_connection=psrp ansible_psrp_protocol=http ansible_port={port} ansible_psrp_auth=negotiate \
                 ansible_user={user}",
            ),
            row(
                Way::Basic,
                Wire::Tls,
                "ansible_connection=psrp ansible_port={port} ansible_psrp_auth=basic ansible_user={user} \
                 ansible_psrp_ca_cert=server.pem",
            ),
        ],
        note: "Its modules need a remote shell, which this server does not serve: a login succeeds, a module does not.",
    },
    Client {
        name: "curl",
        title: "curl",
        rows: &[
            row(Way::Kerberos, Wire::Tls, "curl --negotiate -u : --cacert server.pem https://{host}:{port}/wsman ..."),
            row(
                Way::Certificate,
                Wire::Tls,
                "curl --cert user.pem --key user.key --cacert server.pem -H 'Authorization: \
                 http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual' https://{host}:{port}/wsman ...",
            ),
            row(Way::Basic, Wire::Tls, "curl --basic -u {user} --cacert server.pem https://{host}:{port}/wsman ..."),
            row(Way::BareNtlm, Wire::Tls, "curl --ntlm -u {user} --cacert server.pem https://{host}:{port}/wsman ..."),
            row(Way::Basic, Wire::Clear, "curl --basic -u {user} http://{host}:{port}/wsman ..."),
        ],
        note: "curl seals no messages and sends no channel bindings.",
    },
    Client {
        name: "powershell",
        title: "Windows PowerShell and PowerShell 7 (CIM cmdlets, WSMan cmdlets)",
        rows: &[
            row(Way::Kerberos, Wire::Sealed, "New-CimSession -ComputerName {host} -Port {port}"),
            row(
                Way::Ntlm,
                Wire::Sealed,
                "Set-Item WSMan:\\localhost\\Client\\TrustedHosts {host}; \
                 New-CimSession -ComputerName {host} -Port {port} -Authentication Negotiate -Credential {user}",
            ),
            row(
                Way::Ntlm,
                Wire::Tls,
                "New-CimSession -ComputerName {host} -Port {port} -SessionOption (New-CimSessionOption -UseSsl) \
                 -Authentication Negotiate -Credential {user}",
            ),
            row(
                Way::Basic,
                Wire::Tls,
                "Invoke-WSManAction -ConnectionURI https://{host}:{port}/wsman -Authentication Basic \
                 -Credential {user} ...",
            ),
        ],
        note: "Written from what these clients send; Windows itself was not at hand.",
    },
    Client {
        name: "winrm",
        title: "winrm.cmd (Windows)",
        rows: &[
            row(Way::Kerberos, Wire::Sealed, "winrm identify -r:http://{host}:{port} -a:kerberos"),
            row(
                Way::Ntlm,
                Wire::Sealed,
                "winrm set winrm/config/client @{TrustedHosts=\"{host}\"} && \
                 winrm identify -r:http://{host}:{port} -a:negotiate -u:{user} -p:...",
            ),
            row(Way::Ntlm, Wire::Tls, "winrm identify -r:https://{host}:{port} -a:negotiate -u:{user} -p:..."),
            row(Way::Basic, Wire::Tls, "winrm identify -r:https://{host}:{port} -a:basic -u:{user} -p:..."),
        ],
        note: "Written from what this client sends; Windows itself was not at hand.",
    },
    Client {
        name: "wsman",
        title: "wsman (Openwsman)",
        rows: &[
            row(Way::Basic, Wire::Tls, "wsman identify -h {host} -P {port} -u {user} -p ... -y basic -c server.pem"),
            row(Way::BareNtlm, Wire::Tls, "wsman identify -h {host} -P {port} -u {user} -p ... -y ntlm -c server.pem"),
            row(Way::Basic, Wire::Clear, "wsman identify -h {host} -P {port} -u {user} -p ... -y basic"),
        ],
        note: "Give -y: without it, it asks for a Kerberos ticket first. \
               -y ntlm needs advertise_ntlm = true in [login].",
    },
    Client {
        name: "omicli",
        title: "omicli (Microsoft OMI)",
        rows: &[
            row(
                Way::Ntlm,
                Wire::Sealed,
                "omicli --hostname {host} --port {port} --auth NegoWithCreds --encryption http -u {user} -p ... id",
            ),
            row(Way::Basic, Wire::Clear, "omicli --hostname {host} --port {port} --auth Basic -u {user} -p ... id"),
        ],
        note: "Its NTLM comes from the package gss-ntlmssp.",
    },
    Client {
        name: "ruby",
        title: "WinRM for Ruby",
        rows: &[
            row(
                Way::Ntlm,
                Wire::Sealed,
                "WinRM::Connection.new(endpoint: 'http://{host}:{port}/wsman', transport: :negotiate, \
                 user: '{user}', password: ...)",
            ),
            row(
                Way::Basic,
                Wire::Tls,
                "WinRM::Connection.new(endpoint: 'https://{host}:{port}/wsman', transport: :ssl, user: '{user}', \
                 password: ..., basic_auth_only: true)",
            ),
        ],
        note: "",
    },
    Client {
        name: "go",
        title: "masterzen/winrm (Go)",
        rows: &[
            row(Way::Basic, Wire::Tls, "winrm.NewEndpoint(\"{host}\", {port}, true, false, ca, nil, nil, 0)"),
            row(
                Way::BareNtlm,
                Wire::Tls,
                "winrm.NewEndpoint(\"{host}\", {port}, true, false, ca, nil, nil, 0) with \
                 TransportDecorator = func() winrm.Transporter { return &winrm.ClientNTLM{} }",
            ),
        ],
        note: "Versions before NewEncryption seal nothing.",
    },
    Client {
        name: "npm",
        title: "winrm-client (npm)",
        rows: &[
            row(Way::Basic, Wire::Tls, "runCommand(command, '{host}', '{user}', password, {port}, 'basic') over HTTPS"),
            row(
                Way::BareNtlm,
                Wire::Tls,
                "runCommand(command, '{host}', '{user}', password, {port}, 'ntlm') over HTTPS",
            ),
            row(Way::Basic, Wire::Clear, "runCommand(command, '{host}', '{user}', password, {port}, 'basic')"),
        ],
        note: "It knows shells alone, which this server does not serve; its logins and messages are taken.",
    },
    Client {
        name: "dracclient",
        title: "python-dracclient",
        rows: &[
            row(
                Way::Basic,
                Wire::Tls,
                "dracclient.wsman.Client('{host}', '{user}', password, port={port}, protocol='https')",
            ),
            row(
                Way::Basic,
                Wire::Clear,
                "dracclient.wsman.Client('{host}', '{user}', password, port={port}, protocol='http')",
            ),
        ],
        note: "It does not check the server's certificate.",
    },
    Client {
        name: "wsl",
        title: "wsl (Dell's shell scripts)",
        rows: &[
            row(Way::Basic, Wire::Tls, "WSENDPOINT={host}:{port} WSUSER={user} WSPASS=... wsl id"),
            row(Way::Basic, Wire::Clear, "WSENDPOINT={host}:{port} WSUSER={user} WSPASS=... WSNOSSL=true wsl id"),
        ],
        note: "",
    },
    Client {
        name: "failbackd",
        title: "failbackd client",
        rows: &[
            row(
                Way::Basic,
                Wire::Tls,
                "WSMAN_USER={user} failbackd client identify https://{host}:{port} --fingerprint HEX",
            ),
            row(Way::Basic, Wire::Clear, "WSMAN_USER={user} failbackd client identify http://{host}:{port}"),
        ],
        note: "",
    },
];

/// The client of that name.
pub(super) fn find(name: &str) -> Option<&'static Client> {
    CLIENTS.iter().find(|client| client.name.eq_ignore_ascii_case(name))
}

/// All names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    CLIENTS.iter().map(|client| client.name)
}
