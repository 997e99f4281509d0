"""The third part: attacks that need real tools: tickets of a KDC, certificates, another's message protection.

What can be said in octets alone is tested in tests/it. Each attack returns what came of it, and stands in `attacks` with
what has to come."""

import base64
import http.client
import os
import ssl
import struct
import subprocess
from dataclasses import dataclass

import spnego

import lab as of
from runner import in_child, print_table
from with_curl import MUTUAL

SECONDS_MAX = 30
SOAP = "application/soap+xml;charset=UTF-8"
PROTOCOLS = {"Kerberos": "Kerberos", "Negotiate": "SPNEGO"}


class Wire:
    """One connection to a server."""

    def __init__(self, lab, pair=None):
        self.lab = lab
        if lab.tls:
            context = ssl.create_default_context(cafile=lab.authority)
            if pair:
                context.load_cert_chain(pair.certificate, pair.key)
            self.connection = http.client.HTTPSConnection(lab.host, lab.port, timeout=10, context=context)
        else:
            self.connection = http.client.HTTPConnection(lab.host, lab.port, timeout=10)
        self.connection.connect()

    def post(self, authorization=None, body=b"", kind=SOAP):
        """Status, token of the answer, body."""
        # http.client would open a new connection by itself, and with it a new login.
        if self.connection.sock is None:
            return "closed", b"", b""
        headers = {"Content-Type": kind}
        if authorization:
            headers["Authorization"] = authorization
        try:
            self.connection.request("POST", "/wsman", body, headers)
            answer = self.connection.getresponse()
            octets = answer.read()
        except (ConnectionError, http.client.RemoteDisconnected):
            return "closed", b"", b""
        scheme, _, token = answer.headers.get("WWW-Authenticate", "").partition(" ")
        is_token = scheme in ("Negotiate", "Kerberos") and "," not in token
        return str(answer.status), base64.b64decode(token) if is_token and token else b"", octets

    def negotiate(self, token, body=b"", scheme="Negotiate"):
        """The same with a token."""
        return self.post(f"{scheme} {base64.b64encode(token).decode()}", body)


class Login:
    """A login with pyspnego, step by step, so that its messages can be kept and changed."""

    def __init__(self, lab, protocol, bindings=None, service="HTTP", scheme="Negotiate"):
        self.lab, self.scheme = lab, scheme
        self.type = f"application/HTTP-{PROTOCOLS[scheme]}-session-encrypted"
        named = {"username": lab.user, "password": lab.password} if protocol == "ntlm" else {}
        self.context = spnego.client(
            **named, hostname=lab.host, service=service, channel_bindings=bindings, protocol=protocol,
            options=spnego.NegotiateOptions.wrapping_winrm,
        )
        self.wire = Wire(lab)

    def token(self):
        """The first token."""
        return self.context.step()

    def run(self):
        """The whole login."""
        token = self.token()
        while token is not None:
            status, answer, _ = self.wire.negotiate(token, scheme=self.scheme)
            of.check(status in ("200", "401"), f"HTTP {status} in the login")
            if status == "401" and not answer:
                raise of.Refused(401)
            token = self.context.step(answer) if answer else None
        return self

    def sealed(self, message=of.IDENTIFY, change=lambda octets: octets, length=None):
        """A sealed message as body, its signature and ciphertext changed."""
        header, octets, padding = self.context.wrap_winrm(message.encode())
        length = len(message) + padding if length is None else length
        head = (
            f"--Encrypted Boundary\r\n\tContent-Type: {self.type}\r\n"
            f"\tOriginalContent: type={SOAP};Length={length}\r\n"
            "--Encrypted Boundary\r\n\tContent-Type: application/octet-stream\r\n"
        )
        payload = change(struct.pack("<I", len(header)) + header + octets)
        return head.encode() + payload + b"--Encrypted Boundary--\r\n"

    def send(self, body):
        """A sealed body; the status."""
        kind = f'multipart/encrypted;protocol="{self.type}";boundary="Encrypted Boundary"'
        return self.wire.post(body=body, kind=kind)[0]


def flip(octets):
    """One bit changed."""
    return octets[:-1] + bytes([octets[-1] ^ 1])


def foreign_binding():
    """The binding of another server's certificate."""
    return spnego.channel_bindings.GssChannelBindings(application_data=b"tls-server-end-point:" + bytes(32))


def ap_req_on_two_connections(lab):
    token = Login(lab, "kerberos").token()
    return [Wire(lab).negotiate(token)[0], Wire(lab).negotiate(token)[0]]


def ap_req_twice_on_a_connection(lab):
    login = Login(lab, "kerberos")
    token = login.token()
    return [login.wire.negotiate(token)[0], login.wire.negotiate(token)[0], login.wire.post()[0]]


def foreign_kerberos_binding(lab):
    return [Wire(lab).negotiate(Login(lab, "kerberos", foreign_binding()).token())[0]]


def no_kerberos_binding(lab):
    return [Wire(lab).negotiate(Login(lab, "kerberos").token())[0]]


def foreign_ntlm_binding(lab):
    try:
        Login(lab, "ntlm", foreign_binding()).run()
    except of.Refused as refusal:
        return [str(refusal.status)]
    return ["200"]


def replayed(lab, protocol):
    """Twice the same message; then one that would have been right."""
    login = Login(lab, protocol).run()
    body, later = login.sealed(), login.sealed()
    return [login.send(body), login.send(body), login.send(later)]


def flipped(lab, protocol):
    login = Login(lab, protocol).run()
    return [login.send(login.sealed(change=flip)), login.send(login.sealed())]


def under_the_scheme_kerberos(lab):
    login = Login(lab, "kerberos", scheme="Kerberos").run()
    return [login.send(login.sealed())]


def wrong_length(lab, protocol):
    login = Login(lab, protocol).run()
    return [login.send(login.sealed(length=len(of.IDENTIFY) + 1))]


def clear_after_sealed(lab, protocol):
    login = Login(lab, protocol).run()
    return [login.send(login.sealed()), login.wire.post(body=of.IDENTIFY.encode())[0]]


def sealed_on_another_connection(lab, protocol):
    """A message of one login on the connection of another."""
    first, second = Login(lab, protocol).run(), Login(lab, protocol).run()
    return [second.send(first.sealed())]


def with_certificate(pair, authorization):
    """A request with a certificate in the TLS handshake; a handshake that fails is `no TLS`."""

    def attack(lab):
        try:
            return [Wire(lab, pair).post(authorization, of.IDENTIFY.encode())[0]]
        except (ssl.SSLError, ConnectionError):
            return ["no TLS"]

    return attack


def as_principal(principal):
    """Tickets of somebody else, by the password that the KDC's script gave all of them."""

    def attack(lab):
        cache = f"FILE:{lab.scratch}/{principal.replace('/', '-')}.ccache"
        subprocess.run(
            ["kinit", "-c", cache, principal], input=lab.password, text=True, capture_output=True, check=True
        )
        os.environ["KRB5CCNAME"] = cache
        return [Wire(lab).negotiate(Login(lab, "kerberos").token())[0]]

    return attack


def for_service(service):
    """A ticket for another service of this host."""

    def attack(lab):
        return [Wire(lab).negotiate(Login(lab, "kerberos", service=service).token())[0]]

    return attack


def ap_req_after_restart(server, lab, environment):
    """The replay cache outlives the process. Two children, for the server is this process's to restart."""

    def first():
        token = Login(lab, "kerberos").token()
        return token, Wire(lab).negotiate(token)[0]

    done, failure = in_child(first, SECONDS_MAX, environment)
    if failure:
        return None, failure
    token, status = done
    server.restart()
    again, failure = in_child(lambda: Wire(lab).negotiate(token)[0], SECONDS_MAX, environment)
    return ([status, again], None) if not failure else (None, failure)


@dataclass
class Attack:
    """What is tried, where, and what has to come of it."""

    title: str
    server: str
    transport: str
    action: object
    expected: list


def attacks(credentials):
    """All of them."""
    user = "clients"
    table = [
        Attack(
            "a Kerberos AP-REQ on a second connection", "default", "https", ap_req_on_two_connections, ["200", "401"]
        ),
        Attack(
            "a Kerberos AP-REQ twice on a connection", "default", "https", ap_req_twice_on_a_connection,
            ["200", "401", "401"],
        ),
        Attack("no attack: a Kerberos login bound to nothing", "default", "https", no_kerberos_binding, ["200"]),
        Attack("a Kerberos login bound to nothing", "strict", "https", no_kerberos_binding, ["401"]),
        Attack("no attack: the scheme Kerberos", "default", "http sealed", under_the_scheme_kerberos, ["200"]),
        Attack("a ticket of another realm", "default", "https", as_principal(f"{user}@OTHER.TEST"), ["401"]),
        Attack("a ticket of user/admin", "default", "https", as_principal(f"{user}/admin"), ["401"]),
        Attack("a ticket for host/localhost", "default", "https", for_service("host"), ["401"]),
        Attack(
            "no attack: a certificate of the user", "default", "https", with_certificate(credentials.user, MUTUAL), ["200"]
        ),
        Attack("a certificate, but no login", "default", "https", with_certificate(credentials.user, None), ["401"]),
        Attack("a login, but no certificate", "default", "https", with_certificate(None, MUTUAL), ["401"]),
        Attack(
            "a certificate that no rule maps", "default", "https",
            with_certificate(credentials.unmapped, MUTUAL), ["401"],
        ),
        Attack(
            "a certificate of an unknown authority", "default", "https",
            with_certificate(credentials.foreign, MUTUAL), ["no TLS"],
        ),
    ]
    for server in ("relaxed", "default", "strict"):
        for name, action in (("Kerberos", foreign_kerberos_binding), ("NTLM", foreign_ntlm_binding)):
            title = f"a {name} login bound to another server's certificate"
            table.append(Attack(title, server, "https", action, ["401"]))
    for protocol, name in (("kerberos", "Kerberos"), ("ntlm", "NTLM")):
        for title, action, expected in (
            ("a sealed message twice", replayed, ["200", "400", "closed"]),
            ("a sealed message with a bit flipped", flipped, ["400", "closed"]),
            ("a sealed message with a wrong Length", wrong_length, ["400"]),
            ("a message in clear after a sealed one", clear_after_sealed, ["200", "403"]),
            ("a sealed message of another connection", sealed_on_another_connection, ["400"]),
        ):
            bound = lambda lab, a=action, p=protocol: a(lab, p)  # noqa: E731
            table.append(Attack(f"{title}, {name}", "default", "http sealed", bound, expected))
    return table


def run(servers, credentials, scratch):
    """Carries them out; what was not refused as it has to be, as lines."""
    rows, failures = [], []
    last = Attack("a Kerberos AP-REQ again after a restart", "default", "http sealed", None, ["200", "401"])
    for attack in [*attacks(credentials), last]:
        lab = servers[attack.server].lab(scratch, "", attack.transport)
        environment = credentials.kerberos
        if attack is last:
            came, failure = ap_req_after_restart(servers[attack.server], lab, environment)
        else:
            came, failure = in_child(lambda a=attack, l=lab: a.action(l), SECONDS_MAX, environment)
        shown = ", ".join(came) if came else failure
        good = came == attack.expected
        rows.append([attack.title, attack.server, attack.transport, shown if good else "FAILED"])
        if not good:
            wanted = ", ".join(attack.expected)
            failures.append(f"{attack.title}, {attack.server}, {attack.transport}: expected {wanted}, came {shown}")
    print_table(["attack", "server", "transport", "answers"], rows)
    return failures
