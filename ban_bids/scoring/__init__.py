"""From predictions to scores: arrays in, scores out; this room knows neither files nor settings.

Read in this order:

- `ceiling`: how well any model could predict a voxel, from repeats of the same clips.
- `voxels`: what held-out rows allow to test, and the scores of every voxel, made slab by slab and put together.
- `bootstrap`: draws of clips, and what follows from them for explained variance.
- `cortical`: c of every layer in every region, and C.
- `responses`, `i2n`, `behavioral`: people's genre choices, and B.
- `bas`: C and B together, as the score table. Comparisons of models belong beside it.
"""
