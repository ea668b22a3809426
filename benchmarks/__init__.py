"""Measurements that the README and the docs quote. Each prints one final line of JSON with its results and the machine."""
