# encodeonce in a container.
#
#   docker build -t encodeonce .                                  pip's own build of PyTorch: for CUDA
#   docker build -t encodeonce:cpu --build-arg TORCH_INDEX=URL .  PyTorch's index of CPU builds: smaller
#   docker run --rm --gpus all -v /data:/data -v $PWD:/work encodeonce run run.yaml
#
# PyTorch's wheels bring the CUDA libraries; the host has the driver and NVIDIA's container toolkit.
# Kernels that are compiled as they are used (Triton's) need a compiler: --build-arg BASE=python:3.11.
ARG BASE=python:3.11-slim
FROM ${BASE} AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY encodeonce encodeonce
COPY cache_store cache_store
COPY datasets datasets
COPY harness harness
COPY jobs jobs
COPY models models
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM ${BASE}
ARG TORCH_INDEX=""
ARG EXTRAS=ray,openai,export
COPY constraints.txt /tmp/constraints.txt
COPY --from=wheel /wheels /wheels
# torch first and alone: the other packages come from pip's usual index, whatever TORCH_INDEX says.
RUN pip install --no-cache-dir -c /tmp/constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch \
    && pip install --no-cache-dir -c /tmp/constraints.txt "$(ls /wheels/encodeonce-*.whl)[${EXTRAS}]" \
    && rm -rf /wheels
RUN useradd --create-home user
USER user
WORKDIR /work
ENTRYPOINT ["encodeonce"]
CMD ["--help"]
