"""Files of every kind, one way each: nothing else in the package opens, replaces or locks them its own way.

Read in this order: ``atomic`` (a file is there whole or not at all), ``room`` (what is free, and a full disk in one
line), ``reading`` (what others made: ordinary files of bounded size only), ``json``, ``toml``, ``yaml``, ``tsv`` and
``npz`` (what is written and read with these), ``images`` (voxels, read to the file's end), ``memory`` (of all
processes), ``processes`` (that leave nobody behind; ``server``: nor does the one that starts workers), ``hashing`` (by
what finished work is known again), ``locks`` (one process at a time; ``filesystems`` tells whose locks other machines
may not see), ``sharing`` (what a system lets them share), ``fetched`` (is a file's content here), ``progress`` (how far
along, how long, how much memory), ``shown`` (text that does nothing to a terminal or page), ``sounds`` (whatever
libsndfile decodes, with the length that its bytes have), for which ``sound_views``, ``sound_headers``, ``mpeg`` and
``flac`` know what headers say and what is there.
"""
