#!/usr/bin/env bash
# Counts the videos of a bucket on Dataflow, from settings in a file. See ./run_dataflow.sh --help.
set -euo pipefail

usage() {
  cat <<'EOF'
Usage: ./run_dataflow.sh COMMAND [--env FILE] [--dry_run] [-- OPTION…]

Commands:
  nightly          count new videos as the job repcount-nightly-DAY, unless another nightly job is active
  backfill         count the videos that the options after -- select, as the job repcount-backfill-TIME
  build            build the container image IMAGE with Cloud Build; with CUDA if GPU is set
  template         write a Flex Template of the image to gs://BUCKET/repcount/template.json
  cost             estimate machines, hours and dollars of a night; see ./run_dataflow.sh cost --help

  --env FILE       settings, one NAME=VALUE per line. Default: .env beside this script, if it exists
  --dry_run        print the command instead of running it
  --help           print this help, or that of the command before it
  -- OPTION…       options to add to the command: of repcount run, gcloud or repcount cost

Examples:
  ./run_dataflow.sh nightly --dry_run
  ./run_dataflow.sh backfill -- --mode=all --dates=2026-01-01..2026-01-31

Settings come from the environment, then from the file. Required:
  PROJECT          ID of the Google Cloud project that pays
  REGION           region of the workers, such as europe-west4; best the region of the videos' bucket
  BUCKET           bucket for staged code, temporary files and the template, without gs://
  INPUT            videos to count, such as 'gs://my-videos/{date}/**'. With {date}, nightly lists today (UTC) and the
                   six days before, and counts what is missing; -- --dates=14d lists more. For nightly and backfill
  OUTPUT           tables: bigquery:PROJECT.DATASET, see docs/bigquery.md. For nightly and backfill
  IMAGE            container image of the workers, with its tag. For build, template, and with GPU

Optional:
  BILLING_PROJECT  project that pays for reading INPUT if its bucket is "requester pays". Default: the bucket's own project
  MODEL            lite, or a gs:// path, see docs/operations.md. Default: lite
  GPU              type of GPU, such as nvidia-l4. Default: no GPU
  PLACEMENT        with GPU, fused or split, see docs/operations.md. Default: fused
  MACHINE_TYPE     machine type of the workers. Default: one that fits GPU, else Dataflow's choice
  MAX_WORKERS      largest number of workers. Default: Dataflow's choice; required with GPU
  MAX_HOURS        hours after which Dataflow ends the job. Default: 12 for nightly, no limit for backfill
  JOB_NAME         job name. Default: repcount-nightly-DAY or repcount-backfill-TIME
  SERVICE_ACCOUNT  e-mail address of the workers' service account. Default: the project's default account
  LABELS           labels of the job for bills and dashboards, such as team=gym,stage=live. Default: none, beside those of repcount
  SUBNETWORK       regions/REGION/subnetworks/NAME. Workers then have no public addresses. Default: the network "default"
  LAUNCHER_IMAGE   Google's launcher image for Python templates, for build. Default: none; the image is then no template
  REPCOUNT         path of the program repcount. Default: .venv/bin/repcount beside this script
  GCLOUD           path of the program gcloud, for build and template. Default: gcloud

Exit code: that of the program that it starts; 2 for a missing setting or wrong usage, before anything starts.
EOF
}

# Prints one line. A received value may contain line breaks or terminal commands.
note() {
  printf 'run_dataflow.sh: %s\n' "${1//[^[:print:]]/?}" >&2
}

fail() {
  note "$1"
  exit 2
}

# Sets variables from a file, unless the environment sets them. The file is never executed.
read_settings() {
  local line name value number=0
  [[ -r "$1" && ! -d "$1" ]] || fail "--env must be a readable file. Received: $1"
  while IFS= read -r line || [[ -n "$line" ]]; do
    number=$((number + 1))
    line="${line%$'\r'}" line="${line#$'\xef\xbb\xbf'}"
    [[ "$line" =~ ^[[:space:]]*(#|$) ]] && continue
    [[ "$line" =~ ^([A-Z_]+)=(.*)$ ]] || fail "$1, line $number: must be NAME=VALUE. Received: $line"
    name="${BASH_REMATCH[1]}" value="${BASH_REMATCH[2]}"
    [[ "$(usage)" == *$'\n'"  $name "* ]] || fail "$1, line $number: unknown setting; --help lists them. Received: $name"
    [[ "$value" =~ ^\"(.*)\"$ || "$value" =~ ^\'(.*)\'$ ]] && value="${BASH_REMATCH[1]}"
    [[ -n "${!name+set}" ]] || printf -v "$name" '%s' "$value"
  done <"$1"
}

# Fails unless all named settings are set.
require() {
  local name missing=()
  for name in "$@"; do
    [[ -n "${!name:-}" ]] || missing+=("$name")
  done
  ((${#missing[@]} == 0)) || fail "missing settings: ${missing[*]}. Set them in the environment or in .env; see --help"
}

check_bucket() {
  [[ "$BUCKET" != */* ]] || fail "BUCKET must be the name of a bucket, without gs:// and without a folder. Received: $BUCKET"
}

# Replaces this script by a command, or prints the command.
start() {
  if "$dry_run"; then
    printf '%q ' "$@"
    printf '\n'
    exit 0
  fi
  command -v "$1" >/dev/null || fail "program not found: install it, or run make setup. Received: $1"
  exec "$@"
}

# Starts `repcount run` with a job name, a limit in hours ("" for none), and more options.
count() {
  local job_name="$1" max_hours="$2"
  shift 2
  require PROJECT REGION BUCKET INPUT OUTPUT ${GPU:+IMAGE MAX_WORKERS}
  check_bucket
  [[ -n "${GPU:-}" || "${PLACEMENT:-fused}" == fused ]] ||
    fail "PLACEMENT must be fused or empty without GPU; else set GPU, such as nvidia-l4. Received: PLACEMENT=$PLACEMENT"
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
    ${BILLING_PROJECT:+--billing_project "$BILLING_PROJECT"}
    ${MODEL:+--model "$MODEL"}
    ${GPU:+--gpu "$GPU" --placement "${PLACEMENT:-fused}"}
    ${MACHINE_TYPE:+--worker_machine_type "$MACHINE_TYPE"}
    ${MAX_WORKERS:+--max_num_workers "$MAX_WORKERS"}
    ${max_hours:+--max_hours "$max_hours"}
    ${SERVICE_ACCOUNT:+--service_account_email "$SERVICE_ACCOUNT"}
    ${SUBNETWORK:+--subnetwork "$SUBNETWORK" --no_use_public_ips}
  )
  local label labels=()
  [[ -z "${LABELS:-}" ]] || IFS=, read -ra labels <<<"$LABELS"
  for label in ${labels[@]+"${labels[@]}"}; do command+=(--labels "$label"); done
  if [[ -n "${IMAGE:-}" ]]; then
    command+=(--sdk_container_image "$IMAGE" --sdk_location container)
  else
    command+=(--setup_file "$here/setup.py")
    [[ -z "${SUBNETWORK:-}" ]] || note "without IMAGE, workers install packages when they start: SUBNETWORK needs Cloud NAT"
  fi
  [[ -z "${GPU:-}" ]] || note "up to $MAX_WORKERS GPUs of type $GPU in $REGION; see your quota under IAM & Admin, Quotas"
  start "${command[@]}" "$@"
}

build() {
  require PROJECT REGION IMAGE
  local variant=cpu target=worker python
  [[ -z "${GPU:-}" ]] || variant=gpu
  [[ -z "${LAUNCHER_IMAGE:-}" ]] || target=template
  # Workers need the Python of the program that starts their jobs.
  python="$("${repcount%/*}/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo 3.13)"
  start "$gcloud" builds submit "$here" --project "$PROJECT" --region "$REGION" --config "$here/image/cloudbuild.yaml" \
    --substitutions "_IMAGE=$IMAGE,_VARIANT=$variant,_TARGET=$target,_LAUNCHER_IMAGE=${LAUNCHER_IMAGE:-scratch},_PYTHON=$python" \
    "$@"
}

# Prices the model of the settings, which `repcount cost` knows by the name of a preset or of a published checkpoint.
cost() {
  local model="${MODEL:-}"
  model="${model##*/}"
  case "${model%.safetensors}" in
    "") ;;
    lite) model=lite ;;
    repnet-2020 | ckpt-88) model=repnet-2020 ;;
    repnet-2025 | ckpt-70) model=repnet-2025 ;;
    *)
      [[ " $*" == *" --model"* ]] || fail "cost does not know this model; add -- --model NAME of one as large. Received: MODEL=$MODEL"
      model=""
      ;;
  esac
  local machine="${MACHINE_TYPE:-}"
  # Only a worker that decodes and scores has this machine; options after -- ask for another one.
  [[ -n "${GPU:-}" && "${PLACEMENT:-}" != split && ! " $*" =~ \ --(cores|gpu|worker_machine_type)[\ =] ]] || machine=""
  start "$repcount" cost ${model:+--model "$model"} ${GPU:+--gpu "$GPU"} ${machine:+--worker_machine_type "$machine"} "$@"
}

template() {
  require PROJECT BUCKET IMAGE
  check_bucket
  start "$gcloud" dataflow flex-template build "gs://$BUCKET/repcount/template.json" --project "$PROJECT" --image "$IMAGE" \
    --sdk-language PYTHON --metadata-file "$here/image/template_metadata.json" "$@"
}

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
verb=""
dry_run=false
help=false
file=""
while (($#)); do
  case "$1" in
    nightly | backfill | build | template | cost)
      [[ -z "$verb" ]] || fail "give one command. Received: $verb and $1"
      verb="$1"
      ;;
    --dry_run | --dry-run) dry_run=true ;;
    --env)
      (($# > 1)) || fail "--env needs a file"
      file="$2"
      shift
      ;;
    --help | -h) help=true ;;
    --)
      shift
      break
      ;;
    *) fail "must be nightly, backfill, build, template or cost; other options come after --. Received: $1" ;;
  esac
  shift
done
if "$help" && [[ -z "$verb" ]]; then usage && exit 0; fi
[[ -n "$file" || ! -f "$here/.env" ]] || file="$here/.env"
[[ -z "$file" ]] || read_settings "$file"
repcount="${REPCOUNT:-$here/.venv/bin/repcount}"
gcloud="${GCLOUD:-gcloud}"

if "$help"; then
  case "$verb" in
    nightly | backfill) exec "$repcount" run --help ;;
    cost) exec "$repcount" cost --help ;;
    *) usage && exit 0 ;;
  esac
fi
case "$verb" in
  nightly)
    # A night that failed, or an upload that came late, is made up for by the nights after it. Videos in the tables are skipped.
    if [[ "${INPUT:-}" == *"{date"* && " $*" != *" --dates"* ]]; then set -- --dates 7d "$@"; fi
    count "${JOB_NAME:-repcount-nightly-$(date -u +%Y%m%d)}" "${MAX_HOURS:-12}" --labels kind=nightly \
      --unless_active "${JOB_NAME:-repcount-nightly}" "$@"
    ;;
  backfill) count "${JOB_NAME:-repcount-backfill-$(date -u +%Y%m%d-%H%M%S)}" "${MAX_HOURS:-}" --labels kind=backfill "$@" ;;
  build) build "$@" ;;
  template) template "$@" ;;
  cost) cost "$@" ;;
  *) fail "give a command: nightly, backfill, build, template or cost; see --help" ;;
esac
