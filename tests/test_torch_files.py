"""PyTorch's files read without it: every format and type; nothing hostile is run or believed."""

import contextlib
import io
import os
import pickle
import pickletools
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_format import pickled, save_legacy, save_zip, state_dict, write_zip

from jaxcolor.errors import UserError
from jaxcolor.torch_files import read_tensors
from jaxcolor.torch_pickle import read_pickle

ARRAYS = {
    "model.0.weight": np.arange(48, dtype=np.float32).reshape(2, 3, 2, 4) / 7,
    "model.0.bias": np.array([0.5, -2], np.float16),
    "model.1.num_batches_tracked": np.array(7, np.int64),
    "model.1.none": np.zeros((0, 3), np.float32),
}
SAVERS = {"zip": save_zip, "legacy": save_legacy}


@pytest.fixture(params=SAVERS)
def saved(request, tmp_path):
    path = tmp_path / "net.pth"
    SAVERS[request.param](path, ARRAYS)
    return path


def assert_same(found, arrays):
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_both_formats_give_every_array_back(saved):
    assert_same(read_tensors(saved), ARRAYS)


def test_what_pytorch_itself_writes_is_read(tmp_path):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.from_numpy(array) for name, array in ARRAYS.items()}
    tensors["turned"] = torch.arange(6.0).reshape(2, 3).T
    tensors["part"] = torch.arange(10.0, dtype=torch.float64)[3:7]
    tensors["half"] = torch.tensor([1.5, -3], dtype=torch.bfloat16)
    module = torch.nn.Conv2d(1, 2, 3)
    tensors |= module.state_dict() | {"whole": module.weight}
    for is_zip in (True, False):
        path = tmp_path / "net.pth"
        torch.save(tensors, path, _use_new_zipfile_serialization=is_zip)
        found = read_tensors(path)
        assert list(found) == list(tensors)
        for name, tensor in tensors.items():
            expected = tensor.detach().to(torch.float64).numpy()
            np.testing.assert_array_equal(found[name].astype(np.float64), expected)


class Runs:
    """Pickled as a call that leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_code_is_refused_and_not_run(tmp_path):
    trace = tmp_path / "trace"
    arrays = dict(state_dict(ARRAYS))
    for number, thing in enumerate(
        (Runs(trace), arrays | {"x": Runs(trace)}, [Runs(trace)], {"a": {"b": (Runs(trace),)}})
    ):
        path = tmp_path / f"{number}.pth"
        write_zip(path, pickled(thing), {})
        with pytest.raises(UserError, match=r"names 'posix\.system'.*nothing of it was run"):
            read_tensors(path)
        path.write_bytes(_legacy_of(pickled(thing)))
        with pytest.raises(UserError, match=r"posix\.system"):
            read_tensors(path)
    pickle.loads(pickle.dumps(Runs(trace)))
    assert trace.exists(), "the call of the test does what the reader must not"


def _legacy_of(data):
    head = [pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join([*head, data, pickle.dumps([], 2)])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"cbuiltins\neval\nX\x01\x00\x00\x001\x85R.", "builtins.eval"),
        (b"\x80\x04\x8c\x05torch\x8c\x04load\x93.", "torch.load"),
        (b"ctorch\nFloatStorage\n)R.", "a call of torch.FloatStorage"),
        (b"ctorch\nFloatStorage\n)\x81.", "instruction NEWOBJ"),
        (b"(lios\nsystem\n.", "instruction LIST"),
        (b"}r\xff\xff\xff\x7f.", None),  # a memo of 2**31 places
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", "damaged"),  # 2**63 bytes
        (b"X\xff\xff\xff\x7fabc.", "damaged"),
        (b"}(K\x01K\x01\x85K\x02s.", "damaged"),
        (b"", "damaged"),
        (b"0.", "instruction POP"),
        (b"}K\x01)b.", "damaged"),
        (b"h\x05.", "damaged"),
        (b"(.", "damaged"),
        (b"t.", "damaged"),
        (b"\x85.", "damaged"),
        (b"ccollections\nOrderedDict\n(]](K\x01K\x02esaaetR.", "damaged"),
        (b"(X\x07\x00\x00\x00storageNX\x01\x00\x00\x000NK\x01tQ.", "a storage without type"),
        (b"]Q.", "damaged"),
        (b"NQ.", "damaged"),
    ],
)
def test_pickles_of_other_things_are_named(data, message):
    if message is None:
        assert read_pickle(io.BytesIO(data)) == {}
        return
    with pytest.raises(UserError, match=message):
        read_pickle(io.BytesIO(data))


def test_keys_that_take_exponential_time_are_refused():
    nested = b")q\x00h\x00\x86q\x01" + b"".join(
        b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(1, 99)
    )
    with pytest.raises(UserError, match="neither text nor a number"):
        read_pickle(io.BytesIO(nested + b"}h\x63K\x01s."))


@pytest.mark.parametrize(
    ("shape", "strides", "message"),
    [
        ((7,), (1,), "a tensor of 7 numbers in a storage of 6"),
        ((2, 3), (4, 1), "a tensor of 6 numbers in a storage of 6"),
        ((10**15,), (0,), "numbers in a storage of 6"),
        ((2**40, 2**40), (1, 1), "numbers in a storage of 6"),
        ((-1,), (1,), "not of whole numbers"),
        ((3,), (-1,), "not of whole numbers"),
        ((1,) * 9, (1,) * 9, "9 axes"),
        ((3, 2), (1,), "not of whole numbers"),
        ((3.0,), (1,), "not of whole numbers"),
    ],
)
def test_tensors_beyond_their_storage_are_refused(tmp_path, shape, strides, message):
    class Lying(torch_format.StoredTensor):
        def __reduce__(self):
            function, arguments = super().__reduce__()
            return function, (*arguments[:2], shape, strides, *arguments[4:])

    path = tmp_path / "net.pth"
    array = np.arange(6, dtype=np.float32)
    write_zip(path, pickled({"x": Lying("0", array)}), {"0": array.tobytes()})
    with pytest.raises(UserError, match=message):
        read_tensors(path)


def test_archives_that_lie_about_sizes_cost_nothing(tmp_path):
    path = tmp_path / "net.pth"
    tensor = torch_format.StoredTensor("0", np.zeros(1, np.float32))
    tensor.stored = type("Huge", (), {"dtype": np.dtype(np.float32), "size": 2**60})()
    tracemalloc.start()
    write_zip(path, pickled({"x": tensor}), {"0": b"\0" * 4})
    with pytest.raises(UserError, match="has not the 4611686018427387904 bytes"):
        read_tensors(path)
    good, array = state_dict({"x": np.zeros(2**16, np.float32)}), b"\0" * 2**18
    write_zip(path, pickled(good), {"0": array}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="compressed"):
        read_tensors(path)
    write_zip(path, b"(" * (2**20 + 1), {})
    with pytest.raises(UserError, match=r"data\.pkl has more than 1048576 bytes"):
        read_tensors(path)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        ([1], "a list, not a state_dict"),
        ({}, "an empty dict"),
        ({"epoch": 3}, "entry 'epoch' is no tensor"),
        ({"model": {"a": 1}}, "entry 'model' is no tensor"),
        ({3: 1}, "entry '3' is no tensor"),
    ],
)
def test_what_is_no_state_dict_is_named(tmp_path, thing, message):
    path = tmp_path / "net.pth"
    write_zip(path, pickled(thing), {})
    with pytest.raises(UserError, match=message):
        read_tensors(path)


def test_other_files_are_named(tmp_path):
    path = tmp_path / "net.pth"
    with pytest.raises(UserError, match=r"net\.pth cannot be read.*No such file"):
        read_tensors(path)
    with pytest.raises(UserError, match="Is a directory"):
        read_tensors(tmp_path)
    for data, message in (
        (b"", "neither of PyTorch's formats"),
        (b"sys_info" + b"\0" * 999, "torch.save its state_dict"),
        (b"PK\x03\x04 and no more", "not a zip file"),
    ):
        path.write_bytes(data)
        with pytest.raises(UserError, match=message):
            read_tensors(path)
    write_zip(path, b"", {}, extra=[("other/data.pkl", b"")])
    with pytest.raises(UserError, match=r"holds no data\.pkl"):
        read_tensors(path)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_damaged_files_give_the_arrays_or_one_clear_error(saved, data):
    original = saved.read_bytes()
    path = saved.with_name("damaged.pth")
    changed = bytearray(original[: data.draw(st.integers(0, len(original)))])
    if data.draw(st.booleans()):
        changed = bytearray(original)
    for _ in range(data.draw(st.integers(0, 4))):
        if changed:
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(changed)
    try:
        found = read_tensors(path)
    except UserError:
        return
    assert all(array.nbytes <= len(original) for array in found.values())


def test_a_damaged_name_of_an_entry_is_not_quoted_whole(tmp_path):
    path = tmp_path / "x.pth"
    save_zip(path, {"a": np.zeros(2000, np.float32)})
    data = bytearray(path.read_bytes())
    data[26:28] = (5000).to_bytes(2, "little")  # the length of the first name
    path.write_bytes(data)
    with pytest.raises(UserError, match="File name in directory") as caught:
        read_tensors(path)
    assert len(str(caught.value)) < 500


def test_a_damaged_escape_in_a_name_is_an_error_and_no_warning():
    with pytest.raises(UserError, match="o"):
        read_pickle(io.BytesIO(b"ct\\orch\nFloatStorage\n."))


CODES = [code.code.encode("latin-1") for code in pickletools.opcodes]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(CODES), st.binary(max_size=6)), max_size=30))
def test_any_bytes_give_a_value_or_one_clear_error(parts):
    with contextlib.suppress(UserError):
        read_pickle(io.BytesIO(b"".join(parts) + b"."))
