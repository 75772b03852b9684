#!/usr/bin/env python3
"""Entry point of the container: the same as ``ban-bids``."""

import sys

from ban_bids.cli.run import main

if __name__ == "__main__":
    sys.exit(main())
