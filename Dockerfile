# One image for every part: `docker build -t turso-redb-cdc .`, then `docker run turso-redb-cdc poll`, `consume`, ...

FROM rust:1-slim-trixie AS rust

# Builds the wheel with its Rust extension, and gathers those of everything it needs.
FROM python:3.13-slim-trixie AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY --from=rust /usr/local/cargo /usr/local/cargo
COPY --from=rust /usr/local/rustup /usr/local/rustup
ENV CARGO_HOME=/usr/local/cargo RUSTUP_HOME=/usr/local/rustup PATH=/usr/local/cargo/bin:$PATH
WORKDIR /src
COPY LICENSE README.md pyproject.toml ./
COPY cdc cdc
COPY schemas schemas
COPY consumers consumers
RUN pip wheel --no-cache-dir --wheel-dir /wheels .

FROM python:3.13-slim-trixie
# A number, so that a cluster can tell that it is not root; the files of a volume keep their owner over upgrades.
RUN groupadd --gid 10001 cdc \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/cdc --shell /usr/sbin/nologin cdc \
    && install --directory --owner=10001 --group=10001 --mode=0750 /var/lib/cdc
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-compile --no-index --find-links=/wheels turso-redb-cdc
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    CDC_LOG_FORMAT=json
USER 10001:10001
WORKDIR /var/lib/cdc
VOLUME /var/lib/cdc
STOPSIGNAL SIGTERM
# Of a cache node; a container that does something else overrides it.
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=4 \
    CMD ["cdc", "status", "--check", "--timeout", "5s"]
ENTRYPOINT ["cdc"]
CMD ["--help"]
