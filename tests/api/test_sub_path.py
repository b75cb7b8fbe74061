"""The site under a sub-path: every address in an answer carries the prefix."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PAGES = ["/api/docs", "/admin/login/", "/admin/"]
OTHERS = ["/api/schema", "/static/callboard/icon.svg", "/static/nothing"]

# As a server calls the site; the tests' client has no prefix.
PROGRAM = """
import io, json, sys
from scheduler_site.wsgi import application

def answer(path):
    environ = {
        "REQUEST_METHOD": "GET", "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SCRIPT_NAME": sys.argv[1],
        "PATH_INFO": path, "REMOTE_ADDR": "127.0.0.1", "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(),
    }
    head = []
    body = b"".join(application(environ, lambda status, headers: head.extend([status, dict(headers)])))
    return [head[0], head[1].get("Location"), body.decode()]

print(json.dumps({path: answer(path) for path in sys.argv[2:]}))
"""


@pytest.fixture(
    scope="module",
    params=[("/board", ""), ("/board/", ""), ("", "/board")],
    ids=["forced", "forced with a slash", "by the server"],
)
def answers(request):
    """Read status, Location and body of each address from a site under /board, as the environment or server says."""
    forced, by_server = request.param
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM, by_server, *PAGES, *OTHERS],
        env={**os.environ, "SECRET_KEY": "only for this test of sub-paths in URLs", "FORCE_SCRIPT_NAME": forced},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


@pytest.mark.parametrize("path", PAGES)
def test_pages_point_below_the_prefix(answers, path):
    _, location, body = answers[path]
    found = [location] if location else re.findall(r' (?:href|src|action|data-schema)="(/[^"]*)"', body)
    assert found
    assert [address for address in found if not address.startswith("/board/")] == []


def test_the_description_names_the_prefix_as_its_server(answers):
    assert json.loads(answers["/api/schema"][2])["servers"] == [{"url": "/board"}]


def test_static_files_are_served(answers):
    assert answers["/static/callboard/icon.svg"][0] == "200 OK"
    assert answers["/static/nothing"][0] == "404 Not Found"
    # A page for people, not a problem for programs.
    assert answers["/static/nothing"][2].lstrip().lower().startswith("<!doctype html")


def test_at_the_root_the_server_is_the_root(nobody):
    assert nobody.get("/api/schema").json()["servers"] == [{"url": "/"}]
