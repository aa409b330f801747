"""What a Python without our site-packages loads at its start while coverage.py measures: other users' interpreters."""

import coverage

coverage.process_startup()
