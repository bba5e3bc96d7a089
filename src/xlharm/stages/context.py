"""The state of a worker that all stages use: base, tokenizer, store, training engine and parents' adapters."""

import os
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path as FolderPath
from typing import Any

import torch
from torch import Tensor

from xlharm.config.grid import Lora
from xlharm.config.plugins import load_plugins
from xlharm.corpus.streams import Corpora
from xlharm.errors import StageError, UserError
from xlharm.evaluate.checks import check_base, length_to_check
from xlharm.judges.base import Judge, ReadyJudge
from xlharm.model.adapter_files import load_adapter
from xlharm.model.base import embeddings, is_partitioned, load_base, settings
from xlharm.model.layout import Layout, layout_of
from xlharm.model.lora import StackedModel
from xlharm.model.tokenizer import check_vocabulary, load_tokenizer
from xlharm.parallel import side_by_side, threads_here
from xlharm.plan.families import Path, row_limit
from xlharm.plan.sharding import zero_stage
from xlharm.plan.stage import Stage
from xlharm.plan.timing import COMPILED_FROM
from xlharm.pretrained import as_planned
from xlharm.stages.job import Needs, PackJob, RunnerConfig
from xlharm.stages.provenance import provenance
from xlharm.store.store import Store
from xlharm.train.engine import PackEngine
from xlharm.train.saver import never

_PARENTS_BYTES = 4 << 30  # most bytes of adapters in the machine's memory, which workers share


class Context:
    """The state of a worker between packs: it loads the base once, and builds an engine for each adapter layout.

    Attributes:
        config: the worker's configuration.
        device: where it computes.
        zero: its ZeRO stage.
        store: the store.
        judges: the judges in use, as settings and loaded judge, by the digest of their identity.
        compared: what the last check of the base model compared, in words.
        stopping: returns True when the running pack must save its state and end.

    Raises:
        UserError: the base cannot be loaded, does not pass the checks of what the plan needs, or there is no such
            device.
    """

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
        self._device_adapters: tuple[Layout, tuple[str | None, ...], Tensor] | None = None
        self._checked: tuple[int, bool] | None = None  # tokens of the longest row, and whether answers were checked
        self._prepared = 0.0  # seconds of engines, of checks, and of what earlier arrangements of layers rehearsed
        self._rehearsed_before = 0.0  # by the present layers, when the pack began
        self.compared = ""
        self.judges: dict[str, tuple[Judge, ReadyJudge]] = {}
        self.stopping: Callable[[], bool] = never
        if config.needs is not None and config.place == "device":
            self.check(config.needs)

    def _load(self, config: RunnerConfig) -> None:
        # A base that will be partitioned may be too large for one device, so it is loaded into the machine's memory.
        place = torch.device("cpu") if self.zero == 3 else self.device
        with as_planned(config.base, called=f"base {config.base.location}"):
            self.tokenizer = load_tokenizer(config.base, trust_remote_code=config.trust_remote_code)
            self.model = load_base(
                config.base, dtype=config.dtype, device=place, trust_remote_code=config.trust_remote_code
            )
        check_vocabulary(self.tokenizer, size=embeddings(self.model), source=config.base)
        limit = min(row_limit(settings(self.model)) or sys.maxsize, config.sequence_length or sys.maxsize)
        self.corpora = Corpora(config.corpus, self.tokenizer, limit)

    @property
    def prepared(self) -> float:
        """Seconds that went into what is done once, not for each stage: checks, engines, compiled code."""
        return self._prepared + self._rehearsed

    @property
    def _rehearsed(self) -> float:
        return self._stacked.rehearsed_seconds if self._stacked is not None else 0.0

    def begin_pack(self) -> None:
        """Begin a pack: what is rehearsed from here on is no time of its stages."""
        self._rehearsed_before = self._rehearsed

    @contextmanager
    def _preparing(self) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._prepared += time.perf_counter() - begun

    def stacked(self, stage: Stage) -> StackedModel:
        """Return the base with the adapter layers of a stage's LoRA settings; with ZeRO stage 3 it is partitioned."""
        stacked = self._installed(stage)
        if self.zero == 3:
            self.engine(stage)
        return stacked

    def _installed(self, stage: Stage) -> StackedModel:
        return self._arranged(Lora.model_validate(stage.spec["lora"]), stage.spec.get("path", "fast"))

    def _arranged(self, lora: Lora, path: Path) -> StackedModel:
        now = self._stacked
        wanted = (lora.rank, lora.alpha, lora.target_modules, path)
        if now is None or (now.layout.rank, now.layout.alpha, now.layout.targets, now.path) != wanted:
            layout = layout_of(self.model, rank=lora.rank, alpha=lora.alpha, targets=lora.target_modules)
            compiled = self._worth_compiling()
            self._prepared += self._rehearsed
            self._rehearsed_before = 0.0
            self._stacked, self._engine = StackedModel(self.model, layout, compiled=compiled, path=path), None
            self._checked = None
        assert self._stacked is not None
        return self._stacked

    def engine(self, stage: Stage) -> PackEngine:
        """Return the training engine for a stage's LoRA settings."""
        stacked = self._installed(stage)
        self._device_adapters = None
        if self._engine is None:
            with self._preparing():
                self._engine = self._new_engine(stacked)
        return self._engine

    def _new_engine(self, stacked: StackedModel) -> PackEngine:
        c = self.config
        join_group(rank=c.rank, world=c.world, master=c.master, device=self.device)
        return PackEngine(stacked, slots=c.slots, zero=self.zero, world=c.world, device=self.device, offload=c.offload)

    def check(self, needs: Needs) -> None:
        """Check that the base model's path computes what its own forward does; what was checked is remembered.

        Raises:
            UserError: it does not.
        """
        stacked = self._arranged(needs.lora, needs.path)
        longest = length_to_check(self.model, needs.longest)
        if self._checked:
            checked, answers = self._checked
            if is_partitioned(self.model) or (checked >= longest and answers >= needs.answers):
                return  # a partitioned base was checked before it was, when the worker started
        with self._preparing():
            self.compared = check_base(stacked, longest=longest, answers=needs.answers)
        self._checked = longest, needs.answers

    def check_rows(self, stage: Stage, longest: int, *, answers: bool = False) -> None:
        """Check that the base model can process a stage's rows; see ``check``.

        Args:
            stage: the stage.
            longest: tokens of the longest row.
            answers: whether the stage answers questions.

        Raises:
            UserError: it cannot, or the row is longer than what the base model can look at.
        """
        limit = row_limit(settings(self.model))
        if limit is not None and longest > limit:
            raise UserError(f"{stage.label}: a row has {longest} tokens, and the base can look at {limit}")
        lora = Lora.model_validate(stage.spec["lora"])
        self.check(Needs(lora=lora, path=stage.spec.get("path", "fast"), longest=longest, answers=answers))

    def _worth_compiling(self) -> bool:
        """Whether compiling (about ten seconds) saves time: for a large base on a GPU, if it is not partitioned."""
        size = sum(p.numel() for p in self.model.parameters())
        return self.device.type == "cuda" and self.zero < 3 and size >= COMPILED_FROM

    def adapter(self, key: str, layout: Layout) -> Tensor:
        """Return the adapter [P] of a finished stage, on the CPU; P is the number of adapter parameters.

        Raises:
            StageError: the stage is not in the store.
            CorruptArtifactError: its files are damaged.
        """
        adapter = self._parents.get(key)
        if adapter is None:
            kind = self.store.kind_of(key)
            if kind is None:
                raise StageError(f"the adapter of stage {key[:16]} is not in the store")
            adapter = load_adapter(self.store.path(kind, key), layout=layout)
        return adapter

    def adapters(self, keys: Sequence[str | None], layout: Layout) -> Tensor:
        """Return adapters [K, P] on the device, one for each key; None stands for the base without adapter (zeros).

        The last result stays on the device until a training starts, because the same models answer in many languages.

        Raises:
            StageError: a stage is not in the store.
            CorruptArtifactError: the files of a stage are damaged.
        """
        if self._device_adapters is None or self._device_adapters[:2] != (layout, tuple(keys)):
            self._device_adapters = None  # frees its memory before the new ones are allocated
            stacked = torch.zeros(len(keys), layout.size, device=self.device)
            side_by_side(
                [self._copying(row, key, layout) for row, key in zip(stacked, keys, strict=True) if key is not None]
            )
            self._device_adapters = (layout, tuple(keys), stacked)
        return self._device_adapters[2]

    def _copying(self, row: Tensor, key: str, layout: Layout) -> Callable[[], object]:
        return lambda: row.copy_(self.adapter(key, layout))

    def remember(self, key: str, adapter: Tensor) -> None:
        """Keep a new adapter [P] in memory for its children; the oldest ones are dropped above ``_PARENTS_BYTES``."""
        self._parents[key] = adapter
        size = sum(a.numel() * a.element_size() for a in self._parents.values())
        while size > _PARENTS_BYTES:
            _, oldest = self._parents.popitem(last=False)
            size -= oldest.numel() * oldest.element_size()

    def commit(
        self,
        job: PackJob,
        stage: Stage,
        write: Callable[[FolderPath], object],
        *,
        metrics: Mapping[str, Any],
        seconds: float,
        alone: bool = False,
        trained: bool = False,
    ) -> None:
        """Store a stage's result; of several ranks only the first does.

        Args:
            job: the stage's pack.
            stage: the stage.
            write: writes its files into a folder.
            metrics: numbers for the stage's record.
            seconds: wall time of the pack, or of the stage when it is computed by itself.
            alone: whether the stage was computed by itself rather than together with its pack.
            trained: whether the training engine was used.

        Raises:
            StageError: ``write`` refuses the result.
        """
        if self.config.rank != 0:
            return
        rehearsed = self._rehearsed - self._rehearsed_before
        mine = seconds - rehearsed
        prepared = {"prepared": rehearsed} if rehearsed else {}
        with self.store.scratch() as folder:
            write(folder)
            self.store.commit(
                stage,
                folder,
                metrics=dict(metrics),
                timings={"pack": seconds, "share": mine if alone else mine / sum(job.active), **prepared},
                provenance=self.provenance(pack=len(job.stages), trained=trained),
            )

    def provenance(self, *, pack: int, trained: bool) -> dict[str, Any]:
        """Describe this worker for a record.

        Args:
            pack: number of slots of the pack.
            trained: whether the stage trains.
        """
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
    """Start the process group of DeepSpeed; each process sees one device, so LOCAL_RANK is 0.

    Args:
        rank: number of this process.
        world: number of processes.
        master: "host:port" of rank 0; None when this process is the only one.
        device: where it computes: decides between NCCL and Gloo.

    Raises:
        UserError: there are several ranks, but no address of rank 0.
    """
    # DeepSpeed reads these for each engine, and a host program may have changed its environment since the first one.
    os.environ.update({"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": "0"})
    if torch.distributed.is_initialized():
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    if world == 1:
        alone = torch.distributed.HashStore()  # type: ignore[attr-defined] # public, but not exported by name
        torch.distributed.init_process_group(backend, store=alone, rank=0, world_size=1)
        return
    if master is None:
        raise UserError("a worker of several ranks needs the address of rank 0")
    host, port = master.rsplit(":", 1)
    os.environ.update({"MASTER_ADDR": host, "MASTER_PORT": port})
    torch.distributed.init_process_group(backend, rank=rank, world_size=world)
