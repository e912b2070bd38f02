"""One run: the module, its optimizer and training, processes and devices, checkpoints, W&B as a view, and the
folder in which a trained network leaves.

May import: images, runs, theory.
"""
