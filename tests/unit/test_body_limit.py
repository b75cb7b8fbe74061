"""Bodies that nobody reads: refused by their length on every path, and no file of a form is kept."""

import io

import pytest
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client, RequestFactory

from tests.callers import assert_problem

PATHS = ["/", "/admin/", "/admin/login/", "/nowhere", "/healthz", "/static/nothing.js"]


class Unreadable(io.BytesIO):
    """A body that fails the test when it is read."""

    def read(self, *args):
        raise AssertionError("the body was read")

    readline = read


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=b", "application/x-www-form-urlencoded", "text/plain"])
def test_a_body_that_says_it_is_too_large_is_refused_unread(client: Client, path: str, kind: str) -> None:
    client.cookies["csrftoken"] = "a" * 32
    response = client.request(
        PATH_INFO=path,
        REQUEST_METHOD="POST",
        CONTENT_TYPE=kind,
        CONTENT_LENGTH="300000000",
        **{"wsgi.input": Unreadable()},
    )
    assert_problem(response, 413, code="too_large")


@pytest.mark.parametrize("path", PATHS)
def test_a_length_that_is_no_number_reaches_the_site(client: Client, path: str) -> None:
    assert client.get(path, CONTENT_LENGTH="many").status_code < 500


def test_files_of_a_form_are_passed_over_and_its_fields_are_not() -> None:
    file = SimpleUploadedFile("a.txt", b"x" * 100_000)
    request = RequestFactory().post("/admin/", {"before": "1", "file": file, "after": "2"})
    assert (dict(request.POST.items()), dict(request.FILES.items())) == ({"before": "1", "after": "2"}, {})


def test_a_large_form_is_refused_before_it_is_read(settings) -> None:
    settings.MAX_BODY_BYTES = 1024
    request = RequestFactory().post("/api/v1/tasks", {"file": SimpleUploadedFile("a.txt", b"x" * 2000)})
    with pytest.raises(RequestDataTooBig):
        _ = request.POST
