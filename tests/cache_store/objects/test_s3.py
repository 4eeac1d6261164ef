"""A store on S3: `make test-s3` runs these against a local server, moto, through s3fs."""

import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.log import DamageRecord
from encodeonce.cache_store.maintenance.gc import GcPolicy, gc
from encodeonce.cache_store.maintenance.verify import verify
from encodeonce.cache_store.objects.bucket import Bucket
from encodeonce.cache_store.objects.home import ObjectHome
from encodeonce.cache_store.store import StoreNotWritable
from encodeonce.cache_store.unit_table import unit_digest
from encodeonce.jobs.cli.store import store_app
from tests.cache_store.stores import entry_of
from tests.contracts.object_maintenance import ObjectMaintenance
from tests.contracts.store import StoreContract, assert_same_bits

pytest.importorskip("s3fs", reason="make test-s3 installs it")
moto_server = pytest.importorskip("moto.server", reason="make test-s3 installs it")
pytestmark = pytest.mark.filterwarnings("default")

WRITER = """
import sys
from pathlib import Path
from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.objects.home import ObjectHome
from tests.cache_store.stores import entry_of
home = ObjectHome(sys.argv[1], Path(sys.argv[2]))
store = Hdf5Store(home.folder.root, home=home)
for number in range(6):
    store.put([entry_of(number, 2)])
print(store.counters.written)
"""


GC = """
import os, signal, sys
from pathlib import Path
from encodeonce.cache_store.maintenance.gc import GcPolicy, gc
from encodeonce.cache_store.objects.bucket import Bucket
from encodeonce.cache_store.objects.home import ObjectHome
plain, left = Bucket._try, int(sys.argv[3])
def killed(bucket, doing, *given):
    global left
    done = plain(bucket, doing, *given)
    left -= doing in ("writing", "removing")
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return done
Bucket._try = killed
gc(ObjectHome(sys.argv[1], Path(sys.argv[2])), GcPolicy(grace_s=0))
"""


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[str]:
    """Start a server, and tell s3fs of it as a user does."""
    import boto3

    running = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    address = "http://{}:{}".format(*running.get_host_and_port())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", address)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        boto3.client("s3").create_bucket(Bucket="ours")
        yield address
    running.stop()


def open_at(url: str, folder: Path) -> Hdf5Store:
    home = ObjectHome(url, folder)
    return Hdf5Store(home.folder.root, home=home)


class TestS3Store(StoreContract):
    def open_store(self, folder: Path) -> Hdf5Store:
        return open_at(f"s3://ours{folder}", folder / "copy")


class TestS3Maintenance(ObjectMaintenance):
    @pytest.fixture
    def url(self) -> str:
        return f"s3://ours/{uuid.uuid4().hex}"


def test_a_conditional_write_succeeds_once() -> None:
    bucket = Bucket("s3://ours/conditional")
    assert bucket.create("record", b"first")
    assert not bucket.create("record", b"second")
    assert bucket.get("record") == b"first"
    assert bucket.get_ranges("record", [(0, 2), (3, 5)]) == [b"fi", b"st"]


def test_processes_that_write_the_same_units_store_each_once(tmp_path: Path) -> None:
    url = "s3://ours/processes"
    words = [sys.executable, "-c", WRITER, url]
    writers = [
        subprocess.Popen([*words, str(tmp_path / str(n))], stdout=subprocess.PIPE, text=True)
        for n in range(3)
    ]
    written = [int(writer.communicate()[0]) for writer in writers]
    assert sum(written) == 12
    store = open_at(url, tmp_path / "reader")
    assert len(list(store.keys())) == 12
    for number in range(6):
        entry = entry_of(number, 2)
        assert_same_bits(store.get(entry.keys), entry.features)
    packs = [name for name in Bucket(url).names("ns") if name.endswith(".h5")]
    index = store.index(entry_of(0, 2).signature.digest)
    assert index is not None
    assert len(packs) == len(index.live_packs()), "what lost the race was removed"


def test_what_another_process_commits_after_the_log_was_listed_is_seen(tmp_path: Path) -> None:
    url = "s3://ours/follows"
    open_at(url, tmp_path / "a").put([entry_of(0, 2)])
    reader = open_at(url, tmp_path / "b")
    assert_same_bits(reader.get(entry_of(0, 2).keys), entry_of(0, 2).features)
    words = [sys.executable, "-c", WRITER, url, str(tmp_path / "c")]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, timeout=120)
    for number in range(1, 6):
        assert_same_bits(reader.get(entry_of(number, 2).keys), entry_of(number, 2).features)
    reader.put([entry_of(7, 2)])
    assert len(list(open_at(url, tmp_path / "d").keys())) == 14


def test_a_server_that_refuses_is_an_error_in_words() -> None:
    bucket = Bucket("s3://there-is-none/x")
    assert bucket.get("record") is None
    with pytest.raises(StoreNotWritable, match="s3://there-is-none/x/record.*does not exist"):
        bucket.create("record", b"x")


def test_a_gc_ended_by_sigkill_after_any_write_is_continued_by_the_next(tmp_path: Path) -> None:
    statuses = []
    while not statuses or statuses[-1]:
        at = len(statuses)
        url, entry = f"s3://ours/killed/{at}", entry_of(0, 10)
        store = open_at(url, tmp_path / f"w{at}")
        store.put([entry])
        index = store.index(entry.signature.digest)
        assert index is not None
        dead = tuple(unit_digest(entry.media, unit) for unit in entry.units[:7])
        assert index.commit(DamageRecord(index.packs[0].pack, dead, "test"))
        words = [sys.executable, "-c", GC, url, str(tmp_path / f"g{at}"), str(at)]
        statuses.append(subprocess.run(words, check=False).returncode)
        home = ObjectHome(url, tmp_path / f"v{at}")
        report = verify(home)
        assert (report.damaged_units, report.repaired, report.unrepaired) == ([], [], [])
        assert report.num_units == 3
        gc(home, GcPolicy(grace_s=0))
        served = open_at(url, tmp_path / f"r{at}").get(entry.keys[7:]).arrays["main"]
        assert served.tobytes() == entry.features.arrays["main"][7:].tobytes()
    assert set(statuses) == {0, -signal.SIGKILL}
    assert len(statuses) > 4, "it wrote little before it was killed"


def test_the_command_takes_a_url(tmp_path: Path) -> None:
    url, entry = "s3://ours/command", entry_of(0, 3)
    open_at(url, tmp_path / "a").put([entry])
    (name,) = (name for name in Bucket(url).names("ns") if name.endswith(".h5"))

    def call(*words: object) -> Result:
        return CliRunner().invoke(store_app, [*map(str, words), "--copies", str(tmp_path / "b")])

    assert f"store {url}" in call("stat", url).stdout
    assert entry.media in call("ls", url).stdout
    assert "no damage" in call("verify", url).stdout
    assert call("export", url, tmp_path / "x.tar").exit_code == 0
    assert "3 already there" in call("import", url, tmp_path / "x.tar").stdout
    Bucket(url).put(name, (Bucket(url).get(name) or b"")[:2000])
    found = call("verify", url)
    assert found.exit_code == 1
    assert entry.media in found.stdout
    assert "dropped 1 pack" in call("gc", url, "--signature", entry.signature.digest[:8]).stdout
    nowhere = call("stat", "s3://there-is-none/x")
    assert nowhere.exit_code == 1
    assert "no feature store at s3://there-is-none/x" in nowhere.stderr.replace("\n", " ")
