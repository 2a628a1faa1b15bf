"""What is learned: the loss, and how it is measured on held-out documents."""
