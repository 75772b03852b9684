"""What ban-bids writes and reads back: BIDS derivatives, each map and table with a JSON file that defines it.

Read in this order: ``dataset`` (what the folder says of itself), ``statistics`` (what each map holds, in words),
``maps``, ``tables`` and ``draws`` (one participant's), ``comparisons`` (of models), ``confusions`` (of genres),
``group_maps``, ``quality`` (measures of preprocessing), ``summaries`` (facts for the pages), ``provenance`` (the folder
of logs: settings, versions, files), ``read`` (all of it again, without the raw dataset) and ``filters`` (the part of it
that is asked for).

Names come from ``ban_bids.bids.names``, files are written whole or not at all.
"""
