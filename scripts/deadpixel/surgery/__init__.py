"""How a kernel with stride 2 is changed, in a plain module or in anybody's."""
