"""How fast, and what it will cost: steps of a network alone, benchmarks, the calibration and what it
forecasts.

May import: command, train, images, runs, theory.
"""
