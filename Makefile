# `make help` lists what there is. Everything is installed into .venv from requirements.lock; only the first start needs a network.

# Patterns and addresses reach the program through the environment, so that spaces, ** and quotes in them need no escaping.
# They are set with = so that a variable of that name in one's shell changes nothing.
export INPUT = demo/videos/*.mp4
export OUTPUT = duckdb:demo/counts.duckdb
export MODEL =
export ARGS =
# The Python to make .venv with. Unset: the first of python3.11, 3.12, 3.10 and python3 that is a version this project runs on.
export PYTHON

CODE = pipeline transforms model benchmarks demo image
PIP = .venv/bin/python -m pip --disable-pip-version-check -qq

.DEFAULT_GOAL := help
.PHONY: help setup run demo test test-slow lint lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The stamp is written last, so an interrupted set-up starts from nothing the next time. The lock is whole, so nothing is resolved
# here: pip would take the newest release for a requirement with an extra, and then miss its hash.
.venv/complete: requirements.lock pyproject.toml setup.py
	@set -eu; \
	[ -e $@ ] || rm -rf .venv; \
	rm -f $@; \
	if [ ! -d .venv ]; then \
	  found=; \
	  for python in $${PYTHON:-python3.11 python3.12 python3.10 python3}; do \
	    if "$$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; then \
	      found=$$python; break; \
	    fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "make: Python 3.10, 3.11 or 3.12 is needed; name one with PYTHON=/path/to/python3.11." \
	      "Received: $${PYTHON:-$$(python3 --version 2>/dev/null || echo no python3 on the PATH)}" >&2; \
	    exit 2; \
	  fi; \
	  echo "Making .venv with $$("$$found" --version) …"; \
	  "$$found" -m venv .venv; \
	fi; \
	echo "Installing dependencies into .venv (once, about 90 s) …"; \
	$(PIP) install --require-hashes --no-deps -r requirements.lock; \
	echo "Installing repcount into .venv …"; \
	$(PIP) install --no-deps --no-build-isolation --editable .; \
	touch $@

# The servers that stand in for Google Cloud in tests need other versions of some packages than the project does.
.venv-servers/complete: tests/google_cloud/requirements.lock .venv/complete
	@set -eu; \
	[ -e $@ ] || rm -rf .venv-servers; \
	rm -f $@; \
	if .venv/bin/python -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))'; then \
	  [ -d .venv-servers ] || .venv/bin/python -m venv .venv-servers; \
	  echo "Installing the test servers into .venv-servers (once, about 30 s) …"; \
	  .venv-servers/bin/python -m pip --disable-pip-version-check -qq install --require-hashes --no-deps -r $<; \
	  touch $@; \
	else \
	  echo "The test servers need Python 3.11 or 3.12: their tests are skipped."; \
	fi

setup: .venv/complete ## Install everything into .venv (the other targets do this too)

run: setup ## Count the demo videos, or INPUT='/my/videos/**' into OUTPUT=duckdb:counts.duckdb, with MODEL=… and ARGS='…'
	@set -f; exec .venv/bin/repcount run --input "$$INPUT" --output "$$OUTPUT" $${MODEL:+--model "$$MODEL"} $$ARGS

ifeq ($(origin INPUT),file)
run: demo
endif

demo: setup ## Draw the demo videos into demo/videos
	@.venv/bin/python -m demo.draw_videos demo/videos

test: setup .venv-servers/complete ## Run the tests but the slow ones; ARGS='-k counting' chooses some
	@set -f; .venv/bin/python -m pytest -m 'not slow' $$ARGS

test-slow: setup .venv-servers/complete ## Run the slow tests: real clips, training, golden files, kills, a zoo of broken files
	@set -f; .venv/bin/python -m pytest -m slow $$ARGS

lint: setup ## Check style, formatting, types, the shell scripts and the Dockerfile
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy $(CODE)
	.venv/bin/shellcheck run_dataflow.sh .ci/run
	@[ ! -x .venv/bin/hadolint ] || { echo .venv/bin/hadolint Dockerfile; .venv/bin/hadolint Dockerfile; }

lock: setup ## Bring the lock files up to what is asked for; ARGS=--upgrade takes the newest versions
	$(PIP) install uv
	.venv/bin/uv pip compile --universal --python-version 3.10 --no-emit-index-url --generate-hashes --extra dev \
	  --quiet $(ARGS) pyproject.toml -o requirements.lock
	.venv/bin/uv pip compile --python-platform x86_64-manylinux_2_28 --python-version 3.11 --no-emit-index-url --generate-hashes \
	  --quiet -c requirements.lock pyproject.toml -o image/cpu.lock
	.venv/bin/uv pip compile --python-platform x86_64-manylinux_2_28 --python-version 3.11 --no-emit-index-url --generate-hashes \
	  --quiet -c requirements.lock --extra gpu pyproject.toml -o image/gpu.lock
	.venv/bin/uv pip compile --universal --python-version 3.11 --no-emit-index-url --generate-hashes --quiet $(ARGS) \
	  tests/google_cloud/requirements.in -o tests/google_cloud/requirements.lock

clean: ## Remove what was drawn, counted, built and cached; .venv and .venv-servers stay
	rm -rf demo/videos demo/counts.duckdb demo/counts.duckdb.* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
