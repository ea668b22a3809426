# The image of Dataflow's workers (target worker), and of a Flex Template's launcher (target template).
#
#   PYTHON          Python version. It must be that of the program that starts the job
#   VARIANT         cpu, or gpu for TensorFlow with CUDA
#   LAUNCHER_IMAGE  for the target template: Google's launcher of Python templates
#   IMAGE           for the target template: the name that this image is pushed as, which jobs then use for their workers
#
# `./run_dataflow.sh build` builds it.
ARG LAUNCHER_IMAGE=scratch
ARG PYTHON=3.13

FROM apache/beam_python${PYTHON}_sdk:2.77.0 AS worker
ARG VARIANT=cpu
WORKDIR /repcount
COPY locks/installer.lock locks/cpu.lock locks/gpu.lock locks/
RUN python -m pip install --no-cache-dir --require-hashes --no-deps -r locks/installer.lock \
  && uv pip install --system --no-cache --require-hashes --no-deps -r "locks/${VARIANT}.lock"
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE NOTICE ./
COPY model model
COPY transforms transforms
COPY pipeline pipeline
RUN uv pip install --system --no-cache --no-deps --no-build-isolation .
COPY image/smoke.py image/smoke.py
RUN python image/smoke.py
# All code is in the image, so workers install nothing when they start.
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
# Dataflow mounts the GPU's driver here.
ENV LD_LIBRARY_PATH=/usr/local/nvidia/lib64

# hadolint ignore=DL3006
FROM ${LAUNCHER_IMAGE} AS launcher

FROM worker AS template
ARG IMAGE
COPY --from=launcher /opt/google/dataflow/python_template_launcher /opt/google/dataflow/python_template_launcher
COPY image/template.py image/template.py
ENV FLEX_TEMPLATE_PYTHON_PY_FILE=/repcount/image/template.py
ENV REPCOUNT_IMAGE=${IMAGE}
ENTRYPOINT ["/opt/apache/beam/boot"]
