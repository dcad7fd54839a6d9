"""What follows from dead pixels, put to the test: Section 5 of the paper."""
