"""A server on 127.0.0.1 that answers as the Hugging Face Hub does, and one as its CDN."""

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT, OLDER = "5" * 40, "7" * 40
REVISIONS = {"main": COMMIT, "v1": OLDER, COMMIT: COMMIT, OLDER: OLDER}
TOKEN = "hf_secret"


class Hub(ThreadingHTTPServer):
    """Serves `files` by repository and name, each at two commits, `main` and `v1`.

    The faults, which can be set at any time: gated: only `TOKEN` opens it. private: as if there
    were none, without `TOKEN`. cut: each answer of the CDN ends after half, until one asks for the
    rest. wrong: one byte differs. small: the file itself, with git's checksum, as files outside
    large file storage come. careless: its etag is no checksum. broken: 500.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, dict[str, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), _Hub)
        self.files = files
        self.fault = ""
        self.seen: list[tuple[str, str, str | None]] = []  # method, path, authorization
        self.cdn = Cdn(self)
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def stop(self) -> None:
        for server in (self, self.cdn):
            server.shutdown()
            server.server_close()


class Cdn(ThreadingHTTPServer):
    """Serves the Hub's files by checksum, from where a range says."""

    daemon_threads = True

    def __init__(self, hub: Hub) -> None:
        super().__init__(("127.0.0.1", 0), _Cdn)
        self.hub = hub
        self.seen: list[tuple[str | None, str | None]] = []  # range, authorization
        self.sent = 0
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()

    def content(self, sha256: str) -> bytes:
        files = (file for files in self.hub.files.values() for file in files.values())
        return next(file for file in files if hashlib.sha256(file).hexdigest() == sha256)


class _Quiet(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.do_GET()

    def answer(self, status: int, headers: dict[str, str], content: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


class _Hub(_Quiet):
    server: Hub

    def do_GET(self) -> None:
        server, token = self.server, self.headers["Authorization"]
        server.seen.append((self.command, self.path, token))
        owner, name, _, revision, file = re.split("/", self.path, maxsplit=5)[1:]
        files = server.files.get(f"{owner}/{name}")
        if server.fault == "broken":
            return self.answer(500, {})
        if token not in (None, f"Bearer {TOKEN}"):
            message = "Invalid credentials in Authorization header"
            return self.answer(401, {"X-Error-Message": message})
        if files is None or (server.fault == "private" and not token):
            return self.answer(404 if token else 401, {"X-Error-Code": "RepoNotFound"})
        if server.fault == "gated" and not token:
            return self.answer(401, {"X-Error-Code": "GatedRepo"})
        if revision not in REVISIONS:
            return self.answer(404, {"X-Error-Code": "RevisionNotFound"})
        commit = {"X-Repo-Commit": REVISIONS[revision]}
        if file not in files:
            return self.answer(404, {"X-Error-Code": "EntryNotFound", **commit})
        content = files[file]
        sha256 = hashlib.sha256(content).hexdigest()
        if server.fault == "small":
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            return self.answer(200, {"ETag": f'"{git}"', **commit}, content)
        linked = "5f-1" if server.fault == "careless" else sha256
        self.answer(
            302,
            {
                **commit,
                "ETag": '"of the pointer"',
                "X-Linked-Etag": f'"{linked}"',
                "X-Linked-Size": str(len(content)),
                "X-Xet-Hash": "0" * 64,
                "Link": f'<{server.url}/api/xet-read-token>; rel="xet-auth"',
                "Location": f"http://127.0.0.1:{server.cdn.server_port}/{sha256}",
            },
        )


class _Cdn(_Quiet):
    server: Cdn

    def do_GET(self) -> None:
        server, asked = self.server, self.headers["Range"]
        server.seen.append((asked, self.headers["Authorization"]))
        content = server.content(self.path.removeprefix("/"))
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        headers = {"Content-Length": str(len(content) - start)}
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if server.hub.fault == "wrong":
            content = content[:-1] + bytes([content[-1] ^ 1])
        end = len(content) // 2 if server.hub.fault == "cut" and not asked else len(content)
        server.sent += end - start
        self.answer(206 if asked else 200, headers, content[start:end])
