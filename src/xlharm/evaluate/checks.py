"""Checks of a base model before it gives a number, with random adapters in place.

Whatever a base model's code does, these hold for what xlharm computes with it: no row affects another, no token affects
an earlier one, every adapter acts on its own rows alone, and concatenated rows and cached decoding give what
transformers' own forward gives for each row.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xlharm.errors import BaseRefusedError, UserError
from xlharm.evaluate.cache import layer_widths
from xlharm.evaluate.decoding import Batch
from xlharm.evaluate.precision import in_float32
from xlharm.evaluate.stock import Reading, continued
from xlharm.model.attention import attending, own_values
from xlharm.model.base import UNSUPPORTED, decoder, embeddings, head, last_hidden, settings
from xlharm.model.lora import StackedModel
from xlharm.model.ragged import Ragged, last_states

_SHORT = 48  # tokens of a row where nothing depends on its length
_STEPS = 6  # decoding steps that are compared
_COMPARED = 48  # tokens of a row whose logits are compared
_EXPERTS = 1e-6  # how far a token may move, relative to the largest value, because experts get other batches
_FLOAT32 = 1e-2  # how far logits in float32 may be off, in standard deviations of the logits
_OWN_NOISE = 2.0  # how much further from float32 logits may be in bfloat16 than those of the base model's own forward
_LEAST = 1e-3  # standard deviations of the logits; a distance that is always allowed

Ids = tuple[int, ...]


@torch.no_grad()
def check_base(stacked: StackedModel, *, longest: int, answers: bool = True) -> str:
    """Check that a base model's path computes what transformers' own forward does.

    Args:
        stacked: the base model, with its path and its adapter layers.
        longest: tokens of the longest row that will be computed, so that windows are covered.
        answers: whether decoding is checked, too.

    Returns:
        What was compared, in words.

    Raises:
        BaseRefusedError: it does not, or its code cannot be run this way.
    """
    if (most := _keys_attended(settings(stacked.model))) is not None and longest > most:
        raise BaseRefusedError(
            f"base: {type(stacked.model).__name__} attends to the {most} keys that score highest, and rounding changes "
            f"which these are, so rows that are computed together are not what each row alone is: set "
            f"`sequence_length: {most}` in the grid, or take another base"
        )
    check = _Check(stacked, longest=longest)
    with torch.compiler.set_stance("force_eager"), check.named():
        if stacked.path == "fast":
            check.leaks()
        check.order()
        check.padding()
        with stacked.calls() as called:
            rows = check.rows()
        check.all_called(called)
        check.learns()
        return "; ".join([rows, check.decoding()] if answers and stacked.kind != "masked" else [rows])


def _keys_attended(config: Any) -> int | None:
    """Return how many keys a token attends to where a model chooses those that score highest; None: to all."""
    if isinstance(most := getattr(config, "indexer_budget", None), int):
        return most
    if isinstance(blocks := getattr(config, "index_topk_blocks", None), int):
        return blocks * int(config.index_block_size)
    if not isinstance(most := getattr(config, "index_topk", None), int):
        return None
    rates: dict[str, int] = getattr(config, "compress_rates", None) or {"": 1}
    return most * min(rates.values())  # where keys are compressed, it chooses among those


def length_to_check(model: nn.Module, longest: int) -> int:
    """Return how long rows of a check must be, to find what rows of ``longest`` tokens would.

    That is beyond every window, chunk or other length of the configuration at which attention changes.
    """
    turns = [n for n in _lengths(settings(model).to_dict()) if n < longest]
    return min(longest, max(_SHORT, *(n + 8 for n in turns))) if turns else min(longest, _SHORT)


def _lengths(config: Any) -> Iterator[int]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _lengths(value)
        elif type(value) is int and any(word in name for word in ("window", "chunk", "scale", "original_max", "local")):
            yield value


@dataclass(frozen=True)
class Distance:
    """How far logits are from those of the float32 forward.

    Attributes:
        mean: mean over tokens of the root mean square of the differences, without what is the same for all words.
        median: the same, its median. Rounding may send a token to another expert, which dominates the mean.
        nats: mean KL divergence of the next token's distribution.
        agreement: share of tokens whose likeliest next token is the same.
    """

    mean: float
    median: float
    nats: float
    agreement: float

    @staticmethod
    def of(exact: Tensor, logits: Tensor) -> "Distance":
        """Compare logits [tokens, vocabulary], float32."""
        apart = logits - exact
        each = (apart - apart.mean(-1, keepdim=True)).square().mean(-1).sqrt()
        p, q = exact.double().log_softmax(-1), logits.double().log_softmax(-1)
        nats = (p.exp() * (p - q)).sum(-1).mean()
        agreement = (exact.argmax(-1) == logits.argmax(-1)).float().mean()
        return Distance(float(each.mean()), float(each.median()), float(nats), float(agreement))

    def __str__(self) -> str:
        return f"{self.agreement:.0%} of likeliest tokens, KL {self.nats:.1e}, logits off by {self.mean:.1e}"


class _Check:
    def __init__(self, stacked: StackedModel, *, longest: int) -> None:
        self.stacked, self.model = stacked, stacked.model
        self.kind = type(self.model).__name__
        weight = next(self.model.parameters())
        self.device, self.dtype = weight.device, weight.dtype
        generator = torch.Generator().manual_seed(0)
        self.adapters = (torch.randn(2, stacked.layout.size, generator=generator) * 0.02).to(self.device)
        self.experts = any("expert" in name for name, _ in self.model.named_modules())
        self.vocabulary = embeddings(self.model)
        long = max(2, longest)
        self.groups = [[self._row(5, 0), self._row(9, 1)], [self._row(long, 2), self._row(3, 3), self._row(7, 4)]]
        self.read: dict[
            Ids, Ids
        ] = {}  # what an encoder reads before a row is written, where it is not the row reversed

    def _row(self, length: int, seed: int) -> Ids:
        # ids from 3 on: the first ones are often special, and padding is treated differently by some families
        return tuple(3 + (7919 * seed + 104_729 * i) % max(1, self.vocabulary - 3) for i in range(length))

    @contextmanager
    def named(self) -> Iterator[None]:
        """Turn what the base model's code raises into one line."""
        advice = "; set `path: generic` in the grid, which is slower" if self.stacked.path == "fast" else ""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except UserError as error:
            raise BaseRefusedError(f"{error}{advice}") from None
        except UNSUPPORTED as error:
            line = " ".join(str(error).split())[:200] or type(error).__name__
            raise BaseRefusedError(
                f"base: {self.kind} does not run on the path `{self.stacked.path}`: {line}{advice}"
            ) from None

    # -- exact checks ----------------------------------------------------------------------------------------

    def leaks(self) -> None:
        """Let attention return each token's own value: then no token may depend on another."""
        ragged = self._arranged()
        changed = (2, ragged.ids.numel() // 2)
        ids = ragged.ids.clone()
        for place in changed:
            ids.view(-1)[place] = 3 + (ids.view(-1)[place] + 1) % (self.vocabulary - 3)

        def states(ids: Tensor) -> Tensor:
            with attending(self.model, "xlharm_own_values", own_values, rows=None), self._adapted(ragged.ends):
                found: Tensor = decoder(self.model)(input_ids=ids, position_ids=ragged.positions, use_cache=False)[0]
                return found.flatten(0, 1)

        moved = self._moved(states(ragged.ids), states(ids))
        others = torch.ones(len(moved), dtype=torch.bool, device=self.device)
        others[list(changed)] = False
        self._refuse_moved(float(moved[others].max()), f"{self.kind} mixes tokens outside of its attention")

    def order(self) -> None:
        """Change the last token of one row: no other token may change, and none of another row."""
        row, other = self._row(8, 5), self._row(8, 6)
        later = (*row[:-1], self._another(row[-1]))
        self.read[later] = row[::-1]
        moved = self._moved(self._plain([row, other]), self._plain([later, other]))
        if self.stacked.kind == "masked":
            if not float(moved[:7].min()) > 0:
                raise BaseRefusedError(f"base: {self.kind} does not read what follows a token: it cannot fill in masks")
            self._refuse_moved(float(moved[8:].max()), f"{self.kind} mixes rows of a batch")
            return
        moved[7] = 0.0
        self._refuse_moved(float(moved.max()), f"{self.kind} is not causal, or mixes rows of a batch")

    def padding(self) -> None:
        """Change what an encoder reads in the padding of a row: no token may change; then its text: every one must."""
        if self.stacked.kind == "causal":
            return
        short, long = self._row(5, 5), self._row(9, 6)
        real = torch.tensor([[1] * 5 + [0] * 4, [1] * 9], device=self.device)

        def states(row: Ids, fill: int) -> Tensor:
            read = torch.tensor([(*row, *[fill] * 4), long], device=self.device)
            with self._adapted():
                if self.stacked.kind == "masked":
                    return last_hidden(self.model, read, real=real)[real.bool()]
                ids = torch.tensor([long[:3], short[:3]], device=self.device)
                return last_hidden(self.model, ids, sources=read, sources_real=real).flatten(0, 1)

        before = states(short, 3)
        self._refuse_moved(float(self._moved(before, states(short, 4)).max()), f"{self.kind} reads padding")
        if not float(self._moved(before, states((self._another(short[0]), *short[1:]), 3))[:3].min()) > 0:
            raise BaseRefusedError(f"base: {self.kind} does not read what it is given")

    def _another(self, token: int) -> int:
        return 3 + (token + 1) % (self.vocabulary - 3)

    def _plain(self, rows: Sequence[Ids]) -> Tensor:
        """Return the last states [tokens, width] of rows of one length, each under one of the adapters."""
        ids, sources = (torch.tensor(some, device=self.device) for some in (rows, self._sources(rows)))
        with self._adapted():
            return last_hidden(self.model, ids, sources=sources).flatten(0, 1)

    def _sources(self, rows: Sequence[Ids]) -> list[Ids]:
        return [self.read.get(row, row[::-1]) for row in rows]

    def _arranged(self) -> Ragged:
        return self.stacked.rows(self.groups, sources=[self._sources(rows) for rows in self.groups]).to(self.device)

    def _moved(self, before: Tensor, after: Tensor) -> Tensor:
        """Return how far each token's state moved, relative to the largest value."""
        if not bool(torch.isfinite(before).all()):
            raise BaseRefusedError(f"base: {self.kind} gives values that are not numbers")
        return (before.float() - after.float()).abs().amax(-1) / before.float().abs().max()

    def _refuse_moved(self, moved: float, problem: str) -> None:
        allowed = 0.0
        if self.experts:
            allowed = _EXPERTS if self.dtype == torch.float32 else 2.0**-7
        if moved > allowed:
            raise BaseRefusedError(f"base: {problem}: a token that must stay the same moved by {moved:.1e}")

    def all_called(self, called: set[str]) -> None:
        """Refuse targets of which no layer is called."""
        layout = self.stacked.layout
        targets = {segment.target for segment in layout.segments if segment.name in called}
        for target in layout.targets:
            if target not in targets:
                raise BaseRefusedError(f"lora.target_modules: {target!r}: {self.kind} never calls a layer of this name")

    @torch.enable_grad()
    def learns(self) -> None:
        """Compute gradients of both adapters: they must be numbers, and not zero."""
        adapters = self.adapters.clone().requires_grad_()
        ragged = self._arranged()
        with self.stacked.adapters(adapters, ends=ragged.ends):
            states = last_states(self.model, ragged)
        (grads,) = torch.autograd.grad(states.float().square().mean(), adapters)
        norms = grads.norm(dim=1)
        if not bool(torch.isfinite(norms).all()) or not bool((norms > 0).all()):
            raise BaseRefusedError(f"base: {self.kind} gives gradients that are zero or not numbers")

    # -- against transformers' own forward -------------------------------------------------------------------

    def rows(self) -> str:
        """Compare the rows of two adapters, computed together, with each row alone."""
        ragged = self._arranged()
        with self._adapted(ragged.ends):
            states = last_states(self.model, ragged)
        ours = []
        for at, group in zip(ragged.starts, self.groups, strict=True):
            ends = itertools.accumulate(map(len, group), initial=at)
            ours += [head(self.model, states[end : end + len(row)][self._some(row)]) for row, end in zip(group, ends)]  # noqa: B905 - one end more than rows
        alone = [(row, k) for k, group in enumerate(self.groups) for row in group]
        return self._compare("rows computed together", ours, alone, self._some)

    def decoding(self) -> str:
        """Compare the logits of decoding steps with those of a forward pass over the same tokens."""
        prompts = [self._row(n, 7 + i) for i, n in enumerate((3, 9, max(2, len(self.groups[1][0]) - _STEPS)))]
        if self.stacked.path != "fast":
            return self._stock_decoding(prompts[-1])
        length = max(map(len, prompts)) + _STEPS + 1
        widths = layer_widths(self.model, slots=1)
        with self._adapted(), Batch(self.stacked, widths, slots=2, each=len(prompts), length=length) as batch:
            steps = [batch.prefill([list(range(len(prompts)))] * 2, [prompts] * 2)]
            for _ in range(_STEPS):
                steps.append(batch.logits())
                batch.advance(steps[-1])
        rows = [(prompt, k) for k in range(2) for prompt in prompts]
        return self._compare_steps(steps, rows)

    def _stock_decoding(self, prompt: Ids) -> str:
        ids = torch.tensor([prompt, prompt], device=self.device)
        reads = self.stacked.kind == "encoder-decoder"
        reading = Reading.of(self._sources([prompt, prompt]), device=self.device) if reads else None
        for self.stacked.caches in (True, False):
            try:
                with self._adapted():
                    _, steps = continued(
                        self.stacked, ids, stops=frozenset(), max_new_tokens=_STEPS + 1, logits=True, reading=reading
                    )
                return self._compare_steps(list(steps), [(prompt, 0), (prompt, 1)])
            except torch.OutOfMemoryError:
                raise
            except (*UNSUPPORTED, UserError):
                if not self.stacked.caches:
                    raise
        raise AssertionError

    def _compare_steps(self, steps: Sequence[Tensor], rows: Sequence[tuple[Ids, int]]) -> str:
        tokens = torch.stack([logits.argmax(-1) for logits in steps], dim=1).tolist()
        whole = [((*prompt, *new[:-1]), k) for (prompt, k), new in zip(rows, tokens, strict=True)]
        self.read |= {
            written: self._sources([prompt])[0] for (written, _), (prompt, _) in zip(whole, rows, strict=True)
        }
        ours = list(torch.stack(list(steps), dim=1).unbind(0))
        return self._compare("decoding steps", ours, whole, lambda row: torch.arange(len(row) - len(steps), len(row)))

    def _compare(
        self,
        what: str,
        ours: Sequence[Tensor],
        rows: Sequence[tuple[Ids, int]],
        places: Callable[[Ids], Tensor],
    ) -> str:
        """Compare logits with those of transformers' own forward of each row alone.

        Args:
            what: what was computed, in words.
            ours: for each row, logits [places, vocabulary].
            rows: tokens and adapter of each row.
            places: returns the places of a row whose logits are compared.
        """
        mine = torch.cat(list(ours)).float()
        stock = self._stock(rows, places)
        if self.dtype == torch.float32:
            apart = float((mine - stock).abs().max() / stock.std())
            if not apart <= _FLOAT32:
                raise BaseRefusedError(
                    f"base: logits of {what} differ from those of a plain forward by {apart:.2g} standard deviations: "
                    f"xlharm does not know the layers of {self.kind}"
                )
            return f"{what}: within {apart:.1e} standard deviations"
        with in_float32(self.model):
            exact = self._stock(rows, places, dtype=torch.float32)
        own, found = Distance.of(exact, stock), Distance.of(exact, mine)
        pairs = [(found.median, own.median), *([] if self.experts else [(found.mean, own.mean)])]
        if not all(ours <= _OWN_NOISE * usual + _LEAST * float(exact.std()) for ours, usual in pairs):
            raise BaseRefusedError(
                f"base: {what} are further from float32 ({found}) than the base model's own forward in "
                f"{_name(self.dtype)} ({own}): xlharm does not know the layers of {self.kind}"
            )
        return f"{what}: {found} (own {_name(self.dtype)}: {own})"

    def _stock(
        self, rows: Sequence[tuple[Ids, int]], places: Callable[[Ids], Tensor], *, dtype: torch.dtype | None = None
    ) -> Tensor:
        logits = []
        for row, k in rows:
            ids, sources = (torch.tensor(some, device=self.device) for some in ([row], self._sources([row])))
            with self.stacked.adapters(self.adapters[k : k + 1], dtype=dtype):
                states = last_hidden(self.model, ids, sources=sources)[0]
            logits.append(head(self.model, states[places(row).to(self.device)]).float())
        return torch.cat(logits)

    def _some(self, row: Ids) -> Tensor:
        """Return at most ``_COMPARED`` places of a row, the last among them."""
        return torch.linspace(0, len(row) - 1, min(len(row), _COMPARED)).round().long()

    def _adapted(self, ends: Tensor | None = None) -> Any:
        return self.stacked.adapters(self.adapters, ends=ends)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
