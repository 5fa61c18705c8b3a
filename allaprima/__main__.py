"""`python -m allaprima` is `allaprima`."""

from .cli import main

raise SystemExit(main())
