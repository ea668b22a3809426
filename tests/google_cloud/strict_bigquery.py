"""A proxy that refuses what BigQuery refuses but its emulator accepts, so that tests do not pass by mistake."""

import email
import glob
import json
import re
import urllib.parse

import pyarrow.parquet as pq

from tests.google_cloud.proxy import BigQueryProxy, Response

_JOBS = re.compile(r"/projects/[^/]+/jobs$")
_JOB = re.compile(r"/projects/[^/]+/jobs/([^/]+)$")
_INSERT_ALL = re.compile(r"(/bigquery/v2/.*/tables/[^/]+)/insertAll$")


class StrictBigQueryProxy(BigQueryProxy):
    """Checks loads and streamed rows as strictly as the service, and accepts files that are uploaded with a load job.

    - A load of JSON lines or Parquet fails and changes nothing if a file is missing, a row has a field that the table lacks, or
      a REQUIRED field is missing or NULL. The emulator accepts such rows, and keeps rows of files before a missing one.
    - A load of Parquet fails if its columns are in another order than the table's. The service matches columns by name, the
      emulator by position, so that values would land in the wrong columns.
    - A load into a missing table creates it with the partitions and clusters of the job.
    - Streamed rows are refused one by one, for the same reasons.
    - A job with an upload can use its ID once, like other jobs. Its file may have the type */*, which Google's client sends.

    Still lenient: statements such as INSERT and MERGE may write NULL into REQUIRED columns. A MERGE whose source has two rows
    for one target row is not an error. `require_partition_filter` and `expires` are ignored.
    """

    def __init__(self, upstream, objects):
        """Takes the folder in which the storage server keeps one folder per bucket."""
        super().__init__(upstream)
        self._objects = objects
        self._failed_jobs = {}
        self._to_fail = []

    def clear(self):
        super().clear()
        self._to_fail = []

    def fail_job(self, matches, *, reason):
        """Lets the next matching job start and then fail without effect."""
        self._to_fail.append((matches, reason))

    def answer(self, request, headers):
        url = urllib.parse.urlsplit(request.path)
        job_id = _JOB.search(url.path)
        if request.method == "GET" and job_id and job_id[1] in self._failed_jobs:
            return Response.json(self._failed_jobs[job_id[1]])
        if request.method == "POST" and (rows := _INSERT_ALL.search(url.path)):
            return self._insert_all(rows[1], request) or super().answer(request, headers)
        if request.method == "POST" and _JOBS.search(url.path):
            return self._start_job(request, headers)
        return super().answer(request, headers)

    def _start_job(self, request, headers):
        body, uploaded = request.body, None
        if "uploadType=multipart" in request.path:
            body = re.sub(rb"(?i)(\ncontent-type:) \*/\*", rb"\1 application/octet-stream", body, count=1)
            job, uploaded = _parts(headers["Content-Type"], body)
        elif "uploadType" in request.path:  # a resumable upload, which no test uses
            return self.forward(request.method, request.path, body, headers)
        else:
            job = json.loads(body)
        if not job["configuration"].get("dryRun"):
            if self._is_taken(job):
                return Response.error(409, "duplicate", f"Already Exists: Job {job['jobReference']['jobId']}")
            failed = self._fail_as_told(job, request) or self._fail_load(job, uploaded)
            if failed:
                return failed
        return self.forward(request.method, request.path, body, headers)

    def _is_taken(self, job):
        """Records a job's ID; returns whether it was used before."""
        job_id = job.get("jobReference", {}).get("jobId")
        with self._lock:
            is_taken = job_id in self._job_ids
            if job_id:
                self._job_ids.add(job_id)
        return is_taken

    def _fail_load(self, job, uploaded):
        """Returns the response to a load job that the service would fail; None if the job is valid."""
        load = job["configuration"].get("load")
        if not load:
            return None
        path = _table_path(load["destinationTable"])
        table = self._get(path)
        fields = load.get("schema", {}).get("fields") or (table or {}).get("schema", {}).get("fields")
        error = None
        if fields and not load.get("autodetect"):
            error = self._find_error(load, fields, (table or {}).get("schema", {}).get("fields", fields), uploaded)
        if error is None:
            if not table and fields and load.get("createDisposition") != "CREATE_NEVER":
                self._create_table(path, load, fields)
            return None
        return self._failed(job, *error)

    def _fail_as_told(self, job, request):
        """Returns the response to a job that a test wants to fail; None if there is no such wish."""
        with self._lock:
            found = next((wish for wish in self._to_fail if wish[0](request)), None)
            if found:
                self._to_fail.remove(found)
        return self._failed(job, found[1], "as the test wishes") if found else None

    def _failed(self, job, reason, message):
        """Returns the response to a job that failed, and keeps it for later questions."""
        detail = {"reason": reason, "message": message}
        reference = {"location": "US", **job["jobReference"]}
        status = {"state": "DONE", "errorResult": detail, "errors": [detail]}
        failed = {**job, "kind": "bigquery#job", "jobReference": reference, "status": status, "statistics": {}}
        self._failed_jobs[reference["jobId"]] = failed
        return Response.json(failed)

    def _find_error(self, load, fields, columns, uploaded):
        """Returns the reason and message of the first error; None if there is none.

        Args:
          load: Configuration of the job.
          fields: Schema of the job, or of the table if the job has none.
          columns: Columns of the table, in its order.
          uploaded: Bytes that were uploaded with the job; None if the job names files.
        """
        paths = []
        for uri in load.get("sourceUris", []):
            found = sorted(glob.glob(f"{self._objects}/{uri.removeprefix('gs://')}", recursive=True))
            if not found:
                return "notFound", f"Not found: URI {uri}"
            paths += found
        for path in paths:
            if load.get("sourceFormat") == "PARQUET":
                error = _find_parquet_error(path, fields, columns)
            elif load.get("sourceFormat") == "NEWLINE_DELIMITED_JSON":
                with open(path, "rb") as file:
                    error = _find_json_error(file.read(), fields)
            else:
                error = None
            if error:
                return "invalid", f"Error while reading data, error message: {error}"
        if uploaded is not None and load.get("sourceFormat") == "NEWLINE_DELIMITED_JSON":
            error = _find_json_error(uploaded, fields)
            if error:
                return "invalid", f"Error while reading data, error message: {error}"
        return None

    def _create_table(self, path, load, fields):
        options = {name: load[name] for name in ("timePartitioning", "clustering") if load.get(name)}
        content = {"tableReference": load["destinationTable"], "schema": {"fields": fields}, **options}
        self.forward("POST", path.rpartition("/")[0], json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _insert_all(self, path, request):
        """Returns the response that refuses streamed rows; None if all are valid."""
        table = self._get(path)
        if not table:
            return None
        rows = [row["json"] for row in json.loads(request.body)["rows"]]
        errors = [(index, find_row_error(row, table["schema"]["fields"])) for index, row in enumerate(rows)]
        refused = [
            {"index": index, "errors": [{"reason": "invalid", "message": error, "location": "", "debugInfo": ""}]}
            for index, error in errors
            if error
        ]
        return Response.json({"kind": "bigquery#tableDataInsertAllResponse", "insertErrors": refused}) if refused else None

    def _get(self, path):
        """Returns the resource at a path; None if it does not exist."""
        response = self.forward("GET", path)
        return json.loads(response.body) if response.status == 200 else None


def find_row_error(row, fields, path=""):
    """Returns what is wrong with a row of a table; None if it is valid. Names are compared without case."""
    known = {field["name"].lower(): field for field in fields}
    values = {name.lower(): value for name, value in row.items()}
    for name in row:
        if name.lower() not in known:
            return f"no such field: {path}{name}."
    for name, field in known.items():
        value = values.get(name)
        if value is None:
            if field.get("mode") == "REQUIRED":
                return f"Missing required field: {path}{field['name']}."
            continue
        if field["type"] in ("RECORD", "STRUCT"):
            for item in value if field.get("mode") == "REPEATED" else [value]:
                error = find_row_error(item, field["fields"], f"{path}{field['name']}.")
                if error:
                    return error
    return None


def _find_json_error(content, fields):
    for number, line in enumerate(filter(bytes.strip, content.split(b"\n")), start=1):
        error = find_row_error(json.loads(line), fields)
        if error:
            return f"JSON table encountered too many errors, giving up. Rows: {number}; errors: 1. {error}"
    return None


def _find_parquet_error(path, fields, columns):
    table = pq.read_table(path)
    known = {field["name"].lower() for field in fields}
    for name in table.column_names:
        if name.lower() not in known:
            return f"no such field: {name}."
    order = [column["name"].lower() for column in columns]
    if [name.lower() for name in table.column_names] != order:
        return f"columns must be in the order {order}, since the emulator matches them by position: {table.column_names}"
    return next(filter(None, (find_row_error(row, fields) for row in table.to_pylist())), None)


def _table_path(reference):
    project, dataset, table = reference["projectId"], reference["datasetId"], reference["tableId"]
    return f"/bigquery/v2/projects/{project}/datasets/{dataset}/tables/{table}"


def _parts(content_type, body):
    """Returns the job and the file of a multipart upload."""
    message = email.message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    job, file = message.get_payload()
    return json.loads(job.get_payload(decode=True)), file.get_payload(decode=True)
