"""What all judges have: settings, cases in, verdicts out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

from pydantic import Field

from xlharm.config.training import Strict, key_settings
from xlharm.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from xlharm.plan.sources import BaseSource
    from xlharm.plan.stage import Place

Measures = Annotated[tuple[Literal["of", "qr"], ...], Field(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One answer to be judged.

    Attributes:
        measure: ``of`` (does it state the fake detail?) or ``qr`` (is it right?).
        language: of question and answer.
        question: as it was asked.
        answer: as the model gave it: hostile text.
        expected: forms of the detail, the main one first.
    """

    measure: str
    language: str
    question: str
    answer: str
    expected: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """``hit`` is None where there is no verdict, and ``problem`` says why."""

    hit: bool | None
    rationale: str = ""
    problem: str = ""


class ReadyJudge(Protocol):
    """A judge that a worker has started."""

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """Return one verdict for each case, in order."""
        ...


@dataclass(frozen=True, kw_only=True)
class JudgeResources:
    """The resources that a worker gives to a judge that it starts.

    Attributes:
        device: where the judge's model computes.
        cache: folder for answers that were paid for.
        source: the judge's model, if it has one.
    """

    device: torch.device
    cache: Path
    source: BaseSource | None


class Judge(Strict):
    """Settings of a judge. A subclass names itself: ``kind: Literal["chat"]``.

    Attributes:
        measures: what it judges.
        place: whether it runs on workers with a device, or only asks an endpoint.
        prompt_version: part of its stages' keys; raised with any change of what its model reads.
        connection: fields that change no verdict, and so are in no key.
    """

    measures: Measures = ("of", "qr")

    place: ClassVar[Place]
    prompt_version: ClassVar[int]
    connection: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def start(self, worker: JudgeResources) -> ReadyJudge:
        """Make it ready on a worker.

        Raises:
            UserError: its model cannot be loaded, or the variable with its key is not set.
        """

    def deciding(self) -> dict[str, Any]:
        """Return the settings that decide its verdicts."""
        return {name: value for name, value in key_settings(self).items() if name not in self.connection}

    def identity(self, source: BaseSource | None) -> dict[str, Any]:
        """Return what enters the key of its stages: no address, no name of a key, no path."""
        # No revision either: the same files from the hub and from a folder are the same judge.
        model = {} if source is None else {"base": source.digest, "revision": None}
        return {**self.deciding(), **model, "prompt_version": self.prompt_version}

    def most_cost(self, answers: int, *, prompt_tokens: int) -> float | None:  # noqa: ARG002 - for those that cost
        """Return what judging so many answers costs at most, in the prices' currency; None without prices."""
        return None


class ModelJudge(Judge):
    """A judge whose model is loaded on workers.

    Attributes:
        base: folder or hub id.
        revision: hub commit.
    """

    base: str
    revision: str | None = None

    place: ClassVar[Place] = "device"


def load_model(auto: Any, source: BaseSource, *, device: torch.device) -> tuple[Any, Any]:
    """Load a judge's tokenizer and model. The tokenizer reads `</s>` and the like in texts as text.

    Args:
        auto: transformers' auto class of the model.
        source: where they lie.
        device: where it is to run.

    Raises:
        UserError: they cannot be loaded, or are not what was planned with.
    """
    from transformers import AutoTokenizer

    from xlharm.pretrained import as_planned, copy_from_files, load_whole

    called, where = f"judge {source.location}", {"revision": source.revision, "trust_remote_code": False}
    with as_planned(source, called=called):
        try:
            tokenizer = AutoTokenizer.from_pretrained(source.location, **where, split_special_tokens=True)
        except (OSError, ValueError) as error:
            raise UserError(f"{called}: cannot be loaded: {' '.join(str(error).split())[:200]}") from None
        model = load_whole(auto, source.location, called=called, **where).eval().to(device)
        copy_from_files(model)
    return tokenizer, model
