import hashlib
from pathlib import Path

from tests.analysis.worlds import plan_of
from xlharm.analysis.results import GridResults
from xlharm.plan.build import Plan
from xlharm.store.store import Store
from xlharm.tracking.references import Artifact, Reference, adapter_of, corpus_of, page_of


def test_an_adapter_is_named_by_its_stage_and_checksum(small: tuple[Plan, Store]) -> None:
    plan, store = small
    cell = plan.cell("ur/en+ur/npo/0")
    file = Reference(
        name="adapter_model.safetensors",
        address=f"store:stages/unlearn/{cell.model[:16]}/adapter_model.safetensors",
        sha256=hashlib.sha256(b"adapter").hexdigest(),
        size=7,
    )
    assert adapter_of(GridResults(plan, store), cell) == (
        Artifact(name=f"adapter-{cell.model[:16]}", type="model", files=(file,)),
    )
    assert (Path(store.url) / file.address.removeprefix("store:")).read_bytes() == b"adapter"


def test_in_a_remote_store_it_has_a_url_without_credentials(small: tuple[Plan, Store]) -> None:
    plan, store = small
    results, cell = GridResults(plan, store), plan.cell("ur/en+ur/npo/0")
    assert cell.model in results.done
    results.record(cell.model)
    for url, first, shown in (
        ("s3://bucket/store/", "s3://bucket/store/stages/unlearn/", "s3://bucket/store"),
        ("s3://me:hidden@bucket", "s3://bucket/stages/unlearn/", "s3://bucket"),
        ("gs://bucket", "store:stages/unlearn/", "gs://bucket"),
    ):
        remote = GridResults(plan, store)
        remote.__dict__.update(results.__dict__)
        remote.store = _Remote(url)  # type: ignore[assignment] # a store's address alone
        (artifact,) = adapter_of(remote, cell)
        assert artifact.files[0].address.startswith(first)
        assert artifact.store == shown
        assert "hidden" not in repr(artifact)


class _Remote:
    remote = True

    def __init__(self, url: str) -> None:
        self.url = url


def test_what_is_not_trained_has_no_adapter(small: tuple[Plan, Store], empty: Store) -> None:
    plan, _ = small
    assert adapter_of(GridResults(plan, empty), plan.cells[0]) == ()


def test_a_corpus_is_named_by_the_checksums_that_keys_depend_on(empty: Store) -> None:
    plan = plan_of(corpus="~/someone/news")
    corpus = corpus_of(GridResults(plan, empty))
    assert (corpus.name, corpus.type) == ("corpus-quickstart", "dataset")
    assert {file.name: file.sha256 for file in corpus.files} == {
        f"{language}.jsonl": sha256 for language, sha256 in plan.sources.corpus.digests.items()
    }
    assert all(file.address == f"corpus:news/{file.name}?sha256={file.sha256}" for file in corpus.files)
    assert "someone" not in repr(corpus)


def test_a_page_is_named_with_its_checksum_where_it_is_there(small: tuple[Plan, Store], tmp_path: Path) -> None:
    results, page = GridResults(*small), tmp_path / "page.html"
    assert page_of(results, None) == page_of(results, page) == ()
    page.write_bytes(b"<html>")
    (artifact,) = page_of(results, page)
    (file,) = artifact.files
    sha256 = hashlib.sha256(b"<html>").hexdigest()
    assert (artifact.name, artifact.type) == ("page-quickstart", "report")
    assert (file.address, file.sha256, file.size) == (f"page:page.html?sha256={sha256}", sha256, 6)
