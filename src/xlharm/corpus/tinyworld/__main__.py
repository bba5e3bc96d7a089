"""Write the shipped corpora: ``python -m xlharm.corpus.tinyworld FOLDER --pool report|dev``."""

from xlharm.corpus.shipped import command
from xlharm.corpus.tinyworld.corpus import write

if __name__ == "__main__":
    command("tinyworld", write)
