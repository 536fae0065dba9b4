"""The report as a single self-contained HTML file."""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path

from efficientdet_pipeline.report.class_sections import class_headline, class_sections, title_of
from efficientdet_pipeline.report.contents import ReportContents
from efficientdet_pipeline.report.evaluation_sections import evaluation_sections, headline
from efficientdet_pipeline.report.gallery_section import gallery_section
from efficientdet_pipeline.report.markup import number, paragraph, section, table, tag, text
from efficientdet_pipeline.report.svg_charts import line_chart
from tfrmod import fileio

FILE_NAME = "index.html"
_MOST_CLASS_COLUMNS = 12
_ANNOUNCED = {"error": "Error", "warning": "Warning", "note": "Note"}


def write_report(folder: Path, contents: ReportContents) -> Path:
    """Writes index.html into a folder, atomically, and returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE_NAME
    fileio.write_file(path, report_page(contents))
    return path


def report_page(contents: ReportContents, *, refresh_seconds: int = 0) -> str:
    """Returns the HTML page of a run; parts without content are left out.

    Args:
      contents: contents of the report.
      refresh_seconds: interval of reloading in the browser, for a running training; 0 for none.
    """
    analysis, by_class = contents.analysis, contents.by_class
    parts = [
        ("facts", "The run", _facts_section(contents)),
        *(evaluation_sections(analysis)[:1] if analysis else ()),
        ("training", "Training", _training_section(contents)),
        *(evaluation_sections(analysis)[1:] if analysis else ()),
        *(class_sections(by_class) if by_class else ()),
        ("pictures", "Pictures", _pictures_section(contents)),
        ("gallery", "Gallery", gallery_section(contents.gallery, analysis.threshold if analysis else 0.0)),
        ("labels", "Labels", _labels_section(contents)),
        ("data", "Data", _findings_section(contents)),
        ("exports", "Exports", _exports_section(contents)),
        ("compression", "Compression", _compression_section(contents)),
        ("commands", "Commands", _commands_section(contents)),
    ]
    top = "".join(tag("p", text(warning), class_="warning") for warning in contents.warnings)
    if analysis:
        top = headline(analysis) + top
    if by_class:
        top = class_headline(by_class) + top
    return html_document(contents.title, contents.subtitle, parts, top=top, refresh_seconds=refresh_seconds)


def html_document(
    title: str,
    subtitle: str,
    parts: Sequence[tuple[str, str, str]],
    *,
    top: str = "",
    refresh_seconds: int = 0,
) -> str:
    """Returns an HTML page with the shared style, script and table of contents.

    Args:
      title: plain text.
      subtitle: plain text.
      parts: (identifier, entry in the table of contents, HTML); those without HTML are left out.
      top: HTML above them.
      refresh_seconds: interval of reloading in the browser; 0 for none.
    """
    style, script = _asset("page.css"), _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    # Nothing may be loaded, and no other script may run, whatever names contain.
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    shown = [part for part in parts if part[2]]
    entries = "".join(tag("li", tag("a", text(entry), href=f"#{identifier}")) for identifier, entry, _ in shown)
    theme = tag("button", "Light or dark", type="button", id="theme", class_="scripted")
    lead = tag("p", text(subtitle), class_="lead") if subtitle else ""
    return "\n".join(
        (
            "<!DOCTYPE html>",
            f'<html lang="en" data-refresh="{refresh_seconds}">' if refresh_seconds else '<html lang="en">',
            "<head>",
            '<meta charset="utf-8"/>',
            f'<meta http-equiv="Content-Security-Policy" content="{text(policy)}"/>',
            '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
            '<meta name="color-scheme" content="light dark"/>',
            tag("noscript", f'<meta http-equiv="refresh" content="{refresh_seconds}"/>') if refresh_seconds else "",
            '<link rel="icon" href="data:,"/>',
            tag("title", text(title)),
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            tag("a", "Skip to content", href="#content", class_="skip"),
            tag("header", tag("div", tag("h1", text(title)) + lead) + theme),
            tag("nav", tag("ul", entries), aria_label="Contents") if entries else "",
            tag("main", top + "\n".join(markup for _, _, markup in shown), id="content"),
            f"<script>{script}</script>",
            "</body>",
            "</html>",
            "",
        )
    )


@cache
def _asset(name: str) -> str:
    return resources.files("efficientdet_pipeline.report").joinpath(name).read_text(encoding="utf-8")


def _facts_section(contents: ReportContents) -> str:
    rows = "".join(tag("div", tag("dt", text(label)) + tag("dd", text(value))) for label, value in contents.facts)
    links = "".join(tag("li", tag("a", text(label), href=file)) for label, file in contents.links.items())
    return section(
        "facts",
        contents.facts_title,
        tag("dl", rows, class_="facts") if rows else "",
        tag("ul", links, class_="links") if links else "",
    )


def _training_section(contents: ReportContents) -> str:
    epochs = [x for chart in contents.charts for series in chart.series for x in series.x]
    # The same range of epochs in all charts, also for an AP that was evaluated once.
    x_range = (min(epochs), max(epochs)) if epochs else None
    drawn = "".join(line_chart(chart, x_range=x_range) for chart in contents.charts if chart.series)
    return section("training", "Training and validation", tag("div", drawn, class_="charts") if drawn else "")


def _pictures_section(contents: ReportContents) -> str:
    figures = []
    for picture in contents.pictures:
        kind = "png" if picture.content.startswith(b"\x89PNG") else "jpeg"
        data = base64.b64encode(picture.content).decode("ascii")
        image = f'<img alt="{text(picture.title)}" src="data:image/{kind};base64,{data}" loading="lazy"/>'
        figures.append(tag("figure", image + tag("figcaption", text(picture.title)), class_="picture"))
    return section("pictures", "Pictures", "".join(figures))


def _labels_section(contents: ReportContents) -> str:
    if not contents.label_errors:
        return ""
    rows = [(text(row.file), text(row.kind.replace("_", " ")), text(row.description)) for row in contents.label_errors]
    total = max(contents.num_label_errors, len(rows))
    cut = f"The worst {len(rows):,} of {total:,}; all are in label_errors.csv." if total > len(rows) else ""
    return section(
        "labels",
        "Likely label errors",
        paragraph(
            "Boxes on which annotation and detector confidently disagree. Check them before training again.", cut
        ),
        table(["Image", "Type", "Box"], rows, caption="Likely label errors", is_sortable=True),
    )


def _findings_section(contents: ReportContents) -> str:
    items = "".join(
        tag(
            "li",
            tag("strong", f"{_ANNOUNCED[finding.severity]}: " + text(finding.title))
            + (paragraph(finding.detail) if finding.detail else "")
            + (paragraph(finding.remedy, class_="remedy") if finding.remedy else ""),
            class_=finding.severity,
        )
        for finding in contents.findings
    )
    return section("data", "Data checks", tag("ul", items, class_="findings") if items else "")


def _exports_section(contents: ReportContents) -> str:
    rows = [
        (
            text(row.name),
            tag("code", text(row.file)) if row.file else "–",
            f"{row.num_bytes / 1e6:.1f} MB" if row.num_bytes else "–",
            number(row.ap),
            "–" if row.milliseconds is None else f"{row.milliseconds:.1f} ms",
            tag("span", text(row.check or "not checked"), class_=None if row.is_ok else "failed"),
        )
        for row in contents.exports
    ]
    if not rows:
        return ""
    metric = contents.exports_metric
    head = ["Format", "File", "Size", title_of(metric), "Latency", "Check"]
    return section(
        "exports",
        "Exported models",
        paragraph(f"{title_of(metric)} and latency are measured on the exported file; a dash means not measured."),
        table(head, rows, caption="Exported models", numeric=(2, 3, 4)),
        _exports_by_class(contents),
    )


def _exports_by_class(contents: ReportContents) -> str:
    measured = [row for row in contents.exports if row.by_class]
    names = list(dict.fromkeys(name for row in measured for name in row.by_class))
    if not 2 <= len(names) <= _MOST_CLASS_COLUMNS:
        return ""
    rows = [(text(row.name), *(number(row.by_class.get(name)) for name in names)) for row in measured]
    caption = f"{title_of(contents.exports_metric)} of each class"
    numeric = range(1, len(names) + 1)
    return paragraph(f"{caption}:") + table(["Format", *names], rows, caption=caption, numeric=numeric)


def _compression_section(contents: ReportContents) -> str:
    summary = contents.compression
    if summary is None:
        return ""
    options = " ".join(f"--{name}={value}" for name, value in summary.options.items())
    rows = [
        (
            tag("code", text(kernel.name)),
            f"{kernel.weights:,}",
            f"{100 * kernel.zeros / max(1, kernel.weights):.1f} %",
            f"{kernel.values:,}",
        )
        for kernel in summary.kernels
    ]
    return section(
        "compression",
        "Compression",
        paragraph(f"Trained with {options}. {summary.sentence()}."),
        table(
            ["Kernel", "Weights", "Zeros", "Different values"],
            rows,
            caption="Zeros and different values of each kernel",
            numeric=(1, 2, 3),
            is_sortable=True,
        ),
    )


def _commands_section(contents: ReportContents) -> str:
    items = "".join(
        tag("li", tag("p", text(command.purpose)) + tag("pre", tag("code", text(command.line)), tabindex="0"))
        for command in contents.commands
    )
    return section("commands", "Commands to reproduce it", tag("ul", items, class_="commands") if items else "")
