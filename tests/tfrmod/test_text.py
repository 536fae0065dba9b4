"""Tests of decoding untrusted text: exact, marked as a guess, or rejected."""

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrmod.errors import DatasetError
from tfrmod.text import MAX_NAME_LETTERS, clean_name, decode_text, load_yaml, read_text

UNICODE = ("utf-8", "utf-8-sig", "utf-16", "utf-32")


@pytest.mark.parametrize("encoding", UNICODE)
@pytest.mark.parametrize("text", ["cat\ndog\n", "猫\n狗\n", "Кошка", "ネコ", "żółw", "café", "a"])
def test_decode_text_reads_unicode_without_a_guess(encoding, text):
    decoded = decode_text(text.encode(encoding))
    assert decoded.text == text
    assert not decoded.is_guessed


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_decode_text_reads_utf_16_without_a_mark(encoding):
    text = "filename,xmin,ymin\nimages/猫.jpg,1,2\n"
    decoded = decode_text(text.encode(encoding))
    assert decoded == (text, encoding, False)


@pytest.mark.parametrize("text", ["Öffnung\nTür\n", "café,niño,garçon", "größer", "ÄPFEL"])
def test_decode_text_marks_windows_1252_as_a_guess(text):
    decoded = decode_text(text.encode("cp1252"))
    assert decoded.text == text
    assert decoded.encoding == "cp1252"
    assert decoded.is_guessed


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("猫\n狗\n", "gbk"),
        ("images/图片.jpg,1,2,3,4,汽车\n", "gb18030"),
        ("類\n", "big5"),
        ("A类\nB类\n", "gbk"),
        ("ネコ\nイヌ", "cp932"),
        ("고양이", "cp949"),
        ("Кошка", "cp1251"),
        ("żółw", "cp1250"),
        ("кот a", "koi8-r"),
    ],
)
def test_decode_text_refuses_what_fits_several_encodings(text, encoding):
    with pytest.raises(DatasetError, match=r"not UTF-8.*Save it as UTF-8.*iconv"):
        decode_text(text.encode(encoding))


def test_decode_text_refuses_letters_lost_by_another_program():
    with pytest.raises(DatasetError, match=r"U\+FFFD"):
        decode_text("ca\ufffd".encode())


@pytest.mark.parametrize(
    "data", [b"\x00\x01\x02\x03\x04", b"\xff\xd8\xff\xe0\x00\x10JFIF", codecs.BOM_UTF16_LE + b"\x00\xd8"]
)
def test_decode_text_refuses_what_is_no_text(data):
    with pytest.raises(DatasetError):
        decode_text(data)


@given(st.binary(max_size=64))
def test_decode_text_never_invents_a_replacement_character(data):
    try:
        decoded = decode_text(data)
    except DatasetError:
        return
    assert "\ufffd" not in decoded.text


def test_read_text_refuses_large_files(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_bytes(b"a" * (2 << 20))
    with pytest.raises(DatasetError, match="more than 1 MiB"):
        read_text(path, max_bytes=1 << 20)


def test_load_yaml_reads_scalars_as_they_are_written():
    content = load_yaml("names: [no, off, 010, 12:30, 1e3, ~, 'yes']\nnc: 7\n1: y\n")
    assert content == {"names": ["no", "off", "010", "12:30", "1e3", "~", "yes"], "nc": "7", "1": "y"}


@pytest.mark.parametrize("text", ["", "# nothing\n"])
def test_load_yaml_reads_an_empty_document_as_empty_text(text):
    assert load_yaml(text) == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &x [1]\nb: *x\n", "aliases"),
        ("a: !!python/object/apply:os.system [ls]\n", "tag"),
        ("a: " + "[" * 60 + "]" * 60, "nested"),
        ("a: 1\na: 2\n", "twice"),
        ("a:\n\tb: 1\n", "not a YAML"),
        ("? [1, 2]\n: x\n", "plain value"),
        ("x" * (2 << 20), "more than 1 MiB"),
    ],
)
def test_load_yaml_refuses_what_is_no_plain_document(text, reason):
    with pytest.raises(DatasetError, match=reason) as caught:
        load_yaml(text)
    assert "\n" not in str(caught.value)


def test_clean_name_folds_blanks_and_composes_accents():
    assert clean_name("  red \t blood\ncell ") == "red blood cell"
    assert clean_name("cafe\u0301") == "café"
    assert clean_name("👩\u200d🌾") == "👩\u200d🌾"


@pytest.mark.parametrize(
    "text", ["", " \n", "a\x1b[2J", "a\u202eb", "\ud800", "a\ufffd", "x" * (MAX_NAME_LETTERS + 1), "\u200b", "a\x9bb"]
)
def test_clean_name_refuses_what_cannot_be_printed(text):
    with pytest.raises(DatasetError) as caught:
        clean_name(text)
    str(caught.value).encode("utf-8")
