"""A small Cloud Storage server in this process, used by Google's client over HTTP on loopback."""

import base64
import contextlib
import gzip
import hashlib
import http.server
import json
import re
import threading
import urllib.parse


class CloudStorage:
    """Serves lists, reads, small uploads and deletions of objects.

    These are the objects in `contents`, {"bucket/name": bytes}, with their `metadata`.

    Attributes:
      encoded: "bucket/name" of the objects whose contents are gzip, stored with `Content-Encoding: gzip`; they are unpacked
        for clients that do not take that.
      generations: Generations by "bucket/name"; 1 for objects that are not in it.
      created: Creation times by "bucket/name", in the format of the service.
      page_objects: Number of objects on one page of a list.
      queries: Parameters of each list request so far.
      requests: What each read request so far asked for: "bucket", "list", "object" or "content".
      sent_bytes: Bytes of contents sent so far.
      requester_pays: Whether requests must name the project that pays for them.
      refusals: Reasons of 403 by "bucket/name", with which objects and their contents are refused.
      permissions: What the account may do in all buckets.
    """

    def __init__(self):
        self.contents = {}
        self.metadata = {}
        self.encoded = set()
        self.generations = {}
        self.created = {}
        self.page_objects = 1000
        self.queries = []
        self.requests = []
        self.sent_bytes = 0
        self.requester_pays = False
        self.refusals = {}
        self.permissions = ["storage.objects.get", "storage.objects.list"]
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def describe(self, path):
        bucket, name = path.split("/", 1)
        content = self.contents[path]
        md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
        return {
            "kind": "storage#object",
            "id": path,
            "bucket": bucket,
            "name": name,
            "generation": str(self.generations.get(path, 1)),
            "timeCreated": self.created.get(path, "2026-01-01T00:00:00.000Z"),
            "updated": "2026-11-11T11:11:11.111Z",
            "size": str(len(content)),
            "md5Hash": md5,
            "metadata": self.metadata.get(path) or {},
            **({"contentEncoding": "gzip"} if path in self.encoded else {}),
        }

    def list_page(self, bucket, query):
        """Returns one page of a list, with the fields of each object that the query asks for."""
        self.queries.append(query)
        start = f"{bucket}/{query.get('prefix', '')}"
        paths = [path for path in sorted(self.contents) if path.startswith(start)]
        first = int(query.get("pageToken", 0))
        last = first + self.page_objects
        wanted = re.search(r"items\((.*?)\)", query.get("fields", ""))
        items = [self.describe(path) for path in paths[first:last]]
        if wanted:
            items = [{field: item[field] for field in wanted[1].split(",")} for item in items]
        return {"items": items, **({"nextPageToken": str(last)} if last < len(paths) else {})}

    def _handler(self):
        cloud = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                url = urllib.parse.urlsplit(self.path)
                query = dict(urllib.parse.parse_qsl(url.query))
                bucket, objects, name = url.path.split("/b/", 1)[1].partition("/o")
                path = f"{bucket}/{urllib.parse.unquote(name.lstrip('/'))}"
                of_object = "content" if query.get("alt") == "media" else "object"
                what = "bucket" if not objects else of_object if name else "list"
                cloud.requests.append(what)
                if cloud.requester_pays and not query.get("userProject"):
                    message = "Bucket is a requester pays bucket but no user project provided."
                    self.answer({"error": {"code": 400, "message": message}}, status=400)
                elif url.path.endswith("/iam/testPermissions"):
                    asked = urllib.parse.parse_qs(url.query)["permissions"]
                    self.answer({"permissions": [name for name in asked if name in cloud.permissions]})
                elif path in cloud.refusals:
                    errors = [{"reason": cloud.refusals[path], "message": "as the test wishes"}]
                    self.answer({"error": {"code": 403, "message": "as the test wishes", "errors": errors}}, status=403)
                elif what == "bucket":
                    self.answer({"kind": "storage#bucket", "name": bucket})
                elif what == "list":
                    self.answer(cloud.list_page(bucket, query))
                elif path not in cloud.contents:
                    self.answer({"error": {"code": 404, "message": f"No such object: {path}"}}, status=404)
                elif what == "content":
                    self.answer_media(path)
                else:
                    self.answer(cloud.describe(path))

            def do_POST(self):
                bucket = urllib.parse.urlsplit(self.path).path.split("/b/", 1)[1].partition("/o")[0]
                body = self.rfile.read(int(self.headers["Content-Length"]))
                _, description, content, _ = body.split(f"--{self.headers.get_boundary()}".encode())
                resource = json.loads(description.split(b"\r\n\r\n", 1)[1])
                path = f"{bucket}/{resource['name']}"
                cloud.contents[path] = content.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
                cloud.metadata[path] = resource.get("metadata")
                self.answer(cloud.describe(path))

            def do_DELETE(self):
                bucket, _, name = urllib.parse.urlsplit(self.path).path.split("/b/", 1)[1].partition("/o/")
                found = cloud.contents.pop(f"{bucket}/{urllib.parse.unquote(name)}", None)
                self.answer(b"", status=404 if found is None else 204)

            def answer_media(self, path):
                content = cloud.contents[path]
                wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
                cloud.sent_bytes += len(content)
                if path not in cloud.encoded and wanted and int(wanted[1]) < len(content):
                    first, last = int(wanted[1]), min(int(wanted[2]), len(content) - 1)
                    cloud.sent_bytes += last + 1 - first - len(content)
                    span = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
                    self.answer(content[first : last + 1], status=206, headers=span)
                elif path not in cloud.encoded:
                    self.answer(content)
                elif "gzip" in (self.headers.get("Accept-Encoding") or ""):
                    self.answer(content, headers={"Content-Encoding": "gzip", "X-Goog-Stored-Content-Encoding": "gzip"})
                else:
                    self.answer(gzip.decompress(content), headers={"X-Goog-Stored-Content-Encoding": "gzip"})

            def answer(self, content, status=200, headers=None):
                body = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Type", "application/octet-stream" if body is content else "application/json")
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # a client may stop in the middle
                    self.wfile.write(body)

            def log_message(self, *args):
                """Logs nothing, to keep the test's output clean."""

        return Handler
