"""YAML that means something else than it says is refused, naming file and line."""

import pytest

from deadpixel.errors import InputError
from deadpixel.operations import strict_yaml

MISTAKES = {
    "a: 1\nb: 2\na: 3": "line 3: the key 'a' is there twice",
    "a: {b: 1, b: 1}": "line 1: the key 'b' is there twice",
    "1: x": "line 1: the key '1' is no text",
    "yes: x": "line 1: the key 'yes' is no text",
    "seed: 010": "line 1: 010 is 8 to YAML",
    "seed: 1_0": "line 1: 1_0 is 10 to YAML",
    "seed: 1:30": "line 1: 1:30 is 90 to YAML",
    "a: 1\nb: no": "line 2: no is a truth value to YAML",
    "a: [1\nb: 2": "line 2: ",
    "a: 1\n\tb: 2": "line 2: ",
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.items())
def test_a_mistake_names_file_and_line(tmp_path, text, message):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as error:
        strict_yaml.read(file)
    assert str(error.value).startswith(f"{file}, {message}")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_another_encoding_is_named(tmp_path, encoding):
    file = tmp_path / "mine.yaml"
    file.write_bytes("a: 1\nb: Größe".encode(encoding))
    with pytest.raises(InputError, match=r"mine.yaml, line .: no UTF-8; save the file as UTF-8"):
        strict_yaml.read(file)


def test_what_is_meant_is_read(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("a: &x {b: 1, c: true}\nd: {<<: *x, b: -2}\ne: 5.0e-4\nf: null\n'1': '010'\n")
    assert strict_yaml.read(file) == {
        "a": {"b": 1, "c": True},
        "d": {"b": -2, "c": True},
        "e": 5e-4,
        "f": None,
        "1": "010",
    }
