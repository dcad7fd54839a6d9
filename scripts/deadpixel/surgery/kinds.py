"""The paper's kinds of kernels: what becomes of which odd kernels with stride 2, by name."""

ODD = "odd"  # the kernels of a network as it is
ALL = "all"
KINDS = {ODD: {}, "padded": {"pad": ALL}, "sliced": {"slice": ALL}}
