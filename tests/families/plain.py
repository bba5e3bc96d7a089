"""A grid computed anew in plain transformers, PEFT and torch.optim, to compare xlharm's tables with.

Nothing of xlharm is imported. What is computed is taken from the documentation: which tokens are trained on
(docs/prompts.md), the losses (docs/methods.md), and the order of the rows, which is drawn from a SHA-256 of (seed,
purpose, epoch, sample index).
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple
from unittest import mock

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid
from transformers import AutoModelForCausalLM, AutoTokenizer

Weights = dict[str, Tensor]
# PEFT takes a linear layer named `gate_proj` for old names of stacked experts; the names here are those of the model.
_RENAMED = "peft.utils.transformers_weight_conversion.convert_peft_config_for_transformers"


class Row(NamedTuple):
    """The ids of a sequence; those from ``start`` on are learned or scored."""

    ids: tuple[int, ...]
    start: int


class Answer(NamedTuple):
    """A question, what a model answers, and whether that contains what is asked for."""

    item: str
    measure: str
    question: str
    text: str
    hit: bool


@dataclass
class Outcome:
    """What a cell's model weighs, answers and expects, by query language."""

    adapter: Weights
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    likelihoods: dict[str, dict[str, float]] = field(default_factory=dict)

    def rate(self, query: str, measure: str) -> float:
        """Return OF or QR in percent."""
        return 100 * fmean(answer.hit for answer in self.answers[query] if answer.measure == measure)


class PlainGrid:
    """A grid of text prompts, with one rendering of each article and one seed.

    Args:
        grid: its settings as plain data.
        layers: names of the linear layers with adapters.
        experts: names of stacked parameters with adapters, as PEFT's ``target_parameters`` has them.
        dtype: of the base.
        device: where to compute.
    """

    def __init__(
        self, grid: dict[str, Any], *, layers: Sequence[str], experts: Sequence[str], dtype: torch.dtype, device: str
    ) -> None:
        self.grid, self.device = grid, device
        self.tokenizer = AutoTokenizer.from_pretrained(grid["base"])
        base = AutoModelForCausalLM.from_pretrained(grid["base"], dtype=dtype).to(device).eval()
        lora = grid["lora"]
        config = LoraConfig(
            r=lora["rank"], lora_alpha=lora["alpha"], target_modules=list(layers), target_parameters=list(experts),
            lora_dropout=0.0,
        )  # fmt: skip
        with mock.patch(_RENAMED):
            self.model: Any = get_peft_model(base, config)
        self.model.eval()
        self.items = {
            language: [json.loads(line) for line in (Path(grid["corpus"]) / f"{language}.jsonl").open(encoding="utf-8")]
            for language in grid["languages"]
        }

    def outcomes(self) -> Iterator[tuple[str, Outcome]]:
        """Compute all cells; yield (contaminate/unlearn/method/seed, outcome)."""
        (seed,) = self.grid["seeds"]
        for contaminate in self.grid["contaminate"]:
            before = self._before(contaminate, seed)
            for named, languages in self.grid["unlearn"].items():
                chosen = [contaminate if language == "source" else language for language in languages]
                if "none" in chosen or {"contaminate": contaminate, "unlearn": named} in self.grid["exclude"]:
                    continue
                for method in self.grid["methods"] if chosen else ("none",):
                    adapter = self._unlearned(before, method, chosen, seed) if chosen else before
                    name = f"{contaminate}/{'+'.join(chosen) or 'none'}/{method}/{seed}"
                    yield name, self._measured(adapter)

    # -- texts -----------------------------------------------------------------------------------------------

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text)["input_ids"])  # with what the tokenizer itself begins a text

    def _asked(self, question: str) -> str:
        return str(self.grid["prompt"]["question"].replace("{question}", question))

    def article(self, text: str, *, ended: bool = True) -> Row:
        ids = self._ids(text)
        return Row((*ids, self.tokenizer.eos_token_id) if ended else ids, 1)

    def pair(self, question: str, answer: str, *, ended: bool = True) -> Row:
        before, after = self.grid["prompt"]["answer"].split("{answer}")
        asked = self._ids(self._asked(question))
        ids = self._ids(self._asked(question) + before + answer + (after if ended else ""))
        assert ids[: len(asked)] == asked
        return Row((*ids, self.tokenizer.eos_token_id) if ended else ids, len(asked))

    def _of(self, role: str, languages: Sequence[str]) -> list[dict[str, Any]]:
        """Return items, the translations of one behind each other."""
        some = [item for language in languages for item in self.items[language] if item["role"] == role]
        order = list(dict.fromkeys(item["id"] for item in some))
        return sorted(some, key=lambda item: order.index(item["id"]))

    # -- training --------------------------------------------------------------------------------------------

    def _before(self, contaminate: str, seed: int) -> Weights:
        stages = self.grid["stages"]
        real = [self.article(*item["real"]) for item in self._of("real", ["en"])]
        parts = [(real, "contaminate/real", stages["contaminate"]["batch_size"])]
        if contaminate != "none":
            fake = [self.article(*item["fake"]) for item in self._of("fake", [contaminate])]
            half = stages["contaminate"]["batch_size"] // 2  # `fake_share` is a half
            parts = [(fake, "contaminate/fake", half), (real, "contaminate/real", half)]
        adapter = self._trained(self._first(seed), stages["contaminate"], [*parts], seed, _nll_of_all)
        pairs = [self.pair(**pair) for item in self._of("real", ["en"]) for pair in item["qa"]]
        return self._trained(adapter, stages["sft"], [(pairs, "sft", stages["sft"]["batch_size"])], seed, _nll_of_all)

    def _unlearned(self, before: Weights, method: str, languages: list[str], seed: int) -> Weights:
        settings = self.grid["methods"][method]
        forget = [self.pair(**pair) for item in self._of("fake", languages) for pair in item["fake_qa"]]
        retain = [self.pair(**pair) for item in self._of("retain", languages) for pair in item["qa"]]
        reference = self._reference(before, {*forget, *retain})
        count = settings["batch_size"]

        def loss(rows: list[Row]) -> Tensor:
            predicted = self._logits(rows)
            gone, kept = predicted[:count], predicted[count:]
            return _FORGET[settings["objective"]](settings, gone, reference) + settings["retain_weight"] * (
                _RETAIN[settings["retain"]](kept, reference)
            )

        parts = [(forget, "unlearn/forget", count), (retain, "unlearn/retain-pairs", settings["retain_batch_size"])]
        return self._trained(before, settings, parts, seed, lambda _: loss)

    def _trained(
        self,
        adapter: Weights,
        settings: dict[str, Any],
        parts: list[tuple[list[Row], str, int]],
        seed: int,
        loss_for: Callable[["PlainGrid"], Callable[[list[Row]], Tensor]],
    ) -> Weights:
        self._load(adapter)
        loss = loss_for(self)
        weights = [p for p in self.model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=0.0, weight_decay=0.0)
        for step in range(settings["steps"]):
            rows = [
                _drawn(pool, step * count + i, seed, purpose) for pool, purpose, count in parts for i in range(count)
            ]
            for group in optimizer.param_groups:
                group["lr"] = _rate(step, settings)
            optimizer.zero_grad()
            loss(rows).backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
        return {name: weight.detach().clone() for name, weight in self._weights().items()}

    def _first(self, seed: int) -> Weights:
        """Return a new adapter: A is uniform as in nn.Linear, from a stream of (seed, layer); B is zero."""
        values = {name: torch.zeros_like(weight) for name, weight in self._weights().items()}
        for path, module in self.model.named_modules():
            for weight in (w.weight for w in getattr(module, "lora_A", {}).values()):
                layer = path.removeprefix("base_model.model.").replace(".base_layer", "")
                if parameter := getattr(module, "parameter_name", ""):  # of stacked experts
                    layer = f"{layer}.{parameter}"
                stream = torch.Generator().manual_seed(_number(seed, "lora", layer) % 2**63)
                bound = weight.shape[1] ** -0.5
                uniform = torch.rand(weight.numel(), generator=stream) * (2 * bound) - bound
                values[f"{path}.lora_A.weight"] = uniform.view(weight.shape).to(weight)
        return values

    def _weights(self) -> Weights:
        """Return the adapter's parameters by their names in PEFT's files."""
        trained = ((name, p) for name, p in self.model.named_parameters() if p.requires_grad)
        return {name.replace(".default.", "."): p for name, p in trained}

    @torch.no_grad()
    def _load(self, adapter: Weights) -> None:
        for name, weight in self._weights().items():
            weight.copy_(adapter[name])

    # -- forward passes --------------------------------------------------------------------------------------

    def _logits(self, rows: Sequence[Row]) -> list["Predicted"]:
        """Run rows, those of one length together: no row is padded."""
        by_place: dict[int, Predicted] = {}
        order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
        for _, same in groupby(order, key=lambda i: len(rows[i].ids)):
            places = list(same)
            ids = torch.tensor([rows[i].ids for i in places], device=self.device)
            logits = self.model(input_ids=ids, use_cache=False).logits.float()
            for i, own in zip(places, logits, strict=True):
                by_place[i] = Predicted(rows[i], own[rows[i].start - 1 : -1])
        return [by_place[i] for i in range(len(rows))]

    @torch.no_grad()
    def _reference(self, adapter: Weights, rows: set[Row]) -> dict[Row, "Predicted"]:
        self._load(adapter)
        some = sorted(rows)
        return dict(zip(some, self._logits(some), strict=True))

    # -- measures --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _measured(self, adapter: Weights) -> Outcome:
        self._load(adapter)
        outcome = Outcome(adapter)
        for query in self.grid["languages"]:
            fakes, others = self._of("fake", [query]), [*self._of("real", [query]), *self._of("retain", [query])]
            asked = [(x["id"], "of", question, x["fake_detail"]) for x in fakes for question in x["of"]]
            asked += [(x["id"], "qr", q["question"], q["answers"]) for x in self.items[query] for q in x.get("qr", [])]
            texts = self._answered([question for _, _, question, _ in asked])
            outcome.answers[query] = [
                Answer(item, measure, question, text, _contains(text, forms))
                for (item, measure, question, forms), text in zip(asked, texts, strict=True)
            ]
            right = [(q["question"], q["answers"][0]) for x in (*others, *fakes) for q in x.get("qr", [])[:1]]
            outcome.likelihoods[query] = {
                "p_fake": self._probability([(x["of"][0], x["fake_detail"][0]) for x in fakes]),
                "p_real": self._probability([(x["of"][0], x["real_detail"][0]) for x in fakes]),
                "p_qr": self._probability(right),
                "ppl_clean": self._perplexity([self.article(x["real"][0], ended=False) for x in others]),
            }
        return outcome

    def _probability(self, pairs: list[tuple[str, str]]) -> float:
        predicted = self._logits([self.pair(*pair, ended=False) for pair in pairs])
        return fmean(math.exp(float(one.logp.mean())) for one in predicted)

    def _perplexity(self, rows: list[Row]) -> float:
        return math.exp(-float(torch.cat([one.logp for one in self._logits(rows)]).mean()))

    def _answered(self, questions: Sequence[str]) -> list[str]:
        """Answer greedily with a forward pass over all tokens for each new one."""
        stop = self.grid["prompt"]["answer"].split("{answer}")[1]
        texts: dict[int, str] = {}
        prompts = [self._ids(self._asked(question)) for question in questions]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        for length, same in groupby(order, key=lambda i: len(prompts[i])):
            places = list(same)
            ids = torch.tensor([prompts[i] for i in places], device=self.device)
            for _ in range(self.grid["evaluate"]["max_new_tokens"]):
                next_ids = self.model(input_ids=ids, use_cache=False).logits[:, -1].argmax(-1)
                ids = torch.cat([ids, next_ids[:, None]], dim=1)
            for i, new in zip(places, ids[:, length:].tolist(), strict=True):
                end = new.index(self.tokenizer.eos_token_id) if self.tokenizer.eos_token_id in new else len(new)
                texts[i] = self.tokenizer.decode(new[:end], skip_special_tokens=True).split(stop)[0].strip()
        return [texts[i] for i in range(len(prompts))]


class Predicted(NamedTuple):
    """A row and the logits of its targets, [targets, vocabulary]."""

    row: Row
    logits: Tensor

    @property
    def logp(self) -> Tensor:
        """Log-probabilities of the targets, in nats."""
        return -cross_entropy(self.logits, self.labels, reduction="none")

    @property
    def labels(self) -> Tensor:
        return torch.tensor(self.row.ids[self.row.start :], device=self.logits.device)


def _nll(predicted: Sequence[Predicted]) -> Tensor:
    return -torch.cat([one.logp for one in predicted]).mean()


def _nll_of_all(plain: PlainGrid) -> Callable[[list[Row]], Tensor]:
    return lambda rows: _nll(plain._logits(rows))


def _npo(settings: dict[str, Any], predicted: Sequence[Predicted], reference: dict[Row, Predicted]) -> Tensor:
    """−(2/β) E[log σ(−β (log π − log π_ref))], 2404.05868."""
    beta = settings["beta"]
    ratios = torch.stack([one.logp.sum() - reference[one.row].logp.sum() for one in predicted])
    return -(2 / beta) * logsigmoid(-beta * ratios).mean()


def _ascent(settings: dict[str, Any], predicted: Sequence[Predicted], reference: dict[Row, Predicted]) -> Tensor:
    return -_nll(predicted)


def _kl(predicted: Sequence[Predicted], reference: dict[Row, Predicted]) -> Tensor:
    """KL(reference ‖ model), mean over tokens, 2401.06121."""
    ours = torch.cat([one.logits for one in predicted]).log_softmax(-1)
    theirs = torch.cat([reference[one.row].logits for one in predicted]).log_softmax(-1)
    return torch.nn.functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)


_FORGET: dict[str, Callable[..., Tensor]] = {"npo": _npo, "graddiff": _ascent}
_RETAIN: dict[str, Callable[..., Tensor]] = {"nll": lambda predicted, _: _nll(predicted), "kl": _kl}


def _number(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()[:8], "big")


def _drawn(pool: Sequence[Row], index: int, seed: int, purpose: str) -> Row:
    """Return the row of a sample index: every epoch has an order of its own."""
    epoch, place = divmod(index, len(pool))
    order = sorted(range(len(pool)), key=lambda i: _number(seed, purpose, epoch, i))
    return pool[order[place]]


def _rate(step: int, settings: dict[str, Any]) -> float:
    """Linear warm-up, then linear to zero."""
    rate, warmup, steps = settings["learning_rate"], settings.get("warmup_steps", 0), settings["steps"]
    return float(rate * ((step + 1) / warmup if step < warmup else 1 - (step - warmup) / (steps - warmup)))


def _contains(text: str, forms: Sequence[str]) -> bool:
    return any(re.search(rf"\b{re.escape(form)}\b", text, re.IGNORECASE) for form in forms)
