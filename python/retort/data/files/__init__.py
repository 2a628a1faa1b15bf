"""Where bytes come from, and how they become text: addresses, the hub, compression, decoding."""
