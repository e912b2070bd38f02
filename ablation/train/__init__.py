"""One run: the module, its optimizer and training, processes and devices, checkpoints, and W&B as a view.

May import: images, runs, theory.
"""
