# The image of bids_synthsr: docker build --tag synthsr .       (docker/README.md tells more)
# Nothing but what every builder knows: docker, podman and buildah build it alike.
ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
# where PyTorch comes from: .../cpu, or .../cu126 and the like for NVIDIA GPUs
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY . /source
RUN sh /source/docker/install.sh /source /opt/bids_synthsr "${TORCH_INDEX}"

FROM ${BASE_IMAGE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="bids_synthsr" \
      org.opencontainers.image.description="BIDS App: every clinical brain MRI exam as 1 mm volumes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/bids_synthsr /opt/bids_synthsr
# any user may write to the home, whoever they are; --work-dir is below the current folder by default
RUN mkdir -m 1777 /home/bids_synthsr
ENV PATH=/opt/bids_synthsr/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/home/bids_synthsr \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONNOUSERSITE=1
WORKDIR /tmp
ENTRYPOINT ["bids_synthsr"]
