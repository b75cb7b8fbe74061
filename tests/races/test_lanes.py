"""Fair turns while somebody else holds locks."""

from tasks.models import Task
from tasks.scheduler.dispatcher import Dispatcher
from tasks.states import Status
from tests.factories import make_worker, submit
from tests.scheduler.stage import Broker, Leading


def test_lanes_that_are_locked_hold_up_neither_other_lanes_nor_lower_priorities(race) -> None:
    make_worker(threads=20)
    locked = [submit(fairness_key=key) for key in ("one", "one", "two")]
    free = [submit(fairness_key="three"), submit(priority=4), submit(fairness_key="one", priority=1)]
    dispatcher = Dispatcher(Leading(), Broker())  # type: ignore[arg-type]

    def lock() -> None:
        list(Task.objects.select_for_update().filter(pk__in=[task.pk for task in locked]))

    race.while_open(lock, dispatcher.step)
    queued = Task.objects.filter(status=Status.QUEUED)
    assert set(queued.values_list("pk", flat=True)) == {task.pk for task in free}
    dispatcher.wake()
    dispatcher.step()
    assert queued.count() == len(locked) + len(free)
