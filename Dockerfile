# Two images: the default target has everything, `slim` serves .onnx files with ONNX Runtime alone.

# Installs the locked dependencies and trains the example model. --no-deps: the lock is whole, and
# pip does not know that tensorflow-cpu is what tf_keras means by tensorflow.
# Removed at once, so that no layer keeps it: C++ headers of TensorFlow, names of functions in its
# libraries that only a debugger reads (200 MB), and the tests of all libraries.
FROM python:3.11.14-slim-bookworm AS builder
WORKDIR /app
# hadolint ignore=DL3008  # Debian keeps one version at a time, and nothing of it enters the image
RUN apt-get update \
    && apt-get install -y --no-install-recommends binutils \
    && rm -rf /var/lib/apt/lists/*
COPY requirements/image.txt requirements/
RUN python -m venv /venv \
    && /venv/bin/python -m pip install --no-cache-dir --no-deps --require-hashes -r requirements/image.txt \
    && rm -rf /venv/lib/python3.11/site-packages/tensorflow/include \
    && strip /venv/lib/python3.11/site-packages/tensorflow/libtensorflow_*.so.2 \
    && rm -rf /venv/lib/python3.11/site-packages/onnx/backend/test \
    && find /venv -type d -name tests -prune -exec rm -rf {} + \
    && find /venv -name '*_test.*py*' -delete
COPY model/ model/
RUN /venv/bin/python -m model.train --out model/my_best_model.keras

# The same for `slim`, without TensorFlow and without an example model.
FROM python:3.11.14-slim-bookworm AS slim-builder
WORKDIR /app
COPY requirements/slim.txt requirements/
RUN python -m venv /venv \
    && /venv/bin/python -m pip install --no-cache-dir --no-deps --require-hashes -r requirements/slim.txt \
    && rm -rf /venv/lib/python3.11/site-packages/onnx/backend/test \
    && find /venv -type d -name tests -prune -exec rm -rf {} + \
    && find /venv -name '*_test.*py*' -delete

# The service's own code, compiled, since nothing can be written where it runs.
FROM python:3.11.14-slim-bookworm AS code
WORKDIR /app
COPY config.yaml ./
COPY scripts/healthcheck.py scripts/
COPY model/ model/
COPY server/ server/
RUN python -m compileall -q --invalidation-mode checked-hash .

# What both images are told: no file of theirs comes from here.
FROM python:3.11.14-slim-bookworm AS settings
WORKDIR /app
# `python -P` takes no module from the current folder, so the project's own are named.
# The server and its health check read the same settings: these, and config.yaml. TensorFlow wants a folder for
# temporary files already when it is imported: this one is there under --read-only, too.
ENV PATH=/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TMPDIR=/dev/shm \
    SERVER_HTTP__HOST=0.0.0.0
# A number, so that an orchestrator can see that it is not root.
USER 65532:65532
EXPOSE 8888
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-P", "scripts/healthcheck.py"]
ENTRYPOINT ["python", "-P", "-m", "server"]

# ONNX Runtime alone: a model is mounted.
FROM settings AS slim
COPY --from=slim-builder /venv/ /venv/
COPY --from=code /app/ /app/
CMD ["/mnt/models"]

# What runs: no compiler, no cache, no tests, nothing that the service's user may write.
FROM settings
COPY --from=builder /venv/ /venv/
COPY --from=code /app/ /app/
COPY --from=builder /app/model/my_best_model.keras model/
CMD ["model/my_best_model.keras"]
