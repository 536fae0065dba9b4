"""Options from the command line, files and the environment."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from efficientdet_pipeline.commands import DEFAULT_MODE, MODES
from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.options.parser import DEFAULT, Given, Reader, Sources
from efficientdet_pipeline.options.training import TrainOptions


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader({name: mode.options_class() for name, mode in MODES.items()}, DEFAULT_MODE)


@pytest.fixture
def options_file(tmp_path: Path) -> Any:
    def write(text: str | bytes, name: str = "run.config") -> str:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    return write


def values(sources: Sources) -> dict[str, Any]:
    return {name: given.value for name, given in {**sources.given, **sources.without_effect}.items()}


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--batch_size=8"], {"batch_size": 8}),
        (["--batch_size", "8"], {"batch_size": 8}),
        (["--batch_size=auto"], {"batch_size": 0}),
        (["--grad_checkpoint"], {"grad_checkpoint": "true"}),
        (["--nograd_checkpoint"], {"grad_checkpoint": "false"}),
        (["--grad_checkpoint=blocks_[0-3]$"], {"grad_checkpoint": "blocks_[0-3]$"}),
        (["-batch_size", "8"], {"batch_size": 8}),
        (["--batch_size=4", "--batch_size=8"], {"batch_size": 8}),
        (["--num_shards=-1"], {"num_shards": -1}),
        (["--learning_rate=1e-3"], {"learning_rate": 0.001}),
        (["--learning_rate=-.5"], {"learning_rate": -0.5}),
        (["--learning_rate=2"], {"learning_rate": 2.0}),
        (["--strict"], {"strict": True}),
        (["--nostrict"], {"strict": False}),
        (["--strict=True"], {"strict": True}),
        (["--strict=0"], {"strict": False}),
        (["--strict", "--nostrict"], {"strict": False}),
        (["--seed=3"], {"tf_random_seed": 3}),
        (["--tf_random_seed=3", "--seed=4"], {"tf_random_seed": 4}),
        (["--seed=4", "--tf_random_seed=3"], {"tf_random_seed": 3}),
        (["--run_name=猫 und Hund"], {"run_name": "猫 und Hund"}),
        (["--url_dataset=http://h/a=b?c=d#e"], {"url_dataset": "http://h/a=b?c=d#e"}),
        (["--hparams=a=1,b.c=2"], {"hparams": "a=1,b.c=2"}),
        (["--url_dataset="], {"url_dataset": ""}),
        (["--mode=eval", "--eval_samples=3"], {"mode": "eval", "eval_samples": 3}),
        ([], {}),
    ],
)
def test_the_command_line_takes_what_users_type(reader: Reader, argv: list[str], expected: dict[str, Any]) -> None:
    assert values(reader.read(argv, {})) == expected


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--num_epoch=3"], r"Unknown option --num_epoch, from the command line; did you mean --num_epochs\?"),
        (["--num-epochs=3"], r"did you mean --num_epochs\?"),
        (["--NUM_EPOCHS=3"], r"Unknown option --NUM_EPOCHS.* did you mean --num_epochs\?"),
        (["---num_epochs=3"], r"did you mean --num_epochs\?"),
        (["--no_strict"], r"did you mean --strict\?"),
        (["--nobatch_size"], r"did you mean --batch_size\?"),
        (["--sed=3"], r"did you mean --seed\?"),
        (["--qqq=3"], r"Unknown option --qqq, .* `--helpfull` lists every option"),
        (
            ["--batch_size=eight"],
            r"batch_size must be a whole number or auto\. Received 'eight' .*try --batch_size=8\.",
        ),
        (["--batch_size=0"], r"batch_size must be a whole number or auto\. Received '0' .*try --batch_size=8\."),
        (["--batch_size=8.0"], r"batch_size must be a whole number or auto\. Received '8\.0'"),
        (["--batch_size=1e2"], r"batch_size must be a whole number or auto\. Received '1e2'"),
        (["--batch_size="], r"batch_size must be a whole number or auto\. Received ''"),
        (["--batch_size=http://h: 1"], r"Received 'http://h'"),
        (["--batch_size=http://h"], r"Received 'http://h' from"),
        (["--batch_size", "--num_epochs=3"], r"Received '--num_epochs=3'"),
        (["--eval_samples=all"], r"eval_samples must be a whole number\. Received 'all' .*see `--help` for"),
        (["--learning_rate=0,08"], r"learning_rate must be a number\. Received '0,08'"),
        (["--strict=maybe"], r"strict must be true or false\. Received 'maybe' .*try --strict=true"),
        (["--seed=x"], r"tf_random_seed must be a whole number\. Received 'x'"),
        (["--batch_size"], r"must read --flag=value\. Received, from the command line: Missing value .*batch_size"),
        (["--nostrict=true"], r"must read --flag=value\. Received, .*--nostrict=true does not take an argument"),
        (["--strict", "false"], r"Received 'false' .*try --strict=false if it is the value of --strict"),
        (["num_epochs=3"], r"Received 'num_epochs=3' .*try --num_epochs=3\."),
        (["\u2013\u2013num_epochs=3"], r"try --num_epochs=3\."),
        (["--batch_size=8", "params.config"], r"Received 'params\.config' .*try @params\.config"),
        (["--", "--batch_size=8"], r"must read --flag=value\. Received '--batch_size=8'"),
        (["--config"], r"--config must be followed by the path"),
        (["--config="], r"--config must be followed by the path"),
        (["--mode=eva"], r"mode must be one of traineval, .*Received 'eva' from the command line; did you mean eval\?"),
        (["--mode=EVAL"], r"did you mean eval\?"),
        (["--mode=zzz"], r"Received 'zzz' .*`--help` lists them"),
    ],
)
def test_a_typo_is_reported_with_advice(reader: Reader, argv: list[str], sentence: str) -> None:
    with pytest.raises(OptionsError, match=sentence):
        reader.read(argv, {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--batch_size=8\n", {"batch_size": 8}),
        ("--batch_size=8\r\n--strict\r\n", {"batch_size": 8, "strict": True}),
        (b"\xef\xbb\xbf--batch_size=8\r\n", {"batch_size": 8}),
        ("  --batch_size = 8  \n", {"batch_size": 8}),
        ("--batch_size =8", {"batch_size": 8}),
        ("--batch_size 8", {"batch_size": 8}),
        ("--batch_size\t8", {"batch_size": 8}),
        ("-batch_size=8", {"batch_size": 8}),
        ("--batch_size='8'", {"batch_size": 8}),
        ("--strict true", {"strict": True}),
        ("--strict = false", {"strict": False}),
        ("--nostrict", {"strict": False}),
        ("# a comment\n\n   # another\n--batch_size=8  # eight", {"batch_size": 8}),
        ("--hparams a=1,b=2", {"hparams": "a=1,b=2"}),
        ("--hparams = 'a=1,b=2'", {"hparams": "a=1,b=2"}),
        ('--url_dataset="my photos.zip"', {"url_dataset": "my photos.zip"}),
        ("--url_dataset=my photos.zip", {"url_dataset": "my photos.zip"}),
        ("--url_dataset my photos=1.zip", {"url_dataset": "my photos=1.zip"}),
        ("--url_dataset='photos # 1.zip'  # the first", {"url_dataset": "photos # 1.zip"}),
        ("--url_dataset=http://h/a#b", {"url_dataset": "http://h/a#b"}),
        ("--url_dataset=it's", {"url_dataset": "it's"}),
        ("--label_map=猫,犬", {"label_map": "猫,犬"}),
        ("--seed=3\n--tf_random_seed=4", {"tf_random_seed": 4}),
        ("", {}),
    ],
)
def test_an_option_file_is_read_as_people_write_it(
    reader: Reader, options_file: Any, text: str | bytes, expected: dict[str, Any]
) -> None:
    path = options_file(text)
    assert values(reader.read([f"@{path}"], {})) == expected
    assert values(reader.read(["--config", path], {})) == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("--batch_size=8\n--batch_size=x", r"Received 'x' from .*run\.config, line 2; try --batch_size=8"),
        ("batch_size=8", r"Received 'batch_size=8' \(.*run\.config, line 1\); put two dashes before it"),
        ("--batch=8", r"Unknown option --batch, from .*run\.config, line 1; did you mean --batch_size\?"),
        ("--batch_size==8", r"Received '=8'"),
        ("--batch_size", r"Missing value for flag --batch_size"),
        ("--flagfile", r"--flagfile must be followed by the path of an option file \(.*run\.config, line 1"),
        ("--batch_size=8".encode("utf-16"), r"must be UTF-8 text .*run\.config"),
    ],
)
def test_a_wrong_line_is_reported_with_its_file_and_number(
    reader: Reader, options_file: Any, text: str | bytes, sentence: str
) -> None:
    with pytest.raises(OptionsError, match=sentence):
        reader.read([f"@{options_file(text)}"], {})


def test_a_missing_option_file_is_reported_with_the_nearest_name(
    reader: Reader, options_file: Any, tmp_path: Path
) -> None:
    options_file("", name="params.config")
    with pytest.raises(MissingError, match=r"option file '.*parms\.config' does not.*Did you mean @.*params\.config\?"):
        reader.read([f"@{tmp_path}/parms.config"], {})
    with pytest.raises(MissingError, match=r"Check the path of the file"):
        reader.read([f"@{tmp_path}/nowhere/x"], {})
    with pytest.raises(MissingError, match=r"option file"):
        reader.read([f"@{tmp_path}/params.config/x"], {})
    with pytest.raises(MissingError, match=r"option file '' does not exist"):
        reader.read(["@"], {})
    with pytest.raises(OptionsError, match=r"must be UTF-8 text"):
        reader.read([f"@{tmp_path}"], {})


def test_a_later_file_takes_precedence_over_an_earlier_one(reader: Reader, options_file: Any) -> None:
    first = options_file("--batch_size=2\n--num_epochs=3", name="a.txt")
    second = options_file("--batch_size=4", name="my options.b")
    assert values(reader.read([f"@{first}", f"@{second}"], {})) == {"batch_size": 4, "num_epochs": 3}
    assert values(reader.read([f"@{first}", f"@{first}"], {})) == {"batch_size": 2, "num_epochs": 3}


def test_command_line_over_file_over_environment(reader: Reader, options_file: Any) -> None:
    path = options_file("--batch_size=2\n--num_epochs=2\n")
    environment = {"batch_size": "1", "num_epochs": "1", "seed": "1", "BATCH_SIZE": "9"}
    given = reader.read(["--batch_size=3", f"@{path}"], environment).given
    assert given["batch_size"] == Given(3, "the command line")
    assert given["num_epochs"] == Given(2, f"{path}, line 2")
    assert given["tf_random_seed"] == Given(1, "the environment variable seed")


def test_a_run_needs_no_command_line(reader: Reader) -> None:
    sources = reader.read([], {"url_dataset": "demo", "mode": "dataset", "strict": "true", "label_map": ""})
    assert sources.mode == "dataset"
    assert values(sources) == {"url_dataset": "demo", "mode": "dataset", "strict": True}


def test_an_environment_variable_that_is_set_but_empty_is_not_given(reader: Reader) -> None:
    assert values(reader.read([], {"batch_size": "", "num_epochs": " "})) == {}


def test_a_wrong_environment_variable_is_named(reader: Reader) -> None:
    with pytest.raises(OptionsError, match=r"Received 'many' from the environment variable num_epochs"):
        reader.read([], {"num_epochs": "many"})


def test_options_of_other_modes_are_kept_apart(reader: Reader) -> None:
    sources = reader.read(["--mode=dataset", "--batch_size=8", "--strict"], {})
    assert set(sources.given) == {"mode", "strict"}
    assert set(sources.without_effect) == {"batch_size"}
    assert sources.source_of("batch_size") == DEFAULT


def test_the_demo_block_of_a_file_is_marked(reader: Reader, options_file: Any) -> None:
    text = "--num_epochs=9\n# Demo settings: begin\n--batch_size=2\n# demo settings: end\n--seed=1\n"
    given = reader.read([f"@{options_file(text)}"], {}).given
    assert {name: each.is_demo for name, each in given.items()} == {
        "num_epochs": False,
        "batch_size": True,
        "tf_random_seed": False,
    }


def test_built_options_take_defaults_of_hparams_below_everything(reader: Reader) -> None:
    sources = reader.read(["--url_dataset=demo", "--batch_size=3"], {})
    defaults = {"batch_size": Given(1, "--hparams (x)"), "num_epochs": Given(7, "--hparams (x)")}
    options = reader.build(sources, TrainOptions, defaults)
    optimizer = options.optimizer
    assert (options.general.mode, optimizer.batch_size, optimizer.num_epochs) == ("traineval", 3, 7)


def test_a_failed_check_is_reported_with_the_source_of_the_value(reader: Reader) -> None:
    sources = reader.read(["--url_dataset=demo"], {"batch_size": "-3"})
    with pytest.raises(
        OptionsError, match=r"Received -3; .*\(batch_size came from the environment variable batch_size"
    ):
        reader.build(sources, reader.classes[sources.mode])
    with pytest.raises(OptionsError, match=r"\(num_epochs came from --hparams \(x\)"):
        reader.build(reader.read(["--url_dataset=demo"], {}), TrainOptions, {"num_epochs": Given(0, "--hparams (x)")})


def test_reading_loads_neither_tensorflow_nor_keras_nor_numpy() -> None:
    script = (
        "import sys; from efficientdet_pipeline.cli import main; main(['--help']);"
        "sys.exit(bool({'tensorflow', 'keras', 'numpy', 'yaml'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], stdout=subprocess.DEVNULL, check=False).returncode == 0


@pytest.mark.parametrize(
    ("argv", "environment", "expected"),
    [
        (["--debug=false"], {"debug": "*"}, {"debug": False}),
        (["--noprofile"], {"profile": "work"}, {"profile": False}),
        (["--keep=3"], {"keep": "yes"}, {"keep": 3}),
        (["--seed=3"], {"seed": "abc"}, {"tf_random_seed": 3}),
        (["--tf_random_seed=3"], {"seed": "abc"}, {"tf_random_seed": 3}),
        (["--seed=3"], {"tf_random_seed": "abc"}, {"tf_random_seed": 3}),
        ([], {"seed": "abc", "tf_random_seed": "4"}, {"tf_random_seed": 4}),
        (["--batch_size=auto"], {"batch_size": "many"}, {"batch_size": 0}),
        (["--learning_rate=0.1"], {"learning_rate": "fast"}, {"learning_rate": 0.1}),
        (["--mode=train"], {"mode": "bogus"}, {"mode": "train"}),
    ],
)
def test_a_value_that_is_overridden_is_not_validated(
    reader: Reader, options_file: Any, argv: list[str], environment: dict[str, str], expected: dict[str, Any]
) -> None:
    assert values(reader.read(argv, environment)) == expected
    wrong = options_file("".join(f"--{name}={value}\n" for name, value in environment.items()))
    assert values(reader.read([f"@{wrong}", *argv], {})) == expected
    right = options_file("".join(f"{word}\n" for word in argv), name="right.config")
    assert values(reader.read([f"@{right}"], environment)) == expected


def test_the_advice_on_a_wrong_environment_variable_works(reader: Reader) -> None:
    for name, value in [("debug", "*"), ("profile", "work"), ("keep", "yes"), ("seed", "abc"), ("eval_samples", "x")]:
        with pytest.raises(OptionsError, match=r"unset the variable, or override it by --") as caught:
            reader.read([], {name: value})
        advice = str(caught.value).rpartition("override it by ")[2].rstrip(".").replace("VALUE", "3")
        assert reader.read([advice], {name: value}).given


@pytest.mark.parametrize("name", ["overwrite", "fix"])
def test_what_deletes_or_writes_copies_is_never_taken_from_the_environment(reader: Reader, name: str) -> None:
    mode = "--mode=doctor" if name == "fix" else "--mode=train"
    sources = reader.read([mode], {name: "1"})
    assert name not in sources.given
    assert sources.not_taken == (name,)
    assert reader.read([mode, f"--{name}=1"], {name: "1"}).not_taken == ()
    assert reader.read([mode], {}).not_taken == ()


def test_a_nested_option_file_is_reported_with_its_own_name_and_line(
    reader: Reader, options_file: Any, tmp_path: Path
) -> None:
    inner = options_file("# a comment\n--batch_size=8\n--keep=3", name="inner.config")
    outer = options_file(f"--num_epochs=2\n--flagfile={inner}\n--keep=4\n", name="outer.config")
    given = reader.read([f"@{outer}"], {}).given
    assert given["batch_size"] == Given(8, f"{inner}, line 2")
    assert given["num_epochs"] == Given(2, f"{outer}, line 1")
    assert given["keep"] == Given(4, f"{outer}, line 3")
    options_file("--batch_size=8\n--batch_size=x", name="inner.config")
    with pytest.raises(OptionsError, match=r"Received 'x' from .*inner\.config, line 2"):
        reader.read([f"@{outer}"], {})
    options_file(f"--config {outer}", name="inner.config")
    with pytest.raises(OptionsError, match=r"outer\.config' includes itself: .*inner\.config"):
        reader.read([f"@{outer}"], {})
    (tmp_path / "inner.config").unlink()
    with pytest.raises(
        MissingError, match=r"option file '.*inner\.config' does not exist \(--flagfile in .*outer\.config\)"
    ):
        reader.read([f"@{outer}"], {})


def test_a_flag_that_would_hide_misspelt_ones_is_unknown(reader: Reader) -> None:
    with pytest.raises(OptionsError, match=r"Unknown option --undefok"):
        reader.read(["--undefok=num_epoch", "--num_epoch=3"], {})


def test_values_that_are_merged_keep_their_order_and_places(reader: Reader, options_file: Any) -> None:
    first = options_file("--hparams=a=1\n--hparams=b=2", name="a.config")
    second = options_file("--hparams=c=3", name="b.config")
    sources = reader.read(["--hparams=d=4", f"@{first}", f"@{second}", "--hparams=e=5"], {"hparams": "z=0"})
    assert [(each.value, each.source) for each in sources.given["hparams"].all] == [
        ("z=0", "the environment variable hparams"),
        ("a=1", f"{first}, line 1"),
        ("b=2", f"{first}, line 2"),
        ("c=3", f"{second}, line 1"),
        ("d=4", "the command line"),
        ("e=5", "the command line"),
    ]


@pytest.mark.parametrize(
    ("argv", "environment", "expected"),
    [
        (["--debug"], {}, True),
        (["--debug", "--nix"], {}, True),
        (["--debug=false", "--nix"], {}, False),
        (["--nodebug", "--nix"], {}, False),
        (["--debug", "--nodebug"], {}, False),
        (["--nodebug"], {"debug": "true"}, False),
        ([], {"debug": "true"}, True),
        ([], {"debug": "*"}, False),
        (["--debug=false"], {"debug": "*"}, False),
        (["--run_name=debug"], {}, False),
        (["@nowhere", "--debug"], {}, True),
    ],
)
def test_asks_for_follows_the_value_in_effect(
    reader: Reader, argv: list[str], environment: dict[str, str], expected: bool
) -> None:
    assert reader.asks_for("debug", argv, environment) is expected


def test_words_without_a_flag_are_the_runs_of_a_comparison(reader: Reader) -> None:
    def runs(*words: str) -> str:
        return str(reader.read(words, {}).given["runs"].value)

    assert runs("--mode=compare", "runs/a", "runs/b") == "runs/a,runs/b"
    assert runs("--mode=compare", "--runs=a", "--compare_dir", "out", "b", "c") == "a,b,c"
    with pytest.raises(OptionsError, match="runs/a"):
        reader.read(["--mode=eval", "runs/a"], {})
