"""npm's winrm-client: npm/main.js sends each envelope through the package's own transport."""

import json
import os
import re
import subprocess
from pathlib import Path

import lab as of

PROGRAM = Path(__file__).parent / "npm" / "main.js"
MODULES = Path(__file__).parents[2] / "target" / "clients-npm" / "node_modules"


class Npm(of.Asking):
    """It logs in anew for each request, with NTLM in OEM strings, and seals nothing."""

    @staticmethod
    def version():
        return json.loads((MODULES / "winrm-client" / "package.json").read_text())["version"]

    def ask(self, action, uri, selectors, body, padding=""):
        order = {
            "mechanism": self.lab.mechanism, "host": self.lab.host, "port": self.lab.port, "tls": self.lab.tls,
            "user": self.lab.user, "password": self.lab.password,
            "envelope": of.envelope(action, uri, selectors, body, self.lab.url, padding),
        }
        environment = {**os.environ, "NODE_PATH": str(MODULES), "NODE_EXTRA_CA_CERTS": str(self.lab.authority)}
        done = subprocess.run(
            ["node", PROGRAM], input=json.dumps(order), capture_output=True, text=True, env=environment, timeout=60,
            check=False,
        )
        if done.returncode != 0:
            refused = re.search(r": (401|403)\b", done.stderr)
            if refused:
                raise of.Refused(int(refused[1]), done.stderr)
            raise of.Wrong(done.stderr.strip())
        return of.parse(done.stdout)
