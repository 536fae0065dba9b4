"""Gallery of the report: images with ground truth and detections drawn over them."""

import base64
import json
from collections.abc import Sequence

from efficientdet_pipeline.evaluation.error_split import DESCRIPTIONS, ErrorKind
from efficientdet_pipeline.report.contents import DrawnBox, GalleryImage
from efficientdet_pipeline.report.gallery import tags_of
from efficientdet_pipeline.report.markup import paragraph, section, tag, text
from tfrmod.counted import counted

_LEGEND = (
    ("right", "correct detection"),
    ("wrong", "wrong detection"),
    ("found", "object found"),
    ("missed", "object missed"),
    ("crowd", "ignored object"),
)


def gallery_section(images: Sequence[GalleryImage], threshold: float) -> str:
    """Returns the gallery with its filters; empty without images."""
    if not images:
        return ""
    items = "".join(_item(image, number, len(images)) for number, image in enumerate(images))
    keys = "".join(tag("li", tag("span", "", class_=f"key box-{state}") + text(meaning)) for state, meaning in _LEGEND)
    return section(
        "gallery",
        "Gallery",
        paragraph(
            f"Detections with a score of {threshold:.2f} or more. Click an image to enlarge it; there, the "
            "objects that were found are drawn as well. The arrow keys switch between images."
        ),
        tag("ul", keys, class_="legend"),
        _filters(images),
        tag("ul", items, class_="shots"),
        tag("p", "No image matches all filters.", class_="empty", hidden=True, id="no-images"),
    )


def _filters(images: Sequence[GalleryImage]) -> str:
    groups, classes, kinds = tags_of(images)
    choices = [
        ("group", "Show", "all images", [(group, group) for group in groups]),
        ("class", "Class", "any class", [(name, name) for name in classes]),
        ("kind", "Error", "any", [(kind, f"{kind}: {DESCRIPTIONS[ErrorKind(kind)]}") for kind in kinds]),
    ]
    controls = "".join(
        tag(
            "label",
            tag("span", label)
            + tag(
                "select",
                tag("option", first, value="")
                + "".join(tag("option", text(said), value=value) for value, said in options),
                id=f"filter-{name}",
            ),
        )
        for name, label, first, options in choices
    )
    score = tag(
        "span", "Errors with a score of at least " + tag("output", "0.00", id="score-shown", for_="filter-score")
    )
    slider = '<input type="range" id="filter-score" min="0" max="1" step="0.05" value="0"/>'
    boxes = tag(
        "label", '<input type="checkbox" id="show-truth" checked/>' + tag("span", "Draw objects"), class_="check"
    )
    count = tag("p", counted(len(images), "image"), id="num-images", role="status")
    return tag(
        "form",
        controls + tag("label", score + slider) + boxes + count,
        class_="filters scripted",
        aria_label="Filter images",
    )


def _item(image: GalleryImage, number: int, total: int) -> str:
    identifier = f"image-{number}"
    summary = _summary(image.boxes)
    data = base64.b64encode(image.jpeg).decode("ascii")
    picture = (
        f'<img src="data:image/jpeg;base64,{data}" alt="{text(f"{image.name}: {summary}")}" loading="lazy" '
        f'decoding="async" width="{image.width}" height="{image.height}"/>'
    )
    overlay = tag(
        "svg",
        "".join(_rectangle(box, image) for box in image.boxes),
        viewBox=f"0 0 {image.width} {image.height}",
        aria_hidden="true",
        preserveAspectRatio="none",
    )
    opener = tag(
        "a",
        picture + overlay,
        href=f"#{identifier}",
        class_="open",
        style=f"aspect-ratio:{image.width}/{image.height};--ratio:{image.width / image.height:.4f}",
    )
    caption = tag("figcaption", tag("b", text(image.name)) + tag("span", text(summary)))
    steps = (
        tag("a", "‹ Previous", href=f"#image-{(number - 1) % total}", class_="step")
        + tag("a", "Close", href="#gallery", class_="step")
        + tag("a", "Next ›", href=f"#image-{(number + 1) % total}", class_="step")
    )
    walk = tag("p", steps, class_="walk")
    wrong = [box for box in image.boxes if box.state == "wrong"]
    return tag(
        "li",
        tag("figure", opener + caption + walk, id=identifier),
        data_groups="|".join(image.groups),
        data_classes=json.dumps(sorted({box.class_name for box in image.boxes}), ensure_ascii=False),
        data_kinds="|".join(sorted({box.kind for box in image.boxes if box.kind})),
        data_score=f"{max((box.score or 0.0 for box in wrong), default=0.0):.3f}",
    )


def _rectangle(box: DrawnBox, image: GalleryImage) -> str:
    y0, x0, y1, x1 = box.box
    place = f'x="{x0:.1f}" y="{y0:.1f}" width="{max(0.0, x1 - x0):.1f}" height="{max(0.0, y1 - y0):.1f}"'
    score = "" if box.score is None else f" {box.score:.2f}"
    kind = f" ({box.kind})" if box.kind and box.state == "wrong" else ""
    size = max(image.height, image.width) / 58
    # Labels of objects are below their box, those of detections above, so that both are readable.
    is_truth = box.score is None
    top = min(y1 + size, image.height - 0.2 * size) if is_truth else max(y0 - 0.3 * size, size)
    # Near the right edge, a label is right-aligned with its box.
    is_right = x0 > 0.72 * image.width
    place_x, anchor = (min(x1, image.width), "end") if is_right else (max(0.0, x0), None)
    label = tag(
        "text",
        text(f"{box.class_name}{score}{kind}"),
        x=f"{place_x:.1f}",
        text_anchor=anchor,
        y=f"{top:.1f}",
        font_size=f"{size:.1f}",
    )
    seam, line = f'<rect class="seam" {place}/>', f"<rect {place}/>"
    return tag("g", seam + line + label, class_=f"box-{box.state}")


def _summary(boxes: Sequence[DrawnBox]) -> str:
    count = {state: sum(box.state == state for box in boxes) for state, _ in _LEGEND}
    objects = count["found"] + count["missed"]
    parts = [f"{count['found']} of {counted(objects, 'object')} found"] if objects else ["no objects"]
    if count["wrong"]:
        parts.append(counted(count["wrong"], "wrong detection"))
    return ", ".join(parts)
