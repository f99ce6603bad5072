import sys

from book.ledger.claims import main

sys.exit(main())
