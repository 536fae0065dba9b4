"""Script that converts a dataset: `python3 tfrmod/create_tfrecords.py --data_dir=… --output_path=…`."""

import sys

from efficientdet_pipeline.cli import main

if __name__ == "__main__":
    sys.exit(main(mode="dataset"))
