"""A small dataset with planted effects, from music to BOLD, and the check that they are found again.

Nothing but the command line imports this room; it uses all others. Read in this order: ``build`` (the whole),
``plan`` (how large, what is heard when), ``styles`` and ``music`` (synthesised genres), ``networks`` (what is trained),
``planting`` (what the teacher's features plant), ``responses`` (what each voxel does), ``anatomy`` and ``phantom``
(a head, and BOLD runs of it), ``participants`` (one person), ``behavior`` (genre choices), ``dataset`` (the BIDS
files), ``truth`` (what was planted), ``recovery`` (truth beside derivatives), ``story`` (the
models in one table), ``countdown`` (what happens now, and how long it will still take).
"""
