# docker build -t tubelet .
# docker build -t tubelet:cuda --build-arg TORCH=https://download.pytorch.org/whl/cu130 .
# docker run --rm -v $PWD:/data -w /data tubelet index videos --out corpora/mine      (with CUDA: docker run --gpus all ...)
FROM python:3.11-slim

ARG TORCH=https://download.pytorch.org/whl/cpu
ARG EXTRAS=vl,flow,export

COPY constraints.txt /tmp/
RUN pip install --no-cache-dir -c /tmp/constraints.txt --index-url ${TORCH} torch
COPY . /src
RUN pip install --no-cache-dir -c /tmp/constraints.txt "/src[${EXTRAS}]" && rm -rf /src /tmp/constraints.txt

RUN useradd --create-home tubelet
USER tubelet
ENTRYPOINT ["tubelet"]
CMD ["--help"]
