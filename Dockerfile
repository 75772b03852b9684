# syntax-free on purpose: builds with the classic builder of Debian's docker.io as well as with BuildKit
FROM debian:bookworm-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv ca-certificates \
 && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/ban-bids/venv && /opt/ban-bids/venv/bin/pip install --no-cache-dir -q uv
WORKDIR /opt/ban-bids/src
COPY pyproject.toml constraints.txt README.md LICENSE ./
# the dependencies change less often than the code: a layer of their own
RUN mkdir -p ban_bids bids_app && touch ban_bids/__init__.py bids_app/__init__.py \
 && /opt/ban-bids/venv/bin/uv pip install --no-cache -q --python /opt/ban-bids/venv/bin/python -c constraints.txt .
COPY ban_bids ban_bids
COPY bids_app bids_app
RUN /opt/ban-bids/venv/bin/uv pip install --no-cache -q --python /opt/ban-bids/venv/bin/python --no-deps --reinstall-package ban-bids . \
 && /opt/ban-bids/venv/bin/python -m compileall -q -j 0 /opt/ban-bids/venv/lib || true

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 ca-certificates libgomp1 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/ban-bids/venv /opt/ban-bids/venv
COPY bids_app/run.py /opt/ban-bids/run.py
# The container may run read-only and as any user: everything is written under the output directory.
ENV PATH=/opt/ban-bids/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    BAN_BIDS_CONTAINER=docker
LABEL org.opencontainers.image.title="ban-bids" org.opencontainers.image.licenses="Apache-2.0"
ENTRYPOINT ["python", "/opt/ban-bids/run.py"]
