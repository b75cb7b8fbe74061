"""An import of ten minutes that survives its workers."""

from examples.resumable_import.actors import import_users
from tasks.models import Task

WATCH = """\
manage.py callboard workers list                       # kill -9 the PID that runs it, once or twice
manage.py callboard tasks show {import}                # progress, log lines, and an attempt for each kill"""


def start() -> dict[str, Task]:
    """Submit the import."""
    message = import_users.send()
    return {"import": Task.objects.get(pk=message.message_id)}
