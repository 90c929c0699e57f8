# ce-detect serve: an exported gate behind HTTP, without torch.
#
#   docker build -t ce-detect .
#   docker run --read-only --tmpfs /tmp --cap-drop ALL -p 8000:8000 -v "$PWD/guard.onnx:/gate/guard.onnx:ro" ce-detect
#
# Nothing is written but to /tmp. Every flag of serve is a variable: -e CE_DETECT_SERVE_POLICY=abstain

FROM python:3.11-slim AS build
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY calibration calibration
COPY ce_detect ce_detect
RUN python -m venv /opt/ce-detect \
 && /opt/ce-detect/bin/pip install --no-cache-dir --constraint constraints.txt '.[runtime,serve,otel]'

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin gate
COPY --from=build /opt/ce-detect /opt/ce-detect
ENV PATH=/opt/ce-detect/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    CE_DETECT_CACHE=/tmp/ce-detect \
    CE_DETECT_SERVE_HOST=0.0.0.0
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=2)"]
ENTRYPOINT ["ce-detect", "serve"]
CMD ["/gate/guard.onnx"]
