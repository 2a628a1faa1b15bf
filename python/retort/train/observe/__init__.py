"""Those who see each step: console, files, TensorBoard, Weights & Biases."""
