"""Package: the source distribution makes the wheel, which holds every file of the packages, and is installed alone."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = {"efficientdet_pipeline": ".", "tfrmod": ".", "efficientdet": "third_party/automl"}


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Returns the source distribution of a clean copy, and the wheel that is made of it."""
    folder = tmp_path_factory.mktemp("package")
    names = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    if not names:
        pytest.skip("this folder is no git checkout")
    for name in names.rstrip("\0").split("\0"):
        is_wanted = name.startswith((*PACKAGES, "third_party/automl/efficientdet/")) or "/" not in name
        if is_wanted and (ROOT / name).is_file():
            (folder / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "copy" / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--outdir", str(folder / "dist"), str(folder / "copy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [sdist], [wheel] = (folder / "dist").glob("*.tar.gz"), (folder / "dist").glob("*.whl")
    return sdist, wheel


def test_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", PROJECT["version"])
    assert f"{PROJECT['version'].rpartition('.')[0]}.x" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_wheel_holds_every_file_of_the_packages_and_the_licence(distributions: tuple[Path, Path]) -> None:
    inside = set(zipfile.ZipFile(distributions[1]).namelist())
    for package, top in PACKAGES.items():
        files = {path.relative_to(ROOT / top) for path in (ROOT / top / package).rglob("*") if path.is_file()}
        kept = {path.as_posix() for path in files if "__pycache__" not in path.parts and path.suffix != ".md"}
        assert kept - inside == set()
    assert {name.rpartition("/")[2] for name in inside if "dist-info/licenses/" in name} == {"LICENSE", "NOTICE"}


def test_sdist_holds_what_a_build_needs_and_no_tests(distributions: tuple[Path, Path]) -> None:
    with tarfile.open(distributions[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "NOTICE", "third_party/automl/efficientdet/model.py"} <= names
    assert not any(name.startswith(("tests/", "benchmarks/", "docs/")) for name in names)


def test_metadata_has_the_extras_and_a_readme_that_is_shown(distributions: tuple[Path, Path]) -> None:
    archive = zipfile.ZipFile(distributions[1])
    [name] = [name for name in archive.namelist() if name.endswith("dist-info/METADATA")]
    text = archive.read(name).decode()
    assert set(re.findall(r"(?m)^Provides-Extra: (\S+)$", text)) == set(PROJECT["optional-dependencies"])
    assert "License-Expression: Apache-2.0" in text
    assert "# EfficientDet pipeline" in text


@pytest.mark.slow
def test_wheel_works_in_a_clean_environment(distributions: tuple[Path, Path], tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "clean")], check=True)
    program = tmp_path / "clean/bin/efficientdet-pipeline"
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    pip = [str(tmp_path / "clean/bin/pip"), "install", "--quiet", str(distributions[1])]
    subprocess.run(pip, env=environ, cwd=tmp_path, check=True)

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(program), *arguments], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    version = run("--version")
    assert version.stdout.startswith(f"efficientdet-pipeline {PROJECT['version']}, "), version.stderr
    environment = run("--mode=inspect", "--what=environment")
    assert environment.returncode == 0, environment.stderr
    assert "pip install 'efficientdet-pipeline[onnx]'" in environment.stdout
    missing = environment.stdout.partition("required packages")[2].partition("extras")[0]
    assert "missing" not in missing
    assert "is installed;" not in missing
    done = run("--url_dataset=demo", "--mode=dataset", "--run_name=first")
    assert done.returncode == 0, done.stderr
