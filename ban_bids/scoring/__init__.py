"""From predictions to scores: noise ceiling, cortical score C, behavioural score B, BAS.

Read in this order: ``participant`` (one model in one participant), ``slabs`` and ``resume`` (voxels, some at a
time), ``ceiling`` (how much any model could predict), ``cortical`` (C), ``responses``, ``i2n`` and ``behavioral``
(people's choices, B), ``bas`` (the score table), ``bootstrap`` (intervals over clips).

Nothing is clipped and no voxel is chosen by its score; what cannot be computed is ``n/a`` with the reason.
"""
