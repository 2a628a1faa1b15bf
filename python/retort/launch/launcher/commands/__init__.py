"""What may be typed: plan, launch, watch, logs, resume, cancel, list."""
