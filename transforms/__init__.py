"""The steps of the pipeline, the records that travel between them, and the warehouse."""
