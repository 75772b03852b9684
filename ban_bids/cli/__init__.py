"""The command lines: arguments and their checks only.

Heavy imports stand inside functions, so that ``--help`` is quick. Read in this order: ``options`` (the options of
``ban-bids``), ``run`` (from arguments to settings, checks, and on to the app), ``config`` (the same options from a TOML
file), ``environment`` (caches, threads, no telemetry), ``watch`` (a process that watches, for signals), ``train``
(``ban-bids-train``), ``demo`` (``ban-bids-demo``), ``listen`` (``ban-bids-listen``).
"""
