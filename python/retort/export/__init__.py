"""From a checkpoint that was trained to one that is served: in another precision, calibrated, measured again."""
