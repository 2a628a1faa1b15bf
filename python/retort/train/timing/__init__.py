"""What a step takes: phases, throughput, peak, memory."""
