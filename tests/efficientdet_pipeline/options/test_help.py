"""--help, --helpfull and the tables of the documentation are generated from the declarations."""

import re

import pytest

from efficientdet_pipeline.commands import MODES
from efficientdet_pipeline.options.help import all_declarations, flags_tables, full_help_text, help_text
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


def rows_of(mode: str) -> dict[str, list[str]]:
    lines = flags_tables(CLASSES[mode]).splitlines()
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if line.startswith("| `--")]
    assert all(len(row) == 3 for row in rows)
    return {row[0]: row for row in rows}


@pytest.mark.parametrize("mode", MODES)
def test_flags_tables_have_a_row_for_each_flag_of_the_mode(mode: str) -> None:
    shown = {name.split(",")[0].strip("`-") for name in rows_of(mode)}
    assert shown == set(declarations(CLASSES[mode]))


def test_flags_tables_say_default_aliases_and_meaning() -> None:
    rows = rows_of("traineval")
    assert rows["`--mode`"][1] == "`traineval`"
    assert "`--tf_random_seed`, `--seed`" in rows
    assert rows["`--hparams`"][1] == ""
    assert "`<model>-<hash>`" in rows["`--run_name`"][2]
    assert "&lt;" not in rows["`--run_name`"][2]


def test_flags_tables_give_the_meaning_of_the_mode() -> None:
    assert rows_of("benchmark")["`--what`"][1] == "`loader`"
    assert rows_of("inspect")["`--what`"][1] == "`records`"
    assert "records: images" in rows_of("inspect")["`--what`"][2]
