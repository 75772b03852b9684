"""For multiprocessing's server of workers, which imports it as it starts: it ends with the process that started it."""

import sys

from ban_bids.files.processes import die_with_parent

if any("multiprocessing.forkserver import main" in argument for argument in sys.orig_argv):
    die_with_parent()
