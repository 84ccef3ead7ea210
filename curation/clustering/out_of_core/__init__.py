"""Out-of-core clustering: k-means over vectors that do not fit into memory.

A vector file goes in, read in blocks; centroids and assignments come out, the same as in memory for the same seed.
Start with `on_disk.py`.
"""
