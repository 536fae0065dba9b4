"""Detection task: the network's description against the classes of the data, and setups without data."""

import keras
import numpy as np
import pytest

from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.models.build import describe_network
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.tasks import TASKS, task_named
from efficientdet_pipeline.tasks.detection import LAYOUT, check_classes

SHARDS = Shards(train=(), val=(), num_train=8, num_classes=3, label_map={1: "a", 2: "b", 3: "c"}, max_instances=4)
TINY = {
    "image_size": 64,
    "fpn_num_filters": 8,
    "fpn_cell_repeats": 1,
    "box_class_repeats": 1,
    "backbone_config": {"blocks": ["r1_k3_s11_e1_i32_o8_se0.25", *["r1_k3_s22_e1_i8_o8_se0.25"] * 4]},
}


@pytest.mark.parametrize(("num_classes", "refused"), [(2, True), (3, False), (4, False)])
def test_check_classes_rejects_labels_beyond_num_classes(num_classes: int, refused: bool) -> None:
    network = describe_network("efficientdet-d0", {"num_classes": num_classes}, {})
    if refused:
        with pytest.raises(OptionsError, match=r"at least the largest label id of the data, 3\. Received 2"):
            check_classes(network, SHARDS)
    else:
        check_classes(network, SHARDS)


def test_check_classes_warns_of_a_background_class(monkeypatch: pytest.MonkeyPatch) -> None:
    # Users of google/automl often set K + 1.
    logged: list[str] = []
    monkeypatch.setattr("absl.logging.warning", lambda text, *values: logged.append(text % values))
    check_classes(describe_network("efficientdet-d0", {"num_classes": 4}, {}), SHARDS)
    assert logged == [
        "num_classes is 4 and the largest label id 3. Background is not a class here; class 4 will have no examples."
    ]


def test_check_classes_rejects_heads_without_training_data() -> None:
    overrides = {"num_classes": 3, "heads": ["object_detection", "segmentation"]}
    with pytest.raises(OptionsError, match="heads must be object_detection only"):
        check_classes(describe_network("efficientdet-d0", overrides, {}), SHARDS)


def test_task_named_knows_every_task_and_rejects_others() -> None:
    assert [task_named(name).name for name in TASKS] == list(TASKS)
    with pytest.raises(OptionsError, match=r"task must be one of detection.*Received 'pose'"):
        task_named("pose")


def test_detection_layout_names_the_columns_of_results_csv() -> None:
    assert " ".join(LAYOUT.columns) == (
        "epoch step seconds learning_rate loss class_loss box_loss box_iou_loss reg_l2_loss "
        "AP AP50 AP75 APs APm APl ARmax1 ARmax10 ARmax100 ARs ARm ARl "
        "gradient_norm bad_steps_total photos_per_second data_wait"
    )


def test_detection_setup_of_a_description_builds_the_same_network_and_a_batch_for_it() -> None:
    task = task_named("detection")
    options = compose(TrainOptions, url_dataset="demo", batch_size=2)
    description = describe_network("efficientdet-lite0", {**TINY, "num_classes": 3}, {}).as_dict()
    setup = task.setup_of_description(description, options, max_instances=4)
    assert setup.network.image_size == (64, 64)
    images, truth = setup.random_batch(2)
    targets = setup.objective().targets([keras.ops.convert_to_tensor(part) for part in truth])
    outputs = setup.build_model()(images)
    total, terms = setup.objective().terms(outputs, targets, keras.ops.convert_to_tensor(1.0))
    assert np.isfinite(keras.ops.convert_to_numpy(total))
    assert set(terms) == {"class_loss", "box_loss"}
