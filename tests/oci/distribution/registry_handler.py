"""What the tests' registry answers; `registry_server` holds its state."""

import base64
import contextlib
import hashlib
import http.server
import json
import re
import socket
import urllib.parse
import uuid
from collections.abc import Mapping
from typing import NoReturn

from tests.oci.distribution.registry_server import RegistryServer

_BLOCK = 4096


class _Answered(Exception):
    """An answer was sent, and the request is over."""


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Handler(http.server.BaseHTTPRequestHandler):
    registry: RegistryServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def handle_any(self) -> None:
        self.split = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(self.split.query))
        line = f"{self.command} {self.path}"
        with self.registry.lock:
            self.registry.lines.append(line)
            self.registry.authorizations.append(self.headers.get("Authorization"))
        self.fault = self.registry.fault(line)
        try:
            self._route()
        except _Answered:
            pass
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = handle_any  # noqa: N815

    def _route(self) -> None:
        if self.fault and self.fault.status:
            self._drain()
            self.answer(self.fault.status, self.fault.headers, _error("FAULT", "as told"))
        if self.fault and self.fault.expire:
            self.registry.store.tokens.clear()
        if self.split.path == "/token":
            self._token()
        matched = re.fullmatch(
            r"/v2/(?P<name>.+?)/(?P<kind>blobs/uploads|blobs|manifests|referrers)/(?P<what>.*)",
            self.split.path,
        )
        if not matched:
            self.answer(404, body=_error("NAME_UNKNOWN", "no such path"))
        self.name = matched["name"]
        self._authorise()
        method = f"{self.command.lower()}_{matched['kind'].replace('/', '_')}"
        handler = getattr(self, method.replace("head_", "get_"), None)
        if handler is None:
            self.answer(405, body=_error("UNSUPPORTED", "no such method"))
        handler(matched["what"])

    # Answers

    def answer(
        self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> NoReturn:
        if self.fault and self.fault.lose_answer:
            self._hang_up()
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            cut = self.fault.cut_after if self.fault and self.command == "GET" else None
            if self.split.path.startswith("/v2/") and "/blobs/sha256:" in self.split.path:
                sent = self.registry.sent.setdefault(self.split.path.rpartition("/")[2], [])
                sent.append(len(body[:cut]))
            self.wfile.write(body[:cut])
            if cut is not None:
                self._hang_up()
        raise _Answered

    def _hang_up(self) -> NoReturn:
        self.close_connection = True
        with contextlib.suppress(OSError):  # the client was first
            self.connection.shutdown(socket.SHUT_RDWR)
        raise _Answered

    def _drain(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    # Rights

    def _user(self) -> str | None:
        users = self.registry.users
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        if users and scheme == "Basic":
            name, _, password = base64.b64decode(value).decode().partition(":")
            return name if users.passwords.get(name) == password else None
        return None

    def _authorise(self) -> None:
        users = self.registry.users
        if users is None:
            return
        action = "pull" if self.command in ("GET", "HEAD") else "push"
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        user, is_known = self._user(), False
        if users.scheme == "bearer" and scheme == "Bearer":
            scope, user = self.registry.store.tokens.get(value, ("", ""))
            is_known = scope.startswith(f"repository:{self.name}:")
            is_known = is_known and (action == "pull" or "push" in scope)
        elif users.scheme == "basic":
            is_known = user is not None
        if not is_known:
            challenge = 'Basic realm="Registry, \\"tests\\""'
            if users.scheme == "bearer":
                realm = f"http://{self.registry.host}/token"
                scope = f"repository:{self.name}:{action}"
                challenge = f'Bearer realm="{realm}",service="tests",scope="{scope}"'
            # The body is left unread, as servers do that refuse a large one.
            self.close_connection = True
            body = _error("UNAUTHORIZED", "authentication required")
            self.answer(401, {"WWW-Authenticate": challenge, "Connection": "close"}, body)
        if action == "push" and user in users.readers:
            self._drain()
            self.answer(403, body=_error("DENIED", "requested access is denied"))

    def _token(self) -> NoReturn:
        asked = self.query
        user = self._user()
        if self.command == "POST":
            asked = dict(urllib.parse.parse_qsl(self._drain().decode()))
            assert asked["grant_type"] == "refresh_token" and asked["client_id"]
            user = asked["refresh_token"].removeprefix("refresh-")
        assert self.registry.users and asked["service"] == "tests"
        if user not in self.registry.users.passwords:
            self.answer(401, body=_error("UNAUTHORIZED", "no such user"))
        token = uuid.uuid4().hex
        self.registry.store.tokens[token] = (asked["scope"], str(user))
        key = "access_token" if self.command == "POST" else "token"
        self.answer(200, body=json.dumps({key: token}).encode())

    # Blobs

    def get_blobs(self, digest: str) -> None:
        content = self.registry.store.blobs.get((self.name, digest))
        if content is None:
            self.answer(404, body=_error("BLOB_UNKNOWN", digest))
        if self.registry.blobs_at and self.command == "GET":
            self.answer(307, {"Location": self.registry.blobs_at + self.path})
        headers = {"Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"}
        matched = re.fullmatch(r"bytes=([0-9]+)-", self.headers.get("Range", ""))
        if not matched:
            self.answer(200, headers, content)
        start = int(matched[1])
        if start >= len(content):
            self.answer(416, headers)
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.answer(206, headers, content[start:])

    def post_blobs_uploads(self, _: str) -> None:
        self._drain()
        name = uuid.uuid4().hex
        self.registry.store.uploads[name] = bytearray()
        self.registry.store.steps[name] = 0
        headers = self._place(name)
        if self.registry.least_chunk:
            headers["OCI-Chunk-Min-Length"] = str(self.registry.least_chunk)
        self.answer(202, headers)

    def get_blobs_uploads(self, name: str) -> None:
        self._upload(name)
        self.answer(204, self._place(name))

    def delete_blobs_uploads(self, name: str) -> None:
        self._upload(name)
        self.registry.store.uploads.pop(name, None)
        self.answer(204)

    def patch_blobs_uploads(self, name: str) -> None:
        upload = self._upload(name, latest=True)
        length = int(self.headers["Content-Length"])
        self.registry.patches.append(length)
        accepts = length if self.registry.accepts is None else self.registry.accepts
        cut = self.fault.cut_after if self.fault else None
        if self.headers.get("Content-Type") != "application/octet-stream":
            self.answer(400, body=_error("BLOB_UPLOAD_INVALID", "Content-Type"))
        ranged = self.headers.get("Content-Range")
        if (ranged is None and upload) or ranged not in (
            None,
            f"{len(upload)}-{len(upload) + length - 1}",
        ):
            self._drain()
            self.answer(416, self._place(name), _error("BLOB_UPLOAD_INVALID", "range"))
        left = length if cut is None else min(length, cut)
        read = b""
        while left and (block := self.rfile.read(min(_BLOCK, left))):
            read += block
            left -= len(block)
        upload += read[:accepts]
        if len(read) < length or cut is not None:
            if self.registry.forgets_uploads:
                self.registry.store.uploads.pop(name, None)
            self._hang_up()
        self.registry.store.steps[name] += 1
        self.answer(202, self._place(name))

    def put_blobs_uploads(self, name: str) -> None:
        content = bytes(self._upload(name, latest=True)) + self._drain()
        digest = self.query.get("digest", "")
        if _digest(content) != digest:
            del self.registry.store.uploads[name]
            self.answer(400, body=_error("DIGEST_INVALID", digest))
        del self.registry.store.uploads[name]
        self.registry.store.blobs[self.name, digest] = content
        self.answer(201, {"Location": f"/v2/{self.name}/blobs/{digest}"})

    def _upload(self, name: str, latest: bool = False) -> bytearray:
        if name not in self.registry.store.uploads:
            self._drain()
            self.answer(404, body=_error("BLOB_UPLOAD_UNKNOWN", name))
        if latest and self.query.get("step") != str(self.registry.store.steps[name]):
            self._drain()
            self.answer(400, body=_error("BLOB_UPLOAD_INVALID", "an old Location was used"))
        return self.registry.store.uploads[name]

    def _place(self, name: str) -> dict[str, str]:
        step = self.registry.store.steps[name]
        last = max(0, len(self.registry.store.uploads[name]) - 1)
        place = f"/v2/{self.name}/blobs/uploads/{name}?step={step}"
        return {"Location": place, "Range": f"0-{last}"}

    # Manifests

    def get_manifests(self, reference: str) -> None:
        digest = self.registry.store.tags.get((self.name, reference), reference)
        media_type, content = self.registry.store.manifests.get((self.name, digest), ("", b""))
        if not content or media_type not in self.headers.get("Accept", ""):
            self.answer(404, body=_error("MANIFEST_UNKNOWN", reference))
        headers = {"Docker-Content-Digest": digest, "Content-Type": media_type}
        self.answer(200, headers, content)

    def put_manifests(self, reference: str) -> None:
        content = self._drain()
        digest = _digest(content)
        document = json.loads(content)
        if document["mediaType"] != self.headers["Content-Type"]:
            self.answer(400, body=_error("MANIFEST_INVALID", "Content-Type"))
        if ":" in reference and reference != digest:
            self.answer(400, body=_error("DIGEST_INVALID", reference))
        store = self.registry.store
        for blob in (*document.get("layers", []), *filter(None, [document.get("config")])):
            if len(store.blobs.get((self.name, blob["digest"]), b"")) != blob["size"]:
                self.answer(400, body=_error("MANIFEST_BLOB_UNKNOWN", blob["digest"]))
        for child in document.get("manifests", []):
            if (self.name, child["digest"]) not in store.manifests:
                self.answer(400, body=_error("MANIFEST_UNKNOWN", child["digest"]))
        store.manifests[self.name, digest] = (document["mediaType"], content)
        if ":" not in reference:
            store.tags[self.name, reference] = digest
        headers = {"Location": f"/v2/{self.name}/manifests/{digest}"}
        subject = document.get("subject")
        if subject and self.registry.has_referrers:
            headers["OCI-Subject"] = subject["digest"]
        self.answer(201, headers)

    def get_referrers(self, digest: str) -> None:
        if not self.registry.has_referrers:
            self.answer(404, body=_error("UNSUPPORTED", "no referrers"))
        entries = []
        for (name, own), (media_type, content) in self.registry.store.manifests.items():
            document = json.loads(content)
            if name == self.name and document.get("subject", {}).get("digest") == digest:
                entry = {"mediaType": media_type, "digest": own, "size": len(content)}
                entry["artifactType"] = document["artifactType"]
                entry["annotations"] = document.get("annotations", {})
                entries.append(entry)
        media_type = "application/vnd.oci.image.index.v1+json"
        index = {"schemaVersion": 2, "mediaType": media_type, "manifests": entries}
        self.answer(200, {"Content-Type": media_type}, json.dumps(index).encode())


def _error(code: str, message: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()
