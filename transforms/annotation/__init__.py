"""Writes a counted video once more, with its count drawn on it."""
