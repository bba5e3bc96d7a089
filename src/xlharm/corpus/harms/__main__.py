"""Write the corpora: ``python -m xlharm.corpus.harms stereotypes|toxic-style FOLDER --pool report|dev``."""

import sys
from typing import get_args

from xlharm.corpus.harms import Harm
from xlharm.corpus.harms.corpus import writer
from xlharm.corpus.shipped import command

if __name__ == "__main__":
    named = [harm for harm in get_args(Harm) if harm in sys.argv[1:2]]
    if not named:
        sys.exit(f"expected one of {', '.join(get_args(Harm))}, and then a folder")
    sys.argv.remove(named[0])
    command(named[0], writer(named[0]))
