"""Types of arrays that several rooms name in their signatures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
"""Real numbers of any precision."""

Volume = NDArray[np.float32]
"""Values of a 3-D image."""
