# The builder installs the locked dependencies and trains the example model.
FROM python:3.11.14-slim-bookworm AS builder
WORKDIR /app
COPY requirements/server.txt requirements/
RUN python -m venv /venv \
    && /venv/bin/python -m pip install --no-cache-dir --require-hashes -r requirements/server.txt
COPY model/ model/
RUN /venv/bin/python -m model.train --out model/my_best_model.keras

# What runs: no compiler, no cache, no tests, nothing that the service's user may write.
FROM python:3.11.14-slim-bookworm
WORKDIR /app
COPY --from=builder /venv/ /venv/
COPY --from=builder /app/model/ model/
COPY scripts/healthcheck.py scripts/
COPY config.yaml ./
COPY server/ server/

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
CMD ["model/my_best_model.keras"]
