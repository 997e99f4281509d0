"""The crate winrm-rs: WQL queries and shells, no methods; winrm-rs/src/main.rs is the program."""

import os
import re
import subprocess
from pathlib import Path

import lab as of

HERE = Path(__file__).parent
PROGRAM = HERE.parents[1] / "target" / "clients-winrm-rs" / "debug" / "with-winrm-rs"
NAMESPACE = "root/virtualization/v2"


class WinrmRs:
    """It cannot invoke a method, so it reads; a large request is one for a shell, which the server has to read whole to
    answer that it has no shells."""

    def __init__(self, lab, machine):
        self.lab, self.machine = lab, machine

    @staticmethod
    def version():
        return re.search(r'winrm-rs = "=(.+)"', (HERE / "winrm-rs" / "Cargo.toml").read_text())[1]

    def run(self, *operation):
        scheme = "https" if self.lab.tls else "http"
        done = subprocess.run(
            [PROGRAM, self.lab.mechanism, scheme, self.lab.host, str(self.lab.port), self.lab.user, *operation],
            env={**os.environ, "WINRM_PASSWORD": self.lab.password}, capture_output=True, text=True, timeout=60,
            check=False,
        )
        refused = re.search(r"auth failed: (?:expected 401 for NTLM negotiate, got |HTTP )(401|403)\b", done.stderr)
        if refused:
            raise of.Refused(int(refused[1]), done.stderr.strip())
        if "NTLM authentication rejected" in done.stderr:
            raise of.Refused(401, done.stderr.strip())
        return done

    def read(self, *queries):
        done = self.run("query", NAMESPACE, *queries)
        of.check(done.returncode == 0, done.stderr.strip())
        return done.stdout

    def get(self):
        query = f"select * from Msvm_ComputerSystem where Name = '{self.machine.guid}'"
        found = self.read(query, query).count(f"ElementName>{self.machine.name}</")
        of.check(found == 2, f"the machine was found {found} times by the same query sent twice")

    def large_request(self):
        done = self.run("shell", str(of.PADDING_OCTETS))
        of.check("SOAP fault [" in done.stderr, f"not a fault: {done.stderr.strip()}")

    def large_answer(self):
        answer = self.read(f"select * from {of.LARGE_CLASS}")
        of.check(len(answer) >= of.LARGE_OCTETS_MIN, f"an answer of {len(answer)} octets is not large")
