"""``python -m ban_bids`` is ``ban-bids``."""

import sys

from ban_bids.cli.run import main

if __name__ == "__main__":
    sys.exit(main())
