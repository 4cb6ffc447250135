"""A bucket in memory, which stands for gs:// in tests, and counts what is copied and sent."""

import importlib
import threading

from fsspec.implementations.memory import MemoryFileSystem

from jaxcolor.data import buckets


class Bucket(MemoryFileSystem):
    """A bucket in memory that counts what is copied from it."""

    protocol = "gs"
    store, pseudo_dirs = {}, [""]
    copied, sent, fails = [], [], set()
    lock = threading.Lock()

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + str(path).removeprefix("gs://").strip("/")

    def get_file(self, path, local, **options):
        if path.rpartition("/")[2] in self.fails:
            raise OSError("503 try again later")
        with self.lock:
            self.copied.append(path)
        return super().get_file(path, local, **options)

    def put_file(self, local, path, **options):
        if path.rpartition("/")[2] in self.fails:
            raise OSError("503 try again later")
        with self.lock:
            self.sent.append(path)
        return super().put_file(local, path, **options)


def empty_bucket(monkeypatch, tmp_path):
    """An empty bucket behind gs://, and an empty place for copies."""
    known = importlib.import_module("fsspec.registry")._registry
    monkeypatch.setitem(known, "gs", Bucket)
    monkeypatch.setenv("JAXCOLOR_CACHE", str(tmp_path / "copies"))
    for part in (Bucket.store, Bucket.copied, Bucket.sent, Bucket.fails):
        part.clear()
    Bucket.pseudo_dirs[:] = [""]
    buckets.fetch.cache_clear()
    return Bucket()
