"""How an odd kernel with stride 2 becomes even, in a plain module or in anybody's."""
