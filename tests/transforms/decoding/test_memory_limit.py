"""The limit of a decoder follows from the memory and the cores of the machine."""

import pytest

from transforms.decoding import memory_limit
from transforms.decoding.memory_limit import default_memory_bytes, machine_memory_bytes

GIB = 1 << 30


@pytest.mark.parametrize(
    ("memory_gib", "cores", "limit_gib"),
    [(8, 2, 2), (16, 4, 2), (12, 4, 1.5), (64, 8, 4), (512, 16, 4), (8, 16, 1), (2, 1, 1)],
)
def test_cores_share_half_of_the_memory_within_bounds(monkeypatch, memory_gib, cores, limit_gib):
    monkeypatch.setattr(memory_limit, "machine_memory_bytes", lambda: memory_gib * GIB)
    monkeypatch.setattr(memory_limit, "num_cores", lambda: cores)
    assert default_memory_bytes() == limit_gib * GIB


@pytest.mark.parametrize(("content", "expected"), [("123456\n", 123456), ("max\n", None), (None, None)])
def test_a_container_has_the_memory_that_it_is_given(tmp_path, monkeypatch, content, expected):
    if content is not None:
        (tmp_path / "memory.max").write_text(content)
    monkeypatch.setattr(memory_limit, "_CONTAINER_LIMITS", ())
    whole = machine_memory_bytes()
    assert whole > 100 << 20
    monkeypatch.setattr(memory_limit, "_CONTAINER_LIMITS", (str(tmp_path / "memory.max"),))
    assert machine_memory_bytes() == (expected or whole)
