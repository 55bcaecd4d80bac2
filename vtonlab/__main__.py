"""``python -m vtonlab``, also for ``torchrun -m vtonlab train ...``."""

import sys

from vtonlab.command import main

sys.exit(main())
