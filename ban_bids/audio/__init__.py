"""Sound: excerpts of audio files as they were played, and by what the same recording is known again.

Read in this order: ``waveforms`` (decode, cut, fade, scale; hashes of content), ``excerpts`` (the same in blocks and
pieces, for sounds of any length), ``resampling`` (from any sampling rate to any other, the same on the encoding path
and inside a network), ``sameness`` (fingerprints: is this the same recording in another form?).

Files are opened by :mod:`ban_bids.files.sounds`, sound is float32 between -1 and 1, mono where nothing else is said.
Nothing here knows of models or of BOLD.
"""
