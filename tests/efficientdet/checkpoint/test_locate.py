import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from efficientdet.checkpoint import locate
from efficientdet.checkpoint.locate import PUBLISHED, find
from efficientdet.errors import CheckpointError

HDF5 = b"\x89HDF\r\n\x1a\n"


def bundle(prefix: Path) -> Path:
    prefix.parent.mkdir(parents=True, exist_ok=True)
    for suffix in (".index", ".data-00000-of-00001"):
        Path(f"{prefix}{suffix}").write_bytes(b"x")
    return prefix


def state(folder: Path, named: str) -> None:
    (folder / "checkpoint").write_text(f'model_checkpoint_path: "{named}"\nall_model_checkpoint_paths: "x"\n')


def zipped(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name in names:
            file.writestr(name, b"x")
    return out.getvalue()


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Records the requested downloads, and returns an empty file instead."""
    asked = []

    def fetch(url: str, path: Path, *, sha256: str | None = None) -> Path:
        asked.append(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(HDF5)
        return path

    monkeypatch.setattr(locate, "fetch", fetch)
    return asked


@pytest.mark.parametrize("ending", ["", ".index", ".data-00000-of-00001", ".meta"])
def test_locate_bundle_is_named_by_its_prefix_or_any_of_its_files(tmp_path: Path, ending: str) -> None:
    prefix = bundle(tmp_path / "model.ckpt-123")
    assert find(f"{prefix}{ending}") == (prefix, True)


def test_locate_hdf5_file_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(HDF5)
    assert find(path) == (path, False)


@pytest.mark.parametrize("named", ["ckpt-2", "/home/somebody/else/ckpt-2", r"C:\\runs\\ckpt-2"])
def test_locate_state_file_is_followed_although_the_folder_moved(tmp_path: Path, named: str) -> None:
    bundle(tmp_path / "ckpt-1")
    prefix = bundle(tmp_path / "ckpt-2")
    state(tmp_path, named)
    assert find(tmp_path).path == prefix
    assert find(tmp_path / "checkpoint").path == prefix


def test_locate_files_beside_the_state_file_take_precedence(tmp_path: Path) -> None:
    moved, origin = bundle(tmp_path / "new" / "ckpt-2"), bundle(tmp_path / "old" / "ckpt-2")
    state(moved.parent, str(origin))
    assert find(moved.parent).path == moved


def test_locate_state_file_may_name_another_folder(tmp_path: Path) -> None:
    prefix = bundle(tmp_path / "über" / "ckpt-2")
    (tmp_path / "run").mkdir()
    octal = str(prefix).encode().decode("latin-1").replace("\xc3\xbc", "\\303\\274")
    state(tmp_path / "run", octal)
    assert find(tmp_path / "run").path == prefix


def test_locate_reports_a_state_file_without_its_checkpoint(tmp_path: Path) -> None:
    bundle(tmp_path / "ckpt-1")
    state(tmp_path, "ckpt-9")
    with pytest.raises(CheckpointError, match=r"latest checkpoint .* is 'ckpt-9'.* there are ckpt-1\.index"):
        find(tmp_path)


def test_locate_folder_with_one_checkpoint_needs_no_state_file(tmp_path: Path) -> None:
    assert find(bundle(tmp_path / "a" / "model").parent).path == tmp_path / "a" / "model"
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "model.weights.h5").write_bytes(HDF5)
    assert find(tmp_path / "b") == (tmp_path / "b" / "model.weights.h5", False)
    bundle(tmp_path / "c" / "variables" / "variables")
    (tmp_path / "c" / "saved_model.pb").write_bytes(b"x")
    assert find(tmp_path / "c").path == tmp_path / "c" / "variables" / "variables"


def test_locate_reports_a_folder_with_several_or_none(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(CheckpointError, match=r"must hold a checkpoint.*It holds notes\.txt"):
        find(tmp_path)
    bundle(tmp_path / "ckpt-1")
    bundle(tmp_path / "ckpt-2")
    with pytest.raises(CheckpointError, match=r"holds ckpt-1, ckpt-2; name one of them"):
        find(tmp_path)


def test_locate_reports_half_a_bundle(tmp_path: Path) -> None:
    prefix = bundle(tmp_path / "model")
    Path(f"{prefix}.index").unlink()
    with pytest.raises(CheckpointError, match=r"names are in model\.index"):
        find(f"{prefix}.data-00000-of-00001")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "It is empty"),
        (b"hello", "another format"),
        (b"PK\x03\x04", "zip archive that is cut off"),
        (zipped("config.json", "metadata.json", "model.weights.h5"), r"a \.keras file"),
        (zipped("m/model.index", "m/model.data-00000-of-00001"), r"unpack it and name m/model\.index"),
        (zipped("a.npy", "b.npy"), r"NumPy archive"),
        (zipped("photo.jpg"), "zip archive that holds no checkpoint"),
        (b"<html>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
    ],
)
def test_locate_file_of_another_kind_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "weights.h5"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words) as caught:
        find(path)
    # To fetch a whole file again gives the same file.
    assert ("again" in str(caught.value)) == (content in (b"", b"PK\x03\x04"))


def test_locate_path_that_is_not_there_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "model.h5").write_bytes(HDF5)
    with pytest.raises(FileNotFoundError, match=r"nothing at .*modle\.h5'\. Similar names: model\.h5"):
        find(tmp_path / "modle.h5")
    with pytest.raises(FileNotFoundError, match=r"Similar names: .*efficientdet-d0"):
        find("effcientdet-d0")
    (tmp_path / "efficientdet-d0").mkdir()
    with pytest.raises(FileNotFoundError) as caught:
        find(tmp_path / "effcientdet-d0")
    names = str(caught.value).partition("Similar names: ")[2].rstrip(".").split(", ")
    assert len(names) == len(set(names))


@pytest.mark.parametrize("place", ["gs://me:s3cret@bucket/a.tgz", "s3://bucket/a?s3cret", "http://[s3cret"])
def test_locate_address_of_another_kind_is_refused_without_its_secrets(tmp_path: Path, place: str) -> None:
    with pytest.raises(CheckpointError, match="address") as caught:
        find(place, tmp_path)
    assert "s3cret" not in str(caught.value)


def test_locate_archive_is_unpacked_into_the_cache(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "efficientdet-d0" / "model").parent
    state(folder, "model")
    with tarfile.open(tmp_path / "efficientdet-d0.tar.gz", "w:gz") as tar:
        tar.add(folder, "efficientdet-d0")
    found = find(tmp_path / "efficientdet-d0.tar.gz", tmp_path / "cache")
    assert found.is_bundle
    assert found.path.is_relative_to(tmp_path / "cache")
    assert find(tmp_path / "efficientdet-d0.tar.gz", tmp_path / "cache") == found


def test_locate_published_name_lies_in_the_cache_under_its_own_name(published: list[str], tmp_path: Path) -> None:
    assert find("efficientdet-d0", tmp_path).path == tmp_path / "efficientdet-d0.tar.gz"
    assert published == [
        "https://storage.googleapis.com/cloud-tpu-checkpoints/efficientdet/coco2/efficientdet-d0.tar.gz"
    ]


def test_locate_folder_with_a_checkpoint_goes_before_a_published_name(
    published: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "efficientdet-d0").mkdir()
    find("efficientdet-d0", tmp_path / "cache")
    assert len(published) == 1
    bundle(tmp_path / "efficientdet-d0" / "model")
    assert find("efficientdet-d0", tmp_path / "cache").path == Path("efficientdet-d0/model")
    assert len(published) == 1


def test_locate_address_may_end_in_a_hash(published: list[str], tmp_path: Path) -> None:
    digest = hashlib.sha256(b"").hexdigest()
    find(f"https://host/a.h5#sha256={digest}", tmp_path)
    assert published == ["https://host/a.h5"]
    with pytest.raises(ValueError, match="sha256= and 64 hexadecimal digits"):
        find("https://host/a.h5#md5=12", tmp_path)


def test_locate_every_model_and_backbone_is_published() -> None:
    from efficientdet.automl.hparams import MODELS, model_hparams

    assert set(MODELS) <= set(PUBLISHED)
    assert {model_hparams(name)["backbone_name"] for name in MODELS} <= set(PUBLISHED)
