# Prediction alone, on the CPU: no PyTorch, some 230 MB of packages in place of 6 GB.
#   docker build -t alexnet-predict -f examples/deploy/predict.Dockerfile .
#   docker run --rm -v "$PWD:/workspace:ro" alexnet-predict --model model.onnx photos/ --json
# For a GPU: onnxruntime-gpu[cuda,cudnn] in that list, and --gpus all.
FROM python:3.12-slim
COPY pyproject.toml README.md LICENSE /src/
COPY src /src/src
COPY examples/deploy/requirements-predict.txt /src/
RUN pip install --no-cache-dir -r /src/requirements-predict.txt \
    && pip install --no-cache-dir --no-deps /src && rm -rf /src
USER nobody
WORKDIR /workspace
ENTRYPOINT ["alexnet", "predict"]
