"""Resolution of a mode's options: --hparams merged, values checked, options without effect reported."""

from collections.abc import Collection
from dataclasses import replace

from absl import logging

from efficientdet_pipeline.options.hparams import HparamsGiven, merge_hparams
from efficientdet_pipeline.options.parser import Reader, Sources
from efficientdet_pipeline.options.schema import Options, OptionsT, options_without_effect


def resolve_options(
    reader: Reader, sources: Sources, options_class: type[OptionsT]
) -> tuple[OptionsT, Sources, HparamsGiven]:
    """Returns the options of the mode, their sources, and the values of --hparams; warns of options without effect.

    Args:
      options_class: of the mode of `sources`.

    Raises:
      OptionsError: a value is wrong, or contradicts another.
      MissingError: a file named by an option does not exist.
    """
    _warn_of_options_without_effect(sources)
    sources, hparams = _with_hparams(sources, options_class, reader.known)
    options = reader.build(sources, options_class, hparams.options)
    _warn_of_options_not_read(options, sources, hparams)
    return options, sources, hparams


def _with_hparams(
    sources: Sources, options_class: type[Options], all_options: Collection[str]
) -> tuple[Sources, HparamsGiven]:
    """Returns the sources with one merged --hparams, and its values."""
    given = sources.given.get("hparams")
    if given is None:
        return sources, HparamsGiven()
    hparams, replaced = merge_hparams(given.all, options_class, all_options)
    for key, reason in hparams.ignored.items():
        logging.warning("--hparams: %s has no effect here: %s.", key, reason)
    texts: list[str] = []
    for each in given.all:
        text = str(each.value).strip()
        texts = [*texts, text] if text else []
    if len(given.all) > 1:
        where = ", then ".join(dict.fromkeys(each.source for each in given.all))
        logging.info(
            "--hparams is merged by key from %s; the last value takes precedence%s.",
            where,
            f" ({', '.join(replaced)})" if replaced else "",
        )
    merged = replace(given, value=",".join(texts), source=" and ".join(dict.fromkeys(g.source for g in given.all)))
    return replace(sources, given={**sources.given, "hparams": replace(merged, earlier=())}), hparams


def _warn_of_options_without_effect(sources: Sources) -> None:
    without_effect: dict[str, list[str]] = {}
    for name, given in sources.without_effect.items():
        if not given.source.startswith("the environment"):
            without_effect.setdefault(given.source.partition(", line")[0], []).append(f"--{name}")
    for source, names in without_effect.items():
        logging.warning("No effect in --mode=%s: %s (from %s).", sources.mode, ", ".join(names), source)
    for name in sources.not_taken:
        logging.warning(
            "The environment variable %s has no effect: --%s is read only from the command line or an @file.",
            name,
            name,
        )


def _warn_of_options_not_read(options: Options, sources: Sources, hparams: HparamsGiven) -> None:
    """Warns of options that were given but have no effect because of others, grouped by reason."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in options_without_effect(options).items():
        if name == "hparams":
            by_reason.setdefault(reason, []).extend(f"{key} of --hparams" for key in hparams.network)
        elif name in sources.given and not sources.given[name].source.startswith("the environment"):
            by_reason.setdefault(reason, []).append(f"--{name}")
        elif name in hparams.options:
            by_reason.setdefault(reason, []).append(f"{name} of --hparams")
    for reason, names in by_reason.items():
        if names:
            logging.warning("No effect here: %s (%s).", ", ".join(names), reason)
