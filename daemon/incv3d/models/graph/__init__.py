"""Read and transform graphs, in child processes where TensorFlow is imported."""
