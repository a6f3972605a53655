"""`checks` run in the process that `test_emulated.py` begins, which knows of the device; nowhere else."""

import sys

if "emulation" not in sys.modules:
    collect_ignore = ["checks"]
