"""Typed Nipype interfaces around the steps of preprocessing; each is a few lines around one function.

Read in this order: ``base`` (what all share), ``anatomical``, ``bold``, ``quality``, ``report`` (pictures, and the
summary that everything is published from).
"""
