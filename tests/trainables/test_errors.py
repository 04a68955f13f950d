"""Secrets of URLs are hidden wherever a URL is shown."""

from __future__ import annotations

import pytest

from trainables.errors import redacted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:s3cret@h:5/db", "postgresql://me:***@h:5/db"),
        ("postgresql+psycopg://me@h/db?password=s3cret&x=1", None),
        ("https://s3cret@host/x and s3://a/b", "https://***@host/x and s3://a/b"),
        ("https://host/x?X-Amz-Signature=s3cret", "https://host/x?X-Amz-Signature=***"),
        ("https://host/x?a=1&access_key=s3cret", "https://host/x?a=1&access_key=***"),
        ("--storage=mysql://me:s3cret@h/db", "--storage=mysql://me:***@h/db"),
    ],
)
def test_no_secret_is_shown(text: str, shown: str | None) -> None:
    found = redacted(text)
    assert "s3cret" not in found
    assert shown is None or found == shown


@pytest.mark.parametrize(
    "text", ["s3://bucket/prefix", "sqlite:///runs/ledger.db", "a?b=c", "me@x"]
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text
