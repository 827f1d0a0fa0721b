"""``python -m cdc`` is the command."""

import sys

from cdc.cli import main

sys.exit(main())
