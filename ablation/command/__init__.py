"""From words to runs: overrides are composed (Hydra ends here), planned and launched, and watched while they
go on.

May import: judge, images, runs, theory, and of train what starts without torch.
"""
