# `make help` lists the targets. Each but `image` first installs what locks/ names into .venv, if that has not been done yet.
# Only that, and `image`, need a network.

# INPUT, OUTPUT, MODEL and ARGS reach the program through the environment, so spaces, ** and quotes in them need no escaping.
# Plain = keeps variables of the same names in your shell from changing anything.
export INPUT = demo/videos/*.mp4
export OUTPUT = duckdb:demo/counts.duckdb
export MODEL =
export ARGS =
# The Python that makes .venv. Default: the first of python3.13, python3.12, python3.11 and python3 that is 3.11, 3.12 or 3.13.
export PYTHON
# cpu, or gpu for TensorFlow with CUDA. Default: what .venv has, else cpu.
made_for := $(shell cat .venv/complete 2>/dev/null)
export DEVICE = $(or $(firstword $(made_for)),cpu)
# The folder that .venv belongs to: its programs name it, and Python imports the project from there.
export CHECKOUT = $(CURDIR)

CODE = pipeline transforms model benchmarks demo image deploy
# `-n auto`: tests/conftest.py says how many. More than eight processes take more memory than they save time. ARGS='-n 0': one.
PYTEST = .venv/bin/python -m pytest -n auto --maxprocesses 8 --dist loadfile
UV = .venv/bin/uv --quiet pip
# Extras in the image; `train` is not.
EXTRAS = --extra beam --extra gcp --extra plot --extra report --extra view --extra serve
LOCK = $(UV) compile --universal --python-version 3.11 --no-emit-index-url --generate-hashes $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help setup run demo image test test-slow lint bench lock clean anew

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# .venv/complete holds the device and the folder, and is written last: after an interruption, the next start makes .venv from
# scratch.
.venv/complete: locks/cpu.lock locks/gpu.lock locks/dev.lock locks/train.lock locks/installer.lock pyproject.toml setup.py
	@set -eu; \
	case "$$DEVICE $$(uname -sm)" in \
	  "cpu "* | "gpu Linux x86_64") ;; \
	  *) echo "make: DEVICE must be cpu, or gpu on x86-64 Linux. Received: $$DEVICE on $$(uname -sm)" >&2; exit 2 ;; \
	esac; \
	[ "$$(sed 1d $@ 2>/dev/null)" = "$$CHECKOUT" ] || rm -rf .venv; \
	rm -f $@; \
	if [ ! -d .venv ]; then \
	  found=; \
	  for python in $${PYTHON:-python3.13 python3.12 python3.11 python3}; do \
	    if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then \
	      found=$$python; break; \
	    fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "make: Python 3.11, 3.12 or 3.13 is needed. If it is not on the PATH, name it: make PYTHON=/path/to/python3.13." \
	      "Received: $${PYTHON:-$$(python3 --version 2>/dev/null || echo no python3 on the PATH)}" >&2; \
	    exit 2; \
	  fi; \
	  echo "Making .venv with $$("$$found" --version) …"; \
	  "$$found" -m venv .venv; \
	fi; \
	echo "Installing dependencies into .venv (once, about a minute; several with DEVICE=gpu) …"; \
	.venv/bin/python -m pip --disable-pip-version-check -qq install --require-hashes --no-deps -r locks/installer.lock; \
	$(UV) sync --python .venv --compile-bytecode --require-hashes locks/$$DEVICE.lock locks/dev.lock locks/train.lock locks/installer.lock; \
	$(UV) install --python .venv --no-deps --no-build-isolation --editable .; \
	printf '%s\n' "$$DEVICE" "$$CHECKOUT" > $@

# A target that is no file makes .venv anew: for another device, or where this folder was copied or renamed.
ifneq ($(DEVICE) $(CHECKOUT),$(made_for))
.venv/complete: anew
endif

# The servers that stand in for Google Cloud in tests need other versions of some packages than the project does.
.venv-servers/complete: locks/servers.lock .venv/complete
	@set -eu; \
	[ -e $@ ] || rm -rf .venv-servers; \
	rm -f $@; \
	echo "Installing the test servers into .venv-servers (once, about 10 s) …"; \
	[ -d .venv-servers ] || .venv/bin/python -m venv --without-pip .venv-servers; \
	$(UV) sync --python .venv-servers --require-hashes $<; \
	touch $@

setup: .venv/complete ## Install everything into .venv; with DEVICE=gpu, TensorFlow with CUDA (the other targets do this too)

run: setup ## Count the demo videos; or INPUT='/my/videos/**' OUTPUT=duckdb:counts.duckdb MODEL=… ARGS='…'
	@set -f; exec .venv/bin/repcount run --input "$$INPUT" --output "$$OUTPUT" $${MODEL:+--model "$$MODEL"} $$ARGS

ifeq ($(origin INPUT),file)
run: demo
endif

demo: setup ## Draw the demo videos into demo/videos
	@.venv/bin/python -m demo.draw_videos demo/videos

image: ## Build the container image with Docker, Podman or Buildah; DEVICE=gpu, TARGET=server; BASE=debian without a registry
	@exec image/build.sh "$$DEVICE" "$${TARGET:-worker}" "$${BASE:-beam}"

test: setup .venv-servers/complete ## Run all tests except the slow ones; ARGS='-k counting' selects some
	@set -f; $(PYTEST) -m 'not slow' $$ARGS

test-slow: setup .venv-servers/complete ## Run the slow tests: real clips, training, golden files, BigQuery, killed runs, broken videos
	@set -f; $(PYTEST) -m slow $$ARGS

lint: setup ## Check style, formatting, types, the shell scripts and the Dockerfile
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy $(CODE)
	.venv/bin/shellcheck run_dataflow.sh .ci/run image/*.sh deploy/*.sh
	@[ ! -x .venv/bin/hadolint ] || { echo .venv/bin/hadolint Dockerfile; .venv/bin/hadolint Dockerfile; }

bench: setup .venv-servers/complete ## Run all benchmarks (30 minutes) and quote their figures in the docs; ARGS='--only decoding'
	@set -f; exec .venv/bin/python -m benchmarks $$ARGS

lock: setup ## Update locks/ to what pyproject.toml asks for; ARGS=--upgrade takes the newest versions
	$(LOCK) $(EXTRAS) pyproject.toml -o locks/cpu.lock
	echo tensorflow-cpu | $(LOCK) -c locks/cpu.lock --excludes /dev/stdin $(EXTRAS) --group gpu pyproject.toml -o locks/gpu.lock
	echo tensorflow-cpu tensorflow | tr ' ' '\n' | $(LOCK) -c locks/cpu.lock --excludes /dev/stdin --extra train pyproject.toml \
	  -o locks/train.lock
	$(LOCK) -c locks/cpu.lock --group dev -o locks/dev.lock
	$(LOCK) --group servers -o locks/servers.lock
	$(LOCK) --group installer -o locks/installer.lock

clean: ## Delete demo videos, counts, builds and caches; keep .venv and .venv-servers
	rm -rf demo/videos demo/counts.duckdb demo/counts.duckdb.* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
