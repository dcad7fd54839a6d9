"""``python -m deadpixel`` is the command ``deadpixel``."""

import sys

from .command import main

sys.exit(main())
