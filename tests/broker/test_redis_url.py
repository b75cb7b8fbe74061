"""The URL of Redis Sentinels."""

import pytest

from tasks.broker import redis_url


def test_a_url_of_sentinels_is_read_completely() -> None:
    url = "rediss+sentinel://us%40er:p%2Fw@one:1,two/main/3?ssl_ca_certs=/ca.pem&sentinel_password=other"
    service = redis_url.parse_service(url)
    assert (service.sentinels, service.name) == ([("one", 1), ("two", 26379)], "main")
    tls = {"ssl": True, "ssl_ca_certs": "/ca.pem"}
    assert service.options == {"username": "us@er", "password": "p/w", "db": 3, **tls}
    assert service.of_sentinels == {"username": None, "password": "other", **tls}


@pytest.mark.parametrize("url", ["redis+sentinel://", "redis+sentinel://host:1", "redis+sentinel://host:x/main"])
def test_half_a_url_of_sentinels_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"sentinel|int"):
        redis_url.parse_service(url)
