"""A certificate authority of a test's own: certificates for the servers, for their users, and for a stranger."""

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

UPN = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
LIFE = datetime.timedelta(days=2)


@dataclass
class Pair:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Who signs."""

    def __init__(self, directory, name):
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        self.certificate = (
            blank(self.name, self.name, self.key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self.key, hashes.SHA256())
        )
        self.file = directory / f"{name}.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, name):
        """A server's certificate for loopback. Its key is RSA: pyspnego's CredSSP takes no other."""
        return self.for_loopback(name, rsa.generate_private_key(65537, 2048), hashes.SHA256())

    def server_sha384(self, name):
        """One whose channel binding is another hash: that of its signature."""
        return self.for_loopback(name, ec.generate_private_key(ec.SECP256R1()), hashes.SHA384())

    def for_loopback(self, name, key, signature_hash):
        """A server's certificate."""
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        return self.issue(name, key, ExtendedKeyUsageOID.SERVER_AUTH, names, signature_hash)

    def client(self, name, upn):
        """A user's certificate, with a user principal name as Windows writes it: UTF8String in an otherName."""
        octets = upn.encode()
        value = bytes([0x0C, len(octets)]) + octets
        key = ec.generate_private_key(ec.SECP256R1())
        return self.issue(name, key, ExtendedKeyUsageOID.CLIENT_AUTH, [x509.OtherName(UPN, value)], hashes.SHA256())

    def issue(self, name, key, usage, names, signature_hash):
        """A certificate that is no authority."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            blank(subject, self.name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self.key, signature_hash)
        )
        pair = Pair(self.directory / f"{name}.pem", self.directory / f"{name}.key")
        pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair.key.touch(mode=0o600)
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return pair


def blank(subject, issuer, key):
    """What all certificates have."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + LIFE)
    )
