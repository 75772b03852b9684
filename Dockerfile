FROM debian:bookworm-slim

RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv ca-certificates libgomp1 \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/ban-bids/src
ENV PATH=/opt/ban-bids/venv/bin:$PATH

# The dependencies change less often than the code: a layer of their own. Some of them ship templates that are
# no valid Python, on which compileall stumbles without harm.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN mkdir -p ban_bids bids_app \
 && touch ban_bids/__init__.py bids_app/__init__.py \
 && python3 -m venv /opt/ban-bids/venv \
 && pip install --no-cache-dir -q uv \
 && uv pip install --no-cache -q --python /opt/ban-bids/venv/bin/python -c constraints.txt '.[pretrained]' \
 && { python -m compileall -q -j 0 /opt/ban-bids/venv/lib || true; }

# setuptools skips files older than those that it built before: nothing of the stub above may stay
COPY ban_bids ban_bids
COPY bids_app bids_app
RUN rm -rf build *.egg-info \
 && uv pip install --no-cache -q --python /opt/ban-bids/venv/bin/python --no-deps --reinstall-package ban-bids . \
 && python -m compileall -q /opt/ban-bids/venv/lib/python3.11/site-packages/ban_bids \
 && MPLCONFIGDIR=/opt/ban-bids/fonts python -c "import matplotlib.font_manager" \
 && chmod -R a+rX /opt/ban-bids/fonts

# The container may run read-only and as any user: everything is written under the output directory.
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MPLCONFIGDIR=/opt/ban-bids/fonts \
    BAN_BIDS_CONTAINER=docker
LABEL org.opencontainers.image.title="ban-bids" org.opencontainers.image.licenses="Apache-2.0"
ENTRYPOINT ["python", "/opt/ban-bids/src/bids_app/run.py"]
