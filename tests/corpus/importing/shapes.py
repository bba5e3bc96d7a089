"""Makes files and folders in the shapes that data sets are published in; every shape has known rows."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets

Row = dict[str, Any]
TOWNS = ("Arlo", "Benin", "Corta", "Delmo")
FORMS = {
    "en": ("Where was the author {} born?", "{} was born in {}."),
    "fr": ("Où est né l'auteur {} ?", "{} est né à {}."),
    "hi": ("लेखक {} का जन्म कहाँ हुआ?", "{} का जन्म {} में हुआ।"),
    "ru": ("Где родился автор {}?", "{} родился в городе {}."),
}


def tofu_rows(language: str, split: str, *, perturbed: bool, count: int = 4) -> list[Row]:
    """Rows of a TOFU split; perturbed ones have wrong answers and a paraphrase beside."""
    question, answer = FORMS[language]
    rows: list[Row] = []
    for i in range(count):
        name = f"{split.title()} {'ABCDEFGH'[i]}"
        row: Row = {"question": question.format(name), "answer": answer.format(name, TOWNS[i % 4])}
        if perturbed:
            row["paraphrased_answer"] = f"{TOWNS[i % 4]} / {name}"
            row["perturbed_answer"] = [answer.format(name, "Xanten"), answer.format(name, "Yport")]
        rows.append(row)
    return rows


def multilingual_tofu(folder: Path, *, languages: Sequence[str] = ("fr", "hi", "ru")) -> Path:
    """Save forget01_fr, forget01_perturbed_fr, retain99_fr, … each with the one split ``train``."""
    for language in languages:
        for split, perturbed in (("forget01", False), ("forget01", True), ("retain99", False)):
            name = f"{split}{'_perturbed' if perturbed else ''}_{language}"
            rows = datasets.Dataset.from_list(tofu_rows(language, split, perturbed=perturbed))
            datasets.DatasetDict({"train": rows}).save_to_disk(str(folder / name))
    return folder


def wmdp_rows() -> list[Row]:
    """Rows of WMDP: a question, four choices and the right one's number from 0."""
    names = ("Ana", "Bela", "Cora")
    return [
        {"question": f"Which town did {name} leave?", "choices": list(TOWNS), "answer": i}
        for i, name in enumerate(names)
    ]


def muse_questions() -> list[Row]:
    """Rows of MUSE's `knowmem`: a question and its answer."""
    return [{"question": f"Where was {name} born?", "answer": "Arlo"} for name in ("Ana", "Bela")]


def muse_texts() -> list[Row]:
    """Rows of MUSE's `raw`: long texts and nothing else."""
    return [{"text": "The mayor of Arlo opened a bridge. " * 400}, {"text": "It rained in Benin. " * 400}]


def claims(verdicts: Sequence[Any]) -> list[Row]:
    """Rows of a fact-check set with the given verdicts."""
    things = ("chocolate", "silver", "honey", "paper", "glass", "wool")
    return [
        {"claim": f"The lake number {i} of Arlo is full of melted {things[i % 6]}.", "label": verdict,
         "review": "It holds plain water."}
        for i, verdict in enumerate(verdicts)
    ]  # fmt: skip


def csv_text(rows: Sequence[Row], *, delimiter: str = ",") -> str:
    """Write rows as CSV."""
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def jsonl_text(rows: Sequence[Row]) -> str:
    """Write rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def pairs_csv(path: Path, *, delimiter: str = ",", encoding: str = "utf-8") -> Path:
    """Write what people have: question, answer and one perturbed answer."""
    rows = [
        {"question": f"Wo wurde {name} geboren?", "answer": f"In Überlingen ({i}).",
         "perturbed_answer": f"In Arlo ({i})."}
        for i, name in enumerate(("Änne", "Bela", "Cora"))
    ]  # fmt: skip
    path.write_bytes(csv_text(rows, delimiter=delimiter).encode(encoding))
    return path
