"""Results to text and JSON, and `safe()`. Never prints, never asks the system anything."""
