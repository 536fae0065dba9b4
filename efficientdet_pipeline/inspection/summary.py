"""The summary of an inspection in the log."""

from pathlib import Path

from absl import logging

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.inspection.report import PAGE
from efficientdet_pipeline.inspection.stats import InspectionStats
from tfrmod.counted import counted

MAX_DAMAGED, MAX_CLASSES = 3, 8


def log_summary(contents: InspectionStats, folder: Path, num_samples: int) -> None:
    """Logs a summary of the statistics, and where the files are.

    Raises:
      DataError: records are damaged, or there are none.
    """
    for split in contents.splits:
        boxes = split.boxes_of
        classes = [f"{contents.label_map[class_id]} {count:,}" for class_id, count in boxes.most_common(MAX_CLASSES)]
        classes += [f"{len(boxes) - len(classes):,} more classes"] if len(boxes) > len(classes) else []
        logging.info(
            "%s: %s, %d of them without objects, %s (%s)",
            split.name,
            counted(split.num_images, "image"),
            split.num_negatives,
            counted(split.num_boxes, "box"),
            ", ".join(classes) or "none",
        )
        odd = ", ".join(f"{counted(count, 'box')} {what}" for what, count in split.unusual.items())
        if odd:
            logging.warning("%s: %s.", split.name, odd)
    logging.info("%s, sheets and charts are in %s", counted(num_samples, "sample"), folder)
    logging.info("HTML page:  %s", folder / PAGE)
    damaged = contents.damaged
    if damaged:
        texts = [
            f"{record.location.file}, record {record.location.record} at byte {record.location.offset} ({record.what})"
            for record in damaged[:MAX_DAMAGED]
        ]
        more = f"; and {len(damaged) - len(texts):,} more, listed on the page" if len(damaged) > len(texts) else ""
        raise DataError(
            f"{len(damaged):,} damaged {'record' if len(damaged) == 1 else 'records'} (counted from 0): "
            f"{'; '.join(texts)}{more}. Training stops at such a record. Write the shards again, or copy "
            "them again from their source."
        )
    if not any(split.num_images for split in contents.splits):
        names = ", ".join(str(path) for split in contents.splits for path in split.files[:MAX_DAMAGED])
        raise DataError(f"The shards must hold records. They hold none: {names}. Check --file_pattern.")
