"""``python -m fedtt`` is ``fedtt``."""

from fedtt.cli import main

if __name__ == "__main__":
    main()
