"""File formats of checkpoints, recognized by the first bytes and, for zip archives, by their members."""

import zipfile
from pathlib import Path

HEAD_BYTES = 512
HDF5, GZIP, ZIP = b"\x89HDF\r\n\x1a\n", b"\x1f\x8b", b"PK\x03\x04"
_PICKLE_PROTOCOLS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def is_tar(head: bytes) -> bool:
    """Returns whether a file with these first bytes is a tar archive, with gzip or not."""
    return head.startswith(GZIP) or head[257:262] == b"ustar"


def is_readable(head: bytes) -> bool:
    """Returns whether a file with these first bytes may be a checkpoint, or weights of another library."""
    return head.startswith((HDF5, ZIP)) or is_tar(head) or is_pickle(head) or is_safetensors(head)


def is_pickle(head: bytes) -> bool:
    """Returns whether a file with these first bytes is a pickle, as PyTorch wrote before version 1.6."""
    return head.startswith(_PICKLE_PROTOCOLS)


def is_safetensors(head: bytes) -> bool:
    """Returns whether a file starts with the length of a JSON header, then the header."""
    return 2 <= int.from_bytes(head[:8], "little") <= 100_000_000 and head[8:9] == b"{"


def refusal(path: Path) -> str:
    """Returns the format of a file that is not a checkpoint, and a remedy, in one or two sentences."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(ZIP):
        return _zip_refusal(path)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    kinds = {
        "It is empty; fetch or copy it again.": not head,
        "It is an HTML page, perhaps a log-in or an error page; check the address in a browser.": text.startswith(
            (b"<!doctype html", b"<html")
        ),
        "It is an XML text, as servers send it for an error; check the address in a browser.": text.startswith(b"<"),
        "It is a Git LFS pointer: the file itself was not fetched (`git lfs pull` does).": text.startswith(
            b"version https://git-lfs"
        ),
        "It is a JSON text; name the file of the weights.": text.startswith((b"{", b"[")),
        "It is a TensorFlow Lite model, which holds no weights to train from.": head[4:8] == b"TFL3",
        "It is a bzip2 archive; unpack it and name the file in it.": head.startswith(b"BZh"),
        "It is an xz archive; unpack it and name the file in it.": head.startswith(b"\xfd7zXZ"),
    }
    found = next((kind for kind, fits in kinds.items() if fits), None)
    return found or "It has another format; check the path of the file."


def _zip_refusal(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "It is a zip archive that is cut off or damaged; fetch or copy it again."
    inner = next((name for name in names if name.endswith((".index", ".h5"))), None)
    if "config.json" in names and "model.weights.h5" in names:
        return "It is a .keras file, a network with its weights: save the weights alone (model.save_weights)."
    if inner:
        return f"It is a zip archive: unpack it and name {inner}."
    if names and all(name.endswith(".npy") for name in names):
        return "It is a NumPy archive (.npz), which is not read."
    return "It is a zip archive that holds no checkpoint."
