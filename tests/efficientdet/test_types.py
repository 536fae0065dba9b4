import subprocess
import sys

import numpy as np
import pytest
from efficientdet.types import BACKGROUND, IGNORED, Detections, GroundTruth, Targets


def test_types_fields_keep_their_order() -> None:
    assert GroundTruth._fields == ("boxes", "class_ids")
    assert Targets._fields == ("class_index", "boxes", "num_positives")
    assert Detections._fields == ("boxes", "scores", "class_ids", "num_valid")


def test_types_sentinels_are_no_class_index() -> None:
    assert len({BACKGROUND, IGNORED}) == 2
    assert max(BACKGROUND, IGNORED) < 0


def test_types_values_pass_through_a_data_pipeline_with_their_names() -> None:
    tf = pytest.importorskip("tensorflow", exc_type=ImportError)
    truth = GroundTruth(np.zeros((4, 2, 4), np.float32), np.ones((4, 2), np.int32))
    batch = next(iter(tf.data.Dataset.from_tensor_slices(truth).batch(3)))
    assert isinstance(batch, GroundTruth)
    assert batch.boxes.shape == (3, 2, 4)


def test_types_module_needs_no_backend() -> None:
    code = "import sys, efficientdet.types; sys.exit(bool({'tensorflow', 'jax', 'keras'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
