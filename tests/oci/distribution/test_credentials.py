import base64
import json
import os
import pathlib
from typing import Any

import pytest

from tools.oci.distribution import credentials
from tools.oci.distribution.credentials import Credentials
from tools.oci.errors import ImageError

HOST = "registry.test:5000"
SECRET = "s3cret:with:colons"


def encoded(username: str, secret: str = SECRET) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{secret}".encode()).decode()}


def docker(directory: pathlib.Path, content: Any) -> dict[str, str]:
    (directory / "config.json").write_text(json.dumps(content))
    return {"DOCKER_CONFIG": str(directory), "HOME": "/nonexistent"}


def helper(directory: pathlib.Path, name: str, script: str) -> None:
    program = directory / f"docker-credential-{name}"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.fixture
def on_path(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return programs


def test_the_docker_configuration_is_read(tmp_path: pathlib.Path) -> None:
    env = docker(tmp_path, {"auths": {HOST: encoded("ann"), "other.test": encoded("bob")}})
    assert credentials.find(HOST, "a/b", env) == Credentials("ann", SECRET)
    assert credentials.find("unknown.test", "a/b", env) is None


def test_the_home_directory_has_it_by_default(tmp_path: pathlib.Path) -> None:
    (tmp_path / ".docker").mkdir()
    docker(tmp_path / ".docker", {"auths": {HOST: encoded("ann")}})
    found = credentials.find(HOST, "a", {"HOME": str(tmp_path)})
    assert found == Credentials("ann", SECRET)
    assert credentials.find(HOST, "a", {"HOME": str(tmp_path / "none")}) is None
    assert credentials.find(HOST, "a", {}) is None


def test_podmans_file_comes_first_and_must_be_there(tmp_path: pathlib.Path) -> None:
    env = docker(tmp_path, {"auths": {HOST: encoded("ann")}})
    podman = tmp_path / "auth.json"
    podman.write_text(json.dumps({"auths": {HOST: encoded("pod")}}))
    found = credentials.find(HOST, "a", {**env, "REGISTRY_AUTH_FILE": str(podman)})
    assert found == Credentials("pod", SECRET)
    podman.unlink()
    with pytest.raises(ImageError, match="REGISTRY_AUTH_FILE"):
        credentials.find(HOST, "a", {**env, "REGISTRY_AUTH_FILE": str(podman)})


def test_the_longest_namespace_counts(tmp_path: pathlib.Path) -> None:
    auths = {HOST: encoded("all"), f"{HOST}/team": encoded("team"), f"{HOST}/team/a": encoded("a")}
    env = docker(tmp_path, {"auths": auths})
    names = {
        repository: found.username
        for repository in ("team/a", "team/b", "teams", "x/team")
        if (found := credentials.find(HOST, repository, env))
    }
    assert names == {"team/a": "a", "team/b": "team", "teams": "all", "x/team": "all"}


def test_old_keys_are_urls(tmp_path: pathlib.Path) -> None:
    env = docker(tmp_path, {"auths": {f"https://{HOST}/v1/": encoded("ann")}})
    assert credentials.find(HOST, "a", env) == Credentials("ann", SECRET)


def test_an_identity_token_is_told_from_a_password(tmp_path: pathlib.Path) -> None:
    env = docker(tmp_path, {"auths": {HOST: {**encoded("ann", ""), "identitytoken": "t"}}})
    assert credentials.find(HOST, "a", env) == Credentials("", "t", is_token=True)


def test_a_helper_is_asked_with_the_host_on_its_standard_input(
    tmp_path: pathlib.Path, on_path: pathlib.Path
) -> None:
    script = f'read host; printf \'{{"Username": "%s", "Secret": "x"}}\' "$1-$host" # {HOST}'
    helper(on_path, "one", script)
    helper(on_path, "two", 'echo \'{"Username": "<token>", "Secret": "t"}\'')
    env = docker(tmp_path, {"credHelpers": {HOST: "one"}, "credsStore": "two"})
    assert credentials.find(HOST, "a", env) == Credentials(f"get-{HOST}", "x")
    assert credentials.find("other.test", "a", env) == Credentials("", "t", is_token=True)


def test_what_a_helper_does_not_know_is_looked_up_in_the_file(
    tmp_path: pathlib.Path, on_path: pathlib.Path
) -> None:
    helper(on_path, "none", "echo credentials not found in native keychain; exit 1")
    env = docker(tmp_path, {"credsStore": "none", "auths": {HOST: encoded("ann")}})
    assert credentials.find(HOST, "a", env) == Credentials("ann", SECRET)
    assert credentials.find("other.test", "a", env) is None


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (f"echo {SECRET} | tee /dev/stderr; exit 3", "exit code 3"),
        (f"echo {SECRET}", "gave no credentials"),
        (f"echo '\"{SECRET}\"'", "gave no credentials"),
    ],
)
def test_a_broken_helper_is_an_error_without_its_secret(
    tmp_path: pathlib.Path, on_path: pathlib.Path, script: str, words: str
) -> None:
    helper(on_path, "broken", script)
    env = docker(tmp_path, {"credsStore": "broken"})
    with pytest.raises(ImageError, match=words) as raised:
        credentials.find(HOST, "a", env)
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"auths": []}, "not an object"),
        ([], "not an object"),
        ({"auths": {HOST: {"auth": "!!"}}}, "cannot be decoded"),
        ({"auths": {HOST: {"auth": base64.b64encode(b"no-colon").decode()}}}, "cannot be decoded"),
        ({"auths": {HOST: SECRET}}, "not an object"),
        ({"credsStore": "../../evil"}, "no name of a credential helper"),
        ({"credsStore": "not-installed"}, "cannot run"),
    ],
)
def test_an_unusable_file_is_named(tmp_path: pathlib.Path, content: Any, words: str) -> None:
    env = docker(tmp_path, content)
    with pytest.raises(ImageError, match=words) as raised:
        credentials.find(HOST, "a", env)
    assert SECRET not in str(raised.value)


def test_a_file_that_is_no_json_is_named_and_not_quoted(tmp_path: pathlib.Path) -> None:
    (tmp_path / "config.json").write_text(f'{{"auths": {SECRET}')
    with pytest.raises(ImageError, match=r"config\.json is not JSON") as raised:
        credentials.find(HOST, "a", {"DOCKER_CONFIG": str(tmp_path)})
    assert SECRET not in str(raised.value)
    assert raised.value.__cause__ is None


def test_no_secret_is_in_what_is_printed() -> None:
    assert SECRET not in repr(Credentials("ann", SECRET))
