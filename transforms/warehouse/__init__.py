"""The tables that a run reads and writes: one schema and one set of SQL statements for DuckDB and BigQuery."""
