"""Metrics in plain slots: what a service counts, and the two ways in which others read it.

`instruments` is all that code which counts needs; `scraped` and `pushed` are loaded where somebody reads.
"""
