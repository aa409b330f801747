"""Faults at every boundary the command crosses: the kernel refuses a call, and what comes of it is told and true.

The installed command runs with the errors given by the kernel (strace, seccomp, resource limits). Faults of what lies
in the store (links, other versions, damage), of file systems and of engines' answers have rooms of their own:
tests/leases/test_state_faults.py, tests/system/test_replace.py, tests/engines/test_faults.py.
"""
