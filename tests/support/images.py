"""Builds the project's image for real, on a stand-in for its base, and runs commands in it. All of it is deleted at the end."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]

NEEDED_BYTES = 12 << 30
"""Free disk that a build needs."""


def why_not():
    """Returns why no image can be built here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [program for program in ("buildah", "debootstrap") if shutil.which(program) is None]
    if missing or "ID=debian" not in Path("/etc/os-release").read_text().splitlines():
        return f"needs Debian with buildah and debootstrap. Missing: {missing or 'Debian'}"
    if shutil.disk_usage(tempfile.gettempdir()).free < NEEDED_BYTES:
        return f"needs {NEEDED_BYTES >> 30} GiB of disk"
    try:
        urllib.request.urlopen(_release_url(), timeout=20).close()
    except (ValueError, OSError) as error:
        return f"needs Debian's packages: {error}"
    with tempfile.TemporaryDirectory() as folder:
        for name in ("lower", "upper", "work", "merged"):
            os.mkdir(f"{folder}/{name}")
        options = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work"
        mounted = subprocess.run(
            ["mount", "-t", "overlay", "overlay", "-o", options, f"{folder}/merged"], check=False, capture_output=True
        )
        if mounted.returncode:
            return "needs a kernel that mounts overlays"
        subprocess.run(["umount", f"{folder}/merged"], check=True)
    return None


def _release_url():
    """URL of a small file where apt gets this Debian's packages; "" if apt has no source of them."""
    codename = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)[1]
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", f"Release: {codename}", "Component: main"]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return f"{found[0].rstrip('/')}/dists/{codename}/Release" if found else ""


class Images:
    """Images in a storage of their own, which `close` deletes; a context manager."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="repcount-images-"))
        configuration = self.folder / "storage.conf"
        configuration.write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{self.folder}/graph"\nrunroot = "{self.folder}/run"\n'
        )
        self.environ = {**os.environ, "CONTAINERS_STORAGE_CONF": str(configuration), "BUILDAH_ISOLATION": "chroot"}
        self.environ.pop("STORAGE_DRIVER", None)

    def buildah(self, *arguments):
        """Runs buildah, and returns its standard output."""
        return self._run("buildah", *arguments)

    def build(self, target, **environ):
        """Builds a target of the Dockerfile with `image/build.sh`, as `make image BASE=debian` does; returns its name."""
        self._run(str(ROOT / "image" / "build.sh"), "cpu", target, "debian", **environ)
        return f"localhost/repcount-{target}:cpu"

    def save_launcher(self):
        """Makes an image with the one file that a Flex Template takes from Google's launcher; returns its name."""
        container = self.buildah("from", "scratch").strip()
        path = self.folder / "python_template_launcher"
        path.write_text("#!/bin/sh\n")
        self.buildah("copy", container, str(path), "/opt/google/dataflow/python_template_launcher")
        self.buildah("commit", container, "localhost/launcher")
        return "localhost/launcher"

    def container(self, image):
        """Starts a container, and returns its name."""
        return self.buildah("from", "--pull-never", image).strip()

    def inspect(self, image):
        """Returns the configuration of an image: User, Entrypoint, Env."""
        return json.loads(self.buildah("inspect", "--type", "image", image))["OCIv1"]["config"]

    def size_bytes(self, image):
        """Returns the size of all layers of an image."""
        manifest = json.loads(self.buildah("inspect", "--type", "image", image))["Manifest"]
        return sum(layer["size"] for layer in json.loads(manifest)["layers"])

    def command(self, container, *command, volumes=(), environ=None, user=None):
        """Returns the arguments of a command in a container. It uses the host's network.

        Args:
          container: Name of the container.
          *command: Program and arguments.
          volumes: Pairs of a folder and where the command finds it.
          environ: More environment variables.
          user: User that runs it. None for that of the image.
        """
        options = [f"--volume={folder}:{place}" for folder, place in volumes]
        options += [f"--env={name}={value}" for name, value in (environ or {}).items()]
        return ["buildah", "run", *options, *(["--user", user] if user else []), container, "--", *command]

    def close(self):
        """Deletes all containers and images."""
        for arguments in (["rm", "--all"], ["rmi", "--all", "--force"]):
            subprocess.run(["buildah", *arguments], env=self.environ, check=False, capture_output=True)
        shutil.rmtree(self.folder)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def _run(self, *command, **environ):
        finished = subprocess.run(
            command, cwd=ROOT, env={**self.environ, **environ}, check=False, capture_output=True, text=True
        )
        assert finished.returncode == 0, f"{command}: {finished.stdout[-3000:]} {finished.stderr[-3000:]}"
        return finished.stdout
