"""Runs the steps of a Dockerfile without an engine: each stage in a folder of its own, with absolute paths below it.

RUN, COPY, ENV, ARG and WORKDIR are carried out, ENTRYPOINT and CMD are kept for the caller. What needs another system
(useradd, chown) is replaced by a script. A quick run makes virtual environments that see the packages of this one, and
notes what pip is asked to install in place of installing it.
"""

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

_TOP_FOLDERS = ("opt", "app", "build", "home", "workspace", "model")
_ABSOLUTE = re.compile(rf"(?<![\w./$}}])/(?={'|'.join(_TOP_FOLDERS)})(?=(?:{'|'.join(_TOP_FOLDERS)})\b)")
_USERADD = '#!/bin/sh\nfor name; do :; done\nmkdir -p "$STAGE_ROOT/home/$name"\n'
_QUICK_PIP = """#!{python}
import json, os, subprocess, sys
arguments = sys.argv[1:]
if arguments[-1] == ".":
    options = ["--ignore-installed", "--quiet"]
    sys.exit(subprocess.call([sys.executable, "-m", "pip", *arguments, *options]))
with open(os.environ["PIP_NOTES"], "a") as file:
    file.write(json.dumps(arguments) + "\\n")
"""


@dataclass
class Step:
    """One instruction."""

    name: str
    text: str


@dataclass
class Stage:
    """A stage while it is built."""

    root: Path
    environ: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "root"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    def path(self, name: str) -> Path:
        """Returns where a path of the image lies here."""
        return self.root / (name if name.startswith("/") else f"{self.folder}/{name}").lstrip("/")


def steps(text: str) -> list[Step]:
    """Returns the instructions of a Dockerfile, continued lines joined and comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [Step(*line.strip().split(None, 1)) for line in joined.splitlines() if line.strip()]


class Builder:
    """Builds the stages of a Dockerfile below a folder.

    Args:
      context: folder that COPY reads, with its .dockerignore.
      folder: for the stages; must be empty.
      is_quick: whether virtual environments use the packages of this one.
    """

    def __init__(self, context: Path, folder: Path, *, is_quick: bool):
        self.context, self.folder, self.is_quick = context, folder, is_quick
        self.stages: dict[str, Stage] = {}
        self.notes = folder / "pip.jsonl"
        self._programs = folder / "programs"
        self._ignored = (context / ".dockerignore").read_text(encoding="utf-8").split("\n")
        self._write_programs()

    def build(self, target: str, **arguments: str) -> Stage:
        """Returns the stage `target`, after all stages that it needs."""
        instructions = steps((self.context / "Dockerfile").read_text(encoding="utf-8"))
        is_before_stages = True
        stage: Stage | None = None
        wanted = _stages_for(target, instructions) - self.stages.keys()
        for step in instructions:
            if step.name == "FROM":
                is_before_stages = False
                parent, _, name = step.text.partition(" AS ")
                stage = self._begin(name, parent) if name in wanted else None
            elif step.name == "ARG" and is_before_stages:
                continue  # Of the base image alone.
            elif stage is not None:
                self._carry_out(step, stage, arguments)
        return self.stages[target]

    def asked_of_pip(self) -> list[str]:
        """Returns what a quick build was asked to install."""
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        return [word for line in lines for word in json.loads(line)[1:] if not word.startswith("-")]

    def environment(self, stage: Stage, **more: str) -> dict[str, str]:
        """Returns the environment of a process in a stage: that of ENV alone, with paths of this machine."""
        own = {name: self.here(value, stage) for name, value in stage.environ.items()}
        home = str(stage.path("/home/aiteam"))
        return {"PATH": self._path(), "HOME": home, **own, "STAGE_ROOT": str(stage.root), **more}

    def _begin(self, name: str, parent: str) -> Stage:
        root = self.folder / name
        if parent in self.stages:
            before = self.stages[parent]
            shutil.copytree(before.root, root, symlinks=True)
            _move_links(root, before.root)
            stage = Stage(root, dict(before.environ), folder=before.folder)
        else:
            root.mkdir()
            stage = Stage(root, {"PATH": self._path()})
        self.stages[name] = stage
        return stage

    def _carry_out(self, step: Step, stage: Stage, arguments: dict[str, str]) -> None:
        text = step.text
        if step.name == "ARG":
            name, _, default = text.partition("=")
            stage.arguments[name] = arguments.get(name, default)
        elif step.name == "ENV":
            for word in shlex.split(text):
                name, _, value = word.partition("=")
                stage.environ[name] = self._expanded(value, stage)
        elif step.name == "WORKDIR":
            stage.folder = text
            stage.path(text).mkdir(parents=True, exist_ok=True)
        elif step.name == "COPY":
            self._copy(text.split(), stage)
        elif step.name == "RUN":
            environ = self.environment(stage, PIP_NOTES=str(self.notes), **stage.arguments)
            command = ["/bin/sh", "-ec", self.here(text, stage)]
            subprocess.run(command, cwd=stage.path(stage.folder), env=environ, check=True)
        elif step.name == "USER":
            stage.user = text
        elif step.name in {"ENTRYPOINT", "CMD"}:
            setattr(stage, {"ENTRYPOINT": "entrypoint", "CMD": "command"}[step.name], json.loads(text))
        elif step.name not in {"LABEL", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK"}:
            raise ValueError(f"The instruction must be one of a Dockerfile that is known here. Received {step.name}.")

    def _copy(self, words: list[str], stage: Stage) -> None:
        origin = None
        if words[0].startswith("--from="):
            origin = self.stages[words.pop(0).removeprefix("--from=")]
        *sources, target = words
        for source in sources:
            place = stage.path(target)
            if origin is not None:
                place.parent.mkdir(parents=True, exist_ok=True)
                subprocess.run(["cp", "-al", str(origin.path(source)), str(place)], check=True)
            else:
                files = self._files(source)
                if not files:
                    raise FileNotFoundError(f"COPY {source}: no such file, or left out by .dockerignore")
                for file in files:
                    inside = file.relative_to(source) if (self.context / source).is_dir() else Path(file.name)
                    (place / inside).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(self.context / file, place / inside)

    def _files(self, source: str) -> list[Path]:
        """Returns the files of a source in the context, those left out by .dockerignore excepted."""
        top = self.context / source
        found = [path for path in top.rglob("*") if path.is_file()] if top.is_dir() else [top] * top.is_file()
        return [path.relative_to(self.context) for path in found if not self._is_ignored(path)]

    def _is_ignored(self, path: Path) -> bool:
        names = [str(place) for place in (path, *path.parents) if place.is_relative_to(self.context)]
        names = [os.path.relpath(name, self.context) for name in names]
        is_ignored = False
        for line in self._ignored:
            pattern = line.strip().lstrip("!")
            if pattern and not pattern.startswith("#"):
                ends = [pattern, pattern.removeprefix("**/")] if pattern.startswith("**/") else [pattern]
                if any(
                    fnmatch.fnmatch(name.rpartition("/")[2] if end != pattern else name, end)
                    for name in names
                    if name != "."
                    for end in ends
                ):
                    is_ignored = not line.startswith("!")
        return is_ignored

    def _expanded(self, value: str, stage: Stage) -> str:
        known = {**stage.arguments, **stage.environ}
        return re.sub(r"\$\{?(\w+)\}?", lambda match: known.get(match[1], ""), value)

    def here(self, text: str, stage: Stage) -> str:
        """Returns a text with the absolute paths of the image as they are on this machine."""
        return _ABSOLUTE.sub(f"{stage.root}/", text)

    def _path(self) -> str:
        return f"{self._programs}:/usr/local/bin:/usr/bin:/bin"

    def _write_programs(self) -> None:
        self._programs.mkdir(parents=True)
        python = getattr(sys, "_base_executable", sys.executable)
        packages = next(path for path in sys.path if path.endswith("site-packages"))
        venv = f'exec "{python}" "$@"\n'
        if self.is_quick:
            (self._programs / "quick-pip").write_text(_QUICK_PIP.replace("{python}", "/usr/bin/env python"))
            where = '"$("$3/bin/python" -c "import site; print(site.getsitepackages()[0])")/outer.pth"'
            venv = (
                f'[ "$1 $2" = "-m venv" ] || exec "{python}" "$@"\n"{python}" -m venv --without-pip "$3" || exit\n'
                f'echo "{packages}" > {where}\n'
                f'cp "{self._programs}/quick-pip" "$3/bin/pip"; chmod +x "$3/bin/pip"\n'
            )
        for name, text in {
            "python": f"#!/bin/sh\n{venv}",
            "useradd": _USERADD,
            "chown": "#!/bin/sh\n",
        }.items():
            (self._programs / name).write_text(text)
            (self._programs / name).chmod(0o755)


def _stages_for(target: str, instructions: list[Step]) -> set[str]:
    """Returns the stages that a target needs, itself included."""
    needs: dict[str, set[str]] = {}
    name = ""
    for step in instructions:
        if step.name == "FROM":
            parent, _, name = step.text.partition(" AS ")
            needs[name] = {parent}
        elif step.name == "COPY" and step.text.startswith("--from="):
            needs[name].add(step.text.split()[0].removeprefix("--from="))
    wanted, waiting = set(), [target]
    while waiting:
        stage = waiting.pop()
        if stage in needs and stage not in wanted:
            wanted.add(stage)
            waiting += needs[stage]
    return wanted


def _move_links(root: Path, before: Path) -> None:
    """Lets links of a copied stage lead into the copy."""
    for path in root.rglob("*"):
        if path.is_symlink() and (leads_to := os.readlink(path)).startswith(f"{before}/"):
            path.unlink()
            path.symlink_to(f"{root}{leads_to.removeprefix(str(before))}")
