"""Entry point of the Flex Template. Its parameters are options of `repcount run`, which submits the job and ends."""

from __future__ import annotations

import os
import sys

from pipeline.main import main

IMAGE_VARIABLE = "REPCOUNT_IMAGE"
"""Environment variable with the name of this image, from which the workers start, too."""


def with_image(arguments: list[str], image: str) -> list[str]:
    """Returns the arguments with an option that starts workers from `image`, unless they name another image."""
    if any(argument.split("=")[0] == "--sdk_container_image" for argument in arguments):
        return arguments
    return [*arguments, f"--sdk_container_image={image}", "--sdk_location=container"]


if __name__ == "__main__":
    name = os.environ.get(IMAGE_VARIABLE, "")
    if not name:
        print(f"{IMAGE_VARIABLE} is not set: build the image with --build-arg IMAGE=NAME", file=sys.stderr)
        sys.exit(2)
    sys.exit(main(["run", "--no_wait", *with_image(sys.argv[1:], name)]))
