"""Tables and views in BigQuery follow the schema: missing ones are created, older ones are upgraded, others are refused."""

import copy
import json
import re

import pytest
from google.cloud import bigquery

from transforms.warehouse.base import TableOptions, WarehouseError
from transforms.warehouse.bigquery_tables import merge_fields, to_field
from transforms.warehouse.bigquery_warehouse import BigQueryWarehouse
from transforms.warehouse.schema import TABLES, VIDEO_COUNTS
from transforms.warehouse.views import VIEWS


class TestPrepare:
    def test_tables_have_the_schema_with_partitions_clusters_and_descriptions(self, prepared, cloud):
        assert cloud.tables() == sorted([table.name for table in TABLES] + [view.name for view in VIEWS])
        for table in TABLES:
            found = cloud.client().get_table(f"{cloud.project}.{cloud.dataset}.{table.name}")
            assert [field.to_api_repr() for field in found.schema] == [
                to_field(column).to_api_repr() for column in table.columns
            ]
            assert found.description == table.description
            assert (found.time_partitioning.field if found.time_partitioning else None) == table.partition_column
            assert tuple(found.clustering_fields or ()) == table.cluster_columns

    def test_views_have_their_descriptions(self, prepared, cloud):
        for view in VIEWS:
            found = cloud.client().get_table(f"{cloud.project}.{cloud.dataset}.{view.name}")
            assert found.description == view.description

    @pytest.mark.parametrize(("name", "line"), [("runs", "describe table runs"), ("sets", "change view sets")])
    def test_an_older_table_or_view_gets_its_description(self, prepared, cloud, name, line):
        found = cloud.client().get_table(f"{cloud.project}.{cloud.dataset}.{name}")
        found.description = "Old."
        cloud.client().update_table(found, ["description"])
        assert prepared.changes() == [line]
        cloud.bigquery.clear()
        prepared.prepare()
        (patch,) = (json.loads(request.body) for request in cloud.bigquery.requests if request.method == "PATCH")
        assert patch["description"] == next(item.description for item in (*TABLES, *VIEWS) if item.name == name)

    def test_preparing_again_changes_nothing(self, prepared, cloud):
        assert prepared.changes() == []
        cloud.bigquery.clear()
        prepared.prepare()
        assert {request.method for request in cloud.bigquery.requests} == {"GET"}

    def test_a_missing_data_set_is_created_in_the_given_location(self, cloud):
        made = BigQueryWarehouse(cloud.project, f"{cloud.dataset}_made", "")
        options = TableOptions(location="EU")
        assert made.changes(options)[:2] == [f"create data set {made.dataset} in EU", "create table video_counts"]
        made.prepare(options)
        assert cloud.client().get_dataset(f"{cloud.project}.{made.dataset}").location == "EU"
        assert made.changes() == []

    def test_options_are_set_and_kept_if_not_given_again(self, unprepared, cloud):
        unprepared.prepare(TableOptions(partition_expiration_days=30, require_partition_filter=True))
        tables = {t.name: cloud.client().get_table(f"{cloud.project}.{cloud.dataset}.{t.name}") for t in TABLES}
        expirations = {name: t.time_partitioning and t.time_partitioning.expiration_ms for name, t in tables.items()}
        month = 30 * 24 * 3600 * 1000
        assert expirations == {"video_counts": month, "frame_curves": month, "failures": month, "runs": None}
        made = [request for request in cloud.bigquery.requests if request.method == "POST"]
        asked = [json.loads(request.body) for request in made if request.path.split("?")[0].endswith("/tables")]
        # The server of these tests forgets this one.
        assert [t["tableReference"]["tableId"] for t in asked if t.get("requirePartitionFilter")] == ["frame_curves"]
        assert unprepared.changes() == []
        assert unprepared.changes(TableOptions(partition_expiration_days=0, require_partition_filter=True)) == [
            "keep rows of video_counts",
            "keep rows of frame_curves",
            "require upload dates in queries of frame_curves",
            "keep rows of failures",
        ]

    def test_columns_missing_from_an_older_table_are_added(self, prepared, cloud):
        client, table_id = cloud.client(), f"{cloud.project}.{cloud.dataset}.runs"
        client.delete_table(table_id)
        runs = next(table for table in TABLES if table.name == "runs")
        own = bigquery.SchemaField("note", "STRING", "NULLABLE", "Ours.")
        fields = [to_field(column) for column in runs.columns if column.name != "upload_dates"]
        older = bigquery.Table(table_id, [own, *fields])
        older.description = runs.description
        client.create_table(older)
        assert prepared.changes() == ["add column runs.upload_dates"]
        cloud.bigquery.clear()
        prepared.prepare()
        (patch, *views) = (request for request in cloud.bigquery.requests if request.method == "PATCH")
        names = [field["name"] for field in json.loads(patch.body)["schema"]["fields"]]
        assert names == ["note", *(column.name for column in runs.columns)]
        assert len(views) == len(VIEWS)

    def test_a_view_with_another_query_is_changed(self, prepared, cloud, caplog):
        found = cloud.client().get_table(f"{cloud.project}.{cloud.dataset}.failures_by_code")
        found.view_query = "SELECT 1 AS one"
        cloud.client().update_table(found, ["view_query"])
        assert prepared.changes() == ["change view failures_by_code"]
        with caplog.at_level("INFO"):
            prepared.prepare()
        assert f"{prepared.name}: change view failures_by_code" in caplog.messages
        assert prepared.changes() == []

    def test_a_table_with_other_partitions_is_refused(self, unprepared, cloud):
        fields = [to_field(column) for column in VIDEO_COUNTS.columns]
        cloud.client().create_table(bigquery.Table(f"{cloud.project}.{cloud.dataset}.video_counts", fields))
        with pytest.raises(WarehouseError, match=r"video_counts must be partitioned by upload_date\. Received: None"):
            unprepared.check()

    def test_a_view_in_place_of_a_table_is_refused(self, prepared, cloud):
        table_id = f"{cloud.project}.{cloud.dataset}.runs"
        cloud.client().delete_table(table_id)
        view = bigquery.Table(table_id)
        view.view_query = "SELECT 'run-1' AS run_id"
        cloud.client().create_table(view)
        with pytest.raises(WarehouseError, match=r"table runs must be a table\. Received: VIEW"):
            prepared.check()


class TestMergeFields:
    """Checks the computed differences, since the test server does not apply them as BigQuery does."""

    FIELDS = tuple(to_field(column) for column in VIDEO_COUNTS.columns)

    def test_equal_tables_have_no_differences(self):
        assert merge_fields("t", self.FIELDS, VIDEO_COUNTS.columns) == (list(self.FIELDS), [])

    def test_legacy_names_of_types_are_known(self):
        names = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "STRUCT": "RECORD"}
        older = [
            bigquery.SchemaField.from_api_repr({**field.to_api_repr(), "type": names.get(field.field_type, field.field_type)})
            for field in self.FIELDS
        ]
        assert merge_fields("t", older, VIDEO_COUNTS.columns)[1] == []

    def test_missing_columns_and_fields_are_added_and_others_kept(self):
        own = bigquery.SchemaField("note", "STRING")
        older = [own, *(field for field in self.FIELDS if field.name != "fps")]
        place = next(index for index, field in enumerate(older) if field.name == "segments")
        segments = copy.deepcopy(older[place].to_api_repr())
        segments["fields"] = segments["fields"][:2]
        older[place] = bigquery.SchemaField.from_api_repr(segments)
        merged, lines = merge_fields("video_counts", older, VIDEO_COUNTS.columns)
        assert lines == ["add column video_counts.segments.count", "add column video_counts.fps"]
        assert merged[0] == own
        assert {field.name for field in merged} == {field.name for field in [own, *self.FIELDS]}
        assert merged[place].to_api_repr() == next(f for f in self.FIELDS if f.name == "segments").to_api_repr()

    def test_a_column_that_runs_cannot_fill_is_refused(self):
        own = bigquery.SchemaField("note", "STRING", "REQUIRED")
        message = r"column t\.note must be NULLABLE, since runs leave it out\. Received: REQUIRED"
        with pytest.raises(WarehouseError, match=message):
            merge_fields("t", [*self.FIELDS, own], VIDEO_COUNTS.columns)
        filled = bigquery.SchemaField("note", "STRING", "REQUIRED", default_value_expression="'none'")
        assert merge_fields("t", [*self.FIELDS, filled], VIDEO_COUNTS.columns) == ([*self.FIELDS, filled], [])

    def test_descriptions_are_updated(self):
        older = [bigquery.SchemaField.from_api_repr({**self.FIELDS[0].to_api_repr(), "description": "?"}), *self.FIELDS[1:]]
        merged, lines = merge_fields("video_counts", older, VIDEO_COUNTS.columns)
        assert lines == ["describe column video_counts.video_uri"]
        assert merged[0] == self.FIELDS[0]

    @pytest.mark.parametrize(
        ("name", "change", "message"),
        [
            ("count", {"type": "STRING"}, "column t.count must be FLOAT64 REQUIRED. Received: STRING REQUIRED"),
            ("flags", {"mode": "NULLABLE"}, "column t.flags must be STRING REPEATED. Received: STRING NULLABLE"),
            ("video_uri", None, "table t must have a column video_uri. Received: video_generation, "),
        ],
    )
    def test_another_shape_is_refused(self, name, change, message):
        fields = [
            bigquery.SchemaField.from_api_repr({**field.to_api_repr(), **(change or {})}) if field.name == name else field
            for field in self.FIELDS
            if change or field.name != name
        ]
        with pytest.raises(WarehouseError, match=re.escape(message)):
            merge_fields("t", fields, VIDEO_COUNTS.columns)
