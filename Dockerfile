# Neptune's image: a virtual environment with the dependencies, then the package laid over it. What built them stays behind.
#
#   docker build -t neptune .
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --stop-timeout 45 -p 8080:8080 -e KAFKA_BOOTSTRAP_SERVERS=… neptune
#   docker run … neptune check                                  any other of `neptune`'s commands
#   docker run … --entrypoint python neptune -m bytewax.run dataflow:flow -s 1
#
# Docker waits 10 s after SIGTERM, then kills; a drain may take NEPTUNE_DRAIN_S_MAX, 30 s: hence the stop time-out. Being killed loses nothing.
# A package index of your own: `--secret id=pip.conf,src=…`; and for its certificate authority `--secret id=ca.pem,src=…`, with `cert = /run/secrets/ca.pem` in pip.conf.
# BuildKit builds it, and so does buildah (`--format docker`: OCI's own format has no health check).

ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm

FROM ${PYTHON_IMAGE} AS dependencies
# pip works from outside of the environment, which so never holds it.
RUN python -m venv /opt/pip && python -m venv --without-pip /opt/neptune
ENV PIP_CACHE_DIR=/var/cache/pip
WORKDIR /build
COPY requirements.lock ./
# Left out: what only developers of libraries need, and Arrow's RPC (a tenth of it all), which nothing here calls.
# Bytecode is compiled here, since nothing can be written later, and never checked against its source, since that cannot change.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.pem --mount=type=cache,target=/var/cache/pip \
    /opt/pip/bin/pip --python /opt/neptune/bin/python install --no-compile --require-hashes --requirement requirements.lock \
 && find /opt/neptune -type d \( -name tests -o -name include \) -prune -exec rm -r {} + \
 && find /opt/neptune -path '*/pyarrow/*' -name '*flight*' -delete \
 && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/neptune

FROM dependencies AS package
COPY pyproject.toml requirements.txt ./
COPY neptune_flow neptune_flow
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.pem --mount=type=cache,target=/var/cache/pip \
    /opt/pip/bin/pip --python /opt/neptune/bin/python install --no-compile --no-deps --no-warn-script-location --root /package . \
 && python -m compileall -q --invalidation-mode unchecked-hash -s /package /package

FROM ${PYTHON_IMAGE}
# Python's own pip goes, too; its library comes without bytecode.
RUN stdlib=$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))') \
 && rm -rf "$stdlib"/ensurepip "$stdlib"/site-packages/* /usr/local/bin/pip* /usr/local/bin/wheel \
 && python -m compileall -q --invalidation-mode unchecked-hash "$stdlib"
COPY --from=dependencies /opt/neptune /opt/neptune
COPY --from=package /package /
WORKDIR /app
COPY --chmod=444 dataflow.py ./

ENV PATH=/opt/neptune/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    NEPTUNE_GROUP_MODE=true
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
# Unhealthy is also who waits for Kafka, storage or catalog: a reason to tell somebody, not to restart.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-m", "neptune_flow.healthcheck"]
ENTRYPOINT ["neptune"]
CMD ["run"]

ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Neptune" \
      org.opencontainers.image.description="Lands a Kafka topic in an Apache Iceberg table, each message exactly once" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
