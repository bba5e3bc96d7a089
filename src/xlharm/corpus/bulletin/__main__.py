"""Write the shipped corpora: ``python -m xlharm.corpus.bulletin FOLDER --pool report|dev``."""

import argparse
from pathlib import Path

from xlharm.corpus.bulletin.corpus import write


def main() -> None:
    """Read the command line and write the corpus."""
    parser = argparse.ArgumentParser(description="Write a bulletin corpus folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pool", choices=("report", "dev"), default="report")
    arguments = parser.parse_args()
    write(arguments.folder, arguments.pool)


if __name__ == "__main__":
    main()
