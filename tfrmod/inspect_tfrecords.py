"""Script that draws the content of shards: `python3 tfrmod/inspect_tfrecords.py --file_pattern=…`."""

import sys

from efficientdet_pipeline.cli import main

if __name__ == "__main__":
    sys.exit(main(mode="inspect"))
