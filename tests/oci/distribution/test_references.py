import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tools.oci.distribution import references
from tools.oci.distribution.references import Reference
from tools.oci.errors import ImageError

_LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
_HOST = st.one_of(
    st.just("localhost"),
    st.builds("{}.{}".format, _LABEL, _LABEL),
    st.builds("{}:{}".format, _LABEL, st.integers(1, 65535)),
    st.builds("[{}]:{}".format, st.ip_addresses(v=6), st.integers(1, 65535)),
)
_PART = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}", fullmatch=True)
_REPOSITORY = st.lists(_PART, min_size=1, max_size=4).map("/".join)
_TAG = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", fullmatch=True)
_DIGEST = st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)
_REFERENCE = st.builds(Reference, _HOST, _REPOSITORY, st.none() | _TAG, st.none() | _DIGEST)


@given(_REFERENCE)
def test_a_name_reads_as_it_was_written(reference: Reference) -> None:
    assert references.parse(str(reference)) == reference


@given(st.text(alphabet="ab.A:/@-_ [1\n", max_size=40))
@example("registry.test/a\n")
@example("registry.test/a:tag\n")
def test_whatever_is_read_is_the_whole_text(text: str) -> None:
    try:
        read = references.parse(text)
    except ImageError as error:
        assert "\n" not in str(error)
    else:
        assert str(read) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("retort/training", "no registry"),
        ("training", "no registry"),
        ("registry.test", "no registry"),
        ("https://registry.test/a", "no host"),
        ("registry.test:0/a", "no port"),
        ("registry.test:65536/a", "no port"),
        ("user@registry.test/a", "no host"),
        ("[::1/a", "no host"),
        ("[1.2.3.4]/a", "no host"),
        ("registry.test/", "no repository"),
        ("registry.test/A", "no repository"),
        ("registry.test/a//b", "no repository"),
        ("registry.test/a/", "no repository"),
        ("registry.test/../a", "no repository"),
        ("registry.test/a___b", "no repository"),
        ("registry.test/a?x=1", "no repository"),
        ("registry.test/" + "a" * 250, "longer than 255"),
        ("registry.test/a:", "no tag"),
        ("registry.test/a:-x", "no tag"),
        ("registry.test/a:" + "x" * 129, "no tag"),
        ("registry.test/a:b:c", "no tag"),
        ("registry.test/a@", "no digest"),
        ("registry.test/a@sha256:12", "no digest"),
        ("registry.test/a@sha512:" + "a" * 128, "no digest"),
        ("registry.test/a@sha256:" + "A" * 64, "no digest"),
    ],
)
def test_a_bad_name_is_refused_with_the_part_that_is_wrong(text: str, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        references.parse(text)


@pytest.mark.parametrize("suffix", [":tag", "@sha256:" + "0" * 64])
def test_a_repository_has_neither_tag_nor_digest(suffix: str) -> None:
    assert references.parse_repository("registry.test/a/b").name == "registry.test/a/b"
    with pytest.raises(ImageError, match="without tag and digest"):
        references.parse_repository(f"registry.test/a/b{suffix}")


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("localhost", True),
        ("LOCALHOST:5000", True),
        ("registry.localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("127.8.9.1", True),
        ("[::1]:5000", True),
        ("10.0.0.1:5000", False),
        ("[fe80::1]", False),
        ("localhost.test", False),
        ("127.0.0.1.test", False),
        ("localhost@registry.test", False),
    ],
)
def test_plain_http_is_for_this_machine(host: str, is_loopback: bool) -> None:
    assert references.is_loopback(host) is is_loopback
