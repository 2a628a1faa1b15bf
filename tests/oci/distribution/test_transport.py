import datetime
import ipaddress
import pathlib
import ssl
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.oci.distribution.registry_server import Fault, RegistryServer
from tools.oci.distribution.authorization import challenges
from tools.oci.distribution.transport import Request, Transport, origin
from tools.oci.errors import ImageError


@pytest.fixture
def certificate(tmp_path: pathlib.Path) -> pathlib.Path:
    """A certificate for 127.0.0.1 that signs itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + built.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def server(certificate: pathlib.Path) -> Iterator[RegistryServer]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with RegistryServer(tls=tls).serving() as serving:
        yield serving


def status(url: str) -> int:
    with Transport(plain_http=False).exchange(Request("GET", url)) as response:
        response.document()
        return response.status


def test_a_certificate_must_be_trusted_and_be_the_hosts(
    server: RegistryServer, certificate: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"https://{server.host}/v2/"
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(ImageError, match=r"the certificate of .* is not trusted"):
        status(url)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert status(url) == 404
    with pytest.raises(ImageError, match=r"the certificate of localhost:.* is not trusted"):
        status(url.replace("127.0.0.1", "localhost"))


def test_plain_http_is_not_fallen_back_to() -> None:
    with RegistryServer().serving() as plain:
        with pytest.raises(ImageError, match="speaks plain HTTP; allow it with --plain-http"):
            status(f"https://{plain.host}/v2/")
        away = {"Location": "http://registry.invalid/v2/"}
        plain.faults = [Fault("GET", status=307, headers=away)]
        with pytest.raises(ImageError, match=r"registry\.invalid wants plain HTTP"):
            status(f"http://{plain.host}/v2/")


def test_redirects_end() -> None:
    with RegistryServer().serving() as server:
        server.faults = [Fault("GET", times=99, status=302, headers={"Location": "/v2/again"})]
        with pytest.raises(ImageError, match="redirects without end"):
            status(f"http://{server.host}/v2/")


def test_the_default_port_is_the_same_origin() -> None:
    assert origin("https://registry.test/a") == origin("https://REGISTRY.test:443/b")
    assert origin("https://registry.test/") != origin("http://registry.test/")
    assert origin("https://registry.test/") != origin("https://registry.test:444/")


@pytest.mark.parametrize("url", ["ftp://registry.test/", "https://", "https://a:b/", "realm"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ImageError, match="is no address of a registry"):
        status(url)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("Basic", {"basic": {}}),
        ('Basic realm="a, \\"b\\""', {"basic": {"realm": 'a, "b"'}}),
        (
            'Bearer realm="https://a.test/t",service=s,scope="repository:a:pull,push"',
            {
                "bearer": {
                    "realm": "https://a.test/t",
                    "service": "s",
                    "scope": "repository:a:pull,push",
                }
            },
        ),
        ('Basic realm="a", Bearer realm="b"', {"basic": {"realm": "a"}, "bearer": {"realm": "b"}}),
        ("Negotiate, Basic realm=a", {"negotiate": {}, "basic": {"realm": "a"}}),
        ("", {}),
        ("=,=", {}),
    ],
)
def test_challenges_are_told_apart(header: str, found: dict[str, dict[str, str]]) -> None:
    assert challenges(header) == found
