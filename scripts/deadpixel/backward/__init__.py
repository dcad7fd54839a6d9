"""Gradients of images: the same whatever the layout, for less than PyTorch asks."""
