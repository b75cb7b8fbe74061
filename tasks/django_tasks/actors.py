"""The actor of a ``@task`` function: its name is the function's path, so operators see the function itself."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial, update_wrapper
from typing import Any, TypeVar

import dramatiq
from django.apps import apps
from dramatiq.middleware.middleware import MiddlewareError

from tasks.conf import conf
from tasks.django_tasks.framework import InvalidTask, Task, normalize_json
from tasks.django_tasks.observer import Observer
from tasks.django_tasks.results import UnsupportedResult
from tasks.priority import from_django_priority

F = TypeVar("F", bound=Callable[..., Any])

#: The attribute of a function in which ``actor_options`` keeps them.
_OPTIONS = "callboard_options"

#: Names of actors that were declared when ``django.setup()`` had ended.
_declared_late: set[str] = set()


def actor_options(**options: Any) -> Callable[[F], F]:
    """Give a ``@task`` function options of an actor, such as ``max_retries=5``; written below ``@task``.

    All options of ``@dramatiq.actor`` are understood, in Dramatiq's milliseconds, except its name, queue and priority,
    which Django's own decorator gives. ``strict`` checks and converts arguments by the function's annotations; without
    it they are what Django's other backends pass, plain JSON. ``api=True`` opens the function to the REST API.
    """

    def keep(function: F) -> F:
        if not inspect.isfunction(function):
            raise TypeError(f"expected @actor_options below @task, on the function; got {function!r:.100}")
        setattr(function, _OPTIONS, options)
        return function

    return keep


def declare(task: Task, options: Mapping[str, Any]) -> None:
    """Declare the actor of a task's function, unless it is declared already.

    Parameters:
        options: of the actor, for lack of the function's own.

    Raises:
        InvalidTask: an option is wrong, or another function has the same path.
    """
    name = task.module_path
    found = dramatiq.get_broker().actors.get(name)
    if found is not None:
        if (one := _task_of(found)) is None or one.func is not task.func or one.takes_context != task.takes_context:
            raise InvalidTask(f"{name} is declared already, as another function or with another takes_context.")
        return
    options = {"api": False, **options, **getattr(task.func, _OPTIONS, {})}
    throws = options.pop("throws", ())
    observer = Observer(task)
    declare: Any = dramatiq.actor
    try:
        declare(
            _function(task, observer, has_annotations="strict" in options),
            actor_name=name,
            queue_name=task.queue_name,
            default_priority=from_django_priority(task.priority, default=conf.DEFAULT_PRIORITY),
            throws=(*(throws if isinstance(throws, tuple) else (throws,)), UnsupportedResult),
            observer=observer,
            **options,
        )
    except (ValueError, MiddlewareError) as error:
        raise InvalidTask(f"{name} cannot be declared: {error}") from error
    if apps.ready:
        _declared_late.add(name)


def declared(name: str) -> Task | None:
    """Look up the task whose function is declared under this path."""
    actor = dramatiq.get_broker().actors.get(name)
    return None if actor is None else _task_of(actor)


def declared_late(backend: str) -> list[str]:
    """Name a backend's functions that a worker may not know: ``django.setup()`` did not import their modules."""
    return sorted(name for name in _declared_late if (task := declared(name)) and task.backend == backend)


def _task_of(actor: Any) -> Task | None:
    observer = actor.options.get("observer")
    return observer.task if isinstance(observer, Observer) else None


def _function(task: Task, observer: Observer, *, has_annotations: bool) -> Callable[..., Any]:
    """Make what the actor runs: the function with its context, and a result that is JSON."""
    function = task.func
    first: Callable[[], tuple[Any, ...]] = (lambda: (observer.context(),)) if task.takes_context else tuple

    async def run_async(*args: Any, **kwargs: Any) -> Any:
        return _as_json(await function(*first(), *args, **kwargs))

    def run(*args: Any, **kwargs: Any) -> Any:
        return _as_json(function(*first(), *args, **kwargs))

    made = update_wrapper(run_async if inspect.iscoroutinefunction(function) else run, function)
    if not has_annotations:
        # Or the annotations of a function behind decorators would be read.
        del made.__wrapped__
    made.__signature__ = _signature(task, has_annotations=has_annotations)  # type: ignore[attr-defined]
    return made


def _signature(task: Task, *, has_annotations: bool) -> inspect.Signature:
    """Read what ``enqueue()`` takes: everything but the context."""
    parameters = list(inspect.signature(task.func, follow_wrapped=False).parameters.values())
    if task.takes_context and parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL:
        del parameters[0]
    plain = partial(inspect.Parameter.replace, annotation=inspect.Parameter.empty)
    return inspect.Signature(parameters if has_annotations else [plain(one) for one in parameters])


def _as_json(value: Any) -> Any:
    try:
        return normalize_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise UnsupportedResult(f"{error}; the function has returned and is not run again") from error
