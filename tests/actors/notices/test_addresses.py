"""Where requests of strangers may go."""

import re

import pytest

from marketd.actors.notices.addresses import URL, fault_of, is_public, is_web_port

PRIVATE = [
    *("127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254"),
    *("0.0.0.0", "0.1.2.3", "100.64.0.1", "100.127.255.255", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1"),
    *("203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "192.88.99.1"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd12::1", "ff02::1", "100::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:7f00:1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1"),
    *("64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1", "2001::1", "2001:0:7f00:1::", "3fff::1", "5f00::1", "4000::1"),
    *("", "localhost", "127.1", "0x7f.1", "2130706433", "1.2.3", "1.2.3.4.5", "::g"),
]
PUBLIC = ["1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:2800:220:1::1", "2a00:1450::1"]
PUBLIC_WITHIN = ["::ffff:1.1.1.1", "64:ff9b::101:101"]

PUBLIC_URL = "Expected a public address"


def fault(url: str, *, allow_http: bool = False, allow_private: bool = False) -> str | None:
    return fault_of(url, allow_http=allow_http, allow_private=allow_private)


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_for_everybody_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", [*PUBLIC, *PUBLIC_WITHIN])
def test_what_anybody_may_reach_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("port", [80, 443, 1024, 8080, 8443, 65_535])
def test_http_is_spoken_to_its_own_ports_and_to_high_ones(port: int) -> None:
    assert is_web_port(port)


@pytest.mark.parametrize("port", [0, 1, 22, 25, 53, 465, 587, 993, 1023, 2049, 6000, 6667, 65_536])
def test_http_is_not_spoken_to_ports_of_others(port: int) -> None:
    assert not is_web_port(port)


@pytest.mark.parametrize(
    "url",
    [
        "https://books.example",
        "https://books.example/",
        "https://books.example:8443/a/b?c=d&e=%20~#".rstrip("#"),
        "https://1.1.1.1/",
        "https://[2606:2800:220:1::1]:443/",
        "https://under_score.example/",
    ],
)
def test_a_url_to_everybodys_address_is_taken(url: str) -> None:
    assert (True, None) == (re.fullmatch(URL, url) is not None, fault(url))


@pytest.mark.parametrize(
    "url",
    [
        *("", "books.example", "ftp://books.example/", "//books.example/", "https:/books.example", "https:///a"),
        *("https://ann@books.example/", "https://ann:secret@books.example/", "https://books.example/#part"),
        *("https://books.example\\@127.0.0.1/", "https://books.example/a b", "https://bücher.example/", "https://a/\n"),
        *("https://books.example:/", "https://books.example:123456/", "HTTPS://books.example/", "https://a?b"),
    ],
)
def test_what_two_programs_might_read_differently_is_no_url(url: str) -> None:
    assert re.fullmatch(URL, url) is None


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST", "localhost.", "shop.localhost", "127.0.0.1", "127.1", "2130706433", "0x7f.1"),
        *("0x7f000001", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.1.2.3", "127.0.0.1."),
    ],
)
def test_a_url_to_this_machine_or_its_neighbours_is_refused(host: str) -> None:
    assert PUBLIC_URL == fault(f"https://{host}/")


def test_where_it_is_allowed_a_url_may_lead_to_this_machine() -> None:
    assert None is fault("https://127.0.0.1:8080/", allow_private=True)


def test_http_has_to_be_allowed() -> None:
    assert ("Expected https", None) == (fault("http://books.example/"), fault("http://books.example/", allow_http=True))


@pytest.mark.parametrize("port", ["0", "22", "25", "99999"])
def test_a_url_with_a_port_of_others_is_refused_whatever_is_allowed(port: str) -> None:
    assert fault(f"http://books.example:{port}/", allow_http=True, allow_private=True)
