#!/usr/bin/env bash
# Starts `repcount run` as a Dataflow job. `./run_dataflow.sh --help` says what it reads from the environment.
set -euo pipefail

usage() {
  cat <<'EOF'
Usage: PROJECT=… REGION=… BUCKET=… INPUT=… OUTPUT=… ./run_dataflow.sh [--dry-run] [-- OPTION…]

Starts `repcount run` as a Dataflow job. What follows -- is passed on to it.

Required, from the environment:
  PROJECT          Google Cloud project that the job runs in and is billed to
  REGION           region of the workers, for instance europe-west4; best that of the videos' bucket
  BUCKET           bucket, without gs://, for the job's staged code and temporary files
  INPUT            videos, for instance 'gs://my-videos/2026/**'
  OUTPUT           where the counts go: bigquery:PROJECT.DATASET, see docs/bigquery.md

Optional:
  MODEL            name, or a checkpoint's gs:// path. Default: that of `repcount run`
  IMAGE            container image with the dependencies. Default: every worker installs them when it starts, which takes minutes
  JOB_NAME         lower-case letters, digits and hyphens. Default: repcount- and the time
  MACHINE_TYPE     of the workers, for instance n2-standard-4. Default: Dataflow's choice
  MAX_WORKERS      most workers at a time. Default: Dataflow's choice
  SERVICE_ACCOUNT  e-mail address that the workers act as. Default: the project's default one
  SUBNETWORK       regions/REGION/subnetworks/NAME; workers then have no public addresses. Default: the network named default
  REPCOUNT         the program. Default: .venv/bin/repcount beside this script

GPU workers are not supported yet.

  --dry-run        print the command instead of running it
  --help           print this

Exit code: that of `repcount run`; 2 if something is missing or not supported, and then nothing was started.
EOF
}

refuse() {
  printf 'run_dataflow.sh: %s\n' "$1" >&2
  exit 2
}

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

dry_run=false
while (($#)); do
  case "$1" in
    --dry-run) dry_run=true ;;
    --help | -h)
      usage
      exit 0
      ;;
    --)
      shift
      break
      ;;
    *) refuse "the options are --dry-run and --help; those of repcount run come after --. Received: $1" ;;
  esac
  shift
done

missing=()
for name in PROJECT REGION BUCKET INPUT OUTPUT; do
  [[ -n "${!name:-}" ]] || missing+=("$name")
done
if ((${#missing[@]})); then
  refuse "set these in the environment: ${missing[*]}; --help says what they mean."
fi

[[ "$BUCKET" =~ ^[a-z0-9][a-z0-9._-]+$ ]] || refuse "BUCKET must be a bucket's name, without gs:// or a folder. Received: $BUCKET"
[[ "$INPUT" == gs://* ]] || refuse "INPUT must start with gs://, since workers do not see this machine's files. Received: $INPUT"
[[ "$OUTPUT" == bigquery:* ]] || refuse "OUTPUT must be bigquery:PROJECT.DATASET; workers cannot reach a file on this machine. Received: $OUTPUT"
job_name="${JOB_NAME:-repcount-$(date -u +%Y%m%d-%H%M%S)}"
[[ "$job_name" =~ ^[a-z]([-a-z0-9]*[a-z0-9])?$ ]] ||
  refuse "JOB_NAME must be lower-case letters, digits and hyphens, a letter first. Received: $job_name"
if [[ -n "${MAX_WORKERS:-}" && ! "$MAX_WORKERS" =~ ^[1-9][0-9]*$ ]]; then
  refuse "MAX_WORKERS must be a whole number of at least 1. Received: $MAX_WORKERS"
fi
for word in "${GPU_TYPE:+GPU_TYPE=$GPU_TYPE}" "$@"; do
  case "$word" in
    GPU_TYPE=* | *worker_accelerator*) refuse "GPU workers are not supported yet. Received: $word" ;;
  esac
done

command=(
  "${REPCOUNT:-$here/.venv/bin/repcount}" run
  --input "$INPUT"
  --output "$OUTPUT"
  --runner DataflowRunner
  --project "$PROJECT"
  --region "$REGION"
  --job_name "$job_name"
  --temp_location "gs://$BUCKET/repcount/temp"
  --staging_location "gs://$BUCKET/repcount/staging"
)
[[ -z "${MODEL:-}" ]] || command+=(--model "$MODEL")
if [[ -n "${IMAGE:-}" ]]; then
  command+=(--sdk_container_image "$IMAGE" --sdk_location container)
else
  command+=(--setup_file "$here/setup.py")
fi
[[ -z "${MACHINE_TYPE:-}" ]] || command+=(--worker_machine_type "$MACHINE_TYPE")
[[ -z "${MAX_WORKERS:-}" ]] || command+=(--max_num_workers "$MAX_WORKERS")
[[ -z "${SERVICE_ACCOUNT:-}" ]] || command+=(--service_account_email "$SERVICE_ACCOUNT")
[[ -z "${SUBNETWORK:-}" ]] || command+=(--subnetwork "$SUBNETWORK" --no_use_public_ips)
command+=("$@")

if "$dry_run"; then
  printf '%q ' "${command[@]}"
  printf '\n'
  exit 0
fi
[[ -x "${command[0]}" ]] || refuse "the program is not installed: run make setup. Received: no ${command[0]}"
exec "${command[@]}"
