"""The bill of materials: valid CycloneDX 1.6, exactly the image's packages, the same bytes every time."""

import json
import pathlib
from typing import Any

import cyclonedx.schema
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given, settings
from hypothesis import strategies as st
from license_expression import Licensing  # type: ignore[import-untyped]
from packageurl import PackageURL

from tools.oci.attest import sbom as command
from tools.oci.attest import spdx
from tools.oci.attest.sbom import sbom
from tools.oci.errors import ImageError
from tools.oci.image.layout import canonical_json

VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)
DIGEST = f"sha256:{'ab' * 32}"
LICENCES = [
    "",
    "MIT",
    "apache-2.0",
    "Apache-2.0 AND (MIT OR BSD-3-Clause)",
    "GPL-3.0-or-later WITH GCC-exception-3.1",
    "LicenseRef-NVIDIA-Proprietary",
    "BSD",
    "MIT License",
    "MIT AND",
    "Copyright (c) 2001\n\nPermission is hereby granted …",
    '"); DROP TABLE licences; \u2603',
]


def deb(name: str, version: str = "1.0-1+deb12u1", source: str = "") -> dict[str, Any]:
    return {
        "type": "deb",
        "name": name,
        "version": version,
        "architecture": "amd64",
        "sha256": "0" * 64,
        "source": source or name,
        "licence": "",
    }


def pypi(name: str, *requires: str, version: str = "1.0", licence: str = "MIT") -> dict[str, Any]:
    return {
        "type": "pypi",
        "name": name,
        "version": version,
        "sha256": "1" * 64,
        "licence": licence,
        "requires": list(requires),
    }


def contents(*packages: dict[str, Any]) -> dict[str, Any]:
    ordered = sorted(packages, key=lambda package: (package["type"], package["name"]))
    return {"image": "training_cpu", "packages": ordered}


IMAGE = contents(
    deb("libc6", "2.36-9+deb12u14", "glibc"),
    deb("zlib1g", "1:1.2.13.dfsg-1", "zlib"),
    deb("base-files"),
    pypi("torch", "numpy", "triton", version="2.13.0+cpu"),
    pypi("numpy", version="2!1.0rc1"),
    pypi("triton", "torch"),
    *(pypi(f"licence-{n}", licence=text) for n, text in enumerate(LICENCES)),
)


def bill(document: dict[str, Any] = IMAGE) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(sbom(document, DIGEST))
    return content


def below(document: dict[str, Any]) -> dict[str, list[str]]:
    """Name of each node to the names that it depends on."""
    parsed = bill(document)
    names = {component["bom-ref"]: component["name"] for component in parsed["components"]}
    names[parsed["metadata"]["component"]["bom-ref"]] = "IMAGE"
    return {
        names[node["ref"]]: [names[ref] for ref in node.get("dependsOn", [])]
        for node in parsed["dependencies"]
    }


def test_it_is_valid() -> None:
    assert VALIDATOR.validate_str(sbom(IMAGE, DIGEST).decode()) is None
    assert VALIDATOR.validate_str(sbom(contents(), DIGEST).decode()) is None


def test_the_validator_sees_a_mistake() -> None:
    wrong = bill()
    wrong["components"][0]["hashes"][0]["content"] = "short"
    assert VALIDATOR.validate_str(json.dumps(wrong)) is not None


def test_it_has_every_package_and_nothing_else() -> None:
    found = sorted((one["name"], one["version"]) for one in bill()["components"])
    assert found == sorted((one["name"], one["version"]) for one in IMAGE["packages"])
    hashes = {one["hashes"][0]["content"] for one in bill()["components"]}
    assert hashes == {"0" * 64, "1" * 64}


def test_it_is_the_same_every_time_and_another_for_another_image() -> None:
    assert sbom(IMAGE, DIGEST) == sbom(json.loads(json.dumps(IMAGE)), DIGEST)
    other = json.loads(sbom(IMAGE, f"sha256:{'cd' * 32}"))
    assert other["serialNumber"] != bill()["serialNumber"]
    assert "timestamp" not in json.dumps(bill())


def test_package_urls_are_canonical() -> None:
    parsed = bill()
    urls = {one["name"]: one["purl"] for one in parsed["components"]}
    image = parsed["metadata"]["component"]["purl"]
    for url in (*urls.values(), image):
        assert PackageURL.from_string(url).to_string() == url
    assert urls["torch"] == "pkg:pypi/torch@2.13.0%2Bcpu"
    assert urls["libc6"] == (
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64&distro=debian-12&upstream=glibc"
    )
    assert urls["base-files"].endswith("?arch=amd64&distro=debian-12")
    assert PackageURL.from_string(image).version == DIGEST


def test_licences_are_spdx_where_they_can_be_and_names_where_not() -> None:
    found = {
        one["name"]: one.get("licenses")
        for one in bill()["components"]
        if "licence-" in one["name"]
    }
    declared = {"acknowledgement": "declared"}
    assert found["licence-0"] is None
    assert found["licence-1"] == [{"license": {"id": "MIT", **declared}}]
    assert found["licence-2"] == [{"license": {"id": "Apache-2.0", **declared}}]
    for number in (3, 4, 5):
        assert found[f"licence-{number}"] == [{"expression": LICENCES[number], **declared}]
    for number in (6, 7, 8, 10):
        assert found[f"licence-{number}"] == [{"license": {"name": LICENCES[number], **declared}}]
    (whole,) = found["licence-9"] or []
    assert whole["license"]["name"] == "Copyright (c) 2001"
    assert whole["license"]["text"]["content"] == LICENCES[9]


def test_the_graph_says_what_requires_what() -> None:
    found = below(contents(pypi("a", "b"), pypi("b"), pypi("c"), deb("d")))
    assert found == {"IMAGE": ["d", "a", "c"], "a": ["b"], "b": [], "c": [], "d": []}


def test_packages_that_require_each_other_hang_below_the_image_too() -> None:
    assert below(contents(pypi("a", "b"), pypi("b", "a")))["IMAGE"] == ["a"]
    assert below(contents(pypi("a", "a")))["IMAGE"] == ["a"]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"packages": []}, "not the contents"),
        ({"image": "a"}, "not the contents"),
        ({"image": "a", "packages": ["torch"]}, "not the contents"),
        (contents({**pypi("a"), "type": "rpm"}), "'rpm'"),
        (contents({**pypi("a"), "sha256": "abc"}), "no SHA-256"),
        (contents({**pypi("a"), "version": ""}), "no version"),
        (contents(pypi("a"), pypi("a")), "twice"),
        ({"image": "a", "packages": [pypi("b"), pypi("a")]}, "not sorted"),
        (contents(pypi("a", "gone")), "requires gone"),
    ],
)
def test_contents_that_cannot_be_are_refused(document: dict[str, Any], reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        sbom(document, DIGEST)


def test_a_digest_that_is_none_is_refused() -> None:
    with pytest.raises(ImageError, match="not a digest"):
        sbom(IMAGE, "sha256:abc")


def test_the_command_writes_it(tmp_path: pathlib.Path) -> None:
    (tmp_path / "contents.json").write_bytes(canonical_json(IMAGE))
    (tmp_path / "digest").write_text(f"{DIGEST}\n")
    given_files = [f"--contents={tmp_path}/contents.json", f"--digest-file={tmp_path}/digest"]
    command.main([*given_files, f"--out={tmp_path}/out"])
    assert (tmp_path / "out").read_bytes() == sbom(IMAGE, DIGEST)
    (tmp_path / "digest").write_text("none")
    with pytest.raises(ImageError, match="holds no digest"):
        command.main([*given_files, f"--out={tmp_path}/out"])


# --- licence expressions


def test_the_identifiers_are_those_of_cyclonedx() -> None:
    folder = pathlib.Path(cyclonedx.schema.__file__).parent / "_res"
    (schema,) = folder.glob("spdx.*.schema.json")
    listed = json.loads(schema.read_text())["enum"]
    assert [name for name in listed if spdx.identifier(name.lower()) != name] == []


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("mit", "MIT"),
        ("( MIT )", "MIT"),
        ("Apache-2.0+", "Apache-2.0+"),
        ("gpl-2.0+", "GPL-2.0+"),
        ("MIT   OR\nISC", "MIT OR ISC"),
        ("MIT or ISC", "MIT OR ISC"),
        ("(MIT AND ISC) OR (0BSD)", "(MIT AND ISC) OR 0BSD"),
        ("mit AND isc OR mit", "(MIT AND ISC) OR MIT"),
        ("MIT OR isc AND MIT", "MIT OR (ISC AND MIT)"),
        ("gpl-2.0 with classpath-exception-2.0", "GPL-2.0 WITH Classpath-exception-2.0"),
        ("DocumentRef-a:LicenseRef-b", "DocumentRef-a:LicenseRef-b"),
    ],
)
def test_an_expression_is_spelled_canonically(text: str, canonical: str) -> None:
    assert spdx.expression(text) == canonical


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "AND", "MIT ISC", "MIT Or ISC2", "(MIT", "MIT)", "()", "MIT WITH"),
        *("MIT WITH Nothing", "Made-up-1.0", "MIT, ISC", "MIT/ISC", "MIT OR OR ISC"),
        *("LicenseRef-", "(" * 5000),
    ],
)
def test_other_text_is_no_expression(text: str) -> None:
    assert spdx.expression(text) is None


_NAMES = st.sampled_from(["MIT", "ISC", "Apache-2.0", "LicenseRef-x"])
_EXPRESSIONS = st.recursive(
    _NAMES,
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from(["AND", "OR"]), inner),
)


@settings(deadline=None)
@given(_EXPRESSIONS)
def test_a_canonical_spelling_means_the_same_and_is_its_own(text: str) -> None:
    spelled = spdx.expression(text)
    assert spelled is not None
    assert Licensing().is_equivalent(text, spelled)
    assert spdx.expression(spelled) == spelled


@settings(deadline=None)
@given(st.text())
def test_any_licence_text_gives_a_valid_bill(text: str) -> None:
    document = contents(pypi("a", licence=text))
    written = sbom(document, DIGEST).decode()
    assert VALIDATOR.validate_str(written) is None
