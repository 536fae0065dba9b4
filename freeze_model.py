"""Exports a checkpoint: `python3 freeze_model.py --path_ckpt=… --path_output=…`."""

import sys

from efficientdet_pipeline.cli import main

if __name__ == "__main__":
    sys.exit(main(mode="export"))
