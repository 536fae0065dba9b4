"""The one entry: `python3 main.py @params.config --mode=traineval`."""

import sys

from efficientdet_pipeline.cli import main

if __name__ == "__main__":
    sys.exit(main())
