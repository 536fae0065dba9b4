"""Tests of the redaction of URLs."""

import pytest

from tfrmod.urls import redact_url, redact_urls, url_id

HASH = "sha256=" + "0a" * 32


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/a.zip", "https://host/a.zip"),
        ("https://user:s3cret@host/a.zip", "https://***@host/a.zip"),
        ("https://s3cret@host:8080/a.zip", "https://***@host:8080/a.zip"),
        ("HTTPS://user:s3cret@HOST/a.zip", "HTTPS://***@HOST/a.zip"),
        ("https://user:s3@cret@host/a.zip", "https://***@host/a.zip"),
        ("https://user:s3/cret@host/a.zip", "https://***@host/a.zip"),
        ("https://user:s3cret@[::1]:80/a.zip", "https://***@[::1]:80/a.zip"),
        ("https://user:s3cret@[::1/a.zip", "https://***@[::1/a.zip"),
        ("ftp://user:s3cret@host/a.zip", "ftp://***@host/a.zip"),
        ("s3://key:s3cret@bucket/a.zip", "s3://***@bucket/a.zip"),
        ("https://host/a.zip?token=s3cret", "https://host/a.zip?token=***"),
        ("https://host/a.zip?X-Amz-Signature=s3cret&dl=1", "https://host/a.zip?X-Amz-Signature=***&dl=***"),
        ("https://host/a.zip?a=1;sig=s3cret", "https://host/a.zip?a=***;sig=***"),
        ("https://host/a.zip?s3cret", "https://host/a.zip?***"),
        ("https://host?token=s3cret", "https://host?token=***"),
        ("https://host/a.zip;session=s3cret", "https://host/a.zip;session=***"),
        ("https://host/a.zip#access_token=s3cret", "https://host/a.zip#***"),
        (f"https://host/a.zip?sv=s3cret#{HASH}", f"https://host/a.zip?sv=***#{HASH}"),
        ("https://host/a.zip?token=s3\ncret", "https://host/a.zip?token=***"),
        ("https://host/@user/a.zip", "https://host/@user/a.zip"),
        ("photos/what?.zip", "photos/what?.zip"),
        ("demo", "demo"),
        ("", ""),
    ],
)
def test_redact_url_leaves_out_user_info_and_the_values_of_the_query(url: str, shown: str) -> None:
    assert redact_url(url) == shown
    assert redact_url(shown) == shown
    assert "s3cret" not in redact_url(url)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no URL here: a/b?c=d", "no URL here: a/b?c=d"),
        ("'https://u:s3cret@h/a?t=s3cret' failed", "'https://***@h/a?t=***' failed"),
        ("got https://u:s3cret@h/a.zip, and ftp://h/b?k=s3cret.", "got https://***@h/a.zip, and ftp://h/b?k=***"),
        (
            "HTTPConnectionPool(host='h', port=80): Max retries exceeded with url: /a.zip?token=s3cret (Caused by X)",
            "HTTPConnectionPool(host='h', port=80): Max retries exceeded with url: /a.zip?token=*** (Caused by X)",
        ),
        ("see https://h/a b.zip?t=s3cret&u=s3cret)", "see https://h/a b.zip?t=***&u=***)"),
        ("proxy http://u:s3cret@proxy:3128 refused", "proxy http://***@proxy:3128 refused"),
    ],
)
def test_redact_urls_finds_every_url_of_a_text(text: str, shown: str) -> None:
    assert redact_urls(text) == shown


def test_url_id_tells_urls_apart_that_are_shown_alike() -> None:
    one, other = "https://host/a.zip?token=1", "https://host/a.zip?token=2"
    assert redact_url(one) == redact_url(other)
    assert url_id(one) != url_id(other)
    assert url_id(one) == url_id(one)
