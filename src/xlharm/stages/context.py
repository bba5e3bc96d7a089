"""What every stage needs of its worker: base, tokenizer, store, engine, parents' adapters."""

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from xlharm.config.grid import Lora
from xlharm.config.plugins import load_plugins
from xlharm.corpus.streams import Corpora
from xlharm.errors import StageError, UserError
from xlharm.evaluate.generate import check_decoding
from xlharm.judges.base import Judge, ReadyJudge
from xlharm.model.adapter_files import load_adapter
from xlharm.model.base import embeddings, load_base
from xlharm.model.lora import Layout, StackedModel, layout_of
from xlharm.model.ragged import check_ragged
from xlharm.model.tokenizer import check_vocabulary, load_tokenizer
from xlharm.parallel import side_by_side, threads_here
from xlharm.plan.sharding import zero_stage
from xlharm.plan.stage import Stage
from xlharm.pretrained import as_planned
from xlharm.stages.job import RunnerConfig
from xlharm.stages.provenance import provenance
from xlharm.store.store import Store
from xlharm.train.engine import PackEngine
from xlharm.train.saver import never

_PARENTS_BYTES = 4 << 30  # of adapters that a worker keeps in the machine's memory, which it shares with others
_COMPILED_FROM = 300_000_000  # parameters of the base


class Context:
    """A worker's warm state. The base is loaded once; an engine is built once for each adapter layout."""

    def __init__(self, config: RunnerConfig) -> None:
        self.config = config
        load_plugins(config.plugins)
        self.device = _device(config.device)
        if self.device.type == "cpu":
            torch.set_num_threads(threads_here(config.threads))
        self.zero = zero_stage(config.zero, ranks=config.world, offload=config.offload)
        self.store = Store(config.store_url)
        if config.place == "device":
            self._load(config)
        self._stacked: StackedModel | None = None
        self._engine: PackEngine | None = None
        self._parents: OrderedDict[str, Tensor] = OrderedDict()
        self._together: tuple[Layout, tuple[str | None, ...], Tensor] | None = None
        self._decoding_checked = False
        self._rows_checked = 0
        self.judges: dict[str, tuple[Judge, ReadyJudge]] = {}
        self.stopping: Callable[[], bool] = never  # whether the running pack is asked to stop

    def _load(self, config: RunnerConfig) -> None:
        # A base that will be partitioned may not fit the device whole, not even for a moment.
        place = torch.device("cpu") if self.zero == 3 else self.device
        with as_planned(config.base, called=f"base {config.base.location}"):
            self.tokenizer = load_tokenizer(config.base, trust_remote_code=config.trust_remote_code)
            self.model = load_base(
                config.base, dtype=config.dtype, device=place, trust_remote_code=config.trust_remote_code
            )
        check_vocabulary(self.tokenizer, size=embeddings(self.model), source=config.base)
        self.corpora = Corpora(config.corpus, self.tokenizer)

    @property
    def pad(self) -> int:
        """A token id to fill rows with; it never reaches a loss."""
        found = self.tokenizer.hf.pad_token_id
        return int(found if found is not None else self.tokenizer.eos or 0)

    def stacked(self, stage: Stage) -> StackedModel:
        """Return the base with the adapter layers of a stage's LoRA settings, partitioned if it is to be."""
        stacked = self._installed(stage)
        if self.zero == 3:
            self.engine(stage)
        return stacked

    def _installed(self, stage: Stage) -> StackedModel:
        lora = Lora.model_validate(stage.spec["lora"])
        current = self._stacked
        wanted = (lora.rank, lora.alpha, lora.target_modules)
        if current is None or (current.layout.rank, current.layout.alpha, current.layout.targets) != wanted:
            layout = layout_of(self.model, rank=lora.rank, alpha=lora.alpha, targets=lora.target_modules)
            self._stacked, self._engine = StackedModel(self.model, layout, compiled=self._worth_compiling()), None
            self._decoding_checked = False
        assert self._stacked is not None
        return self._stacked

    def engine(self, stage: Stage) -> PackEngine:
        """Return the training engine for a stage's LoRA settings."""
        stacked = self._installed(stage)
        self._together = None
        if self._engine is None:
            c = self.config
            join_group(rank=c.rank, world=c.world, master=c.master, device=self.device)
            self._engine = PackEngine(
                stacked,
                slots=self.config.slots,
                zero=self.zero,
                world=self.config.world,
                device=self.device,
                offload=self.config.offload,
            )
        return self._engine

    def check_rows(self, longest: int) -> None:
        """Make sure that rows of so many tokens can lie in one sequence in this base.

        Raises:
            UserError: they cannot.
        """
        if longest > self._rows_checked:
            check_ragged(self.model, longest=longest, device=self.device)
            self._rows_checked = longest

    def check_decoding(self, stacked: StackedModel) -> None:
        """Make sure once that generation knows this base's attention.

        Raises:
            UserError: it does not.
        """
        if not self._decoding_checked:
            check_decoding(stacked)
            self._decoding_checked = True

    def _worth_compiling(self) -> bool:
        """Whether compiling (about ten seconds) pays: for a large base on a GPU that is not partitioned."""
        size = sum(p.numel() for p in self.model.parameters())
        return self.device.type == "cuda" and self.zero < 3 and size >= _COMPILED_FROM

    def adapter(self, key: str, layout: Layout) -> Tensor:
        """Return a finished training stage's adapter [P] on the CPU.

        Raises:
            StageError: it is not in the store.
            CorruptArtifactError: its files are damaged.
        """
        found = self._parents.get(key)
        if found is None:
            kind = self.store.kind_of(key)
            if kind is None:
                raise StageError(f"the adapter of stage {key[:16]} is not in the store")
            found = load_adapter(self.store.path(kind, key), layout=layout)
        return found

    def adapters(self, keys: Sequence[str | None], layout: Layout) -> Tensor:
        """Return adapters [K, P] on the device; None is the plain base.

        The last ones asked for stay there until a training starts: the same models answer in many languages.

        Raises:
            StageError: one is not in the store.
            CorruptArtifactError: the files of one are damaged.
        """
        if self._together is None or self._together[:2] != (layout, tuple(keys)):
            self._together = None  # before the new ones need its place
            stacked = torch.zeros(len(keys), layout.size, device=self.device)
            side_by_side(
                [self._into(row, key, layout) for row, key in zip(stacked, keys, strict=True) if key is not None]
            )
            self._together = (layout, tuple(keys), stacked)
        return self._together[2]

    def _into(self, row: Tensor, key: str, layout: Layout) -> Callable[[], object]:
        return lambda: row.copy_(self.adapter(key, layout))

    def remember(self, key: str, adapter: Tensor) -> None:
        """Keep a fresh adapter [P] for its children."""
        self._parents[key] = adapter
        size = sum(a.numel() * a.element_size() for a in self._parents.values())
        while size > _PARENTS_BYTES:
            _, oldest = self._parents.popitem(last=False)
            size -= oldest.numel() * oldest.element_size()

    def provenance(self, *, pack: int, trained: bool) -> dict[str, Any]:
        """Describe this worker."""
        c = self.config
        engine = {"name": "DeepSpeed", "zero": self.zero, "ranks": c.world, "offload": c.offload}
        return provenance(
            device=self.device,
            dtype=self.config.dtype,
            engine=engine if trained else None,
            pack=pack,
        )


def _device(wanted: str) -> torch.device:
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no GPU here")
    return torch.device("cuda", torch.cuda.current_device())


def join_group(*, rank: int, world: int, master: str | None, device: torch.device) -> None:
    """Start the process group that DeepSpeed runs on; every worker sees one device, so LOCAL_RANK is 0.

    Raises:
        UserError: several ranks and no address of the first.
    """
    if torch.distributed.is_initialized():
        return
    os.environ.update({"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": "0"})
    backend = "nccl" if device.type == "cuda" else "gloo"
    if world == 1:
        alone = torch.distributed.HashStore()  # type: ignore[attr-defined] # public, but not exported by name
        torch.distributed.init_process_group(backend, store=alone, rank=0, world_size=1)
        return
    if master is None:
        raise UserError("a gang of several ranks needs the address of its first")
    host, port = master.rsplit(":", 1)
    os.environ.update({"MASTER_ADDR": host, "MASTER_PORT": port})
    torch.distributed.init_process_group(backend, rank=rank, world_size=world)
