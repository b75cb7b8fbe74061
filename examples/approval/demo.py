"""A payment that waits for a person, and holds no thread meanwhile."""

from examples.approval.actors import pay_invoice
from tasks.models import Task

WATCH = """\
manage.py callboard tasks show {payment}                                  # waits for the signal approved
manage.py callboard tasks signal {payment} approved --payload by=ada
manage.py callboard tasks show {payment}                                  # its result, ten seconds later"""


def start() -> dict[str, Task]:
    """Submit the payment."""
    message = pay_invoice.send(number="4711", amount=100)
    return {"payment": Task.objects.get(pk=message.message_id)}
