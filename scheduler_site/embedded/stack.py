"""The private servers of a stack on one machine: those that the environment does not name."""

from pathlib import Path

from scheduler_site.embedded import accounts
from scheduler_site.embedded.server import Server
from scheduler_site.embedded.servers import HOW_TO_GET_REDIS, PostgresServer, RedisServer
from tasks.conf import IN_PROCESS_URL


class PrivateServers:
    """PostgreSQL and Redis for one project, or one of them, or neither.

    Parameters:
        project: the project's folder; each project has its own servers and data.
        var: the project's folder for private data.
        database: whether PostgreSQL is wanted.
        broker: whether Redis is wanted; if there is no program for it, the broker is the in-process one.
    """

    def __init__(self, project: Path, *, var: Path, database: bool, broker: bool) -> None:
        self.folder = accounts.servers_folder(project, var=var) if database or broker else None
        self.postgres = PostgresServer(self.folder) if self.folder and database else None
        has_redis = self.folder is not None and broker and RedisServer.is_available(self.folder)
        self.redis = RedisServer(self.folder) if self.folder and has_redis else None
        self.lacks_redis = broker and not has_redis

    def start(self) -> dict[str, str]:
        """Start the servers; return the environment variables with their addresses."""
        environment = {}
        if self.postgres:
            environment["DATABASE_URL"] = environment["DIRECT_DATABASE_URL"] = self.postgres.start()
        if self.redis:
            environment["BROKER_URL"] = environment["REDIS_URL"] = self.redis.start()
        if self.lacks_redis:
            environment["BROKER_URL"] = IN_PROCESS_URL
        return environment

    def revive(self) -> list[str]:
        """Restart the servers that died, at the same addresses; return their names."""
        died = [server for server in self._all() if not server.is_running()]
        for server in died:
            server.start()
        return [server.title for server in died]

    def stop(self, *, immediate: bool = False) -> None:
        """Stop the servers."""
        for server in reversed(self._all()):
            server.stop(immediate=immediate)

    def description(self) -> list[str]:
        """Describe in a line or two which servers run, and where."""
        lines = []
        if servers := self._all():
            account = servers[0].account
            names = " and ".join(f"{server.title} {server.version}" for server in servers)
            lines.append(f"{names}, private{f', run by {account.name!r}' if account else ''}; data in {self.folder}")
        if self.lacks_redis:
            lines.append(
                f"No Redis found, so scheduler and workers share one process. To change that: {HOW_TO_GET_REDIS}"
            )
        return lines

    def _all(self) -> list[Server]:
        return [server for server in (self.postgres, self.redis) if server]
