"""ablation: how should a ConvNet grow? Depth, width, resolution or all three, compared at counted equal
cost."""
