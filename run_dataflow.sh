#!/usr/bin/env bash
# Counts a bucket's videos on Dataflow, and makes what that needs. `./run_dataflow.sh --help` says how.
set -euo pipefail

usage() {
  cat <<'EOF'
Usage: ./run_dataflow.sh COMMAND [--env FILE] [--dry_run] [-- OPTION…]

Commands:
  nightly          count what is new in INPUT, as the job repcount-nightly-DAY; not while another nightly job is active
  backfill         count what else is asked for behind --, for instance --mode=all --dates=2026-01-01..2026-01-31
  build            build the image IMAGE with Cloud Build, with CUDA if GPU is set
  template         write a Flex Template of the image to gs://BUCKET/repcount/template.json
  cost             work out machines, hours and dollars of a night; what is known goes behind --, see repcount cost --help

  --env FILE       settings, one NAME=VALUE a line. Default: .env beside this script, if it is there
  --dry_run        print the command instead of running it
  --help           print this; behind a command, that command's own

Settings, from the environment, or else from the file; .env.example has them all with comments. Required:
  PROJECT          Google Cloud project that pays
  REGION           of the workers, for instance europe-west4; best that of the videos' bucket
  BUCKET           bucket, without gs://, for staged code, temporary files and the template
  INPUT            videos, for instance 'gs://my-videos/{date}/**', of which nightly lists yesterday and today (UTC); nightly
                   and backfill
  OUTPUT           bigquery:PROJECT.DATASET, see docs/bigquery.md; nightly and backfill
  IMAGE            container image for the workers; build, template, and with GPU

Optional:
  MODEL            lite, or a gs:// path, see docs/operations.md. Default: that of repcount run
  GPU              type of GPU, for instance nvidia-l4. Default: none
  PLACEMENT        with GPU, fused or split, see docs/operations.md. Default: fused
  MACHINE_TYPE     of the workers. Default: one that fits GPU, else Dataflow's choice
  MAX_WORKERS      most workers at a time. Default: Dataflow's choice; required with GPU, since quotas are small
  MAX_HOURS        after which Dataflow ends the job. Default: 12 for nightly, none for backfill
  JOB_NAME         lower-case letters, digits and hyphens. Default: as above; repcount-backfill- and the time
  SERVICE_ACCOUNT  e-mail address that the workers act as. Default: the project's default one
  SUBNETWORK       regions/REGION/subnetworks/NAME; workers then have no public addresses. Default: the network named default
  LAUNCHER_IMAGE   Google's launcher of Python templates, for build. Default: none, and then the image is no template
  REPCOUNT         the program. Default: .venv/bin/repcount beside this script
  GCLOUD           the program for build and template. Default: gcloud

Exit code: that of the program it starts; 2 if something is missing or cannot be meant, and then nothing was started.
EOF
}

usage_of() {
  case "$1" in
    nightly | backfill) exec "$repcount" run --help ;;
    cost) exec "$repcount" cost --help ;;
    *) usage ;;
  esac
}

refuse() {
  printf 'run_dataflow.sh: %s\n' "$1" >&2
  exit 2
}

# Takes settings from a file for names that the environment does not set. It is read and never run.
read_settings() {
  local line name value number=0
  while IFS= read -r line || [[ -n "$line" ]]; do
    number=$((number + 1))
    line="${line%$'\r'}"
    [[ "$line" =~ ^[[:space:]]*(#|$) ]] && continue
    [[ "$line" =~ ^([A-Z_]+)=(.*)$ ]] || refuse "$1, line $number: a setting is NAME=VALUE. Received: $line"
    name="${BASH_REMATCH[1]}" value="${BASH_REMATCH[2]}"
    [[ " $settings " == *" $name "* ]] || refuse "$1, line $number: there is no setting $name; --help lists them."
    [[ "$value" =~ ^\"(.*)\"$ || "$value" =~ ^\'(.*)\'$ ]] && value="${BASH_REMATCH[1]}"
    [[ -n "${!name+set}" ]] || printf -v "$name" '%s' "$value"
  done <"$1"
}

# Refuses unless all of the named settings are there.
require() {
  local name missing=()
  for name in "$@"; do
    [[ -n "${!name:-}" ]] || missing+=("$name")
  done
  ((${#missing[@]} == 0)) || refuse "set these in the environment or in .env: ${missing[*]}; --help says what they mean."
}

# Refuses what cannot be meant.
check() {
  local name
  if [[ -n "${PROJECT:-}" && ! "$PROJECT" =~ ^[a-z][a-z0-9.:-]*[a-z0-9]$ ]]; then
    refuse "PROJECT must be a project's id, not its name or number. Received: $PROJECT"
  fi
  if [[ -n "${REGION:-}" && ! "$REGION" =~ ^[a-z]+-[a-z]+[0-9]+$ ]]; then
    refuse "REGION must be a region, for instance europe-west4, and no zone. Received: $REGION"
  fi
  if [[ -n "${BUCKET:-}" && ! "$BUCKET" =~ ^[a-z0-9][a-z0-9._-]+$ ]]; then
    refuse "BUCKET must be a bucket's name, without gs:// or a folder. Received: $BUCKET"
  fi
  if [[ -n "${INPUT:-}" && "$INPUT" != gs://* ]]; then
    refuse "INPUT must start with gs://, since workers do not see this machine's files. Received: $INPUT"
  fi
  if [[ -n "${OUTPUT:-}" && "$OUTPUT" != bigquery:* ]]; then
    refuse "OUTPUT must be bigquery:PROJECT.DATASET; workers cannot reach a file on this machine. Received: $OUTPUT"
  fi
  if [[ -n "${MODEL:-}" && "$MODEL" != lite && "$MODEL" != gs://* ]]; then
    refuse "MODEL must be lite, or start with gs://; what was fetched to this machine goes to a bucket first. Received: $MODEL"
  fi
  if [[ -n "${JOB_NAME:-}" && ! "$JOB_NAME" =~ ^[a-z]([-a-z0-9]*[a-z0-9])?$ ]]; then
    refuse "JOB_NAME must be lower-case letters, digits and hyphens, a letter first. Received: $JOB_NAME"
  fi
  for name in MAX_WORKERS MAX_HOURS; do
    if [[ -n "${!name:-}" && ! "${!name}" =~ ^[1-9][0-9]*$ ]]; then
      refuse "$name must be a whole number of at least 1. Received: ${!name}"
    fi
  done
  if [[ -n "${PLACEMENT:-}" && ! "$PLACEMENT" =~ ^(fused|split)$ ]]; then
    refuse "PLACEMENT must be fused or split. Received: $PLACEMENT"
  fi
  if [[ -n "${GPU:-}" && ! "$GPU" =~ ^nvidia-[a-z0-9-]+$ ]]; then
    refuse "GPU must be a type that Dataflow knows, for instance nvidia-l4. Received: $GPU"
  fi
  if [[ -n "${IMAGE:-}" && ! "$IMAGE" =~ ^[a-z0-9][a-zA-Z0-9._/:@-]+$ ]]; then
    refuse "IMAGE must be an image's name with its tag. Received: $IMAGE"
  fi
}

# Replaces this script by a command, or prints it.
start() {
  if "$dry_run"; then
    printf '%q ' "$@"
    printf '\n'
    exit 0
  fi
  command -v "$1" >/dev/null || refuse "the program is not installed: run make setup, or install it. Received: no $1"
  exec "$@"
}

# Puts together `repcount run`; what is behind it is added as it is.
count() {
  local job_name="$1" max_hours="$2"
  shift 2
  require PROJECT REGION BUCKET INPUT OUTPUT
  if [[ -n "${GPU:-}" ]]; then
    require IMAGE MAX_WORKERS
    printf 'run_dataflow.sh: up to %s GPUs of type %s in %s: the quota is under IAM & Admin, Quotas\n' \
      "$MAX_WORKERS" "$GPU" "$REGION" >&2
  fi
  local command=(
    "$repcount" run
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
  if [[ -n "${SUBNETWORK:-}" && -z "${IMAGE:-}" ]]; then
    printf 'run_dataflow.sh: without IMAGE, workers install packages when they start, which with SUBNETWORK takes Cloud NAT\n' >&2
  fi
  if [[ -n "${IMAGE:-}" ]]; then
    command+=(--sdk_container_image "$IMAGE" --sdk_location container)
  else
    command+=(--setup_file "$here/setup.py")
  fi
  [[ -z "${GPU:-}" ]] || command+=(--gpu "$GPU" --placement "${PLACEMENT:-fused}")
  [[ -z "${MACHINE_TYPE:-}" ]] || command+=(--worker_machine_type "$MACHINE_TYPE")
  [[ -z "${MAX_WORKERS:-}" ]] || command+=(--max_num_workers "$MAX_WORKERS")
  [[ -z "$max_hours" ]] || command+=(--max_hours "$max_hours")
  [[ -z "${SERVICE_ACCOUNT:-}" ]] || command+=(--service_account_email "$SERVICE_ACCOUNT")
  [[ -z "${SUBNETWORK:-}" ]] || command+=(--subnetwork "$SUBNETWORK" --no_use_public_ips)
  start "${command[@]}" "$@"
}

build() {
  require PROJECT REGION IMAGE
  local variant=cpu target=worker
  [[ -z "${GPU:-}" ]] || variant=gpu
  [[ -z "${LAUNCHER_IMAGE:-}" ]] || target=template
  start "$gcloud" builds submit "$here" --project "$PROJECT" --region "$REGION" --config "$here/image/cloudbuild.yaml" \
    --substitutions "_IMAGE=$IMAGE,_VARIANT=$variant,_TARGET=$target,_LAUNCHER_IMAGE=${LAUNCHER_IMAGE:-scratch}" "$@"
}

template() {
  require PROJECT BUCKET IMAGE
  start "$gcloud" dataflow flex-template build "gs://$BUCKET/repcount/template.json" --project "$PROJECT" --image "$IMAGE" \
    --sdk-language PYTHON --metadata-file "$here/image/template_metadata.json" "$@"
}

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
settings="PROJECT REGION BUCKET INPUT OUTPUT IMAGE MODEL GPU PLACEMENT MACHINE_TYPE MAX_WORKERS MAX_HOURS JOB_NAME"
settings+=" SERVICE_ACCOUNT SUBNETWORK LAUNCHER_IMAGE REPCOUNT GCLOUD"

verb=""
dry_run=false
file=""
help=false
while (($#)); do
  case "$1" in
    nightly | backfill | build | template | cost)
      [[ -z "$verb" ]] || refuse "one command at a time. Received: $verb and $1"
      verb="$1"
      ;;
    --dry_run | --dry-run) dry_run=true ;;
    --env)
      (($# > 1)) || refuse "--env takes a file."
      file="$2"
      shift
      ;;
    --help | -h) help=true ;;
    --)
      shift
      break
      ;;
    *) refuse "commands are nightly, backfill, build, template and cost; options of the program come after --. Received: $1" ;;
  esac
  shift
done

if [[ -n "$file" ]]; then
  [[ -r "$file" && ! -d "$file" ]] || refuse "--env must be a file that can be read. Received: $file"
  read_settings "$file"
elif [[ -r "$here/.env" && ! -d "$here/.env" ]]; then
  read_settings "$here/.env"
fi
repcount="${REPCOUNT:-$here/.venv/bin/repcount}"
gcloud="${GCLOUD:-gcloud}"

if "$help"; then
  if [[ -n "$verb" ]]; then usage_of "$verb"; else usage; fi
  exit 0
fi
[[ -n "$verb" ]] || refuse "say what to do: nightly, backfill, build, template or cost; --help says more."
check
case "$verb" in
  nightly)
    # A night's uploads may lie under either day.
    if [[ "${INPUT:-}" == *"{date"* && " $*" != *" --dates"* ]]; then set -- --dates yesterday..today "$@"; fi
    count "${JOB_NAME:-repcount-nightly-$(date -u +%Y%m%d)}" "${MAX_HOURS:-12}" --labels kind=nightly \
      --unless_active repcount-nightly- "$@"
    ;;
  backfill) count "${JOB_NAME:-repcount-backfill-$(date -u +%Y%m%d-%H%M%S)}" "${MAX_HOURS:-}" --labels kind=backfill "$@" ;;
  build) build "$@" ;;
  template) template "$@" ;;
  cost) start "$repcount" cost ${GPU:+--gpu "$GPU"} "$@" ;;
esac
