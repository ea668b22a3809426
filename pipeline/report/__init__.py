"""A page about a run or about days of uploads, in one HTML file that needs no network."""
