//! Ready-to-paste lines: one call of each client that people have, with the real address, user and password.

use std::fmt::Write as _;

/// What the lines are made of.
pub(crate) struct Access<'a> {
    /// Host and port of the plain listener, `127.0.0.1:5985`.
    pub(crate) authority: &'a str,
    /// The user's name.
    pub(crate) user: &'a str,
    /// Its password; made of letters and digits, so that every shell takes it as it stands.
    pub(crate) password: &'a str,
    /// A VM that the lines may name.
    pub(crate) vm: &'a str,
}

/// Where the classes live.
const NAMESPACE: &str = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2";

/// The lines of every client, each under its name.
pub(crate) fn all(access: &Access<'_>) -> String {
    let mut text = String::new();
    for (name, lines) in [
        ("failbackd's own client", own(access)),
        ("curl", curl(access)),
        ("pypsrp (Python)", pypsrp(access)),
        ("wsman (Openwsman)", wsman(access)),
        ("winrm (Windows)", winrm(access)),
        ("PowerShell (Windows)", powershell(access)),
    ] {
        let _ = writeln!(text, "# {name}\n{lines}\n");
    }
    text
}

fn own(access: &Access<'_>) -> String {
    let Access { authority, user, password, vm } = access;
    format!(
        "export WSMAN_USER={user} WSMAN_PASSWORD={password}\n\
         failbackd client enumerate http://{authority}/wsman Msvm_ConcreteJob\n\
         failbackd client invoke http://{authority}/wsman \
         'Msvm_ReplicationService?CreationClassName=Msvm_ReplicationService' \
         InitiateFailback ComputerSystem={vm} --wait"
    )
}

fn curl(access: &Access<'_>) -> String {
    let Access { authority, user, password, .. } = access;
    let identify = "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><s:Body>\
                    <i:Identify xmlns:i=\"http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd\"/>\
                    </s:Body></s:Envelope>";
    format!(
        "curl -u {user}:{password} -H 'Content-Type: application/soap+xml;charset=UTF-8' \\\n  \
         --data '{identify}' http://{authority}/wsman"
    )
}

fn pypsrp(access: &Access<'_>) -> String {
    let Access { authority, user, password, vm } = access;
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "5985"));
    format!(
        "python3 - <<'END'   # pip install pypsrp\n\
         from pypsrp.wsman import WSMan, SelectorSet\n\
         import xml.etree.ElementTree as ET\n\
         uri = '{NAMESPACE}/Msvm_ReplicationService'\n\
         body = ET.Element('{{%s}}InitiateFailback_INPUT' % uri)\n\
         ET.SubElement(body, '{{%s}}ComputerSystem' % uri).text = '{vm}'\n\
         service = SelectorSet()\n\
         service.add_option('CreationClassName', 'Msvm_ReplicationService')\n\
         with WSMan('{host}', port={port}, ssl=False, auth='negotiate', encryption='always',\n           \
         username='{user}', password='{password}') as wsman:\n    \
         answer = wsman.invoke(uri + '/InitiateFailback', uri, body, selector_set=service)\n    \
         print(ET.tostring(answer, encoding='unicode'))\n\
         END"
    )
}

fn wsman(access: &Access<'_>) -> String {
    let Access { authority, user, password, vm } = access;
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "5985"));
    let login = format!("-h {host} -P {port} -u {user} -p {password} -y basic");
    format!(
        "wsman enumerate {NAMESPACE}/Msvm_ConcreteJob {login} -m 100\n\
         wsman invoke -a InitiateFailback \
         '{NAMESPACE}/Msvm_ReplicationService?CreationClassName=Msvm_ReplicationService' \
         {login} -k ComputerSystem={vm}"
    )
}

fn winrm(access: &Access<'_>) -> String {
    let Access { authority, user, password, vm } = access;
    let login = format!("-r:http://{authority} -u:{user} -p:{password} -a:basic");
    format!(
        "winrm set winrm/config/client @{{AllowUnencrypted=\"true\"}}\n\
         winrm enumerate wmi/root/virtualization/v2/Msvm_ConcreteJob {login}\n\
         winrm invoke InitiateFailback \
         wmi/root/virtualization/v2/Msvm_ReplicationService?CreationClassName=Msvm_ReplicationService \
         @{{ComputerSystem=\"{vm}\"}} {login}"
    )
}

fn powershell(access: &Access<'_>) -> String {
    let Access { authority, user, password, vm } = access;
    format!(
        "Set-Item WSMan:\\localhost\\Client\\AllowUnencrypted $true\n\
         $c = New-Object PSCredential '{user}', (ConvertTo-SecureString '{password}' -AsPlainText -Force)\n\
         $s = @{{ ConnectionURI = 'http://{authority}/wsman'; Authentication = 'Basic'; Credential = $c }}\n\
         Get-WSManInstance @s -Enumerate wmi/root/virtualization/v2/Msvm_ConcreteJob\n\
         Invoke-WSManAction @s InitiateFailback wmi/root/virtualization/v2/Msvm_ReplicationService \
         -SelectorSet @{{ CreationClassName = 'Msvm_ReplicationService' }} -ValueSet @{{ ComputerSystem = '{vm}' }}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_gets_the_address_and_the_login() {
        let access = Access { authority: "127.0.0.1:5985", user: "demo", password: "Pa55w0rd", vm: "web01" };
        let text = all(&access);
        let parts: Vec<&str> = text.trim_end().split("\n\n").collect();
        assert_eq!(parts.len(), 6);
        for part in parts {
            assert!(part.contains("127.0.0.1") && part.contains("5985"), "{part}");
            assert!(part.contains("demo") && part.contains("Pa55w0rd"), "{part}");
        }
    }
}
