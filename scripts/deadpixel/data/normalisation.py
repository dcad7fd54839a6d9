"""The colours that most networks expect: of each channel, less its mean, over its std."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, of 0 to 1
