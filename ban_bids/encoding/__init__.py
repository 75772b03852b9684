"""From features and BOLD to held-out predictions of every voxel.

Read in this order:

- `bold`, `cleaning`, `rows`: a participant's voxels, what is regressed out, and which volume heard what.
- `folds`: held-out and training rows, made once per participant; `permutation`, `significance`: tests on them.
- `features`, `timeline`: features of clips, computed once per clip, and laid on a run's clock.
- `matrices`, `design`: a model's features in every fold, reduced, or as kernels.
- `ridge`, `models`, `choices`, `encode`: how voxels are fitted; `crossed`: what leave-one-run-out adds.
- `execute`, `finished`: slab by slab through all voxels, keeping on disk what is finished.
"""
