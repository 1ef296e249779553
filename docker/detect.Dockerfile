# Detection, without PyTorch. From the checkout (not run here: needs a container runtime):
#   docker build -f docker/detect.Dockerfile -t earmark .
#   docker run --rm -v "$PWD":/data earmark detect home /data/recordings --out /data/found
FROM python:3.12-slim AS wheel
WORKDIR /checkout
COPY . .
RUN pip wheel --no-cache-dir --no-deps -w /wheels .

FROM python:3.12-slim
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir "$(echo /wheels/earmark-*.whl)[plot,media]" && rm -r /wheels
RUN useradd --create-home listener
USER listener
ENTRYPOINT ["earmark"]
