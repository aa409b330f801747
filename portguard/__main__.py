"""`python -m portguard`."""

from __future__ import annotations

import sys

from portguard.cli.main import main

sys.exit(main())
