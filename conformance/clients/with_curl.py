"""curl, with envelopes from files."""

import subprocess

import lab as of

MUTUAL = "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual"


class Curl(of.Asking):
    """The curl command. It seals nothing."""

    @staticmethod
    def version():
        return subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]

    def credentials(self):
        """The options that log in."""
        with_password = ["--user", f"{self.lab.user}:{self.lab.password}"]
        return {
            "basic": ["--basic", *with_password],
            "ntlm": ["--ntlm", *with_password],
            "any (password)": ["--anyauth", *with_password],
            # An empty user has curl take the ticket.
            "any (ticket)": ["--anyauth", "--user", ":"],
            "negotiate (Kerberos)": ["--negotiate", "--user", ":"],
            "certificate": [
                "--cert", str(self.lab.certificate), "--key", str(self.lab.key), "-H", f"Authorization: {MUTUAL}",
            ],
        }[self.lab.mechanism.removesuffix(" (Unicode)")]

    def send(self, body, path="/wsman", with_user=True):
        source, answer = self.lab.scratch / "curl.xml", self.lab.scratch / "curl.answer"
        source.write_text(body)
        answer.unlink(missing_ok=True)
        url = self.lab.url.removesuffix("/wsman") + path
        command = [
            "curl", "--silent", "--show-error", "--max-time", "30", "--output", str(answer),
            "--write-out", "%{http_code}", "-H", "Content-Type: application/soap+xml;charset=UTF-8",
            "--data-binary", f"@{source}",
            *(["--cacert", str(self.lab.authority)] if self.lab.tls else []),
            *(self.credentials() if with_user else []), url,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        of.check(done.returncode == 0, f"curl says {done.returncode}: {done.stderr.strip()}")
        octets = answer.read_bytes() if answer.exists() else b""
        if done.stdout in ("401", "403"):
            raise of.Refused(int(done.stdout), octets[:300].decode(errors="replace"))
        return of.parse(octets)

    def ask(self, action, uri, selectors, body, padding=""):
        return self.send(of.envelope(action, uri, selectors, body, self.lab.url, padding))

    def identify(self):
        of.check_identify(self.send(of.IDENTIFY))
        of.check_identify(self.send(of.IDENTIFY, "/wsman-anon/identify", with_user=False))

    def enumerate(self):
        body = f'<n:Enumerate xmlns:n="{of.ENUMERATION}"/>'
        tree = self.ask(f"{of.ENUMERATION}/Enumerate", f"{of.WMI}/Msvm_ComputerSystem", {}, body)
        self.context = of.text(tree, "EnumerationContext")
        of.check(self.context, "no enumeration context")

    def pull(self):
        body = (
            f'<n:Pull xmlns:n="{of.ENUMERATION}"><n:EnumerationContext>{self.context}</n:EnumerationContext>'
            "<n:MaxElements>1000</n:MaxElements></n:Pull>"
        )
        tree = self.ask(f"{of.ENUMERATION}/Pull", f"{of.WMI}/Msvm_ComputerSystem", {}, body)
        names = [of.text(item, "Name") for item in of.elements(tree, "Msvm_ComputerSystem")]
        of.check(self.machine.guid in names, "the machine is not among the items")
