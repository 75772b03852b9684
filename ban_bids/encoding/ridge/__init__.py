"""Banded ridge of many voxels on arrays: a small himalaya that knows nothing of participants, clips or settings.

Read in this order:

- `bands`: groups of features with a weight each, as features or as kernels, behind one interface.
- `hyperparameters`: penalties and weights to choose from, the simplex they lie on, and what was chosen.
- `solvers`: the estimator, by the closed form or by himalaya's random search.
- `closed_form`: errors of left-out rows from one decomposition, and the fit on all rows.
- `search`: the choice of weights and penalty, voxel by voxel.
- `backend`, `limits`: numpy, torch or a GPU; memory and threads.
"""
