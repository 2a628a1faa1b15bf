"""Who the server is, and who may ask it: a certificate authority, a certificate, a token, a kubeconfig."""

import base64
import ipaddress
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from retort.core.atomic import storage_errors, sync_path

_VALID = timedelta(days=365)
_RENEWED = timedelta(days=30)
"""Before a certificate ends: one that is older is made anew at the next start."""
_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
_ADDRESSES = ("127.0.0.1", "::1")
NAME = "retort"
"""Of the cluster, the user and the context in a kubeconfig."""


@dataclass(frozen=True)
class Credentials:
    """Files of a cluster's directory, which only their owner may read.

    Attributes:
        authority: the certificate of the authority, by which clients know the server.
        certificate, key: of the server.
        token: what clients show.
    """

    authority: Path
    certificate: Path
    key: Path
    token: str


def credentials(directory: Path) -> Credentials:
    """Those of a cluster, made at its first start. The authority's own key is kept nowhere.

    Raises:
        StorageError: they cannot be written.
    """
    folder = directory / "tls"
    found = Credentials(folder / "ca.crt", folder / "server.crt", folder / "server.key", "")
    with storage_errors(directory):
        folder.mkdir(mode=0o700, exist_ok=True)
        if not _is_valid(found):
            _make(found)
        token_file = directory / "token"
        with suppress(FileNotFoundError):
            token = token_file.read_text("utf-8").strip()
            if token:
                return Credentials(found.authority, found.certificate, found.key, token)
        token = secrets.token_urlsafe(32)
        _write(token_file, f"{token}\n".encode())
    return Credentials(found.authority, found.certificate, found.key, token)


def write_kubeconfig(path: Path, address: str, found: Credentials) -> None:
    """Write the file by which clients find the cluster.

    Args:
        address: the server's URL.
    Raises:
        StorageError: it cannot be written.
    """
    authority = base64.b64encode(found.authority.read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": NAME,
                "cluster": {"server": address, "certificate-authority-data": authority},
            }
        ],
        "users": [{"name": NAME, "user": {"token": found.token}}],
        "contexts": [
            {"name": NAME, "context": {"cluster": NAME, "user": NAME, "namespace": "default"}}
        ],
        "current-context": NAME,
    }
    with storage_errors(path):
        _write(path, yaml.safe_dump(config, sort_keys=False).encode())


def _is_valid(found: Credentials) -> bool:
    try:
        served = x509.load_pem_x509_certificate(found.certificate.read_bytes())
        authority = x509.load_pem_x509_certificate(found.authority.read_bytes())
        served.verify_directly_issued_by(authority)
        key = serialization.load_pem_private_key(found.key.read_bytes(), None)
    except (OSError, ValueError, TypeError):
        return False
    except Exception as error:  # a signature that is not right, which has no narrower base
        if type(error).__name__ != "InvalidSignature":
            raise
        return False
    until = datetime.now(UTC) + _RENEWED
    fits = _public(key.public_key()) == _public(served.public_key())
    return fits and min(served.not_valid_after_utc, authority.not_valid_after_utc) > until


def _make(found: Credentials) -> None:
    authority_key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"{NAME} local cluster")
    authority = (
        _certificate(name, name, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives = [
        *(x509.DNSName(one) for one in _NAMES),
        *(x509.IPAddress(ipaddress.ip_address(one)) for one in _ADDRESSES),
    ]
    served = (
        _certificate(_name(f"{NAME} API server"), name, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(found.key, secret)
    _write(found.certificate, served.public_bytes(pem))
    _write(found.authority, authority.public_bytes(pem))


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _public(key: object) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("a key of another kind")
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.DER, form)


def _write(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    sync_path(path.parent)
