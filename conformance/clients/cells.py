"""The second part: every client by every mechanism over every transport, as cells.toml expects it."""

import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import lab as of
from runner import in_child, load, print_table
from servers import FOREIGN_PASSWORD, FOREIGNER, STRANGER, USER

# Name on the command line: module, class.
CLIENTS = {
    "pypsrp": ("with_pypsrp", "Pypsrp"),
    "pywinrm": ("with_pywinrm", "Pywinrm"),
    "curl": ("with_curl", "Curl"),
    "go": ("with_go", "Go"),
    "npm": ("with_npm", "Npm"),
    "winrm-rs": ("with_winrm_rs", "WinrmRs"),
    "omicli": ("with_handshakes", "OmicliSealed"),
    "ruby": ("with_handshakes", "RubySealed"),
}
# A client carries out those that it has.
STEPS = ["get", "query", "invoke", "job", "large_request", "large_answer"]
SECONDS_MAX = 60
# Other ways to write who logs in, by the word in the mechanism's brackets.
SPELLINGS = {
    r"(DOMAIN\user)": {"user": rf"ELSEWHERE\{USER}"},
    "(user@domain)": {"user": f"{USER}@elsewhere.test"},
    "(USER)": {"user": USER.upper()},
    "(Unicode)": {"user": FOREIGNER, "password": FOREIGN_PASSWORD},
}
TABLE = Path(__file__).parent / "cells.toml"


@dataclass
class Row:
    """A client by a mechanism with a setting of the server; what is expected of each transport."""

    client: str
    mechanism: str
    server: str
    expected: dict

    def proof(self):
        """The server's word for how the client proves who it is."""
        if self.mechanism.startswith("credssp"):
            return "credssp"
        return "kerberos" if self.by_ticket() else next(
            word for word in ("ntlm", "basic", "certificate") if word in self.mechanism.lower()
        )

    def by_ticket(self):
        """Whether a Kerberos ticket is to be used. Otherwise the client must find none."""
        return any(word in self.mechanism for word in ("erberos", "ticket"))

    def spelling(self):
        """How the user's name and password are given, where it is not the usual way."""
        return next((given for words, given in SPELLINGS.items() if words in self.mechanism), {})

    def by_password(self):
        """Whether a wrong password can be tried."""
        return not self.by_ticket() and self.mechanism != "certificate" and not self.spelling()


@dataclass
class Table:
    """cells.toml."""

    reasons: dict
    servers: dict
    transports: list
    rows: list

    @classmethod
    def read(cls):
        """Reads and checks it."""
        table = tomllib.loads(TABLE.read_text())
        transports, rows = table["cells"]["columns"], []
        for client, mechanism, server, *words in table["cells"]["rows"]:
            known = {"ok", "401", "403", "", *table["reasons"]}
            if client not in CLIENTS or server not in table["servers"] or not set(words) <= known:
                raise ValueError(f"cells.toml: {client} {mechanism} {server} {words}")
            rows.append(Row(client, mechanism, server, dict(zip(transports, words, strict=True))))
        return cls(table["reasons"], table["servers"], transports, rows)


def carry_out(kind, lab, machine):
    """All that a client can do: "ok", or the status that it was turned away with."""
    client = None
    try:
        client = kind(lab, machine)
        for step in STEPS:
            action = getattr(client, step, None)
            if action:
                action()
    except of.Refused as refusal:
        return str(refusal.status)
    return "ok"


def log_in(kind, lab, machine):
    """Only the first step."""
    try:
        kind(lab, machine).get()
    except of.Refused as refusal:
        return str(refusal.status)
    return "ok"


def check_audit(events, proof, lab):
    """Whether a cell's requests went as they were meant to go: "ok", or why not."""
    if not events:
        return None, "the audit log has no request"
    for event in events:
        came = event["mechanism"], event["sealed"], event["encrypted"]
        if came != (proof, lab.sealed, lab.tls):
            return None, f"a request with mechanism, sealed, encrypted {came}"
    return "ok", None


class Matrix:
    """Rows under way."""

    def __init__(self, table, servers, credentials, scratch):
        self.table, self.servers, self.credentials, self.scratch = table, servers, credentials, scratch
        self.machines = {name: iter(server.machines) for name, server in servers.items()}
        self.failures, self.wrong_tried = [], set()

    def cell(self, row, transport, expected, action, note="", **other):
        """One cell: what stands in the matrix."""
        server = self.servers[row.server]
        lab = server.lab(self.scratch, row.mechanism, transport, **other)
        machine, kind = next(self.machines[row.server]), load(CLIENTS[row.client])
        environment = self.credentials.kerberos if row.by_ticket() else self.credentials.no_kerberos
        began, recorded = time.monotonic(), server.audit_octets()
        word, failure = in_child(lambda: action(kind, lab, machine), SECONDS_MAX, environment)
        seconds = time.monotonic() - began
        if word == "ok":
            word, failure = check_audit(server.audited(recorded), row.proof(), lab)
        shown = word if word in (None, "ok") else f"refused {word}"
        good = word == expected
        where = f"{row.client}, {row.mechanism}, {row.server}, {transport}"
        where += note
        print(f"{where:<60} {shown if good else 'FAILED'}  {seconds:.1f} s", flush=True)
        if not good:
            wanted = "ok" if expected == "ok" else f"refused {expected}"
            self.failures.append(f"{where}: expected {wanted}, came {shown or failure}")
        return shown if good else "FAILED"

    def wrong_password(self, row):
        """The same with a wrong password, once for each client and mechanism, where the right one works."""
        transport = next((name for name, word in row.expected.items() if word == "ok"), None)
        if transport is None or not row.by_password() or (row.client, row.mechanism) in self.wrong_tried:
            return ""
        self.wrong_tried.add((row.client, row.mechanism))
        wrong = {"user": STRANGER, "password": "not the password"}
        return self.cell(row, transport, "401", log_in, ", wrong password", **wrong)

    def run(self, names):
        """All rows of the named clients."""
        shown = []
        for row in self.table.rows:
            if row.client not in names:
                continue
            words = [
                self.cell(row, transport, expected, carry_out, **row.spelling()) if expected in ("ok", "401", "403") else expected
                for transport, expected in row.expected.items()
            ]
            shown.append([row.client, row.mechanism, row.server, *words, self.wrong_password(row)])
        print_table(["client", "mechanism", "server", *self.table.transports, "wrong password"], shown)
        for key, reason in self.table.reasons.items():
            if any(key in row for row in shown):
                print(f"{key}: {reason}")
        kinds = {name: load(entry) for name, entry in CLIENTS.items() if name in names}
        print("versions: " + ", ".join(f"{name} {kind.version()}" for name, kind in kinds.items()))
        readers = [name for name, kind in kinds.items() if not hasattr(kind, "invoke")]
        if readers:
            print(f"only reading, for want of methods: {', '.join(readers)}")
        return self.failures
