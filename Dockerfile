# The pipeline in a container; docs/cloud.md has the build and run lines of every variant:
#   docker build -t efficientdet .
#   docker run --rm -v "$PWD/runs:/workspace" efficientdet @params.config --mode=traineval
# --build-arg DEVICE=cpu|gpu, BACKEND=tensorflow|jax, EXTRAS=gcs,onnx; --target=serve for a small image that answers requests.
ARG PYTHON_VERSION=3.11
FROM python:${PYTHON_VERSION}-slim AS base
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TF_CPP_MIN_LOG_LEVEL=2
# The user and folder of the former image; /workspace is the same folder under a shorter name.
RUN useradd --create-home --uid 1000 aiteam \
    && mkdir -p /home/aiteam/workspace \
    && chown 1000:1000 /home/aiteam/workspace \
    && ln -s /home/aiteam/workspace /workspace
LABEL org.opencontainers.image.title="EfficientDet pipeline" \
    org.opencontainers.image.version="0.2.0" \
    org.opencontainers.image.licenses="Apache-2.0"

FROM base AS build
ARG DEVICE=cpu
ARG BACKEND=tensorflow
ARG EXTRAS=
ARG TENSORFLOW_VERSION=2.21.0
ARG JAX_VERSION=0.10.2
WORKDIR /build
COPY requirements.txt ./
RUN python -m venv /opt/venv \
    && grep -v '^-e' requirements.txt > pinned.txt \
    && pip install --no-cache-dir -r pinned.txt
RUN case "$BACKEND-$DEVICE" in \
        tensorflow-cpu) ;; \
        tensorflow-gpu) pip install --no-cache-dir "tensorflow[and-cuda]==$TENSORFLOW_VERSION" ;; \
        jax-cpu) pip install --no-cache-dir "jax==$JAX_VERSION" ;; \
        jax-gpu) pip install --no-cache-dir "jax[cuda12]==$JAX_VERSION" ;; \
        *) echo "BACKEND must be tensorflow or jax and DEVICE cpu or gpu. Received $BACKEND and $DEVICE." >&2; exit 2 ;; \
    esac
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY third_party third_party
COPY tfrmod tfrmod
COPY efficientdet_pipeline efficientdet_pipeline
RUN pip install --no-cache-dir --no-deps . \
    && if [ -n "$EXTRAS" ]; then pip install --no-cache-dir -c pinned.txt ".[$EXTRAS]"; fi

FROM base AS build-serve
WORKDIR /build
COPY requirements-serve.txt ./
RUN python -m venv /opt/venv && pip install --no-cache-dir -r requirements-serve.txt
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY third_party third_party
COPY tfrmod tfrmod
COPY efficientdet_pipeline efficientdet_pipeline
RUN pip install --no-cache-dir --no-deps .

# docker run --rm -p 8080:8080 -v "$PWD/runs/first/export:/model:ro" efficientdet-serve
FROM base AS serve
COPY --from=build-serve /opt/venv /opt/venv
WORKDIR /app
COPY main.py ./
USER 1000:1000
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=4)"]
ENTRYPOINT ["python", "main.py", "--mode=serve", "--host=0.0.0.0"]
CMD ["--saved_model_dir=/model"]

# The last stage is what `docker build` makes without --target.
FROM base AS train
ARG BACKEND=tensorflow
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY main.py freeze_model.py params.config ./
COPY configs configs
# Runs and downloads land in the mounted folder; an option of the same name takes precedence.
ENV KERAS_BACKEND=$BACKEND workspace=/workspace XDG_CACHE_HOME=/workspace/.cache
USER 1000:1000
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "main.py"]
