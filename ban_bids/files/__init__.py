"""Files of every kind, one way each: nothing else in the package opens, replaces or locks them its own way.

Read in this order: ``atomic`` (a file is there whole or not at all), ``json``, ``tsv`` and ``npz`` (what is
written with it), ``hashing`` (by what finished work is known again), ``locks`` (one process at a time),
``fetched`` (is a file's content here), ``progress`` (how far along, how long, how much memory), ``sounds`` (whatever
libsndfile decodes, with the length that its bytes have) with ``sound_views``, ``sound_headers``, ``mpeg`` and ``flac``
(what a header says and what is there).
"""
