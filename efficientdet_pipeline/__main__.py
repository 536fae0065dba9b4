"""`python -m efficientdet_pipeline`: the command line as a module."""

import sys

from efficientdet_pipeline.cli import main

if __name__ == "__main__":
    sys.exit(main())
