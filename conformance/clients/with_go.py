"""Go's masterzen/winrm, as Debian packages it: go/main.go sends each request through the package's own transports."""

import json
import re
import subprocess
from pathlib import Path

import lab as of

PROGRAM = Path(__file__).parents[2] / "target" / "clients-go"


class Go(of.Asking):
    """It logs in anew for each request, and seals nothing."""

    @staticmethod
    def version():
        query = ["dpkg-query", "--show", "--showformat=${Version}", "golang-github-masterzen-winrm-dev"]
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout

    def ask(self, action, uri, selectors, body, padding=""):
        by_certificate = self.lab.mechanism == "certificate"
        order = {
            "Mechanism": self.lab.mechanism, "Host": self.lab.host, "Port": self.lab.port, "TLS": self.lab.tls,
            "Authority": str(self.lab.authority) if self.lab.tls else "",
            "Certificate": str(self.lab.certificate) if by_certificate else "",
            "Key": str(self.lab.key) if by_certificate else "",
            "User": self.lab.user, "Password": self.lab.password,
            "Headers": of.headers(action, uri, selectors, self.lab.url, padding), "Body": body,
        }
        done = subprocess.run(
            [PROGRAM], input=json.dumps(order), capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode != 0:
            refused = re.match(r"http response error: (401|403)\b", done.stderr)
            if refused:
                raise of.Refused(int(refused[1]), done.stderr)
            raise of.Wrong(done.stderr.strip())
        return of.parse(done.stdout)
