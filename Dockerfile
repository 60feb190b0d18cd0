# One image for web, live, worker and beat: the command says which (docker-compose.yml).

FROM python:3.11-slim AS build
WORKDIR /app
ENV PYTHONDONTWRITEBYTECODE=1

COPY requirements.txt ./
# Wheels only: nothing is compiled, here or later.
RUN python -m venv --without-pip /venv \
    && pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check \
        --require-hashes --only-binary=:all: --requirement requirements.txt

COPY . .
# Static files need settings that load, and no service: these values lead nowhere.
RUN SECRET_KEY=build \
    ENCRYPTION_KEYS=build:MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA= \
    ENCRYPTION_ROOT_KEY=MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMA== \
    DATABASE_URL=postgresql://build@localhost/build \
    REDIS_URL=redis://localhost \
    /venv/bin/python manage.py collectstatic --noinput --verbosity 0 \
    && /venv/bin/python -m compileall -q /app /venv

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin commonplace \
    && mkdir --mode 0700 /files \
    && chown commonplace: /files

COPY --from=build /venv /venv
COPY --from=build /app /app
# Beat keeps its schedule beside the static files.
RUN chown commonplace: /app/.local

ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PROCESS=web \
    FILES_DIR=/files
WORKDIR /app
USER commonplace
VOLUME /files
EXPOSE 8000 8001

# Of the web process; it answers if ALLOWED_HOSTS holds localhost.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://localhost:8000/healthz', timeout=4)"]

CMD ["python", "-m", "granian", "--host", "0.0.0.0", "--no-access-log", "--log-level", "warning", "--port", "8000", "--interface", "wsgi", "--workers", "2", "--blocking-threads", "4", "config.wsgi:application"]
