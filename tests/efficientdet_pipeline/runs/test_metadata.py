"""args.yaml and metadata.json describe a run."""

from pathlib import Path

from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.runs.metadata import read_args, read_json, update_json, write_args
from tfrmod.fileio import write_file


def test_args_hold_every_option_as_it_was(tmp_path: Path) -> None:
    options = compose(
        TrainOptions,
        url_dataset="a b: #c.zip",
        image_size="512",
        label_map="猫,yes,null",
        learning_rate=1e-5,
        run_name="0x10",
    )
    write_args(tmp_path / "args.yaml", options, {"learning_rate": "the command line"})
    read = read_args(tmp_path / "args.yaml")
    assert compose(TrainOptions, **read) == options
    assert type(read["image_size"]) is str


def test_args_say_where_a_value_came_from(tmp_path: Path) -> None:
    sources = {"batch_size": "params.config,\nline 3"}
    write_args(tmp_path / "args.yaml", compose(TrainOptions, url_dataset="demo", batch_size=2), sources)
    lines = (tmp_path / "args.yaml").read_text().splitlines()
    assert "batch_size: 2  # params.config, line 3" in lines
    assert "num_epochs: 50" in lines


def test_missing_args_are_none(tmp_path: Path) -> None:
    assert read_args(tmp_path / "args.yaml") == {}
    (tmp_path / "args.yaml").write_text("# nothing\n")
    assert read_args(tmp_path / "args.yaml") == {}


def test_json_is_added_to(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "metadata.json"
    update_json(path, {"url": "demo", "label_map": {1: "猫"}})
    update_json(path, {"url": "photos.zip", "epochs": 3})
    assert read_json(path) == {"url": "photos.zip", "label_map": {"1": "猫"}, "epochs": 3}
    assert "猫" in path.read_text(encoding="utf-8")


def test_a_missing_or_cut_or_foreign_json_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "metadata.json"
    assert read_json(path) == {}
    for content in (b'{"url": "de', b"", b"[1, 2]", b"\xff\xfe"):
        path.write_bytes(content)
        assert read_json(path) == {}


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    write_file(tmp_path / "x.txt", "first and longer")
    write_file(tmp_path / "x.txt", "second")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x.txt", "second")]


def test_args_hold_no_secrets_of_urls(tmp_path: Path) -> None:
    url = "https://me:s3cret@host/a b.zip?token=s3cret"
    hparams = f"backbone_ckpt={url}"
    options = compose(TrainOptions, url_dataset=url, hparams=hparams, pretrained_ckpt=url)
    write_args(tmp_path / "args.yaml", options, {"url_dataset": f"--hparams ({hparams})"})
    text = (tmp_path / "args.yaml").read_text(encoding="utf-8")
    assert "s3cret" not in text
    assert read_args(tmp_path / "args.yaml")["url_dataset"] == "https://***@host/a b.zip?token=***"
