"""`python -m cllora` is the `cllora` command."""

from cllora.cli import main

main()
