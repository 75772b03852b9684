"""Raw BIDS images to BOLD in the output space, masks, confounds and auditory regions."""

import os

# ITK reads this once, at its first filter: registrations repeat bit for bit only with one thread.
os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")
