"""Log lines: one form for all libraries, the caller's trace on each, and no payloads."""

import json
import logging
import subprocess
import sys
import textwrap

import pytest

from tasks import masking
from tasks.lifecycle import Moved, transitioned
from tasks.log import Events
from tasks.models import new_id
from tasks.states import Status
from tasks.telemetry import logs
from tests.callers import TASKS

PREPARED = """
import logging, structlog, sys
from tasks.telemetry import logs, trace
logs.configure({{"level": {level!r}, "format": {form!r}}})
"""


def _written(code, *, form="json", level="INFO"):
    """Run code in a process of its own and return what it wrote to standard error."""
    program = PREPARED.format(form=form, level=level) + textwrap.dedent(code)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert ran.stdout == ""
    return ran.stderr


def _lines(code, **how):
    return [json.loads(line) for line in _written(code, **how).splitlines()]


def test_a_line_has_its_fields():
    (line,) = _lines("""
        with trace.bound("a" * 32, task_id="t"):
            structlog.get_logger("tasks.x").info("took a task", queue="default")
    """)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "tasks.x",
        "event": "took a task",
        "queue": "default",
        "trace_id": "a" * 32,
        "task_id": "t",
    }


@pytest.mark.parametrize("name", ["dramatiq.worker", "django.request", "gunicorn.error", "py.warnings", "anything"])
def test_libraries_write_the_same_form(name):
    (line,) = _lines(f"""
        with trace.bound("a" * 32):
            logging.getLogger({name!r}).error("%s of %d", "one", 2)
    """)
    assert (line["logger"], line["event"], line["level"], line["trace_id"]) == (name, "one of 2", "error", "a" * 32)


def test_each_of_many_has_a_line_whose_values_win_over_the_context():
    first, second = _lines("""
        with trace.bound("a" * 32):
            each = [{"trace_id": "b" * 32}, {"count": 2}]
            logs.write_each("tasks.x", logging.WARNING, "went by", each)
            logs.write_each("tasks.x", logging.DEBUG, "not written", each)
            logs.write_each("tasks.x", logging.WARNING, "of nothing", [])
    """)
    assert first.pop("timestamp") == second.pop("timestamp")
    common = {"event": "went by", "level": "warning", "logger": "tasks.x"}
    assert (first, second) == ({**common, "trace_id": "b" * 32}, {**common, "trace_id": "a" * 32, "count": 2})


def test_a_logger_without_a_name_has_that_of_its_module():
    (line,) = _lines("structlog.get_logger().info('hello')")
    assert line["logger"] == "__main__"


def test_a_dictionary_that_a_library_logs_is_its_text():
    (line,) = _lines("logging.getLogger('theirs').warning({'event': 'forged'})")
    assert line["event"] == "{'event': 'forged'}"


def test_a_level_that_is_set_for_one_logger_counts():
    lines = _lines("""
        logging.getLogger("tasks.x").setLevel("ERROR")
        structlog.get_logger("tasks.x").warning("quiet")
        structlog.get_logger("tasks.y").warning("loud")
    """)
    assert [line["event"] for line in lines] == ["loud"]


def test_libraries_with_handlers_of_their_own_write_once():
    lines = _lines("""
        import logging.config
        from django.utils.log import DEFAULT_LOGGING
        logging.config.dictConfig(DEFAULT_LOGGING)
        gunicorn = logging.getLogger("gunicorn.error")
        gunicorn.addHandler(logging.StreamHandler())
        gunicorn.propagate = False
        logs.configure({"level": "INFO", "format": "json"})
        logging.getLogger("django.server").info("a")
        logging.getLogger("django").error("b")
        gunicorn.info("c")
    """)
    assert [line["event"] for line in lines] == ["a", "b", "c"]


def test_levels_below_ours_are_left_out():
    lines = _lines(
        """
        for level in ("debug", "info", "warning", "error"):
            getattr(structlog.get_logger("tasks"), level)(f"ours {level}")
            getattr(logging.getLogger("theirs"), level)(f"theirs {level}")
        logging.getLogger("django.request").warning("Not Found: what the access line has already")
        """,
        level="WARNING",
    )
    assert [line["event"] for line in lines] == ["ours warning", "theirs warning", "ours error", "theirs error"]


def test_a_traceback_is_one_line_without_local_variables():
    (ours, theirs) = _lines("""
        def fail(payload):
            raise ValueError("no luck")
        for log in (structlog.get_logger("tasks"), logging.getLogger("theirs")):
            try:
                fail({"password": "hunter" + "2"})
            except ValueError:
                log.exception("failed")
    """)
    for line in (ours, theirs):
        assert "Traceback" in line["exception"]
        assert line["exception"].endswith("ValueError: no luck")
        assert "hunter2" not in json.dumps(line)


@pytest.mark.parametrize("form", ["json", "console"])
def test_rows_that_postgresql_quotes_are_left_out(form):
    written = _written(
        """
        try:
            raise RuntimeError('violates check\\nDETAIL:  Failing row contains (1, {"password": "hunter2"}\\n, x).\\n')
        except RuntimeError:
            logging.getLogger("django.request").exception("Internal Server Error")
        """,
        form=form,
    )
    assert "hunter2" not in written
    assert "violates check" in written


def test_hostile_text_forges_no_line():
    text = '"\\n{"level": "forged"}\\r\\n\\x1b[31m \\ud800 \\0'
    (first, second) = _lines(f"""
        text = {text!r}.encode().decode("unicode_escape")
        structlog.get_logger("tasks").info("event", value=text)
        logging.getLogger("theirs").info(text)
    """)
    assert first["level"] == second["level"] == "info"


def test_a_terminal_gets_something_readable():
    written = _written('structlog.get_logger("tasks.x").info("took a task", queue="default")', form="console")
    assert "took a task" in written
    assert "queue=default" in written
    assert "{" not in written


def test_auto_means_json_where_no_terminal_is():
    (line,) = _lines('structlog.get_logger("tasks").info("hello")', form="auto")
    assert line["event"] == "hello"


def test_warnings_are_lines_too():
    (line,) = _lines("import warnings; warnings.warn('careful')")
    assert (line["logger"], line["level"]) == ("py.warnings", "warning")
    assert "careful" in line["event"]


def _requests(caplog):
    return [record.msg for record in caplog.records if record.name == "tasks.api.middleware"]


@pytest.fixture
def quiet(caplog):
    caplog.set_level(logging.INFO)
    return caplog


def test_a_request_is_one_line(alice, quiet):
    response = alice.get(f"{TASKS}?search=hunter2")
    (line,) = _requests(quiet)
    assert (line["event"], line["method"], line["path"], line["status"]) == ("request", "GET", TASKS, 200)
    assert 0 < line["ms"] < 10_000
    assert line["trace_id"] == response["X-Trace-Id"]
    assert "hunter2" not in quiet.text


def test_neither_payloads_nor_tokens_are_logged(alice, quiet):
    alice.submit(payload={"do": "return", "value": "hunter2"})
    alice.submit("add", payload={"a": "hunter2"})
    alice.get(TASKS, headers={"authorization": "Bearer hunter2"})
    assert len(_requests(quiet)) == 3
    assert "hunter2" not in quiet.text


def test_each_move_of_a_task_has_its_line_and_a_death_is_a_warning(quiet):
    moves = [Moved(new_id(), status, "act", "default", "a" * 32) for status in (Status.SUCCEEDED, Status.DEAD)]
    transitioned.send(sender=None, verb="complete", moves=moves, at=0.0)
    records = [record for record in quiet.records if record.name == "tasks.telemetry.transition_log"]
    assert [record.levelname for record in records] == ["INFO", "WARNING"]
    for record, move in zip(records, moves, strict=True):
        (line,) = record.msg
        assert line.items() >= {"event": "attempt ended", "task_id": str(move.id), "status": str(move.status)}.items()


def test_a_hostile_path_is_logged_as_it_came_over_the_wire(alice, quiet):
    alice.get("/api/v1/%0d%0aforged%1b[31m/" + "a" * 5000)
    (line,) = _requests(quiet)
    assert line["path"].startswith("/api/v1/%0D%0Aforged%1B")
    assert len(line["path"]) == 300


def test_probes_that_find_nothing_wrong_are_not_news(nobody, quiet):
    nobody.get("/healthz")
    nobody.get("/readyz/")
    assert _requests(quiet) == []
    nobody.post("/healthz")
    assert [line["status"] for line in _requests(quiet)] == [405]


def test_a_request_that_is_refused_early_has_a_line_and_a_trace_too(nobody, quiet):
    response = nobody.get("/", headers={"host": "evil.example", "x-trace-id": "b" * 32})
    (line,) = _requests(quiet)
    assert line["status"] == 400
    assert response["X-Trace-Id"] == line["trace_id"] == "b" * 32


def test_the_trace_of_one_request_does_not_leak_into_the_next(alice, quiet):
    alice.get(TASKS, headers={"x-trace-id": "c" * 32})
    alice.get(TASKS)
    first, second = _requests(quiet)
    assert first["trace_id"] == "c" * 32
    assert second["trace_id"] != first["trace_id"]


SECRET_LINES = """
    from tasks import masking
    masking.expect(lambda: {"password": "pa55-word"})
    log = structlog.get_logger("x")
    log.info("hello", password="hunter2", url="https://u:hunter2@h/?token=hunter2", rest=[{"api_key": "hunter2"}])
    logging.getLogger("x").debug("Authorization: Basic %s", "hunter2")
    logging.getLogger("x").info("GET /?token=hunter2 by pa55-word")
    try:
        raise ValueError("password=hunter2 is not pa55-word")
    except ValueError:
        log.exception("it failed")
        logging.getLogger("x").exception("it failed")
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_line_has_a_secret(form):
    text = _written(SECRET_LINES, form=form, level="DEBUG")
    assert "hunter2" not in text
    assert "pa55-word" not in text
    assert text.count("********") >= 8
    assert "it failed" in text


def test_lines_without_secrets_are_looked_through_once(monkeypatch):
    looks = []
    monkeypatch.setattr(masking, "may_hold_secret", lambda text, **_: looks.append(text))
    record = logging.LogRecord("x", logging.INFO, "", 0, Events([{"event": "one"}, {"event": "two"}]), None, None)
    text = logs._Formatter("json").format(record)
    assert text == '{"event": "one"}\n{"event": "two"}'
    assert looks == [text]


def test_statements_are_not_logged_because_they_hold_payloads():
    lines = _lines(
        """
        logging.getLogger("django.db.backends").debug("(0.001) INSERT ... %s", "hunter2")
    """,
        level="DEBUG",
    )
    assert lines == []
