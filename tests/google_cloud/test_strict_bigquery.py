"""Loads, MERGEs and parameters work through the proxy, which refuses what the service refuses."""

import datetime
import io
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound
from google.cloud import bigquery

DAY = datetime.date(2026, 1, 2)
TIME = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.UTC)

SPAN = [bigquery.SchemaField("first", "INT64", "REQUIRED"), bigquery.SchemaField("label", "STRING")]
FIELDS = [
    bigquery.SchemaField("name", "STRING", "REQUIRED"),
    bigquery.SchemaField("day", "DATE"),
    bigquery.SchemaField("at", "TIMESTAMP"),
    bigquery.SchemaField("score", "FLOAT64"),
    bigquery.SchemaField("spans", "RECORD", "REPEATED", fields=SPAN),
]
COLUMNS = pa.schema(
    {
        "name": pa.string(),
        "day": pa.date32(),
        "at": pa.timestamp("us", tz="UTC"),
        "score": pa.float64(),
        "spans": pa.list_(pa.struct({"first": pa.int64(), "label": pa.string()})),
    }
)


def row(name, **changes):
    return {"name": name, "day": DAY, "at": TIME, "score": None, "spans": [], **changes}


def upload(cloud, name, rows, columns=COLUMNS):
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=columns), file)
    return cloud.upload(name, file.getvalue())


def make_table(cloud, name):
    cloud.client().create_table(bigquery.Table(f"{cloud.project}.{cloud.dataset}.{name}", FIELDS))


def load(cloud, uris, table, *, job_id=None, **options):
    """Loads files, Parquet unless the options say otherwise, and returns the number of rows."""
    lists = bigquery.format_options.ParquetOptions()
    lists.enable_list_inference = True
    options = {
        "source_format": "PARQUET",
        "parquet_options": lists,
        "schema": FIELDS,
        "create_disposition": "CREATE_NEVER",
        **options,
    }
    config = bigquery.LoadJobConfig(**options)
    job = cloud.client().load_table_from_uri(uris, f"{cloud.project}.{cloud.dataset}.{table}", job_id=job_id, job_config=config)
    return job.result(timeout=300).output_rows


def num_rows(cloud, table):
    return cloud.rows(f"SELECT COUNT(*) AS n FROM {table}")[0]["n"]


@pytest.fixture
def notes(cloud):
    """The name of an empty table."""
    make_table(cloud, "notes")
    return "notes"


def test_parquet_files_are_loaded_unchanged(cloud, notes):
    spans = [{"first": 1, "label": "up"}, {"first": 2, "label": None}]
    files = [
        upload(cloud, "1.parquet", [row("a", spans=spans, score=math.nan)]),
        upload(cloud, "2.parquet", [row("b", day=None)]),
    ]
    assert load(cloud, files, notes) == 2
    first, second = cloud.rows("SELECT * FROM notes ORDER BY name")
    assert math.isnan(first.pop("score"))
    assert first == {"name": "a", "day": DAY, "at": TIME, "spans": spans}
    assert second == row("b", day=None)
    assert load(cloud, files[:1], notes, write_disposition="WRITE_TRUNCATE") == 1
    assert num_rows(cloud, notes) == 1


def test_a_merge_accepts_nested_rows_and_parameters(cloud, notes):
    make_table(cloud, "staged")
    later = TIME + datetime.timedelta(hours=1)
    spans = [{"first": 1, "label": "up"}]
    load(cloud, [upload(cloud, "old.parquet", [row("a"), row("b")])], notes)
    load(cloud, [upload(cloud, "new.parquet", [row("a"), row("a", at=later, spans=spans), row("c"), row("d")])], "staged")
    sql = """
        MERGE notes USING (
          SELECT * FROM staged WHERE name NOT IN UNNEST(@skipped)
          QUALIFY ROW_NUMBER() OVER (PARTITION BY name ORDER BY at DESC) = 1
        ) AS source
        ON source.name = notes.name AND notes.day BETWEEN @first AND @last
        WHEN MATCHED AND source.at > notes.at THEN UPDATE SET at = source.at, spans = source.spans
        WHEN NOT MATCHED THEN INSERT (name, day, at, spans) VALUES (source.name, source.day, source.at, source.spans)
    """
    parameters = [
        bigquery.ArrayQueryParameter("skipped", "STRING", ["d"]),
        bigquery.ScalarQueryParameter("first", "DATE", DAY),
        bigquery.ScalarQueryParameter("last", "DATE", DAY),
    ]
    config = bigquery.QueryJobConfig(query_parameters=parameters, default_dataset=f"{cloud.project}.{cloud.dataset}")
    job = cloud.client().query(sql, job_config=config)
    job.result(timeout=300)
    assert job.num_dml_affected_rows == 2
    assert cloud.rows("SELECT * FROM notes ORDER BY name") == [row("a", at=later, spans=spans), row("b"), row("c")]


MORE = COLUMNS.append(pa.field("more", pa.int64()))
SWAPPED = pa.schema(reversed(list(COLUMNS)))


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        (row("a", more=1), MORE, "no such field: more"),
        (row(None), COLUMNS, "Missing required field: name"),
        (row("a", spans=[{"first": None, "label": "up"}]), COLUMNS, r"Missing required field: spans\.first"),
        (row("a"), SWAPPED, "the emulator matches them by position"),
    ],
)
def test_a_load_of_wrong_rows_fails_and_changes_nothing(cloud, notes, content, columns, message):
    good = upload(cloud, "good.parquet", [row("a")])
    assert load(cloud, [good], notes) == 1
    bad = upload(cloud, "bad.parquet", [content], columns)
    job_id = f"{cloud.dataset}-load"
    with pytest.raises(BadRequest, match=message):
        load(cloud, [good, bad], notes, job_id=job_id, write_disposition="WRITE_TRUNCATE")
    assert num_rows(cloud, notes) == 1
    assert "errorResult" in cloud.client().get_job(job_id)._properties["status"]
    with pytest.raises(Conflict):
        load(cloud, [good], notes, job_id=job_id)


def test_a_load_of_a_missing_file_changes_nothing(cloud, notes):
    good = upload(cloud, "good.parquet", [row("a")])
    with pytest.raises(NotFound, match="Not found: URI gs://"):
        load(cloud, [good, f"gs://{cloud.bucket}/none.parquet"], notes)
    assert num_rows(cloud, notes) == 0


def test_json_lines_are_checked_as_strictly(cloud, notes):
    json_lines = {"source_format": "NEWLINE_DELIMITED_JSON", "parquet_options": None}
    assert load(cloud, [cloud.upload("good.json", b'{"name": "a"}\n')], notes, **json_lines) == 1
    for content, message in ((b'{"name": "a", "more": 1}', "no such field: more"), (b'{"score": 1}', "required field: name")):
        with pytest.raises(BadRequest, match=message):
            load(cloud, [cloud.upload("bad.json", content)], notes, **json_lines)


def test_a_load_creates_a_table_with_partitions_and_clusters(cloud):
    file = upload(cloud, "1.parquet", [row("a")])
    partitioning = bigquery.TimePartitioning(field="day")
    options = {"time_partitioning": partitioning, "clustering_fields": ["name"], "create_disposition": "CREATE_IF_NEEDED"}
    assert load(cloud, [file], "made", **options) == 1
    made = cloud.client().get_table(f"{cloud.project}.{cloud.dataset}.made")
    assert made.time_partitioning.field == "day"
    assert made.clustering_fields == ["name"]


def test_a_file_can_be_uploaded_with_its_job(cloud, notes):
    table = f"{cloud.project}.{cloud.dataset}.{notes}"
    config = bigquery.LoadJobConfig(schema=FIELDS)
    job_id = f"{cloud.dataset}-upload"
    cloud.client().load_table_from_json([{"name": "a"}], table, job_id=job_id, job_config=config).result(timeout=300)
    assert num_rows(cloud, notes) == 1
    with pytest.raises(Conflict):
        cloud.client().load_table_from_json([{"name": "a"}], table, job_id=job_id, job_config=config)
    with pytest.raises(BadRequest, match="no such field: more"):
        cloud.client().load_table_from_json([{"name": "a", "more": 1}], table, job_config=config).result(timeout=300)


def test_streamed_rows_are_refused_one_by_one(cloud, notes):
    table = f"{cloud.project}.{cloud.dataset}.{notes}"
    errors = cloud.client().insert_rows_json(table, [{"name": "a"}, {"name": "b", "more": 1}, {"score": 1.0}])
    assert [(error["index"], error["errors"][0]["message"]) for error in errors] == [
        (1, "no such field: more."),
        (2, "Missing required field: name."),
    ]
    assert cloud.client().insert_rows_json(table, [{"name": "a"}]) == []
