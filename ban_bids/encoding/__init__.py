"""From features and BOLD to predictions of held-out rows, voxel by voxel.

Read in this order: ``rows`` (which volume heard what), ``heard`` (what is heard over each volume's lags), ``repeats``
(what of it is repeated), ``noise`` (what noise feigns in a layout of repeats), ``sounds`` (what counts as one
recording), ``folds`` (outer and inner, without any recording on both sides), ``planned`` (folds of a participant, the
same for every model), ``timeline`` (features on a run's clock, at every lag), ``features`` (computed once per clip and
kept), ``cleaning`` (one regression for BOLD and features), ``bold`` (a participant's cleaned BOLD), ``matrices``
(layers scaled and reduced, or kernels of them), ``design`` (a model's design by fold), ``fit`` (layers by name meet the
solvers of `ban_bids.encoding.ridge`), ``variance`` (whose R² it is), ``penalties`` (where they lie on their grid),
``execute`` and ``finished`` (slab by slab, going on after a kill), then ``permutation``, ``significance`` and
``crossed`` (could it be luck?).

Whatever is fitted here is fitted on rows that train the fold.
"""
