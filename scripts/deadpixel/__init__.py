"""Which pixels does a convolutional network really look at?

Theoretical and effective receptive fields, their Gaussian fits and their imbalance, after Kim et
al., "Dead Pixel Test Using Effective Receptive Field", Pattern Recognition Letters 167, 2023.
"""
