"""ablation: how should a ConvNet grow? Depth, width, resolution or all three, compared at counted equal
cost."""

import sys

__version__ = "0.1.0"

if sys.argv[:1] == ["-m"]:  # a door: its imports take a second or two, in which it may be stopped
    from ablation.command.ends import begin

    begin()
