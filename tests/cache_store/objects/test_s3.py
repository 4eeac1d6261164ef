"""A store on S3: `make test-s3` runs these against a local server, moto, through s3fs."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.objects.bucket import Bucket
from encodeonce.cache_store.objects.home import ObjectHome
from encodeonce.cache_store.store import StoreNotWritable
from tests.cache_store.stores import entry_of
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


def test_a_server_that_refuses_is_an_error_in_words() -> None:
    bucket = Bucket("s3://there-is-none/x")
    assert bucket.get("record") is None
    with pytest.raises(StoreNotWritable, match="s3://there-is-none/x/record.*does not exist"):
        bucket.create("record", b"x")
