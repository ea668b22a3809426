"""The views on the tables, for analysts. Every database and `docs/data_dictionary.md` take them from `VIEWS`."""

from __future__ import annotations

import dataclasses
import string


@dataclasses.dataclass(frozen=True)
class View:
    """A view, in SQL that DuckDB and BigQuery share.

    Attributes:
      name: Name of the view.
      description: What one row is, as one or more sentences for analysts.
      sql: Query with `{dataset}` before the name of each table, and any other name in braces for that of an unnested item.
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
        names = {name for _, name, _, _ in string.Formatter().parse(self.sql) if name}
        return self.sql.format(**{name: dataset if name == "dataset" else item.format(name) for name in names})


UNSURE_BELOW = 0.75
"""Certainty below which somebody should check a count."""

UNSURE_CONFIDENCE = 0.5
"""Confidence below which somebody should check a count above 0 whose model states no certainty."""

NEARLY_COUNTED = 0.3
"""Score of a stride above which somebody should check a count of 0."""

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
        "One row per video: the latest run's count of its newest counted version, with any model. The newest version of a "
        "local file is the one that was counted last, whatever its time. A file restored to a version that was counted before "
        "is skipped; `--mode all` counts it again. If a still newer version failed, `review_queue` says so.",
        """\
SELECT *
FROM {dataset}video_counts
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY video_uri
  ORDER BY
    CASE WHEN video_uri LIKE '/%' THEN run_started END DESC,
    video_updated DESC, video_generation DESC, run_started DESC, run_id DESC
) = 1""",
    ),
    View(
        "failures_by_code",
        "One row per stage and code of failures, with the number of videos and an example. A video that was replaced since is "
        "among them.",
        """\
SELECT stage, code, COUNT(DISTINCT video_uri) AS videos, MIN(video_uri) AS example_uri, MAX(run_started) AS last_run_started
FROM {dataset}failures
GROUP BY stage, code""",
    ),
    View(
        "sets",
        "One row per set of a video's latest count: an uninterrupted run of repetitions. `rest_before_sec` is the time since "
        "the end of the set before, NULL for the first; `rate_hz` is repetitions per second.",
        """\
SELECT
  video_uri, video_generation, model, options_hash, upload_date, captured_at, labels, run_id,
  ROW_NUMBER() OVER (PARTITION BY video_uri ORDER BY segment.start_sec) AS set_number,
  segment.start_sec, segment.end_sec, segment.count,
  segment.count / NULLIF(segment.end_sec - segment.start_sec, 0) AS rate_hz,
  segment.start_sec - LAG(segment.end_sec) OVER (PARTITION BY video_uri ORDER BY segment.start_sec) AS rest_before_sec
FROM {dataset}latest_video_counts
CROSS JOIN UNNEST(segments) AS {segment}""",
    ),
    View(
        "repetitions",
        "One row per repetition of a video's latest count, complete at `time_sec`. `duration_sec` is the time since the "
        "one before, `rate_hz` one divided by it. Both are NULL for the first of a set, and for a last one of which more "
        "than a tenth was missing. Fractions of earlier sets are carried over, so a set can have a row more or less than "
        "its rounded `count`.",
        """\
WITH segment_starts AS (
  SELECT
    video_uri, video_generation, model, options_hash, upload_date, captured_at, labels, run_id,
    count AS total, repetition_times_sec,
    ROW_NUMBER() OVER (PARTITION BY video_uri ORDER BY segment.start_sec) AS set_number, segment.start_sec,
    LEAD(segment.start_sec) OVER (PARTITION BY video_uri ORDER BY segment.start_sec) AS next_start_sec
  FROM {dataset}latest_video_counts
  CROSS JOIN UNNEST(segments) AS {segment}
), numbered AS (
  SELECT
    video_uri, video_generation, model, options_hash, upload_date, captured_at, labels, run_id, total, set_number, time_sec,
    ROW_NUMBER() OVER (PARTITION BY video_uri ORDER BY time_sec) AS number,
    ROW_NUMBER() OVER (PARTITION BY video_uri, set_number ORDER BY time_sec) AS number_in_set,
    time_sec - LAG(time_sec) OVER (PARTITION BY video_uri, set_number ORDER BY time_sec) AS since_sec
  FROM segment_starts
  CROSS JOIN UNNEST(repetition_times_sec) AS {time_sec}
  WHERE (set_number = 1 OR time_sec > start_sec) AND (next_start_sec IS NULL OR time_sec <= next_start_sec)
)
SELECT
  video_uri, video_generation, model, options_hash, upload_date, captured_at, labels, run_id,
  number, set_number, number_in_set, time_sec,
  CASE WHEN number <= total + 0.1 THEN since_sec END AS duration_sec,
  CASE WHEN number <= total + 0.1 THEN 1 / NULLIF(since_sec, 0) END AS rate_hz
FROM numbered""",
    ),
    View(
        "review_queue",
        "One row per video that somebody should look at, from `priority` 1 on. Counts come first, the likeliest to be wrong "
        f"before others, then failures. `reason` is UNCERTAIN (certainty below {UNSURE_BELOW}; where there is none, a count "
        f"above 0 with confidence below {UNSURE_CONFIDENCE}), ZERO_BUT_REPEATING (count 0, though a stride scored above "
        f"{NEARLY_COUNTED}) or a failure code; `message` says it in words. Without failures of deleted files (GONE).",
        f"""\
WITH scores AS (
  SELECT video_uri, MAX(stride_score.score) AS best_score
  FROM {{dataset}}latest_video_counts
  CROSS JOIN UNNEST(stride_scores) AS {{stride_score}}
  GROUP BY video_uri
), outcomes AS (
  SELECT
    counts.video_uri, video_generation, model, options_hash, upload_date, video_updated, run_id, run_started,
    count, confidence, certainty, best_score, 0 AS is_failure,
    CASE
      WHEN certainty < {UNSURE_BELOW} THEN 'UNCERTAIN'
      WHEN certainty IS NULL AND count > 0 AND confidence < {UNSURE_CONFIDENCE} THEN 'UNCERTAIN'
      WHEN count = 0 AND best_score > {NEARLY_COUNTED} THEN 'ZERO_BUT_REPEATING'
    END AS reason,
    CASE
      WHEN certainty < {UNSURE_BELOW} THEN 'The count may be wrong by more than one.'
      WHEN certainty IS NULL AND count > 0 AND confidence < {UNSURE_CONFIDENCE}
        THEN 'The model is not sure that something repeats.'
      WHEN count = 0 AND best_score > {NEARLY_COUNTED} THEN 'The count is 0, but something may repeat.'
    END AS message
  FROM {{dataset}}latest_video_counts AS counts
  LEFT JOIN scores ON counts.video_uri = scores.video_uri
  UNION ALL
  SELECT
    video_uri, video_generation, model, options_hash, upload_date, video_updated, run_id, run_started,
    NULL, NULL, NULL, NULL, 1, code, message
  FROM {{dataset}}failures
  WHERE code <> 'GONE'
), versions AS (
  SELECT *, MAX(run_started) OVER (PARTITION BY video_uri, video_generation) AS last_run_started
  FROM outcomes
), newest AS (
  SELECT *
  FROM versions
  WHERE TRUE
  QUALIFY ROW_NUMBER() OVER (
    PARTITION BY video_uri
    ORDER BY
      CASE WHEN video_uri LIKE '/%' THEN last_run_started END DESC,
      video_updated DESC, video_generation DESC, is_failure, run_started DESC, run_id DESC
  ) = 1
)
SELECT
  ROW_NUMBER() OVER (
    ORDER BY is_failure, COALESCE(certainty, CASE WHEN count > 0 THEN confidence ELSE 1 - best_score END), video_uri
  ) AS priority, reason, message,
  video_uri, video_generation, model, options_hash, upload_date, run_id, count, confidence, certainty, best_score
FROM newest
WHERE reason IS NOT NULL""",
    ),
    View(
        "daily_summary",
        "One row per upload date, model and options: versions of videos counted and failed, repetitions, hours of video. "
        "A video that was replaced is in it with each version. `mean_confidence` and `mean_certainty` are those of videos "
        "with repetitions; `without_repetitions` is the number of counts of 0.",
        """\
SELECT
  upload_date, model, options_hash, COUNT(confidence) AS counted, COUNT(code) AS failed,
  COALESCE(SUM(count), 0) AS repetitions, COALESCE(SUM(duration_sec), 0) / 3600 AS video_hours,
  AVG(CASE WHEN count > 0 THEN confidence END) AS mean_confidence,
  AVG(CASE WHEN count > 0 THEN certainty END) AS mean_certainty,
  COUNT(CASE WHEN count = 0 THEN 1 END) AS without_repetitions
FROM (
  SELECT upload_date, model, options_hash, count, duration_sec, confidence, certainty, CAST(NULL AS STRING) AS code
  FROM {dataset}video_counts
  UNION ALL
  SELECT upload_date, model, options_hash, NULL, NULL, NULL, NULL, code FROM {dataset}failures
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
