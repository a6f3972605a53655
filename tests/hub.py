"""A hub on this machine, in memory: repositories, files and jobs as huggingface_hub asks for them."""

import base64
import hashlib
import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

TOKEN = "hf_secretsecretsecret"


class Hub(ThreadingHTTPServer):
    """`faults` are (pattern of method and path, status), each answered once; status 0 cuts a body short.

    `datasets` are {name: {branch or tag: {file: bytes}}}; their commits are known by their names too.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories, self.buckets, self.blobs, self.jobs = {}, {}, {}, {}
        self.datasets: dict[str, dict[str, dict[str, bytes]]] = {}
        self.sent: list[tuple[str, int]] = []  # (file of a data set, bytes of it), an answer each
        self.asked, self.faults = [], []
        self.ends = "COMPLETED"  # the stage in which jobs end
        self.daemon_threads = True
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> Any:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.answer("POST")

    def do_PUT(self) -> None:
        self.answer("PUT")

    def do_GET(self) -> None:
        self.answer("GET")

    def do_HEAD(self) -> None:
        self.answer("HEAD")

    def answer(self, method: Any) -> None:
        hub, path = self.server, self.path.split("?")[0]
        fault = next((entry for entry in hub.faults if re.fullmatch(entry[0], f"{method} {path}")), None)
        if fault and fault[1] == 0:
            hub.faults.remove(fault)
            self.rfile.read(min(16, int(self.headers.get("Content-Length") or 0)))
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        body = self.body()
        hub.asked.append((method, self.path, dict(self.headers), body))
        if fault:
            hub.faults.remove(fault)
            self.send(fault[1], {"error": "on demand"})
            return
        if not path.startswith("/blob/") and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.send(401, {"error": "Invalid credentials"})
            return
        for pattern, act in ROUTES:
            if found := re.fullmatch(pattern, f"{method} {path}"):
                act(self, body, *found.groups())
                return
        self.send(404, {"error": f"no {method} {path}"})

    def body(self) -> Any:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def send(self, status: Any, content: Any, headers: Any = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


def revision(files: Any) -> Any:
    """A commit's name: of what it holds."""
    return hashlib.sha1(b"".join(name.encode() + data for name, data in sorted(files.items()))).hexdigest()


def whoami(h: Any, body: Any) -> None:
    h.send(200, {"type": "user", "name": "someone", "auth": {"accessToken": {"role": "write"}}})


def create(h: Any, body: Any) -> None:
    asked = json.loads(body)
    name = f"{asked.get('organization') or 'someone'}/{asked['name']}"
    there = name in h.server.repositories
    h.server.repositories.setdefault(
        name, {"private": asked.get("private") or asked.get("visibility") == "private", "files": {}}
    )
    h.send(409 if there else 200, {"url": f"{h.server.url}/{name}", "name": name, "id": name})


def info(h: Any, body: Any, name: Any, *_: Any) -> None:
    repository = h.server.repositories.get(name)
    if repository is None:
        h.send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        return
    files = [{"rfilename": file} for file in repository["files"]]
    h.send(
        200,
        {
            "id": name,
            "modelId": name,
            "sha": revision(repository["files"]),
            "private": repository["private"],
            "siblings": files,
            "tags": [],
            "downloads": 0,
            "likes": 0,
        },
    )


def tree(h: Any, body: Any, name: Any, *_: Any) -> None:
    files = h.server.repositories[name]["files"]
    h.send(
        200,
        [
            {"type": "file", "path": file, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for file, data in files.items()
        ],
    )


def preupload(h: Any, body: Any, name: Any) -> None:
    files = json.loads(body)["files"]
    chosen = [
        {
            "path": f["path"],
            "uploadMode": "lfs" if f["path"].endswith(".safetensors") else "regular",
            "shouldIgnore": False,
            "oid": None,
        }
        for f in files
    ]
    h.send(200, {"files": chosen})


def batch(h: Any, body: Any, name: Any) -> None:
    objects = []
    for asked in json.loads(body)["objects"]:
        found = {"oid": asked["oid"], "size": asked["size"], "authenticated": True}
        if asked["oid"] not in h.server.blobs:
            found["actions"] = {"upload": {"href": f"{h.server.url}/blob/{asked['oid']}", "header": {}}}
        objects.append(found)
    h.send(200, {"transfer": "basic", "objects": objects}, {"Content-Type": "application/vnd.git-lfs+json"})


def blob(h: Any, body: Any, oid: Any) -> None:
    assert hashlib.sha256(body).hexdigest() == oid
    h.server.blobs[oid] = body
    h.send(200, b"")


def commit(h: Any, body: Any, name: Any, *_: Any) -> None:
    files = h.server.repositories[name]["files"]
    for line in body.splitlines():
        entry = json.loads(line)
        if entry["key"] == "file":
            files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        elif entry["key"] == "lfsFile":
            files[entry["value"]["path"]] = h.server.blobs[entry["value"]["oid"]]
    h.send(
        200,
        {
            "success": True,
            "commitOid": "b" * 40,
            "commitUrl": f"{h.server.url}/{name}/commit/{'b' * 40}",
            "hookOutput": "",
        },
    )


def resolve(h: Any, body: Any, name: Any, _: Any, file: Any) -> None:
    files = h.server.repositories[name]["files"]
    if file not in files:
        h.send(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
        return
    data = files[file]
    h.send(
        200,
        data,
        {
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Repo-Commit": revision(files),
            "Content-Type": "application/octet-stream",
        },
    )


def dataset_files(h: Any, name: str, asked: str | None) -> dict[str, bytes] | None:
    """The files of a data set at a branch, tag or commit; None, and answered so, where there is no such."""
    branches = h.server.datasets.get(name)
    if branches is None:
        h.send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        return None
    known: dict[str, dict[str, bytes]] = {
        **{revision(files): files for files in branches.values()},
        **branches,
    }
    if asked is not None and asked not in known:
        h.send(404, {"error": f"Invalid rev id: {asked}"}, {"X-Error-Code": "RevisionNotFound"})
        return None
    return known[asked or "main"]


def dataset_info(h: Any, body: Any, name: str, asked: str | None = None) -> None:
    if (files := dataset_files(h, name, asked)) is not None:
        siblings = [{"rfilename": file} for file in files]
        facts = {"id": name, "sha": revision(files), "private": False, "siblings": siblings, "tags": []}
        h.send(200, {**facts, "downloads": 0, "likes": 0})


def entries(files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [
        {"type": "file", "path": file, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
        for file, data in files.items()
    ]


def dataset_tree(h: Any, body: Any, name: str, asked: str, folder: str) -> None:
    if (files := dataset_files(h, name, asked)) is not None:
        folder = folder.strip("/")
        inside = {file: data for file, data in files.items() if not folder or file.startswith(folder + "/")}
        if folder and not inside:
            h.send(404, {"error": "no such folder"}, {"X-Error-Code": "EntryNotFound"})
        else:
            h.send(200, entries(inside))


def dataset_paths(h: Any, body: Any, name: str, asked: str) -> None:
    if (files := dataset_files(h, name, asked)) is not None:
        wanted = parse_qs(body.decode()).get("paths", [])
        h.send(200, entries({file: data for file, data in files.items() if file in wanted}))


def dataset_file(h: Any, body: Any, name: str, asked: str, file: str) -> None:
    files = dataset_files(h, name, asked)
    if files is None:
        return
    if file not in files:
        h.send(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
        return
    data, status = files[file], 200
    headers = {
        "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
        "X-Repo-Commit": revision(files),
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
    }
    if found := re.fullmatch(r"bytes=(\d+)-(\d*)", h.headers.get("Range") or ""):
        start, end = int(found[1]), min(int(found[2] or len(data)), len(data) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
        data, status = data[start : end + 1], 206
    if h.command == "GET":
        h.server.sent.append((file, len(data)))
    h.send(status, data, headers)


def start_job(h: Any, body: Any, who: Any) -> None:
    job = {
        "id": f"job{len(h.server.jobs)}",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "status": {"stage": "RUNNING", "message": None},
        "owner": {"id": "1", "name": who, "type": "user"},
    }
    h.server.jobs[job["id"]] = job | {"asked": json.loads(body)}
    h.send(200, job)


def show_job(h: Any, body: Any, who: Any, job: Any) -> None:
    h.send(200, {key: value for key, value in h.server.jobs[job].items() if key != "asked"})


def logs(h: Any, body: Any, who: Any, job: Any) -> None:
    h.server.jobs[job]["status"]["stage"] = h.server.ends
    lines = ["===== Job started", "step 1 loss 2.0", "done"]
    text = "".join(
        "data: " + json.dumps({"data": line, "timestamp": f"2026-01-01T00:00:0{i}Z"}) + "\n\n"
        for i, line in enumerate(lines)
    )
    h.send(200, text.encode(), {"Content-Type": "text/event-stream"})


def bucket(h: Any, body: Any, name: Any) -> None:
    if h.command == "POST":
        h.server.buckets.setdefault(name, json.loads(body))
    if name not in h.server.buckets:
        h.send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        return
    facts = {"id": name, "private": True, "createdAt": "2026-01-01T00:00:00.000Z", "size": 0, "totalFiles": 0}
    h.send(200, {**facts, "url": f"{h.server.url}/buckets/{name}"})


NAME = r"([\w.-]+/[\w.-]+)"
ROUTES = [
    (r"GET /api/whoami-v2", whoami),
    (r"POST /api/repos/create", create),
    (rf"GET /api/(?:models|spaces)/{NAME}", info),
    (rf"GET /api/(?:models|spaces)/{NAME}/revision/([\w]+)", info),
    (rf"GET /api/(?:models|spaces)/{NAME}/tree/(\w+).*", tree),
    (r"POST /api/validate-yaml", lambda h, body: h.send(200, {"errors": [], "warnings": []})),
    (rf"POST /api/(?:models|spaces)/{NAME}/preupload/\w+", preupload),
    (rf"POST /{NAME}\.git/info/lfs/objects/batch", batch),
    (r"PUT /blob/(\w+)", blob),
    (rf"POST /api/(?:models|spaces)/{NAME}/commit/(\w+)", commit),
    (rf"GET /api/datasets/{NAME}", dataset_info),
    (rf"GET /api/datasets/{NAME}/revision/([^/]+)", dataset_info),
    (rf"GET /api/datasets/{NAME}/tree/([^/]+)(.*)", dataset_tree),
    (rf"POST /api/datasets/{NAME}/paths-info/([^/]+)", dataset_paths),
    (rf"(?:GET|HEAD) /datasets/{NAME}/resolve/([^/]+)/(.+)", dataset_file),
    (rf"(?:GET|HEAD) /{NAME}/resolve/(\w+)/(.+)", resolve),
    (rf"(?:GET|POST) /api/buckets/{NAME}", bucket),
    (
        rf"(?:GET|POST|PUT) /api/spaces/{NAME}/(?:secrets|variables|volumes)",
        lambda h, body, name: h.send(200, {}),
    ),
    (r"POST /api/jobs/(\w+)", start_job),
    (r"GET /api/jobs/(\w+)/(\w+)", show_job),
    (r"GET /api/jobs/(\w+)/(\w+)/logs", logs),
]
