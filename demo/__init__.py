"""Draws short clips of people exercising, with true counts. `make run` counts them."""
