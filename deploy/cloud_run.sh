#!/usr/bin/env bash
# Starts `repcount serve` on Cloud Run. See deploy/cloud_run.sh --help, and docs/serving.md.
set -euo pipefail

usage() {
  cat <<'EOT'
Usage: deploy/cloud_run.sh [--gpu] [--dry_run]

Creates or replaces the Cloud Run service repcount from deploy/cloud_run.yaml, or repcount-l4 from deploy/cloud_run_l4.yaml.

  --gpu            with an L4 GPU
  --dry_run        print the service instead of deploying it
  --help           print this help

Settings come from the environment. Required:
  PROJECT          ID of the Google Cloud project that pays
  REGION           region of the service, best that of the videos' bucket, such as europe-west4
  IMAGE            image of the target server, with its tag; with CUDA for --gpu
  SERVICE_ACCOUNT  e-mail address of the account that the service runs as
  BASE             where names in requests start from, and all that may be read: gs://BUCKET or gs://BUCKET/FOLDER
  OUTPUT           tables for answers: bigquery:PROJECT.DATASET
  TEMP_LOCATION    folder that BigQuery loads rows from: gs://BUCKET/FOLDER
  MODEL            with --gpu: lite, or a gs:// path of weights

Exit code: that of gcloud; 2 for a missing setting or wrong usage.
EOT
}

fail() {
  printf 'cloud_run.sh: %s\n' "$1" >&2
  exit 2
}

file=cloud_run.yaml dry_run=false
settings=(PROJECT REGION IMAGE SERVICE_ACCOUNT BASE OUTPUT TEMP_LOCATION)
while (($#)); do
  case "$1" in
    --gpu) file=cloud_run_l4.yaml settings+=(MODEL) ;;
    --dry_run | --dry-run) dry_run=true ;;
    --help | -h) usage && exit 0 ;;
    *) fail "must be --gpu, --dry_run or --help. Received: $1" ;;
  esac
  shift
done

service="$(<"$(dirname "${BASH_SOURCE[0]}")/$file")"
missing=()
for name in "${settings[@]}"; do
  value="${!name:-}"
  [[ -n "$value" ]] || missing+=("$name")
  # What has none of these needs no quotes in YAML.
  [[ "$value" =~ ^[A-Za-z0-9@:/._-]*$ ]] || fail "$name has a character that no such name has. Received: $value"
  service="${service//\$\{$name\}/$value}"
done
((${#missing[@]} == 0)) || fail "missing settings: ${missing[*]}. Set them in the environment; see --help"

if "$dry_run"; then
  printf '%s\n' "$service"
  exit 0
fi
command -v gcloud >/dev/null || fail "program not found: install it. Received: gcloud"
filled="$(mktemp)"
trap 'rm -f "$filled"' EXIT
printf '%s\n' "$service" >"$filled"
gcloud run services replace "$filled" --project "$PROJECT" --region "$REGION"
