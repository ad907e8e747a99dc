"""``python -m geodiffrecon`` is the command ``geodiffrecon``."""

from .cli import main

if __name__ == "__main__":
    main()
