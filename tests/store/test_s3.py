"""A store on S3: what it asks of the server, and what it makes of its troubles."""

import copy
import shutil
import sys
from pathlib import Path

import pytest

from tests.s3 import S3, SECRET
from tests.store.test_store import PLAN, STAGE, commit
from xlharm.engine.trouble import trouble_of
from xlharm.errors import CorruptArtifactError, StoreError, UserError
from xlharm.parallel import side_by_side
from xlharm.store.store import Store

URL = "s3://bucket/some/store"
FOLDER = f"some/store/stages/{STAGE.kind}/{STAGE.key[:16]}"


@pytest.mark.parametrize("part", ["rows.txt", "record.json", "_SUCCESS"])
def test_a_commit_that_breaks_off_never_counts(s3: S3, part: str) -> None:
    store = Store(URL)
    s3.broken = f"/{part}"
    with pytest.raises(StoreError, match="internal error") as caught:
        commit(store)
    assert trouble_of(caught.value).kind == "io"
    s3.broken = None
    assert not store.has(STAGE)
    assert store.done(PLAN.stages) == set()
    s3.requests.clear()
    commit(store)
    written = [path.rpartition("/")[2] for method, path in s3.requests if method == "PUT"]
    assert written == ["rows.txt", "record.json", "_SUCCESS"]
    assert store.done(PLAN.stages) == {STAGE.key}


@pytest.mark.parametrize("writes", [True, False])
def test_trouble_of_the_server_is_no_mistake_of_the_user(s3: S3, writes: bool) -> None:
    s3.broken = "/"
    with pytest.raises(StoreError, match="internal error"):
        Store(URL, writes=writes)


def test_what_others_write_is_seen_at_once(s3: S3) -> None:
    store, other = Store(URL), Store(URL)
    assert not store.has(STAGE)
    assert store.done(PLAN.stages) == set()
    commit(other)
    assert store.has(STAGE)
    assert store.done(PLAN.stages) == {STAGE.key}
    other.unfinish(STAGE.kind, STAGE.key)
    assert not store.has(STAGE)
    commit(other, text="again")
    assert (store.path(STAGE.kind, STAGE.key) / "rows.txt").read_text() == "again"


def test_a_stage_costs_few_requests(s3: S3) -> None:
    store = Store(URL)
    s3.counted()
    commit(store)
    assert s3.counted() == {"GET": 1, "PUT": 3, "DELETE": 1}
    store.path(STAGE.kind, STAGE.key)
    assert s3.counted() == {"GET": 3}  # the record, its digest, the file
    store.path(STAGE.kind, STAGE.key)
    assert s3.counted() == {"GET": 2}
    store.done({STAGE.key: STAGE})
    for _ in range(3):
        store.path(STAGE.kind, STAGE.key)
    assert s3.counted() == {"LIST": 1, "GET": 2}  # once for the version that was listed
    again = Store(URL)
    again.done({STAGE.key: STAGE})
    again.path(STAGE.kind, STAGE.key)
    assert s3.counted() == {"PUT": 1, "LIST": 1}


def test_a_finished_store_is_read_by_listings(s3: S3) -> None:
    store = Store(URL)
    commit(store)
    for name, stored in s3.objects.items():
        if name.startswith(FOLDER):
            for i in range(400):
                other = copy.copy(stored)
                other.name = name.replace(STAGE.key[:16], f"{i:016x}")
                s3.bucket.keys.setlist(other.name, [other])
    s3.counted()
    assert len(store.finished(STAGE.kind)) == 401
    assert s3.counted() == {"LIST": 2}  # 401 stages of three files, a thousand a page


def test_damage_in_the_bucket_is_noticed_and_in_the_cache_is_mended(s3: S3) -> None:
    store = Store(URL)
    commit(store)
    cached = store.path(STAGE.kind, STAGE.key) / "rows.txt"
    cached.write_text("resulT")
    assert (store.path(STAGE.kind, STAGE.key) / "rows.txt").read_text() == "result"
    shutil.rmtree(store.local)
    with store.reach() as fs:
        fs.pipe_file(f"bucket/{FOLDER}/rows.txt", b"resulT")
    with pytest.raises(CorruptArtifactError, match="does not match its checksum"):
        store.path(STAGE.kind, STAGE.key)
    store.remove(f"stages/{STAGE.kind}/{STAGE.key[:16]}/rows.txt")
    with pytest.raises(CorruptArtifactError):
        store.path(STAGE.kind, STAGE.key)
    store.quarantine(STAGE.kind, STAGE.key)
    commit(store)
    store.path(STAGE.kind, STAGE.key)


def test_one_line_for_each_mistake(s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import s3fs

    def refusal(url: str = URL) -> str:
        s3fs.S3FileSystem.clear_instance_cache()
        with pytest.raises(UserError) as caught:
            Store(url).local  # noqa: B018 - made when it is needed
        assert "\n" not in str(caught.value)
        assert SECRET not in str(caught.value)
        return str(caught.value)

    assert refusal("s3://nowhere/x") == "--store s3://nowhere/x: cannot be written: The specified bucket does not exist"
    assert "nowhere" not in s3.names()  # a slip of the pen makes no bucket
    assert refusal(f"s3://key:{SECRET}@bucket/x").startswith("--store: expected a URL without a password")
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "somebody-else")
        assert "Access Key Id you provided does not exist" in refusal()
    with monkeypatch.context() as patch:
        patch.delenv("AWS_ACCESS_KEY_ID")
        patch.setenv("HOME", str(tmp_path))
        assert "Unable to locate credentials" in refusal()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "s3fs", None)
        patch.delitem(sys.modules["fsspec.registry"]._registry, "s3")
        assert refusal().endswith("Install s3fs to access S3: pip install 'xlharm[s3]'")
    with monkeypatch.context() as patch:
        (tmp_path / "file").touch()
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        assert "set XDG_CACHE_HOME" in refusal()


def test_many_fetch_one_stage_at_once(s3: S3) -> None:
    commit(Store(URL))

    def read() -> str:
        return (Store(URL).path(STAGE.kind, STAGE.key) / "rows.txt").read_text()

    assert side_by_side([read] * 16) == ["result"] * 16
    assert not list((Store(URL).local / "tmp").iterdir())


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/", "s3://bucket/x/"])
def test_a_bucket_is_a_place_and_a_slash_no_other(s3: S3, url: str) -> None:
    commit(Store(url))
    assert Store(url.rstrip("/")).done(PLAN.stages) == {STAGE.key}
    assert Store(url).local == Store(url.rstrip("/")).local
