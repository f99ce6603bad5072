import sys

from book.press.build import main

sys.exit(main())
