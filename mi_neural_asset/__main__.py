"""`python -m mi_neural_asset`: the same as the command `mi-neural-asset`."""

import sys

from .cli import main

sys.exit(main())
