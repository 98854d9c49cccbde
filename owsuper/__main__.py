"""``python -m owsuper`` is the ``owsuper`` command."""

from __future__ import annotations

import sys

from owsuper.cli import main

if __name__ == "__main__":
    sys.exit(main())
