"""--help, --helpfull and the README's table are made from the declarations."""

import pytest

from efficientdet_pipeline.commands import MODES
from efficientdet_pipeline.options.help import all_declarations, flags_table, full_help_text, help_text
from efficientdet_pipeline.options.schema import declarations

CLASSES = {name: mode.options_class() for name, mode in MODES.items()}
SUMMARIES = {name: mode.summary for name, mode in MODES.items()}
# What the facade before this one took, with the flags of the scripts that it called (`model_name_` by freeze alone).
FORMER_FLAGS = """
    url_dataset backbone_ref model_ckpts tpu gcp_project tpu_zone eval_master eval_name strategy num_cores use_fake_data
    use_xla model_dir pretrained_ckpt hparams batch_size eval_samples steps_per_execution train_file_pattern
    val_file_pattern val_json_file mode hub_module_url num_examples_per_epoch num_epochs model_name debug
    tf_random_seed profile data_dir output_path path_metadata num_shards autoaugment_policy train_valid_split path_ckpt
    path_yaml path_output model_name_ save_samples_dir samples file_pattern eval input_image output_image_dir
    saved_model_dir
""".split()


def test_every_flag_of_the_former_scripts_is_there() -> None:
    assert set(FORMER_FLAGS) - set(all_declarations(CLASSES)) == set()


@pytest.mark.parametrize("mode", MODES)
def test_help_shows_the_mode_s_own_flags(mode: str) -> None:
    text = help_text(mode, CLASSES[mode], SUMMARIES)
    shown = {line.split(",")[0].strip().removeprefix("--") for line in text.splitlines() if line.startswith("  --")}
    assert shown == set(declarations(CLASSES[mode]))
    assert f"flags of --mode={mode}" in text
    assert all(name in text for name in MODES)


def test_help_names_the_default_mode_and_the_defaults() -> None:
    text = help_text("traineval", CLASSES["traineval"], SUMMARIES)
    assert "(default)" in next(line for line in text.splitlines() if line.strip().startswith("traineval"))
    assert "[0.08]" in text
    assert "[false]" in text
    assert "--tf_random_seed, --seed" in text


def test_full_help_shows_every_flag_once() -> None:
    lines = full_help_text(CLASSES, SUMMARIES).splitlines()
    shown = [line.split(",")[0].strip() for line in lines if line.startswith("  --")]
    assert sorted(shown) == sorted(f"--{name}" for name in all_declarations(CLASSES))


def test_every_flag_is_explained_in_a_sentence() -> None:
    unexplained = [name for name, each in all_declarations(CLASSES).items() if not each.help.endswith((".", ")"))]
    assert unexplained == []


def test_help_fits_a_narrow_terminal() -> None:
    too_long = [line for line in full_help_text(CLASSES, SUMMARIES).splitlines() if len(line) > 110]
    assert too_long == []


def test_the_table_of_flags_says_default_modes_and_meaning() -> None:
    # A flag that means something else in another mode has a row for each meaning.
    rows: dict[str, str] = {}
    for row in flags_table(CLASSES).splitlines()[2:]:
        name = row.split("|")[1].strip()
        rows[name] = rows.get(name, "") + row
    assert len(rows) == len(all_declarations(CLASSES))
    assert "| all |" in rows["`--mode`"]
    assert "| traineval |" in rows["`--mode`"]
    assert "| infer |" in rows["`--input_image`"]
    assert "| classify, features |" in rows["`--input_image`"]
    assert "`--tf_random_seed`, `--seed`" in rows


def test_flags_table_has_a_row_for_each_meaning_of_a_flag() -> None:
    rows = [row for row in flags_table(CLASSES).splitlines() if row.startswith("| `--what` |")]
    assert [row.split("|")[2:4] for row in rows] == [[" loader ", " benchmark "], [" records ", " inspect "]]
    assert "records: images" in rows[1]
