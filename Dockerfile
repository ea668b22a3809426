# The image of Dataflow's workers (target worker), and of a Flex Template's launcher as well (target template).
#
#   VARIANT         cpu, or gpu for TensorFlow with CUDA
#   LAUNCHER_IMAGE  Google's launcher of Python templates, for the target template
#   IMAGE           for the target template, the name that the image is pushed as: jobs name it for their workers
#
# `./run_dataflow.sh build` builds it. The versions are those of requirements.lock.
ARG LAUNCHER_IMAGE=scratch

FROM apache/beam_python3.11_sdk:2.77.0 AS worker
ARG VARIANT=cpu
WORKDIR /repcount
COPY image/cpu.lock image/gpu.lock image/
RUN python -m pip install --no-cache-dir --require-hashes --no-deps -r "image/${VARIANT}.lock"
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE NOTICE ./
COPY model model
COPY transforms transforms
COPY pipeline pipeline
RUN python -m pip install --no-cache-dir --no-deps --no-build-isolation .
COPY image/smoke.py image/smoke.py
RUN python image/smoke.py
# Workers get all code from the image: nothing is staged and nothing is installed when they start.
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
# Where Dataflow's machines have the driver of their GPU.
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
