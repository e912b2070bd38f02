"""What a run is, and what it leaves on disk: settings that check themselves, the run id, arms of a study,
records, states.

May import: theory. Without torch.
"""
