"""A hub of data sets over a real socket: as much of it as its clients ask for one repository."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub(ThreadingHTTPServer):
    """
    Attributes:
        files: of the only commit of the only repository, to which its branch `main` points.
        status: what everything is answered with, unless it is 200.
        asked: the files whose content was sent.
    """

    def __init__(self, repository: str, commit: str, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repository = repository
        self.commit = commit
        self.files = files
        self.status = 200
        self.asked: list[str] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(repository: str, commit: str, files: dict[str, bytes]) -> Iterator[Hub]:
    with Hub(repository, commit, files) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(body=True)

    def log_message(self, *_arguments: object) -> None:
        pass

    def _answer(self, body: bool) -> None:
        hub, path = self.server, self.path.split("?")[0]
        path = path.replace("/main", f"/{hub.commit}")
        kind, content = "application/json", b""
        api = f"/api/datasets/{hub.repository}"
        name = path.partition(f"/{hub.repository}/resolve/{hub.commit}/")[2]
        status, headers = 200, {}
        if hub.status != 200:
            status = hub.status
        elif name in hub.files:
            kind, content = "application/octet-stream", hub.files[name]
            headers["ETag"] = f'"{hashlib.sha256(content).hexdigest()}"'
            headers["X-Repo-Commit"] = hub.commit
            wanted = self.headers["Range"]
            if body and wanted:
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                total, start = len(content), int(first)
                content = content[start : int(last) + 1 if last else None]
                headers["Content-Range"] = f"bytes {start}-{start + len(content) - 1}/{total}"
                status = 206
            if body:
                hub.asked.append(name)
        elif path == f"{api}/revision/{hub.commit}":
            about = {
                "id": hub.repository,
                "sha": hub.commit,
                "private": False,
                "downloads": 0,
                "likes": 0,
                "tags": [],
                "siblings": [{"rfilename": name} for name in hub.files],
            }
            content = json.dumps(about).encode()
        elif path.startswith((f"{api}/tree/{hub.commit}", f"{api}/paths-info/{hub.commit}")):
            content = json.dumps(self._listed(path)).encode()
        else:
            status = 404
            known = path.startswith((api, f"/datasets/{hub.repository}/"))
            here = f"/{hub.commit}" in path
            headers["X-Error-Code"] = (
                "EntryNotFound"
                if known and here
                else "RevisionNotFound" if known else "RepoNotFound"
            )
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _listed(self, path: str) -> list[dict[str, object]]:
        """The files of the repository and their folders, whatever part of them is asked for."""
        within = path.partition(f"/tree/{self.server.commit}/")[2]
        found: list[dict[str, object]] = [
            {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
            for name, data in self.server.files.items()
            if name.startswith(f"{within}/" if within else "")
        ]
        folders = {name.rpartition("/")[0] for name in self.server.files if "/" in name}
        found += [
            {"type": "directory", "path": folder, "oid": "0" * 40} for folder in sorted(folders)
        ]
        return found
