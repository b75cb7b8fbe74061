"""The address that a request came from, behind trusted proxies."""

from ipaddress import ip_network

import pytest

from tasks.contract.client_address import client_address, forwarded

PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("remote", "forwarded", "found"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "203.0.113.1", "192.0.2.1"),
        ("10.0.0.1", "203.0.113.1", "203.0.113.1"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.1, 10.0.0.2", "203.0.113.1"),
        ("10.0.0.1", "203.0.113.1, rubbish", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.2, 10.0.0.3", "10.0.0.2"),
        ("::ffff:10.0.0.1", "203.0.113.1", "203.0.113.1"),
        ("::ffff:192.0.2.1", "", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::/64"),
        ("fd00::1", "2001:db8:1:2::7", "2001:db8:1:2::/64"),
        ("", "203.0.113.1", "203.0.113.1"),
        ("", "", "None"),
    ],
)
def test_the_address_that_counts(settings, remote, forwarded, found):
    settings.TRUSTED_PROXIES = PROXIES
    assert client_address(remote, forwarded) == found


@pytest.mark.parametrize(
    ("remote", "forwarded_for", "header", "found"),
    [
        ("192.0.2.1", "", "https", ""),
        ("10.0.0.1", "", "https", "https"),
        ("10.0.0.1", "203.0.113.1", "https", "https"),
        # The caller wrote the first entry, the proxy appended its own.
        ("10.0.0.1", "203.0.113.1", "https, http", "http"),
        ("10.0.0.1", "203.0.113.1, 10.0.0.2", "https, http", "https"),
        ("10.0.0.1", "203.0.113.1, 10.0.0.2", "forged, https, http", "https"),
        ("10.0.0.1", "203.0.113.1, 10.0.0.2", "https", "https"),
        ("10.0.0.1", "10.0.0.2", "https, http", "http"),
        ("10.0.0.1", "rubbish", "forged, http", "http"),
        ("", "", "https", "https"),
    ],
)
def test_what_the_outermost_trusted_proxy_wrote_counts(settings, remote, forwarded_for, header, found):
    settings.TRUSTED_PROXIES = PROXIES
    assert forwarded(header, peer=remote, forwarded_for=forwarded_for) == found
