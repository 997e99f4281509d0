"""Requests in the exact shape of omicli and of Ruby's WinRM, sealed over plain HTTP.

Neither comes from a package manager, so this is not they: it is what they sent, written anew with fresh handshakes. The
order of headers, the handshakes' messages to the last flag, and the framing of sealed bodies are as recorded; omicli's
envelopes are those of shapes/omicli, Ruby's only the query (it has no methods: the others are the lab's own)."""

import base64
import http.client
import re
import socket
import struct
import time
import uuid

import lab as of
import ntlm
from with_shapes import Omicli as PlainOmicli

SPNEGO_PROTOCOL = "application/HTTP-SPNEGO-session-encrypted"
SEALED = f'multipart/encrypted;protocol="{SPNEGO_PROTOCOL}";boundary="Encrypted Boundary"'
# NTLMSSP as SPNEGO's only mechanism.
MECHANISMS = bytes.fromhex("300c060a2b06010401823702020a")


class SealedShape(of.Asking):
    """What omicli and Ruby have in common: empty POSTs that log in, then bodies without TABs."""

    def __init__(self, lab, machine):
        super().__init__(lab, machine)
        self.connection = None

    @staticmethod
    def version():
        return "request shapes"

    def connect(self):
        self.connection = socket.create_connection((self.lab.host, self.lab.port), timeout=30)

    def exchange(self, lines, body=b""):
        """A request's lines as they are, and its answer."""
        self.connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        response = http.client.HTTPResponse(self.connection, method="POST")
        response.begin()
        return response.status, response.headers, response.read()

    def token(self, status, headers, expected):
        """The token of a step's answer."""
        if status != expected:
            raise of.Refused(status) if status in (401, 403) else of.Wrong(f"HTTP {status} in the handshake")
        value = re.fullmatch(r"Negotiate (\S+)", headers.get("WWW-Authenticate", ""))
        of.check(value or expected == 200, "no token in the answer")
        return base64.b64decode(value[1]) if value else b""

    def framed(self, message):
        """A sealed body without TABs."""
        signature, sealed = self.sending.seal(message)
        head = (
            f"--Encrypted Boundary\r\nContent-Type: {SPNEGO_PROTOCOL}\r\n"
            f"OriginalContent: type=application/soap+xml;charset=UTF-8;Length={len(message)}\r\n"
            "--Encrypted Boundary\r\nContent-Type: application/octet-stream\r\n"
        )
        return head.encode() + struct.pack("<I", 16) + signature + sealed + b"--Encrypted Boundary--\r\n"

    def unframed(self, headers, body):
        """The message of a sealed answer. omicli takes no TABs, so none may be there."""
        of.check(headers.get("Content-Type") == SEALED, f"the answer's type is {headers.get('Content-Type')}")
        head = re.match(
            rb"--Encrypted Boundary\r\nContent-Type: [^\r\t]+\r\n"
            rb"OriginalContent: type=application/soap\+xml;charset=UTF-8;Length=(\d+)\r\n"
            rb"--Encrypted Boundary\r\nContent-Type: application/octet-stream\r\n",
            body,
        )
        of.check(head, f"the answer is framed as {body[:200]!r}")
        end = b"--Encrypted Boundary--\r\n"
        of.check(body.endswith(end), "the answer has no end")
        payload = body[head.end() : -len(end)]
        of.check(payload[:4] == struct.pack("<I", 16), "the signature has not 16 octets")
        message = self.receiving.unseal(payload[4:20], payload[20:])
        of.check(len(message) == int(head[1]), "the length is wrong")
        return message


class OmicliSealed(SealedShape):
    """SPNEGO with mechListMIC, a connection for each request, NULs up to a multiple of 16 and counted."""

    FLAGS_1, FLAGS_3 = 0xE2088237, 0xE28A8235
    VERSION = bytes.fromhex("060200000000000f")

    def __init__(self, lab, machine):
        super().__init__(lab, machine)
        self.shapes = PlainOmicli(lab, machine)

    def lines(self, length, *more):
        return ["POST /wsman/ HTTP/1.1", "Connection: Keep-Alive", length, *more]

    def step(self, token, expected):
        lines = self.lines(
            "Content-Length: 0", "Content-Type: application/soap+xml;charset=UTF-8",
            f"Host: {self.lab.host}:{self.lab.port}", f"Authorization: Negotiate {base64.b64encode(token).decode()}",
        )
        status, headers, _ = self.exchange(lines)
        return self.token(status, headers, expected)

    def log_in(self):
        first = ntlm.message_type_1(self.FLAGS_1, bytes(16) + self.VERSION)
        wrapped = bytes.fromhex("604806062b0601050502a03e303c") + b"\xa0\x0e" + MECHANISMS + b"\xa2\x2a\x04\x28" + first
        answer = self.step(wrapped, 401)
        challenge = ntlm.Challenge.parse(answer[answer.index(ntlm.MAGIC) :])
        pairs = {
            **challenge.pairs,
            ntlm.AV_FLAGS: struct.pack("<I", ntlm.AV_FLAG_MIC),
            ntlm.AV_TARGET_NAME: f"http/{self.lab.host}/vm".encode("utf-16-le"),
        }
        moment = challenge.pairs.get(ntlm.AV_TIMESTAMP, ntlm.filetime(time.time()))
        proof = ntlm.Answer(self.lab.user, self.lab.password, "", challenge, pairs, moment)
        fields = {
            "lm": b"", "nt": proof.nt, "domain": b"", "user": self.lab.user.encode("utf-16-le"),
            "workstation": "VM".encode("utf-16-le"), "key": proof.sent_key,
        }
        order = ["lm", "nt", "user", "workstation", "key"]
        third = proof.message(self.FLAGS_3, fields, self.VERSION + bytes(16), order)
        code = ntlm.hmac_md5(proof.session_key, first + challenge.octets + third)
        third = third[:72] + code + third[88:]
        self.sending, self.receiving = ntlm.sealers(self.FLAGS_3, proof.session_key)
        signature = self.sending.signature(MECHANISMS)
        self.sending.restart()
        inner = (
            b"\xa0\x03\x0a\x01\x01" + tagged(0xA2, tagged(0x04, third)) + tagged(0xA3, tagged(0x04, signature))
        )
        answer = self.step(tagged(0xA1, tagged(0x30, inner)), 200)
        # The server's own mechListMIC: NegTokenResp with accept-completed.
        of.check(answer[:9] == bytes.fromhex("a11b3019a0030a0100"), f"the last token is {answer.hex()}")
        number = self.receiving.signature(MECHANISMS)
        of.check(answer.endswith(number), "the server's mechListMIC is wrong")
        self.receiving.restart()

    def post(self, envelope):
        self.connect()
        with self.connection:
            self.log_in()
            envelope += bytes(-len(envelope) % 16)
            body = self.framed(envelope)
            lines = self.lines(
                f"Content-Length:{len(body)}", f"Content-Type: {SEALED}", f"Host: {self.lab.host}:{self.lab.port}"
            )
            status, headers, answer = self.exchange(lines, body)
            tree = of.parse(self.unframed(headers, answer))
        of.refuse_fault(tree)
        of.check(status == 200, f"HTTP {status}")
        return tree

    def ask(self, action, uri, selectors, body, padding=""):
        return self.post(of.envelope(action, uri, selectors, body, self.lab.url, padding).encode())

    def send(self, name, **values):
        """One of omicli's own envelopes."""
        return self.post(self.shapes.render(name, **values)[1])

    def get(self, padding=""):
        if padding:
            super().get(padding)
            return
        uri = f"{of.DMTF}/{of.SERVICE}"
        of.check_service(self.send("get", URI=uri, KEY="CreationClassName", VALUE=of.SERVICE))

    def invoke(self):
        uri = f"{of.DMTF}/{of.SERVICE}"
        self.instance_id = of.job_of(self.send("invoke", URI=uri, KEY="CreationClassName", VALUE=of.SERVICE))

    def job(self):
        of.check(self.instance_id, "no job")
        uri = f"{of.DMTF}/Msvm_ConcreteJob"
        of.follow(lambda: self.send("get", URI=uri, KEY="InstanceID", VALUE=self.instance_id))


class RubySealed(SealedShape):
    """Raw NTLM without a message integrity code and with an empty domain; one connection for everything."""

    FLAGS_1, FLAGS_3 = 0xE0088237, 0xE0088235

    def __init__(self, lab, machine):
        super().__init__(lab, machine)
        self.session_id = str(uuid.uuid4()).upper()

    def lines(self, kind, length, *authorization):
        return [
            "POST /wsman HTTP/1.1", "User-Agent: Ruby WinRM Client", *authorization, f"Content-Type: {kind}",
            "Accept: */*", time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
            f"Content-Length: {length}", f"Host: {self.lab.host}:{self.lab.port}",
        ]

    def step(self, token, expected):
        authorization = f"Authorization: Negotiate {base64.b64encode(token).decode()}"
        lines = self.lines("application/soap+xml;charset=UTF-8", 0, authorization)
        status, headers, _ = self.exchange(lines)
        return self.token(status, headers, expected)

    def log_in(self):
        # Two empty fields, both at 32, and the workstation's name behind them all the same.
        first = ntlm.message_type_1(self.FLAGS_1, struct.pack("<IIII", 0, 32, 0, 32) + b"vm")
        challenge = ntlm.Challenge.parse(self.step(first, 401))
        moment = ntlm.filetime(time.time())
        proof = ntlm.Answer(self.lab.user, self.lab.password, "", challenge, challenge.pairs, moment)
        fields = {
            "lm": proof.lm, "nt": proof.nt, "domain": b"", "user": self.lab.user.encode("utf-16-le"),
            "workstation": b"", "key": proof.sent_key,
        }
        order = ["lm", "nt", "domain", "user", "workstation", "key"]
        self.step(proof.message(self.FLAGS_3, fields, b"", order), 200)
        self.sending, self.receiving = ntlm.sealers(self.FLAGS_3, proof.session_key)

    def post(self, envelope):
        if self.connection is None:
            self.connect()
            self.log_in()
        body = self.framed(envelope)
        status, headers, answer = self.exchange(self.lines(SEALED, len(body)), body)
        tree = of.parse(self.unframed(headers, answer))
        of.refuse_fault(tree)
        of.check(status == 200, f"HTTP {status}")
        return tree

    def ask(self, action, uri, selectors, body, padding=""):
        return self.post(of.envelope(action, uri, selectors, body, self.lab.url, padding).encode())

    def query(self):
        body = (of.SHAPES / "ruby" / "query.xml").read_text()
        for name, value in {
            "HOST": self.lab.host, "PORT": str(self.lab.port), "MESSAGE_ID": str(uuid.uuid4()).upper(),
            "SESSION_ID": self.session_id,
            "QUERY": f"select * from Msvm_ComputerSystem where Name = '{self.machine.guid}'",
        }.items():
            body = body.replace(f"@{name}@", value)
        tree = self.post(body.encode())
        of.check(of.text(tree, "ElementName") == self.machine.name, "another machine")


def tagged(tag, value):
    """DER: a tag, its length, its value."""
    length = len(value)
    if length < 0x80:
        return bytes([tag, length]) + value
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + value
