"""Typed Nipype interfaces around the steps of preprocessing."""
