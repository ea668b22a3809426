"""What docs/architecture.md and CONTRIBUTING.md promise about the sources: imports, lengths, and tests that mirror them."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("model", "transforms", "pipeline")
"""Packages from the lowest to the highest; each imports only those before it."""

MAX_LINES = 450
MIRRORED = (*LAYERS, "benchmarks", "demo")


def modules(package):
    """Returns {dotted name: path} of a package."""
    paths = sorted((ROOT / package).rglob("*.py"))
    assert paths
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def imported_names(path, *, everywhere):
    """Yields the dotted names that a file imports: `everywhere`, or only while it is itself imported."""
    waiting = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif everywhere or not (
            isinstance(node, ast.FunctionDef) or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node))
        ):
            waiting.extend(ast.iter_child_nodes(node))


@pytest.mark.parametrize("layer", LAYERS)
def test_no_package_imports_one_above_it(layer):
    above = LAYERS[LAYERS.index(layer) + 1 :]
    upward = [
        f"{name} imports {imported}"
        for name, path in modules(layer).items()
        for imported in imported_names(path, everywhere=True)
        if imported.split(".")[0] in above
    ]
    assert upward == []


def test_imports_have_no_circles():
    known = {name: path for layer in LAYERS for name, path in modules(layer).items()}
    graph = {
        name: {imported for imported in imported_names(path, everywhere=False) if imported in known and imported != name}
        for name, path in known.items()
    }
    assert sum(map(len, graph.values())) > len(known), "the imports were not found"
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


@pytest.mark.parametrize("package", [*MIRRORED, "image"])
def test_no_file_is_too_long_to_read(package):
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules(package).items()}
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


@pytest.mark.parametrize("package", MIRRORED)
def test_every_test_file_mirrors_a_source(package):
    tests = sorted((ROOT / "tests" / package).rglob("test_*.py"))
    assert tests
    sources = {path: ROOT / path.relative_to(ROOT / "tests").with_name(path.name.removeprefix("test_")) for path in tests}
    names = {"test_main.py": "__main__.py"}
    missing = [
        str(path.relative_to(ROOT))
        for path, source in sources.items()
        if not source.exists() and not source.with_name(names.get(path.name, source.name)).exists()
    ]
    assert missing == []


def test_no_test_file_imports_another():
    paths = sorted((ROOT / "tests").rglob("test_*.py"))
    assert paths
    imports = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in imported_names(path, everywhere=True)
        if name.startswith("tests.") and any(part.startswith("test_") for part in name.split("."))
    ]
    assert imports == []
