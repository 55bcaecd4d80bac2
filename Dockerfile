# The demo, with nothing but a package index: docker build -t vtonlab . && docker run vtonlab
# (for a machine without a GPU add --build-arg PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu")
FROM python:3.11-slim
ARG PIP_ARGS=""
RUN apt-get update && apt-get install --no-install-recommends -y git make && rm -rf /var/lib/apt/lists/*
WORKDIR /vtonlab
COPY . .
RUN make install PIP_ARGS="$PIP_ARGS"
ENV PATH=/vtonlab/.venv/bin:$PATH
CMD ["make", "demo"]
