"""Runs all benchmarks one after another, keeps their figures in one file, and quotes them in the documentation."""
