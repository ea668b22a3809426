#!/usr/bin/env bash
# Makes a stand-in for the image that the Dockerfile builds on, for machines that reach no registry of images: Debian with its
# Python, and a boot program that only runs its arguments. What is built on it counts videos, but is no worker of Dataflow.
#
#   image/stand_in_base.sh NAME      NAME: name of the image, such as docker.io/apache/beam_python3.11_sdk:2.77.0
#
# Needs root, buildah and debootstrap. Takes one to two minutes.
set -euo pipefail

name="$1"
# shellcheck source=/dev/null
. /etc/os-release
[[ "$ID" == debian ]] || { echo "stand_in_base.sh: must run on Debian. Received: $ID" >&2; exit 2; }
# shellcheck disable=SC2016
mirror="$(apt-get indextargets --format '$(REPO_URI)' "Release: $VERSION_CODENAME" "Component: main" | head -n 1)"
[[ -n "$mirror" ]] || { echo "stand_in_base.sh: apt must have a source of Debian $VERSION_CODENAME. Received: none" >&2; exit 2; }

root="$(mktemp -d)"
container=""
trap '[[ -z "$container" ]] || buildah rm "$container" >/dev/null; rm -rf "$root"' EXIT
# As in Beam's image, binutils are there and packages may be installed beside Debian's.
debootstrap --variant=minbase --include=binutils,ca-certificates,python3,python3-pip \
  "$VERSION_CODENAME" "$root" "$mirror" >&2
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/lib/python3*/EXTERNALLY-MANAGED
ln -s python3 "$root/usr/bin/python"
mkdir -p "$root/opt/apache/beam"
printf '#!/bin/sh\nexec "$@"\n' >"$root/opt/apache/beam/boot"
chmod +x "$root/opt/apache/beam/boot"
# This machine's certificates, which may have that of a proxy among them.
certificates=/etc/ssl/certs/ca-certificates.crt
cp "$certificates" "$root$certificates"

container="$(buildah from scratch)"
buildah copy --quiet "$container" "$root" / >/dev/null
buildah config --env "PIP_CERT=$certificates" --env "SSL_CERT_FILE=$certificates" --env "REQUESTS_CA_BUNDLE=$certificates" \
  --entrypoint '["/opt/apache/beam/boot"]' "$container"
buildah commit --quiet "$container" "$name" >/dev/null
