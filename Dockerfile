# The image of Dataflow's workers (target worker), of a Flex Template's launcher (target template), and of the HTTP service
# (target server). The last two add a few kilobytes to the first.
#
#   PYTHON          Python version. It must be that of the program that starts the job
#   VARIANT         cpu, or gpu for TensorFlow with CUDA
#   LAUNCHER_IMAGE  for the target template: Google's launcher of Python templates
#   IMAGE           for the target template: the name that this image is pushed as, which jobs then use for their workers
#
# `./run_dataflow.sh build` builds it on Google Cloud, `make image` on this machine.
ARG LAUNCHER_IMAGE=scratch
ARG PYTHON=3.13

FROM apache/beam_python${PYTHON}_sdk:2.77.0 AS dependencies
ARG VARIANT=cpu
WORKDIR /repcount
COPY locks/installer.lock locks/cpu.lock locks/gpu.lock locks/
COPY image/slim.py image/slim.py
# One step, since what a later step deletes stays in the layer of an earlier one. The installer, 60 MB, goes too.
RUN python -m pip install --no-cache-dir --require-hashes --no-deps --target /installer -r locks/installer.lock \
  && /installer/bin/uv pip install --system --no-cache --require-hashes --no-deps -r "locks/${VARIANT}.lock" \
  && python image/slim.py \
  && rm -rf /installer /tmp/*

# The wheel is built apart, so that the image has no second copy of the sources.
FROM dependencies AS wheel
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE NOTICE ./
COPY model model
COPY transforms transforms
COPY pipeline pipeline
RUN python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .

FROM dependencies AS worker
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels python -m pip install --no-cache-dir --no-deps /wheels/*.whl
COPY image/smoke.py image/imports.py image/
# Counts a clip. Both leave the compiled bytecode of what they import.
RUN python image/smoke.py && python image/imports.py && rm -rf /tmp/*
# All code is in the image, so workers install nothing when they start.
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
# Dataflow, Cloud Run and Vertex AI mount the GPU's driver here.
ENV LD_LIBRARY_PATH=/usr/local/nvidia/lib64
# Docker's --gpus mounts what this names. Without it there is no video decoding.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility,video

FROM worker AS server
# Beam's boot program runs as root. The service needs nothing of root's, and its decoders' sandbox does not either.
RUN useradd --create-home --uid 10001 repcount
USER 10001
WORKDIR /home/repcount
# The platform names the port, by PORT or AIP_HTTP_PORT. Where it authenticates callers, add --allow_unauthenticated.
ENTRYPOINT ["repcount", "serve", "--host", "0.0.0.0"]

# hadolint ignore=DL3006
FROM ${LAUNCHER_IMAGE} AS launcher

FROM worker AS template
ARG IMAGE
COPY --from=launcher /opt/google/dataflow/python_template_launcher /opt/google/dataflow/python_template_launcher
COPY image/template.py image/template.py
ENV FLEX_TEMPLATE_PYTHON_PY_FILE=/repcount/image/template.py
ENV REPCOUNT_IMAGE=${IMAGE}
ENTRYPOINT ["/opt/apache/beam/boot"]
