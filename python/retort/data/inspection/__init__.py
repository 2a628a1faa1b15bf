"""Looking at sealed token stores: shown, compared, verified. Each module is a command."""
