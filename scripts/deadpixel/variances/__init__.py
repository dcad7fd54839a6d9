"""What each operation does to the variances of values and of gradients in a random network."""
