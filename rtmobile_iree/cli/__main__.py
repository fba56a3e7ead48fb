"""`python -m rtmobile_iree.cli`."""

from rtmobile_iree.cli import main

main()
