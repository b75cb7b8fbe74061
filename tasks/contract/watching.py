"""Watching: one thread of the process looks at all tasks that somebody watches, in one statement, many times a second.

PostgreSQL could tell of each change itself, but a NOTIFY costs every commit of every task, watched or not. This costs
nothing while nobody watches, and little while many do.

Nothing queues here. What a watcher was given and has not taken yet is all that it gets; the rest stays in the rows
until it comes back for it. So a slow reader takes no memory, and a database that was away for a while has lost nothing.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any
from uuid import UUID

from django.db import connection

from tasks.conf import conf
from tasks.contract.access import Caller
from tasks.contract.events import Position, events_since, removed
from tasks.contract.sight import Lens, Sight, sight_of
from tasks.db import call_timeout, sessions
from tasks.errors import TooManyWatchers, WatchersFull
from tasks.log import get_logger
from tasks.models import Task
from tasks.queries.happenings import Happenings, Since, happenings, versions

log = get_logger(__name__)

#: How long one look may take.
LOOK_SECONDS = 5.0
#: How long the thread waits after a look that failed, and how long it stays when nobody watches any more.
PAUSE_SECONDS = 0.5
IDLE_SECONDS = 5.0
#: How long a watch keeps its place for a watcher who does not listen: its client left before the answer began.
LISTEN_SECONDS = 10.0
#: The most of the time that looking may take.
LARGEST_SHARE = 0.5
#: The next look begins at most this long after the last one began, or as soon as that has ended.
LONGEST_PAUSE_SECONDS = 0.25
RETRY_AFTER_SECONDS = 5

#: The version of a task that is gone; no row has it.
_GONE = "gone"


class End(Enum):
    """Why a watch has ended."""

    #: The task is final, and everything was told.
    FINAL = auto()
    #: The task was deleted or pruned.
    REMOVED = auto()
    #: The watch has lasted as long as it may, or the process stops.
    OVER = auto()


@dataclass(frozen=True)
class Change:
    """What a watcher did not know.

    Parameters:
        task: as it stands; None if it was not read yet, or is gone.
        events: that are new, oldest first.
        end: set if nothing follows.
        written: what the watcher's ``write`` made of it; None if there is none, or it failed.
    """

    task: Task | None
    events: list[dict[str, Any]]
    end: End | None = None
    written: Any = None


#: Makes of a change what the watcher sends. It is called in the hub's thread, so it may ask the database.
Write = Callable[[Change], Any]


class Watch:
    """One watcher of one task.

    ``wake`` is called from the hub's thread whenever ``take()`` has something, and must return at once.
    """

    def __init__(
        self,
        hub: "Hub",
        task: Task,
        position: Position | None,
        *,
        sight: Sight,
        user: Any,
        ends_at: float,
        write: Write | None,
    ) -> None:
        self.task_id: UUID = task.pk
        self.id_text = str(task.pk)
        self.position = position
        self.user = user
        self.ends_at = ends_at
        self.listens_by = time.monotonic() + LISTEN_SECONDS
        self.has_ended = False
        self.version: str | None = None
        self.task: Task | None = None
        self._hub, self._sight, self._write = hub, sight, write
        self._change: Change | None = None
        self._wake: Callable[[], None] | None = None

    @property
    def is_hungry(self) -> bool:
        """Whether it has taken all that it was given, and wants more."""
        return self._change is None and not self.has_ended

    @property
    def since(self) -> Since:
        """What it knows of the rows that only ever become more."""
        return Since() if self.position is None else self.position.since

    def on_change(self, wake: Callable[[], None]) -> None:
        """Say whom to wake; at once if there is something already."""
        self._wake = wake
        if self._change is not None:
            wake()

    def take(self) -> Change | None:
        """Take what is new; None if nothing is."""
        change, self._change = self._change, None
        if change is not None and change.end is not None:
            self.stop()
        return change

    def end_soon(self) -> None:
        """Ask for the end; it comes as a change."""
        self.ends_at = 0.0

    def stop(self) -> None:
        """Watch no longer."""
        self._hub.forget(self)

    def look_at(self, found: Happenings | None, version: str) -> None:
        """Give what is new; for the hub."""
        if found is None:
            told = removed(self.position)
            self._give(Change(None, [told.event], End.REMOVED), version)
            return
        self.task = found.task
        told_all = list(events_since(self.position, found, lens=Lens(self._sight, found.task)))
        if told_all:
            self.position = told_all[-1].position
        end = End.FINAL if found.is_all and found.task.is_final else None
        if told_all or end is not None:
            self._give(Change(found.task, [one.event for one in told_all], end), version if found.is_all else None)
        else:
            self.version = version

    def fail(self) -> None:
        """End it at once, without what is new; for the hub."""
        self._give(Change(self.task, [], End.OVER), self.version)

    def is_over(self, now: float) -> bool:
        """End it if its time has come; for the hub."""
        if now < self.ends_at or self._change is not None:
            return False
        self._give(Change(self.task, [], End.OVER), self.version)
        return True

    def is_deserted(self, now: float) -> bool:
        """Tell whether nobody has come to listen, nor will; for the hub."""
        return self._wake is None and now >= self.listens_by

    def _give(self, change: Change, version: str | None) -> None:
        if self._write is not None:
            try:
                change = replace(change, written=self._write(change))
            except Exception:
                log.error("what is new of a watched task could not be written; its watcher gets less", exc_info=True)
        self.version, self._change = version, change
        self.has_ended = change.end is not None
        if self._wake is not None:
            # Its server may be about to stop.
            with suppress(Exception):
                self._wake()


class Hub:
    """All watches of this process, and the thread that looks at their tasks while there are any."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start afresh in a forked child, which has no thread and no watchers."""
        self._lock = threading.Lock()
        self._watches: set[Watch] = set()
        self._by_user: Counter[Any] = Counter()
        self._fresh = threading.Event()
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._watches)

    def watch(
        self,
        task: Task,
        position: Position | None,
        *,
        caller: Caller,
        seconds: float | None = None,
        write: Write | None = None,
    ) -> Watch:
        """Watch a task that the caller may see.

        Parameters:
            position: what the watcher knows already; None: nothing.
            seconds: how long; by default as long as a watch may last.
            write: see ``Write``.

        Raises:
            TooManyWatchers: of this user.
            WatchersFull: of all together.
        """
        (watch,) = self.watch_many([(task, position)], caller=caller, seconds=seconds, write=write)
        return watch

    def watch_many(
        self,
        tasks: Collection[tuple[Task, Position | None]],
        *,
        caller: Caller,
        seconds: float | None = None,
        write: Write | None = None,
    ) -> list[Watch]:
        """Watch tasks, all or none; see ``watch``."""
        # Here, because the hub's thread asks for no permissions.
        sees, user = sight_of(caller), caller.user.pk
        ends_at = time.monotonic() + (conf.MAX_WATCH_SECONDS if seconds is None else seconds)
        watches = [
            Watch(self, task, position, sight=sees(task.owner_id), user=user, ends_at=ends_at, write=write)
            for task, position in tasks
        ]
        with self._lock:
            self._admit(user, len(watches))
            self._watches.update(watches)
            self._by_user[user] += len(watches)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="watching", daemon=True)
                self._thread.start()
        self._fresh.set()
        return watches

    def _admit(self, user: Any, more: int) -> None:
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
        if self._by_user[user] + more > conf.MAX_WATCHERS_PER_USER:
            limit = conf.MAX_WATCHERS_PER_USER
            raise TooManyWatchers(f"expected at most {limit} watched tasks of one user at once", headers=headers)
        if len(self._watches) + more > conf.MAX_WATCHERS:
            raise WatchersFull(headers=headers)

    def forget(self, watch: Watch) -> None:
        """End a watch, whichever way; more than once does no harm."""
        with self._lock:
            if watch in self._watches:
                watch.has_ended = True
                self._watches.remove(watch)
                self._by_user[watch.user] -= 1
                if not self._by_user[watch.user]:
                    del self._by_user[watch.user]

    def _run(self) -> None:
        used_at = next_look = 0.0
        is_failing = False
        while True:
            started = time.monotonic()
            self._fresh.clear()
            with self._lock:
                watches = list(self._watches)
                if watches:
                    used_at = started
                elif started - used_at > IDLE_SECONDS:
                    self._thread = None
                    break
            if not watches:
                # Whoever comes next is told of changes from the beginning.
                next_look = 0.0
                self._fresh.wait(IDLE_SECONDS)
                continue
            pause = conf.WATCH_INTERVAL_SECONDS
            try:
                sessions.refresh()
                is_full = started >= next_look
                self.look(watches if is_full else [one for one in watches if one.version is None])
                if is_full:
                    # A slow database has a pause as long as the look took, as far as watchers can wait for that.
                    pause = max(pause, min(LONGEST_PAUSE_SECONDS, (time.monotonic() - started) / LARGEST_SHARE))
                    next_look = started + pause
                is_failing = False
            except Exception as error:  # noqa: BLE001 - without this thread nobody would be told anything
                if not is_failing:
                    log.warning("watched tasks cannot be looked at; trying again", error=str(error).strip())
                is_failing, next_look = True, 0.0
                time.sleep(PAUSE_SECONDS)
                continue
            self._fresh.wait(max(0.0, next_look - time.monotonic()))
        connection.close()

    def look(self, watches: Collection[Watch]) -> None:
        """Give watchers what is new, those that have taken what they were given before."""
        now = time.monotonic()
        for one in watches:
            if one.is_deserted(now):
                # The end is for a watcher who comes after all.
                one.fail()
                one.stop()
        hungry = [one for one in watches if one.is_hungry and not one.is_over(now)]
        if not hungry:
            return
        with call_timeout.bounded(LOOK_SECONDS):
            current = versions({one.id_text for one in hungry})
            changed = [one for one in hungry if current.get(one.id_text, _GONE) != one.version]
            if not changed:
                return
            known: dict[UUID, Since] = {}
            for one in changed:
                other = known.get(one.task_id, one.since)
                known[one.task_id] = Since(*map(min, one.since, other))
            found = happenings(known)
            for one in changed:
                self._tell(one, found.get(one.task_id), current.get(one.id_text, _GONE))

    def _tell(self, watch: Watch, found: Happenings | None, version: str) -> None:
        try:
            watch.look_at(found, version)
        except Exception:
            log.error("a watcher could not be told of its task; its watch ends", exc_info=True)
            watch.fail()


hub = Hub()
os.register_at_fork(after_in_child=hub.reset)
