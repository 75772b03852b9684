# The image of ban-bids. `docker build -t ban-bids .` takes PyTorch's build for CPUs; an image for NVIDIA GPUs is made
# by `--build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130`. With an empty TORCH_INDEX torch comes from the
# same index as everything else (PyPI's build is one for CUDA). See docs/container.md.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv ca-certificates \
 && rm -rf /var/lib/apt/lists/*

# What builds the environment lies outside it: the image has no installer.
RUN python3 -m venv /opt/tools \
 && /opt/tools/bin/pip install --no-cache-dir -q uv==0.13.* cyclonedx-bom==7.5.* pip-licenses==5.5.* \
 && python3 -m venv --without-pip /opt/ban-bids
ENV PATH=/opt/tools/bin:$PATH VIRTUAL_ENV=/opt/ban-bids UV_NO_CACHE=1 UV_LINK_MODE=copy

# The dependencies change less often than the code: layers of their own. torch and torchaudio come first and alone, as
# PyTorch's index has other versions of what they need.
WORKDIR /src
COPY pyproject.toml constraints.txt ./
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN [ -z "$TORCH_INDEX" ] || uv pip install -q --no-deps --index-url "$TORCH_INDEX" \
      "$(sed -n '/^torch==/p' constraints.txt)" "$(sed -n '/^torchaudio==/p' constraints.txt)"
RUN uv pip install -q -c constraints.txt -r pyproject.toml --extra pretrained --extra listen

COPY README.md LICENSE ./
COPY ban_bids ban_bids
COPY bids_app bids_app
RUN uv pip install -q --no-deps .

# The lists of what is in the environment are made before anything is taken out of it. Then go what is only there to
# build or to test: headers, static libraries, sources of compiled modules, tests, and torch's tools to build with it.
RUN mkdir -p /opt/ban-bids/share/doc/ban-bids \
 && cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible --of JSON \
      -o /opt/ban-bids/share/doc/ban-bids/sbom.cdx.json /opt/ban-bids/bin/python \
 && pip-licenses --python /opt/ban-bids/bin/python --from mixed --with-system --with-urls --format markdown \
      --output-file /opt/ban-bids/share/doc/ban-bids/licenses.md \
 && cp LICENSE /opt/ban-bids/share/doc/ban-bids/ \
 && cd /opt/ban-bids/lib/python3*/site-packages \
 && rm -rf torch/include torch/share torch/test torch/bin/protoc* torch/bin/test_* \
 && find . -depth -type d \( -name tests -o -name test_data \) -exec rm -rf {} + \
 && find . -type f \( -name '*.a' -o -name '*.h' -o -name '*.hpp' -o -name '*.pxd' -o -name '*.pyx' \) -delete

# Byte code that is valid whatever the files' times, for a root that nobody may write (what torch tests itself with may
# be written for a newer Python); the fonts are looked for once.
RUN /opt/ban-bids/bin/python -m compileall -qf -j 0 --invalidation-mode unchecked-hash -x torch/testing/_internal \
      /opt/ban-bids/lib \
 && MPLCONFIGDIR=/opt/ban-bids/fonts /opt/ban-bids/bin/python -c "import matplotlib.font_manager" \
 && chmod -R a+rX /opt/ban-bids/fonts

FROM ${BASE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 ca-certificates libgomp1 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/log/* \
 && useradd --uid 1000 --create-home --home-dir /home/ban ban
COPY --from=build /opt/ban-bids /opt/ban-bids

# The container may run read-only, without network and as any user: everything is written to the output and the work
# directory. The libraries look for their settings in HOME, which is the same for each user, and torch asks for the
# user's name, which a uid of the outside has not.
ENV PATH=/opt/ban-bids/bin:$PATH \
    HOME=/home/ban \
    USER=ban \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MPLCONFIGDIR=/opt/ban-bids/fonts \
    BAN_BIDS_CONTAINER=docker
USER 1000:1000
ENTRYPOINT ["ban-bids"]
# It works a job off and ends, so there is nothing to ask from time to time; `ban-bids-demo` says whether it works.
HEALTHCHECK NONE

# Last, as they change each time
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=unknown
ARG CREATED=unknown
ENV BAN_BIDS_CONTAINER_TAG=ban-bids:$VERSION
LABEL org.opencontainers.image.title="ban-bids" \
      org.opencontainers.image.description="BIDS App: how brain-like is an auditory network, measured on people?" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.created="$CREATED"
