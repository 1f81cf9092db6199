# The program `loyalty`, as compose.yaml runs it: docker build --tag loyalty-ledger .

FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md ./
COPY ledger ledger
COPY projections projections
COPY consumers consumers
COPY schemas schemas
COPY audit audit
COPY service service
RUN python -m venv /opt/loyalty && /opt/loyalty/bin/pip install --no-cache-dir .

FROM python:3.12-slim
RUN useradd --system --create-home --home-dir /var/lib/loyalty loyalty
COPY --from=build /opt/loyalty /opt/loyalty
ENV PATH=/opt/loyalty/bin:$PATH PYTHONUNBUFFERED=1
USER loyalty
WORKDIR /var/lib/loyalty
ENTRYPOINT ["loyalty"]
CMD ["--help"]
