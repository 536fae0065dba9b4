from pathlib import Path

import pytest
import yaml

from tfrmod.manifest import Manifest, max_instances, write_hparams_config


@pytest.mark.parametrize(("fullest", "room"), [(0, 100), (30, 100), (99, 100), (100, 150), (279, 300), (300, 350)])
def test_manifest_hparams_there_is_always_more_room_than_objects(fullest: int, room: int) -> None:
    assert max_instances(fullest) == room > fullest


@pytest.mark.parametrize("image_size", [None, 256, "512x256"])
def test_manifest_hparams_file_says_what_the_data_decide(tmp_path: Path, image_size: int | str | None) -> None:
    options = {"image_size": image_size, "seed": 1}
    label_map = {1: "cat", 5: "größer"}
    manifest = Manifest(source="", options=options, label_map=label_map, splits={}, max_instances_per_image=3)
    write_hparams_config(tmp_path / "hparams_config.yaml", manifest)
    content = yaml.safe_load((tmp_path / "hparams_config.yaml").read_text())
    expected = {"num_classes": 5, "label_map": label_map, "max_instances_per_image": 100}
    assert content == (expected if image_size is None else expected | {"image_size": image_size})
