"""Deletes from the installed packages what no run, no job and no request ever reads.

    python image/slim.py

It prints what each deletion has freed. The image's build runs it in the step that installs the packages. It deletes less than
would be possible: only what is large, and is known to stay unused.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

UNUSED = {
    "tensorflow/include": "C++ headers, for compiling operations of one's own",
    "nvidia/*/lib/*.a": "static libraries, for linking programs of one's own",
    "nvidia/cuda_nvrtc/lib/*.alt.so.*": "second build of the run-time compiler, which programs have to ask for by its name",
    "nvidia/cusolver/lib/libcusolverMg.so.*": "solvers over several GPUs; TensorFlow calls none of their functions",
}
"""What is deleted, as patterns in the folder of the packages, with the reason. Those of `nvidia` match only with CUDA."""

STRIPPED = "tensorflow/**/*.so*"
"""Libraries whose symbol tables are deleted. Only debuggers read these; TensorFlow's wheels come with 240 MB of them."""


def size(path: Path) -> int:
    """Returns the bytes of a file, or of all files in a folder."""
    return path.stat().st_size if path.is_file() else sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def slim(packages: Path) -> dict[str, int]:
    """Deletes what is unused from a folder of packages, and returns the bytes freed by pattern.

    Raises:
        FileNotFoundError: if TensorFlow has nothing to delete, so that the pattern must have become wrong.
        subprocess.CalledProcessError: if a library cannot be stripped.
    """
    freed = dict.fromkeys([*UNUSED, STRIPPED], 0)
    for pattern in UNUSED:
        for path in packages.glob(pattern):
            freed[pattern] += size(path)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if shutil.which("strip"):
        libraries = [path for path in packages.glob(STRIPPED) if not path.is_symlink()]
        before = sum(map(size, libraries))
        if libraries:
            subprocess.run(["strip", "--strip-unneeded", *libraries], check=True)
        freed[STRIPPED] = before - sum(map(size, libraries))
    else:  # a larger image is better than none
        print("strip, of binutils, is not installed: libraries keep their symbol tables", file=sys.stderr)
        del freed[STRIPPED]
    for pattern, bytes_freed in freed.items():
        if pattern.startswith("tensorflow/") and not bytes_freed:
            raise FileNotFoundError(f"nothing to delete, so the pattern is wrong. Received: {packages / pattern}")
    return freed


def main() -> int:
    """Slims the packages of this Python, and returns the exit code."""
    for pattern, bytes_freed in slim(Path(sysconfig.get_paths()["purelib"])).items():
        print(f"{bytes_freed / 1e6:7.1f} MB  {pattern}: {UNUSED.get(pattern, 'symbol tables, for debuggers')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
