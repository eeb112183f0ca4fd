"""Where the binary begins: PyInstaller wants a script."""

import sys

from marketd.__main__ import main

sys.exit(main())
