# One image for every process; the command chooses which one it is, see docker-compose.yml.

ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS dependencies
WORKDIR /build
COPY requirements.txt .
# Into an environment without pip, from wheels only: neither stage needs a compiler.
RUN python -m venv --without-pip /venv \
 && python -m pip --python /venv/bin/python install --no-cache-dir --only-binary :all: --requirement requirements.txt

FROM python:${PYTHON}-slim
# Mount points of the volumes: an empty volume takes over the owner of the folder.
RUN useradd --system --user-group --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin callboard \
 && install -d -o callboard -g callboard -m 0755 /secrets/app /secrets/postgres /secrets/redis /secrets/rabbitmq /secrets/grafana \
    /credentials
WORKDIR /app
COPY --from=dependencies /venv /venv
COPY manage.py gunicorn.conf.py ./
COPY callboard callboard
COPY scheduler_site scheduler_site
COPY tasks tasks
COPY dlq dlq
COPY templates templates
# Compiled now, because later the file system may be read-only.
RUN python -m compileall -q .
ENV PATH=/venv/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    METRICS_DIR=/tmp/metrics \
    HEALTH_DIR=/tmp/health \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
STOPSIGNAL SIGTERM
EXPOSE 8000
CMD ["gunicorn", "scheduler_site.wsgi", "--bind", "0.0.0.0:8000"]
