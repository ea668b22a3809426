#!/usr/bin/env bash
# Builds the container image on this machine, with the first of docker, podman and buildah that works. `make image` runs it.
#
#   image/build.sh [VARIANT [TARGET [BASE]]]
#
#   VARIANT  cpu, or gpu for TensorFlow with CUDA. Default: cpu
#   TARGET   worker, server or template, see the Dockerfile. Default: worker
#   BASE     beam, or debian for a stand-in, where no registry of images can be reached; see stand_in_base.sh. Default: beam
#
# The image is named repcount-TARGET:VARIANT. Its Python is that of .venv, or of Debian with BASE debian.
set -euo pipefail

fail() {
  printf 'build.sh: %s\n' "$1" >&2
  exit 2
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
variant="${1:-cpu}" target="${2:-worker}" base="${3:-beam}"
case "$variant" in cpu | gpu) ;; *) fail "VARIANT must be cpu or gpu. Received: $variant" ;; esac
case "$target" in worker | server | template) ;; *) fail "TARGET must be worker, server or template. Received: $target" ;; esac
case "$base" in
  beam) engines=(docker podman buildah) python=.venv/bin/python ;;
  debian) engines=(buildah) python=/usr/bin/python3 ;;
  *) fail "BASE must be beam or debian. Received: $base" ;;
esac
version="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo 3.13)"

engine=""
for candidate in "${engines[@]}"; do
  # `info` asks the engine itself: a client without its engine is of no use.
  if "$candidate" info >/dev/null 2>&1; then engine="$candidate" && break; fi
done
[[ -n "$engine" ]] || fail "one of these must be installed and running: ${engines[*]}"

command=("$engine" build)
if [[ "$engine" == buildah ]]; then
  command=(buildah build --layers --network host)
  # Without a runtime of containers, steps run in a chroot.
  command -v runc >/dev/null || command -v crun >/dev/null || export BUILDAH_ISOLATION=chroot
fi
if [[ "$base" == debian ]]; then
  image="docker.io/$(sed -n "s/^FROM \(.*\) AS dependencies$/\1/p" Dockerfile | sed "s/\${PYTHON}/$version/")"
  buildah inspect --type image "$image" >/dev/null 2>&1 || image/stand_in_base.sh "$image"
  command+=(--pull-never)
fi
export DOCKER_BUILDKIT=1
exec "${command[@]}" --build-arg "PYTHON=$version" --build-arg "VARIANT=$variant" --target "$target" \
  --build-arg "LAUNCHER_IMAGE=${LAUNCHER_IMAGE:-scratch}" --build-arg "IMAGE=repcount-$target:$variant" \
  --tag "repcount-$target:$variant" .
