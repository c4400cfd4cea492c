"""`python -m bpgpu`: see `bpgpu.commands`."""

import sys

from bpgpu.commands import main

if __name__ == "__main__":
    sys.exit(main())
