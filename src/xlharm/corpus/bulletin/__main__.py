"""Write the shipped corpora: ``python -m xlharm.corpus.bulletin FOLDER --pool report|dev``."""

from xlharm.corpus.bulletin.corpus import write
from xlharm.corpus.shipped import command

if __name__ == "__main__":
    command("bulletin", write)
