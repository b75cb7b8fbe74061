"""The rule of masking: what is a secret, and that it is never written, in time that grows with the text."""

import json
import re
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.masking import MASK, expect, expected, is_secret, masked, masked_text, secrets_of

SECRET = "hunter2hunter2"

SECRET_NAMES = [
    *("password", "Password", "PASSWD", "dbPassword", "DB_PASSWORD", "user-password", "pwd", "DB_PWD", "passphrase"),
    *("secret", "clientSecret", "client_secret", "secret_key", "aws_secret_access_key", "SECRET_KEY"),
    *("token", "access-token", "accessToken", "refresh_token", "csrfmiddlewaretoken", "tokens", "x-auth-token"),
    *("apikey", "api_key", "API key", "X-Api-Key", "APIKey", "private_key", "privateKey", "signing_key", "account_key"),
    *("Authorization", "Proxy-Authorization", "auth", "cookie", "Set-Cookie", "credential", "credentials", "creds"),
    *("session", "session_id", "sessionid", "PHPSESSID", "dsn", "SENTRY_DSN", "jwt", "bearer", "otp", "totp"),
    *("connection_string", "db_pass", "pass", "ｐassword"),
]
OPEN_NAMES = [
    *("author", "authority", "authored_by", "authorized_by", "secretary", "secretariat", "tokenizer", "tokenize"),
    *("tokens_used", "token_count", "token_type", "token_url", "token_expires_at", "password_changed_at", "expires_in"),
    *(
        "session_count",
        "public_key",
        "primary_key",
        "idempotency_key",
        "cache_key",
        "key",
        "keys",
        "keyboard",
        "monkey",
    ),
    *("compass", "passenger", "bypass", "passed", "next_page_token", "credit", "obsession", "connect", "message", "to"),
    *("cookie_policy", "url", "max_retries", "user", "name"),
]


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_names_of_secrets_are_known_in_any_case_with_any_separator(name):
    assert is_secret(name)
    assert masked({"a": [{name: SECRET}]}) == {"a": [{name: MASK}]}


@pytest.mark.parametrize("name", OPEN_NAMES)
def test_names_that_only_look_like_it_are_left(name):
    value = {name: "a text", "a": [{name: 7}]}
    assert not is_secret(name)
    assert masked(value) == value


def test_an_operator_adds_names(settings):
    settings.SECRET_FIELDS = ("iban", "customer-pin")
    for name in ("iban", "IBAN", "customerIban", "customer_pin", "customerPin", "customerpin"):
        assert masked({name: SECRET}) == {name: MASK}
        assert SECRET not in masked_text(f"no {name}={SECRET}")
    assert not is_secret("ibanez")
    assert masked({"password": SECRET}) == {"password": MASK}


@pytest.mark.parametrize("value", [None, True, False, "", [], {}])
def test_what_gives_nothing_away_is_left(value):
    assert masked({"password": value}) == {"password": value}


def test_a_count_is_left_and_a_number_is_not():
    value = {"tokens": 5, "max_tokens": 7, "token": 123456, "password": 4711}
    assert masked(value) == {"tokens": 5, "max_tokens": 7, "token": MASK, "password": MASK}


def test_all_that_stands_under_a_secret_name_is_masked():
    assert masked({"credentials": {"user": "a", "list": [1, {"b": SECRET}]}, "c": 1}) == {"credentials": MASK, "c": 1}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ([["Authorization", "Bearer x"], ["Accept", "*/*"]], [["Authorization", MASK], ["Accept", "*/*"]]),
        ([{"name": "X-Api-Key", "value": "x"}], [{"name": "X-Api-Key", "value": MASK}]),
        ({"key": "DB_PASSWORD", "value": "x"}, {"key": "DB_PASSWORD", "value": MASK}),
        (["mysql", "--password", "x", "-v"], ["mysql", "--password", MASK, "-v"]),
        ({"https://u:p@h": 1, "https://u:q@h": 2}, {f"https://u:{MASK}@h": 1, f"https://u:{MASK}@h*": 2}),
    ],
)
def test_pairs_are_masked_however_they_are_written(value, shown):
    assert masked(value) == shown


@pytest.mark.parametrize(
    "text",
    [
        "password={}", "password: {}", "password = {}", "password => {}", "Password={}!", "user[password]={}",
        "'password': '{}'", '{{"password": "{}"}}', '{{\\"password\\": \\"{}\\"}}',
        '{{\\\\\\"pwd\\\\\\": \\\\\\"{}\\\\\\"}}',
        "connect(password='{}', x=1)", "password=b'{}'", 'passwd="a\\"{}"', "host=x password='a {}' y=1",
        "password:\n  {}", "('Authorization', 'Basic {}')", "<password>{}</password>",
        "credentials={{'a': {{'b': '{}'}}}}",
        "my api key: {}", "secret key = {}", "--password {}", "--db-password={}", "password%3D{}", "X-Api-Key: {}",
        "%22password%22%3A%22{}%22", "https://a.b/?x=1&token={}&y=2", "https://a.b/cb#access_token={}",
        "postgres://u:{}@h/db", "redis://:{}@h", "redis://:a@{}@h", "postgres://u:a/{}@h/d", "x+y://u:p%40{}@h",
        "https://{}00@h/", "amqp://u:8080{}@h", "Authorization: Basic {}", "authorization: {}",
        'Authorization: Digest username="x", response="{}"', "Cookie: a=b; c={}", "Set-Cookie: a={}; Path=/",
        "'Cookie: a=b; c={}\\r\\nHost: x'", "Bearer {}", "bearer  {}", "AccountName=x;AccountKey={}==;E=1",
        "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\n{}",
        "-----BEGIN OPENSSH PRIVATE KEY-----\\n{}", "cb_{}aaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "ghp_{}aaaaaaaaaaaaaaaaaaaa",
        "eyJhbGciOiJIUzI1NiJ9.{}.sig", "https://x.blob/?sig={}", "if x: raise E(f'token={}')",
    ],
)  # fmt: skip
def test_no_text_keeps_a_secret_that_its_form_or_a_name_gives_away(text):
    for before, after in (("", ""), ("failed: ", " (try again)"), ("é ", ""), ("İ\n", "\n")):
        found = masked_text(before + text.format(SECRET) + after)
        assert SECRET not in found
        assert MASK in found
        assert masked_text(found) == found
        assert SECRET not in json.dumps(masked({"message": [before + text.format(SECRET) + after]}))


def test_a_login_in_base64_is_masked_and_a_word_is_not():
    assert masked_text("Basic dXNlcjpodW50ZXIy") == f"Basic {MASK}"
    assert masked_text("the basic planning") == "the basic planning"


@pytest.mark.parametrize(
    "text",
    [
        "bearer token is missing", "https://h:8080/x@y", "http://h:80", "ssh://git@host/x", "git@github.com",
        "token_count=5",
        "tokens: 5, max_tokens=12", "password=None", "if token == other:", "author=ada", "a key: value",
        "KeyError: 'key'", "sk-short", "cb_short", "10 tokens used", "secretary: Ada", "no such session", "passed: 5",
    ],
)  # fmt: skip
def test_harmless_texts_are_left(text):
    assert masked_text(text) == text


def test_the_secrets_of_a_payload_are_found_wherever_they_stand():
    payload = {
        "password": "tr0ub4dor&3",
        "n": {"api_key": 12345678},
        "url": "https://u:pa55word@h",
        "pin": "1",
        "pwd": "x",
    }
    known = secrets_of(payload)
    text = "bad login 'tr0ub4dor&3' or tr0ub4dor%263 with 12345678 at pa55word, x"
    assert masked_text(text, known=known) == f"bad login '{MASK}' or {MASK} with {MASK} at {MASK}, x"
    assert masked(["tr0ub4dor&3", {"a": 12345678}], known=known) == [MASK, {"a": MASK}]
    assert secrets_of({"message": "hello"}) == frozenset()


def test_more_secrets_than_can_be_looked_for_hide_the_whole_text():
    known = secrets_of({"tokens": [f"secret-{number}" for number in range(200)]})
    assert masked_text("an ordinary text", known=known) == MASK


def test_secrets_are_expected_in_one_context_only():
    asked = []

    def call():
        asked.append(1)
        return {"password": SECRET}

    assert expected() == ()
    expect(call)
    try:
        assert not asked
        assert SECRET in expected()
        assert SECRET in expected()
        assert asked == [1]
    finally:
        expect(None)
    assert expected() == ()


def test_what_is_not_json_is_masked_as_text():
    loop: list[object] = [f"password={SECRET}"]
    loop.append(loop)
    assert SECRET not in str(masked(loop))
    assert SECRET not in str(masked({("a", 1): f"token={SECRET}"}))
    assert SECRET not in str(masked({"e": ValueError(f"token={SECRET}")}))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from([SECRET, "Bearer x", "a: b"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(SECRET_NAMES + OPEN_NAMES) | st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=15,
)


@pytest.mark.parametrize("text", ["basic übungen", "Basic naïveté", "BASIC \u0130stanbul", "basic 日本語日本語"])
def test_a_word_behind_basic_that_is_not_ascii_stays(text):
    assert masked_text(text) == text


@pytest.mark.parametrize("behind", ["éééé", "\u0130\u0130\u0130\u0130", "日本日本"])
def test_basic_credentials_are_masked_whatever_letters_are_behind_them(behind):
    assert "dXNlcjpwYXNz" not in masked_text(f"Authorisation by basic dXNlcjpwYXNz{behind}")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES)
def test_masking_twice_is_masking_once_and_keeps_the_shape(value):
    once = masked(value)
    assert masked(once) == once
    _same_shape(value, once)


def _same_shape(value, shown):
    if shown == MASK or isinstance(value, str):
        assert isinstance(shown, str)
    elif isinstance(value, dict):
        assert len(value) == len(shown)
        for old, new in zip(value.values(), shown.values(), strict=True):
            _same_shape(old, new)
    elif isinstance(value, list):
        assert len(value) == len(shown)
        for old, new in zip(value, shown, strict=True):
            _same_shape(old, new)
    else:
        assert value == shown


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([name for name in SECRET_NAMES if name.isascii()]),
    VALUES,
    st.from_regex(r"[A-Za-z0-9!#$%+/=_~.-]{8,30}[A-Za-z0-9]", fullmatch=True),
)
def test_a_secret_under_its_name_is_never_written(name, around, secret):
    secret = f"5ecret{secret}"
    value = {"around": around, "deep": [{name: secret}, {"list": [secret, {name: [secret]}]}][:1]}
    assert secret not in json.dumps(masked(value))
    word = re.sub(r"[^\w-]", "_", name)
    for text in (f"{word}={secret}", f"x {word}: {secret} y", f"{{'{word}': '{secret}'}}", f'"{word}":"{secret}"'):
        assert secret not in masked_text(text)


HOSTILE = [
    *("a", "a-", "_", "\\", "key", "token", "token=", "token=a ", "token: ", 'token="', 'token=\\"', 'token=\\\\\\"'),
    *("token=)", "token[", "token=(", "token>", "'token','", "tokenİ=a ", "password%3d", "token_count=5 ", "api key "),
    *("://", "://a:", "://a ", "://a:x@", "://a:/", "authorization:", "authorization: a\n", "cookie: \\", "bearer "),
    *(
        "Bearer a ",
        "basic ",
        "basic aaaa ",
        "eyJ",
        "eyJaaaaaa.",
        "cb_",
        "cb_a ",
        "sk-",
        "ghp_",
        "?sig=",
        "--",
        "--token ",
    ),
    *("-----BEGIN PRIVATE KEY-----", "-----BEGIN ", "Ⅷtoken=a "),
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_texts_take_linear_time(piece):
    """A quarter of a megabyte takes 50 ms or less on an idle machine; quadratic time would be minutes."""
    text = (piece * (256 * 1024 // len(piece) + 1))[: 256 * 1024]
    started = time.process_time()
    masked_text(text)
    assert time.process_time() - started < 1.0
