"""Servers under test: data directories, users, certificates, a KDC, and the processes."""

import json
import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from certificates import Authority, Pair
from lab import Lab, Machine

KDC = Path(__file__).parent / "kdc"
USER = "clients"
# Has a password of its own: wrong passwords are tried on this one, so that nobody else has to wait for it.
STRANGER = "stranger"
LISTEN_SECONDS_MAX = 20
# Neither name nor password is ASCII.
FOREIGNER = "zoë"
FOREIGN_PASSWORD = "Пароль-密码-é"
# A wrong password is answered late, and later each time; here there are many on purpose.
LIMITS = {"login_delay_ms": 10, "login_delay_max_ms": 50}


@dataclass
class Credentials:
    """What the clients log in with, and whom they trust."""

    password: str
    authority: Authority
    server: Pair
    server_sha384: Pair
    user: Pair
    # Of the same authority, but of nobody here; and of an authority that the servers do not know.
    unmapped: Pair
    foreign: Pair
    # Where Kerberos is, as environment variables; and an environment that knows no realm.
    kerberos: dict
    no_kerberos: dict
    realm: str


def make_credentials(scratch):
    """Certificates of an authority of ours; the KDC comes with `start_kdc`."""
    directory = scratch / "certificates"
    directory.mkdir()
    authority, foreign = Authority(directory, "authority"), Authority(directory, "foreign-authority")
    nowhere = scratch / "krb5-nowhere.conf"
    nowhere.write_text("[libdefaults]\ndefault_realm = NOWHERE.TEST\ndns_lookup_kdc = false\nrdns = false\n")
    return Credentials(
        password=secrets.token_hex(12), authority=authority, server=authority.server("server"),
        server_sha384=authority.server_sha384("server-sha384"),
        user=authority.client("user", f"{USER}@failbackd.test"),
        unmapped=authority.client("unmapped", "nobody@failbackd.test"),
        foreign=foreign.client("foreign", f"{USER}@failbackd.test"), kerberos={},
        no_kerberos={"KRB5_CONFIG": str(nowhere), "KRB5CCNAME": f"FILE:{scratch}/no-ticket"}, realm="",
    )


def start_kdc(scratch, credentials):
    """A realm with our user, and a ticket of theirs."""
    started = subprocess.run(
        [KDC, "start", scratch / "kdc", USER, credentials.password], capture_output=True, text=True, check=False
    )
    if started.returncode != 0:
        raise RuntimeError(f"no KDC: {started.stderr}")
    words = shlex.split(started.stdout)
    credentials.kerberos = dict(word.split("=", 1) for word in words if "=" in word)
    credentials.realm = credentials.kerberos["KDC_REALM"]


def stop_kdc(scratch):
    """Ends what `start_kdc` began."""
    subprocess.run([KDC, "stop", scratch / "kdc"], capture_output=True, check=False)


class Server:
    """A failbackd with a data directory of its own."""

    def __init__(self, binary, scratch, name, credentials):
        self.binary, self.name, self.credentials = binary, name, credentials
        self.directory = scratch / name
        self.directory.mkdir()
        self.data, self.log = self.directory / "data", self.directory / "serve.log"
        self.configuration = self.directory / "failbackd.toml"
        self.machines, self.process = [], None
        self.http, self.https = free_port(), free_port()

    def prepare(self, *options):
        """Virtual machines, and the users."""
        made = json.loads(self.command("demo", "--prepare", "--json", *options))
        self.machines = [Machine(vm["id"], vm["name"]) for vm in made["vms"] if vm["ready"]]
        for user, password in (
            (USER, self.credentials.password), (STRANGER, secrets.token_hex(12)), (FOREIGNER, FOREIGN_PASSWORD)
        ):
            self.command("user", "add", user, "--role", "administrator", "--ntlm", "--password-stdin", text=password)

    def copy(self, other):
        """The same data as another server that does not run."""
        shutil.copytree(other.data, self.data)
        self.machines = list(other.machines)

    def command(self, *arguments, text=None):
        """What a command on the data directory prints."""
        done = subprocess.run(
            [self.binary, *arguments, "--data-dir", self.data], input=text, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"failbackd {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def start(self, settings):
        """Starts it with settings of cells.toml on top of what every server here has."""
        settings = dict(settings)
        pair = getattr(self.credentials, settings.pop("certificate", "server"))
        kerberos = self.credentials.kerberos
        base = {
            "http": f"127.0.0.1:{self.http}", "https": f"127.0.0.1:{self.https}",
            "tls": {"certificate": str(pair.certificate), "key": str(pair.key)}, "limits": LIMITS,
            "audit": {"reads": True},
            "client_certificates": {
                "authorities": str(self.credentials.authority.file),
                "rules": [{"user": USER, "upn": f"{USER}@failbackd.test"}],
            },
        }
        if kerberos:
            keytab = kerberos["KRB5_KTNAME"].removeprefix("FILE:")
            base["kerberos"] = {"keytab": keytab, "realms": [self.credentials.realm]}
        self.configuration.write_text(toml({**base, **settings}))
        self.launch()

    def launch(self):
        """Starts the process."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [self.binary, "serve", "--config", self.configuration, "--data-dir", self.data],
                env={**os.environ, **self.credentials.kerberos}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )

    def restart(self):
        """The same again."""
        self.stop()
        self.launch()
        self.wait()

    def wait(self):
        """Until it listens."""
        deadline = time.monotonic() + LISTEN_SECONDS_MAX
        for port in (self.http, self.https):
            while True:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the server {self.name} does not listen:\n{self.end_of_log(20)}")
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.02)

    def stop(self):
        """Ends it."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=30)

    def audit_octets(self):
        """How long the audit log is."""
        return (self.data / "audit.jsonl").stat().st_size

    def audited(self, begin):
        """The requests that the audit log tells of behind an offset."""
        with (self.data / "audit.jsonl").open("rb") as log:
            log.seek(begin)
            events = [json.loads(line) for line in log if line.endswith(b"\n")]
        return [event for event in events if event["event"] == "request"]

    def end_of_log(self, lines):
        """The log's last lines."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def lab(self, scratch, mechanism, transport, **other):
        """The way to this server for a client."""
        tls = transport.startswith("https")
        pair = self.credentials.user
        named = {
            "host": "localhost", "port": self.https if tls else self.http, "user": USER,
            "password": self.credentials.password, "scratch": scratch, "mechanism": mechanism, "tls": tls,
            "sealed": "sealed" in transport, "authority": self.credentials.authority.file,
            "certificate": pair.certificate, "key": pair.key, "realm": self.credentials.realm,
        }
        return Lab(**{**named, **other})


def free_port():
    """A TCP port of loopback that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def toml(table, path=""):
    """A table as TOML: scalars first, then lists of tables inline, then tables."""
    scalars = [(key, value) for key, value in table.items() if not isinstance(value, dict)]
    tables = [(key, value) for key, value in table.items() if isinstance(value, dict)]
    lines = [f"[{path}]"] if path else []
    lines += [f"{key} = {inline(value)}" for key, value in scalars]
    below = [toml(value, f"{path}.{key}" if path else key) for key, value in tables]
    return "\n".join([*lines, *below]) + "\n"


def inline(value):
    """A value as TOML on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {inline(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(inline(item) for item in value) + "]"
    if isinstance(value, str):
        if not re.fullmatch(r'[^"\\\x00-\x1f]*', value):
            raise ValueError(f"{value!r} needs escaping")
        return f'"{value}"'
    return str(value)
