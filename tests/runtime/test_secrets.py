"""Where secrets come from, and that they stay out of what is written down."""

from pathlib import Path

import pytest

from daemon.runtime.secrets import MAX_BYTES, Disclosed, SecretResolver, SecretUnknown


def test_a_secret_comes_from_the_environment_first(tmp_path: Path) -> None:
    (tmp_path / "MAIL").write_text("from the file")
    assert SecretResolver({"SAGAD_SECRET_MAIL": "from the environment"}, tmp_path)("MAIL") == "from the environment"
    assert SecretResolver({"MAIL": "not a secret"}, tmp_path)("MAIL") == "from the file"


@pytest.mark.parametrize(
    ("content", "secret"), [("abc\n", "abc"), ("abc\r\n", "abc"), ("a\nb\n\n", "a\nb\n"), (" ä ", " ä ")]
)
def test_one_line_end_of_a_file_is_no_part_of_the_secret(tmp_path: Path, content: str, secret: str) -> None:
    (tmp_path / "MAIL").write_bytes(content.encode())
    assert SecretResolver({}, tmp_path)("MAIL") == secret


def test_a_rotated_secret_is_taken_up(tmp_path: Path) -> None:
    resolve = SecretResolver({}, tmp_path)
    (tmp_path / "MAIL").write_text("old")
    assert resolve("MAIL") == "old"
    (tmp_path / "MAIL").write_text("new")
    assert resolve("MAIL") == "new"


def test_an_unknown_secret_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(SecretUnknown, match=r"^the secret MAIL is unknown: SAGAD_SECRET_MAIL is not set$"):
        SecretResolver({})("MAIL")
    with pytest.raises(SecretUnknown, match=f"there is no file {tmp_path / 'MAIL'}"):
        SecretResolver({}, tmp_path)("MAIL")


@pytest.mark.parametrize("name", ["", "../MAIL", "a/b", "a b", "1a", "a\n", ".", "ä", "a" * 129])
def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(SecretUnknown, match="a secret's name"):
        SecretResolver({}, tmp_path)(name)


def test_a_file_that_is_no_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / "BINARY").write_bytes(b"\xff\xfe")
    (tmp_path / "LONG").write_bytes(b"x" * (MAX_BYTES + 1))
    (tmp_path / "FOLDER").mkdir()
    (tmp_path / "EMPTY").write_text("\n")
    resolve = SecretResolver({}, tmp_path)
    for name, message in {"BINARY": "not UTF-8", "LONG": "longer than", "FOLDER": "Is a dir", "EMPTY": "empty"}.items():
        with pytest.raises(SecretUnknown, match=message):
            resolve(name)


def test_no_value_is_in_a_repr(tmp_path: Path) -> None:
    resolve = SecretResolver({"SAGAD_SECRET_MAIL": "hunter2"}, tmp_path)
    disclosed = Disclosed(resolve)
    disclosed.resolve("MAIL")
    assert "hunter2" not in repr(resolve) + repr(disclosed) + str(resolve)


def test_disclosed_secrets_are_struck_out_in_all_their_forms() -> None:
    disclosed = Disclosed({"SHORT": "a+b", "LONG": 'a+b/"c"\n'}.__getitem__)
    assert disclosed.hide("a+b") == "a+b"
    disclosed.resolve("SHORT")
    assert disclosed.hide('a+b a%2Bb a+b/"c"\n') == '*** *** ***/"c"\n'
    disclosed.resolve("LONG")
    assert disclosed.hide('<a+b/"c"\n>') == "<***>"
    assert disclosed.hide(repr('a+b/"c"\n')) == "'***'"
    assert disclosed.hide(r'{"x":"a+b/\"c\"\n"}') == '{"x":"***"}'
    assert disclosed.hide("?q=a%2Bb%2F%22c%22%0A") == "?q=***"
    assert disclosed.hide_in({"a+b": [1, None, "xa+b"]}) == {"***": [1, None, "x***"]}
