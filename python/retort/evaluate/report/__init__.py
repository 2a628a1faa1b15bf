"""Pages on a run: report, plots, model card."""
