# The same command in a container:
#   docker build -t efficientdet .
#   docker run --rm -v "$PWD/runs:/workspace" efficientdet @params.config --mode=traineval
# With GPUs build with --build-arg TENSORFLOW=tensorflow[and-cuda] and run with --gpus all.
FROM python:3.11-slim

ARG TENSORFLOW=tensorflow
WORKDIR /app
COPY requirements.txt pyproject.toml setup.py README.md LICENSE NOTICE ./
COPY third_party third_party
COPY tfrmod tfrmod
COPY efficientdet_pipeline efficientdet_pipeline
RUN pip install --no-cache-dir -r requirements.txt \
    && if [ "$TENSORFLOW" != tensorflow ]; then \
        pip install --no-cache-dir "$TENSORFLOW==$(pip show tensorflow | awk '/^Version/{print $2}')"; fi
COPY main.py freeze_model.py params.config ./

RUN useradd --create-home --uid 1000 detector && mkdir /workspace && chown detector:detector /workspace
USER detector
VOLUME /workspace
# Runs land in the mounted folder; an option of the same name still stands above it.
ENV workspace=/workspace
ENTRYPOINT ["python", "main.py"]
