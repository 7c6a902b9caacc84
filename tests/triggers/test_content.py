"""Bodies and headers become JSON values, whatever they are."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers.content import Content, decode, header_text


@pytest.mark.parametrize(
    ("body", "content_type", "content"),
    [
        (b'{"a": [1, 2.5]}', "application/json", Content({"a": [1, 2.5]}, "json")),
        (b"[]", "application/vnd.shop+json; charset=utf-8", Content([], "json")),
        (b'{"a": 1}', None, Content({"a": 1}, "json")),
        (b"hello", None, Content("hello", "text")),
        (b"\xff\x00", None, Content("/wA=", "base64")),
        (b'{"a": 1}', "application/octet-stream", Content({"a": 1}, "json")),
        (b"17", "text/plain", Content("17", "text")),
        (b"a=1&b=2&b=3&c=", "application/x-www-form-urlencoded", Content({"a": "1", "b": ["2", "3"], "c": ""}, "form")),
        (b"{}", "image/png", Content("e30=", "base64")),
        (b"", "application/json", Content(None, "empty")),
        (b"", None, Content(None, "empty")),
    ],
)
def test_a_body_is_read_by_its_content_type(body: bytes, content_type: str | None, content: Content) -> None:
    assert decode(body, content_type) == content


@pytest.mark.parametrize("body", [b"{", b"NaN", b'"\xff"', b'"\\ud800"', b"[" * 100_000, b"1e999"])
def test_json_that_is_none_is_an_error_in_words(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        decode(body, "application/json")


def test_text_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        decode(b"\xff", "text/plain")


@given(st.binary())
def test_any_bytes_without_a_type_have_a_value(body: bytes) -> None:
    assert decode(body, None).encoding in {"json", "text", "base64", "empty"}


@given(st.binary())
def test_a_header_is_text_or_base64(value: bytes) -> None:
    text = header_text(value)
    assert text.encode() == value or text == b64encode(value).decode()
