"""From files to batches: where images come from, the cache of decoded ones, splits,
augmentation.

May import: runs, theory. torch only in splits, batches and augment.
"""
