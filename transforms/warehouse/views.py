"""The views on the tables, for analysts. Every database and `docs/data_dictionary.md` take them from `VIEWS`."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class View:
    """A view, in SQL that DuckDB and BigQuery share.

    Attributes:
      name: Name of the view.
      description: What one row is, as one or more sentences for analysts.
      sql: Query with `{dataset}` before the name of each table, and `{point}` for the name of an unnested item.
    """

    name: str
    description: str
    sql: str

    def query(self, dataset: str = "", item: str = "{}") -> str:
        """Returns the query as a database spells it.

        Args:
          dataset: Prefix of table names, which ends with a dot; "" for none.
          item: How UNNEST names its items, with `{}` in the name's place.
        """
        return self.sql.format(dataset=dataset, point=item.format("point"))


VIEWS = (
    View(
        "frame_curve_points",
        "One row per scored frame: the curves of `frame_curves`, unnested.",
        """\
SELECT
  video_uri, video_generation, model, options_hash, upload_date, run_id,
  point.frame, point.time_sec, point.count, point.rate_hz, point.periodicity, point.period_sec
FROM {dataset}frame_curves
CROSS JOIN UNNEST(points) AS {point}""",
    ),
    View(
        "latest_video_counts",
        "One row per video: the latest run's count of its newest version, with any model.",
        """\
SELECT *
FROM {dataset}video_counts
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY video_uri ORDER BY video_updated DESC, video_generation DESC, run_started DESC, run_id DESC
) = 1""",
    ),
    View(
        "failures_by_code",
        "One row per stage and code of failures, with the number of videos and an example.",
        """\
SELECT stage, code, COUNT(DISTINCT video_uri) AS videos, MIN(video_uri) AS example_uri, MAX(run_started) AS last_run_started
FROM {dataset}failures
GROUP BY stage, code""",
    ),
    View(
        "daily_summary",
        "One row per upload date, model and options: videos counted and failed, repetitions, hours of video, mean confidence.",
        """\
SELECT
  upload_date, model, options_hash, COUNT(confidence) AS counted, COUNT(code) AS failed,
  COALESCE(SUM(count), 0) AS repetitions, COALESCE(SUM(duration_sec), 0) / 3600 AS video_hours,
  AVG(confidence) AS mean_confidence
FROM (
  SELECT upload_date, model, options_hash, count, duration_sec, confidence, CAST(NULL AS STRING) AS code
  FROM {dataset}video_counts
  UNION ALL
  SELECT upload_date, model, options_hash, NULL, NULL, NULL, code FROM {dataset}failures
) AS outcomes
GROUP BY upload_date, model, options_hash""",
    ),
    View(
        "model_comparison",
        "One row per version of a video and pair of models or options that both counted it. `model_a` sorts before `model_b`.",
        """\
SELECT
  a.video_uri, a.video_generation, a.upload_date,
  a.model AS model_a, a.options_hash AS options_hash_a, b.model AS model_b, b.options_hash AS options_hash_b,
  a.count AS count_a, b.count AS count_b, b.count - a.count AS difference,
  a.confidence AS confidence_a, b.confidence AS confidence_b
FROM {dataset}video_counts AS a
JOIN {dataset}video_counts AS b
ON a.upload_date = b.upload_date AND a.video_uri = b.video_uri AND a.video_generation = b.video_generation
WHERE a.model < b.model OR (a.model = b.model AND a.options_hash < b.options_hash)""",
    ),
)
