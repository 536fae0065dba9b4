"""File types by content: image formats by their magic bytes, and files of operating systems by name."""

_NAMES = {"__macosx", ".ds_store", "thumbs.db", "desktop.ini"}


def is_junk(name: str) -> bool:
    """Returns whether a path component is hidden, or a file or folder of an operating system."""
    return name.startswith(".") or name.lower() in _NAMES


_MAGIC = (
    (b"\xff\xd8", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
)
_OTHERS = (
    (b"version https://git-lfs", "a Git LFS pointer: the file itself was not fetched (`git lfs pull` does)"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "a gzip archive (.gz, .tgz)"),
    (b"BZh", "a bzip2 archive (.bz2, .tbz)"),
    (b"\xfd7zXZ", "an xz archive (.xz, .txz)"),
    (b"(\xb5\x2f\xfd", "a Zstandard archive (.zst)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"%PDF", "a PDF"),
    (b"8BPS", "a Photoshop file"),
)
EXTENSIONS = {
    "JPEG": {"jpg", "jpeg", "jpe", "jfif"},
    "PNG": {"png", "apng"},
    "GIF": {"gif"},
    "BMP": {"bmp", "dib"},
    "WEBP": {"webp"},
    "TIFF": {"tif", "tiff"},
}
IMAGE_EXTENSIONS = frozenset().union(*EXTENSIONS.values())


def image_format(data: bytes) -> str | None:
    """Returns JPEG, PNG, GIF, BMP, WEBP or TIFF; None if the first bytes are those of none of them."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return next((name for magic, name in _MAGIC if data.startswith(magic)), None)


def described(data: bytes) -> str:
    """Returns a description of the type of a file with these first bytes, for messages."""
    image_type = image_format(data)
    text = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    candidates = {
        "an empty file": not data,
        f"a {image_type} image": image_type is not None,
        **{name: data.startswith(magic) for magic, name in _OTHERS},
        "a tar archive": data[257:262] == b"ustar",
        f"a HEIF, AVIF or video file ({data[8:12].decode('ascii', 'replace')})": data[4:8] == b"ftyp",
        "an HTML page, perhaps a login or an error page": text.startswith((b"<!doctype html", b"<html")),
        "an XML or HTML text": text.startswith(b"<"),
    }
    return next((name for name, fits in candidates.items() if fits), f"a file that begins with {data[:24]!r}")
