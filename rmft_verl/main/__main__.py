"""``python -m rmft_verl.main recipe=NAME key=value ...``."""

import sys

from rmft_verl.main import main

if __name__ == "__main__":
    sys.exit(main())
