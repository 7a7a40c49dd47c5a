"""Which runs make an experiment; the trainer is passed in."""
