"""What django-dramatiq builds the broker from, unless the project says it itself in ``DRAMATIQ_BROKER``."""

from importlib.util import find_spec
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from tasks.broker import redis_url
from tasks.conf import IN_PROCESS_URL, Conf

#: Not from ``rabbitmq_url``, which needs RabbitMQ's client.
RABBITMQ_SCHEMES = ("amqp", "amqps")

#: In the order of their before-hooks. DbConnections first: it must close the connections of all others.
MIDDLEWARE = (
    "django_dramatiq.middleware.DbConnectionsMiddleware",
    "tasks.worker.event_loop.BoundedAsyncIO",
    "dramatiq.middleware.CurrentMessage",
    "tasks.worker.middleware.Compatibility",
    "tasks.worker.middleware.Retries",
    "tasks.worker.middleware.CaptureOutcome",
    "tasks.worker.middleware.WorkerProcess",
)


def of(conf: Conf) -> dict[str, Any]:
    """Return the ``DRAMATIQ_BROKER`` of a project's ``BROKER_URL``.

    Raises:
        ImproperlyConfigured: it names no broker that Callboard knows.
    """
    return {**_broker(conf), "MIDDLEWARE": [*MIDDLEWARE, *conf.DRAMATIQ_MIDDLEWARE]}


def _broker(conf: Conf) -> dict[str, Any]:
    url = conf.BROKER_URL
    if url == IN_PROCESS_URL:
        return {"BROKER": "tasks.broker.brokers.InProcessBroker"}
    scheme = url.partition(":")[0].lower()
    if scheme in redis_url.SCHEMES:
        options = {"url": url, "namespace": conf.BROKER_NAMESPACE}
        return {"BROKER": "tasks.broker.brokers.RedisBroker", "OPTIONS": options}
    if scheme in RABBITMQ_SCHEMES:
        if find_spec("pika") is None:
            raise ImproperlyConfigured("BROKER_URL: RabbitMQ needs its client: pip install pika")
        options = {"url": url, "namespace": conf.BROKER_NAMESPACE, "queue_type": conf.RABBITMQ_QUEUE_TYPE}
        return {"BROKER": "tasks.broker.rabbitmq.RabbitmqBroker", "OPTIONS": options}
    # Not the URL itself, which may hold a password.
    expected = ", ".join(f"{known}://" for known in (*redis_url.SCHEMES, *RABBITMQ_SCHEMES))
    raise ImproperlyConfigured(f"BROKER_URL: expected {expected} or {IN_PROCESS_URL}, got {scheme}://.")
