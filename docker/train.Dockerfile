# Training, on CUDA where the machine has it. From the checkout (not run here: needs a container
# runtime):
#   docker build -f docker/train.Dockerfile -t earmark-train .
#   docker run --rm --gpus all --shm-size 8g -v "$PWD":/data earmark-train \
#       train own --data /data/data --out /data/runs/mine
FROM python:3.12-slim AS wheel
WORKDIR /checkout
COPY . .
RUN pip wheel --no-cache-dir --no-deps -w /wheels .

FROM python:3.12-slim
COPY constraints.txt /
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir -c /constraints.txt "$(echo /wheels/earmark-*.whl)[export,plot,media]" \
    && rm -r /wheels
RUN useradd --create-home trainer
USER trainer
ENTRYPOINT ["earmark"]
