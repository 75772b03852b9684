"""From predictions to scores: noise ceiling, cortical score C, behavioural score B, BAS. Arrays in, scores out.

Read in this order: ``ceiling`` (how much any model could predict), ``voxels`` (scores of every voxel, tests of
regions), ``commitment`` (which layer for which region), ``cortical`` (C), ``rsquare`` (noise-corrected R²),
``correspondence`` (do layers and regions go together?), ``responses``, ``confusion``, ``i2n`` and ``behavioral``
(people's choices, B), ``bas`` (the score table), ``bootstrap`` (intervals over clips), ``comparison`` (over people and
clips; differences of models), ``differences`` (their p, and ranks).

Nothing is clipped and no voxel is chosen by its score; what cannot be computed is ``n/a`` with the reason.
"""
