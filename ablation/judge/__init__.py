"""What the runs say: contrasts over seeds, the paper's claims as questions, findings with verdicts, searches,
the paper recounted.

May import: runs, theory; never train, never torch.
"""
