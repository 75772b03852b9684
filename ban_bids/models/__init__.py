"""Everything that can be scored, behind one protocol: clips in, features of named layers out.

Read in this order: ``candidate`` (the protocol), ``registry`` (models by name), then the models: ``network`` (what
every trainable network of ours shares), ``normalisation`` (its running statistics), ``front_end`` (sound to log-mel
frames), ``pieces`` (long sounds), ``devices`` (where torch computes), ``ban``, ``conventional``, ``low_level``,
``foreign`` (any PyTorch module; ``frame_rates`` of its layers, ``code_digest`` of what it does), ``hidden`` (networks
by their hidden states), ``huggingface``, ``bundles``, ``stored`` (other people's; features from files as
``stored_description`` and ``stored_entries`` read them); ``config`` and ``presets`` (sizes by name), ``checkpoint``
(weights with their card, the guard against leaks), ``shipped`` (weights that come with the package), ``controls`` (what
stands beside every score), ``random_weights`` (any module untrained or permuted).

Training is in ``ban_bids.training``; nothing here knows of BOLD.
"""
