"""NTLMv2 by hand (MS-NLMP), where a test needs exact octets: what a client writes is up to the caller.

Only the primitives, MD4, RC4 and the derivation of keys, come from pyspnego, whose version is pinned."""

import hashlib
import hmac
import os
import struct
from dataclasses import dataclass

from spnego._ntlm_raw.crypto import rc4, rc4init, rc4k, sealkey, signkey
from spnego._ntlm_raw.md4 import md4

MAGIC = b"NTLMSSP\0"
AV_END, AV_FLAGS, AV_TIMESTAMP, AV_TARGET_NAME, AV_BINDINGS = 0, 6, 7, 9, 10
AV_FLAG_MIC = 2
# Seconds from 1601, where Windows' clock begins, to 1970.
EPOCH_SECONDS = 11_644_473_600


def hmac_md5(key, data):
    """HMAC-MD5."""
    return hmac.new(key, data, hashlib.md5).digest()


def message_type_1(flags, rest):
    """NEGOTIATE_MESSAGE: `rest` is what follows the flags."""
    return MAGIC + struct.pack("<II", 1, flags) + rest


@dataclass
class Challenge:
    """CHALLENGE_MESSAGE."""

    octets: bytes
    flags: int
    nonce: bytes
    pairs: dict

    @classmethod
    def parse(cls, octets):
        """Reads one."""
        if octets[:12] != MAGIC + struct.pack("<I", 2):
            raise ValueError("not a challenge")
        flags, nonce = struct.unpack("<I8s", octets[20:32])
        length, offset = struct.unpack("<H2xI", octets[40:48])
        info, pairs = octets[offset : offset + length], {}
        while info:
            kind, size = struct.unpack("<HH", info[:4])
            if kind == AV_END:
                break
            pairs[kind] = info[4 : 4 + size]
            info = info[4 + size :]
        return cls(octets, flags, nonce, pairs)


def encode_pairs(pairs):
    """AV_PAIRs in the order of their kinds, with their end."""
    ordered = [(kind, pairs[kind]) for kind in sorted(pairs)]
    return b"".join(struct.pack("<HH", kind, len(value)) + value for kind, value in [*ordered, (AV_END, b"")])


def filetime(seconds):
    """A moment as Windows counts it."""
    return struct.pack("<Q", int((seconds + EPOCH_SECONDS) * 10_000_000))


class Answer:
    """The proof for a challenge: responses and keys."""

    def __init__(self, user, password, domain, challenge, pairs, moment):
        one_way = hmac_md5(md4(password.encode("utf-16-le")), (user.upper() + domain).encode("utf-16-le"))
        nonce = os.urandom(8)
        blob = b"\x01\x01" + bytes(6) + moment + nonce + bytes(4) + encode_pairs(pairs) + bytes(4)
        proof = hmac_md5(one_way, challenge.nonce + blob)
        self.nt = proof + blob
        self.lm = hmac_md5(one_way, challenge.nonce + nonce) + nonce
        self.base_key = hmac_md5(one_way, proof)
        self.session_key = os.urandom(16)
        self.sent_key = rc4k(self.base_key, self.session_key)

    def message(self, flags, fields, fixed, order):
        """AUTHENTICATE_MESSAGE. `fields` are lm, nt, domain, user, workstation and key; `fixed` is what stands between
        the flags and the payload; `order` names the fields in the order of their payload. A field that `order` does not
        name has offset 0."""
        places, payload = dict.fromkeys(fields, 0), b""
        begin = 64 + len(fixed)
        for name in order:
            places[name] = begin + len(payload)
            payload += fields[name]
        heads = [
            struct.pack("<HHI", len(fields[name]), len(fields[name]), places[name])
            for name in ("lm", "nt", "domain", "user", "workstation", "key")
        ]
        return MAGIC + struct.pack("<I", 3) + b"".join(heads) + struct.pack("<I", flags) + fixed + payload


class Sealer:
    """One direction of a session with extended security, 128 bits and a key of its own."""

    def __init__(self, flags, session_key, usage):
        self.sign_key = signkey(flags, session_key, usage)
        self.seal_key = sealkey(flags, session_key, usage)
        self.stream = rc4init(self.seal_key)
        self.sequence = 0

    def signature(self, message):
        """The next signature."""
        number = struct.pack("<I", self.sequence)
        self.sequence += 1
        return struct.pack("<I", 1) + rc4(self.stream, hmac_md5(self.sign_key, number + message)[:8]) + number

    def seal(self, message):
        """Signature and ciphertext."""
        sealed = rc4(self.stream, message)
        return self.signature(message), sealed

    def unseal(self, signature, sealed):
        """The message; raises when it is not what its signature says."""
        message = rc4(self.stream, sealed)
        if not hmac.compare_digest(self.signature(message), signature):
            raise ValueError("the signature does not match")
        return message

    def restart(self):
        """SPNEGO's mechListMIC takes a sequence number, and the stream begins again behind it."""
        self.stream = rc4init(self.seal_key)


def sealers(flags, session_key):
    """What the client sends with, and what it receives with."""
    return Sealer(flags, session_key, "initiate"), Sealer(flags, session_key, "accept")
