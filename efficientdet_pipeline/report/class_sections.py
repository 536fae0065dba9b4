"""Sections of the page about an evaluation by classes: of a segmentation, or of a classification."""

import base64
from collections.abc import Sequence

import numpy as np

from efficientdet_pipeline.evaluation.class_evaluation import ClassEvaluation
from efficientdet_pipeline.report.markup import cards, number, paragraph, section, table, tag, text
from tfrmod.counted import counted

MAX_MATRIX = 25
"""Classes of the confusion matrix; of more, those that are confused most are shown."""
MAX_ABSENT = 10
"""Classes up to which those that neither occur nor were predicted are listed, too."""
_MEANINGS = {
    "mIoU": "Intersection over union, the mean over the classes; the number that segmentations are ranked by.",
    "pixel_accuracy": "Share of the pixels whose class is right; large classes decide it.",
    "mean_accuracy": "Share of the pixels of a class that are found, the mean over the classes.",
    "Dice": "Dice coefficient, which is the F1 score of pixels, the mean over the classes.",
    "boundary_F1": "How many pixels of the boundaries match within 0.75 % of the diagonal, the mean over the classes. "
    "Not known where the borders of objects do not count, as in Pascal VOC.",
    "accuracy": "Share of the images whose best class is the true one.",
    "top5": "Share of the images whose true class is among the best five; always 1 with five classes or fewer.",
    "balanced_accuracy": "Share of the images of a class that are recognized, the mean over the classes.",
}
_TITLES = {
    "mIoU": "Mean IoU",
    "pixel_accuracy": "Pixel accuracy",
    "mean_accuracy": "Mean class accuracy",
    "boundary_F1": "Boundary F1",
    "accuracy": "Accuracy",
    "top5": "Top-5 accuracy",
    "balanced_accuracy": "Balanced accuracy",
}
_COLUMNS = {"mIoU": "IoU", "accuracy": "Recall", "precision": "Precision", "boundary_F1": "Boundary F1"}
_CARDS = 4
_CELLS = {
    False: "shares of the pixels of the row; the darker, the larger",
    True: "numbers of images; the darker, the larger the share of the row",
}
"""What the confusion matrix shows, by whether images are counted."""


def class_headline(evaluation: ClassEvaluation) -> str:
    """Returns the cards at the top of the page."""
    values = evaluation.metrics.values
    shown = [(title_of(name), number(value), _MEANINGS.get(name, "")) for name, value in list(values.items())[:_CARDS]]
    return cards(shown)


def class_sections(evaluation: ClassEvaluation) -> list[tuple[str, str, str]]:
    """Returns (identifier, title in the list of contents, markup) of every section, in order."""
    return [
        ("numbers", "Numbers", _numbers_section(evaluation)),
        ("classes", "Classes", _classes_section(evaluation)),
        ("confusion", "Confusions", _confusion_section(evaluation)),
        ("worst", "Worst images", _worst_section(evaluation)),
    ]


def title_of(name: str) -> str:
    """Returns what a number is called in words."""
    return _TITLES.get(name, name)


def _numbers_section(evaluation: ClassEvaluation) -> str:
    rows = [
        (text(title_of(name)), number(value), text(_MEANINGS.get(name, "")))
        for name, value in evaluation.metrics.values.items()
    ]
    return section(
        "numbers",
        "All numbers",
        paragraph(f"{counted(evaluation.num_images, 'image')}.", "A dash stands where nothing was there to measure."),
        table(["Number", "Value", "What it says"], rows, caption="Numbers over all classes", numeric=(1,)),
    )


def _classes_section(evaluation: ClassEvaluation) -> str:
    per_class = evaluation.metrics.per_class
    there, found = evaluation.confusion.sum(axis=1), evaluation.confusion.sum(axis=0)
    total = max(1, int(there.sum()))
    primary = evaluation.metrics.primary
    rows = []
    places = _listed(evaluation)
    for place in places:
        name = evaluation.names[place]
        values = [per_class[title].get(name) for title in per_class]
        first = per_class[primary].get(name) if primary in per_class else None
        bar = tag("span", "", class_="bar", style=f"--v:{max(0.0, first):.3f}") if first is not None else ""
        cells = [
            number(value) + (bar if title == primary else "") for title, value in zip(per_class, values, strict=True)
        ]
        rows.append((text(name), f"{there[place]:,}", f"{there[place] / total:.1%}", f"{found[place]:,}", *cells))
    unit = evaluation.unit.capitalize()
    head = ["Class", unit, "Share", "Predicted", *(_COLUMNS.get(name, name) for name in per_class)]
    left = len(evaluation.names) - len(places)
    return section(
        "classes",
        "Classes",
        paragraph(f"Neither occur nor were predicted, and are not listed: {counted(left, 'class')}.") if left else "",
        table(head, rows, caption="Numbers by class", numeric=range(1, len(head)), is_sortable=True),
    )


def _listed(evaluation: ClassEvaluation) -> list[int]:
    """Returns the classes of the tables; of many, those that occur or were predicted."""
    size = len(evaluation.names)
    if size <= MAX_ABSENT:
        return list(range(size))
    found: list[int] = np.flatnonzero(evaluation.confusion.sum(axis=0) + evaluation.confusion.sum(axis=1)).tolist()
    return found


def _confusion_section(evaluation: ClassEvaluation) -> str:
    size = len(evaluation.names)
    places = _listed(evaluation)
    note = f"Shown are the {len(places)} of {size} classes that occur or were predicted." if len(places) < size else ""
    if len(places) > MAX_MATRIX:
        note = f"Shown are the {MAX_MATRIX} classes that are confused most of {size}."
        between = evaluation.confusion * ~np.eye(size, dtype=bool)
        confused = (between.sum(axis=0) + between.sum(axis=1))[places]
        places = sorted(places[index] for index in np.argsort(-confused, kind="stable")[:MAX_MATRIX].tolist())
    names = [evaluation.names[place] for place in places]
    head = tag("th", text("there ↓ / predicted →"), scope="col")
    head += "".join(tag("th", tag("span", text(name)), scope="col") for name in names)
    shares = evaluation.shares
    body = [
        tag("tr", tag("th", text(name), scope="row") + _row(evaluation, shares[place], place, places))
        for place, name in zip(places, names, strict=True)
    ]
    caption = tag("caption", f"{evaluation.unit.capitalize()} by class, and what they were taken for", class_="hidden")
    grid = tag("table", caption + tag("thead", tag("tr", head)) + tag("tbody", "".join(body)), class_="matrix")
    pairs = [
        f"{there} taken for {seen}: {times:,} {evaluation.unit.removesuffix('s') if times == 1 else evaluation.unit}"
        for there, seen, times in evaluation.most_confused(5)
    ]
    return section(
        "confusion",
        "Confusion matrix",
        paragraph(
            f"Rows are what is there, columns what was predicted, as {_CELLS[evaluation.unit == 'images']}.",
            note,
        ),
        tag("div", grid, class_="scroll", role="region", aria_label="Table: confusion matrix", tabindex="0"),
        tag("ul", "".join(tag("li", text(pair)) for pair in pairs)) if pairs else "",
    )


def _row(evaluation: ClassEvaluation, shares: np.ndarray, place: int, places: Sequence[int]) -> str:
    """Returns the cells of one class: counts of images, and shares of pixels, whose counts are hard to read."""
    cells = []
    for column in places:
        count, share = int(evaluation.confusion[place, column]), float(shares[column])
        shown = f"{count:,}" if evaluation.unit == "images" else f"{share:.1%}"
        cells.append(
            tag(
                "td",
                shown if count else "",
                style=f"--v:{share:.2f}" if count else None,
                class_="diagonal" if column == place else None,
                title=f"{count:,} {evaluation.unit}, {share:.1%} of the row" if count else None,
            )
        )
    return "".join(cells)


def _worst_section(evaluation: ClassEvaluation) -> str:
    figures = []
    for each in evaluation.worst:
        data = base64.b64encode(each.jpeg).decode("ascii")
        caption = f"{each.name}: {each.note}"
        image = f'<img alt="{text(caption)}" src="data:image/jpeg;base64,{data}" loading="lazy"/>'
        figures.append(tag("figure", image + tag("figcaption", text(caption)), class_="picture"))
    if not figures:
        return ""
    what = (
        "The images of the lowest mean IoU of their own: the image, its truth, the prediction, and where the two "
        "differ (white; grey pixels do not count)."
        if evaluation.unit == "pixels"
        else "Images whose class is wrong, those first of whose wrong class the network is most certain."
    )
    return section("worst", "Worst images", paragraph(what), "".join(figures))
