"""The feature networks once more, plainly: NCHW, batch norms apart, over NumPy or torch operations.

A reference asks `state` for each array under the name the torch implementation gives it, and says
its shape; `RandomState` invents those arrays, so the names and shapes here owe nothing to ours.
"""

import numpy as np


class RandomState(dict):
    """Arrays by name, drawn at the first request: signals keep their scale through the layers."""

    def __init__(self, seed):
        super().__init__()
        self._random = np.random.default_rng(seed)

    def take(self, name, shape):
        if name not in self:
            self[name] = self._draw(name, shape).astype(np.float16)
        assert self[name].shape == shape, (name, self[name].shape, shape)
        return self[name].astype(np.float32)

    def _draw(self, name, shape):
        kind = name.rsplit(".", 1)[1]
        if kind == "weight" and len(shape) == 4:
            deviation = np.sqrt(2 / np.prod(shape[1:]))
            return self._random.standard_normal(shape, np.float32) * np.float32(deviation)
        if kind in ("weight", "running_var"):
            return self._random.uniform(0.6, 1.4, shape)
        return self._random.uniform(-0.2, 0.2, shape)


class NumpyOperations:
    """In float64, from the definitions."""

    def array(self, x):
        return np.asarray(x, np.float64)

    def numpy(self, x):
        return x

    def relu(self, x):
        return np.maximum(x, 0)

    def relu6(self, x):
        return np.clip(x, 0, 6)

    def cat(self, parts):
        return np.concatenate(parts, 1)

    def _windows(self, x, size, stride, pads, fill):
        top, bottom, left, right = pads
        x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
        windows = np.lib.stride_tricks.sliding_window_view(x, size, (2, 3))
        return windows[:, :, ::stride, ::stride]

    def convolve(self, x, kernel, bias, stride, pads, groups):
        windows = self._windows(x, kernel.shape[2:], stride, pads, 0)
        if groups > 1:
            y = np.einsum("nchwij,cij->nchw", windows, kernel[:, 0])
        else:
            y = np.tensordot(windows, kernel, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
        return y if bias is None else y + bias[:, None, None]

    def max_pool(self, x, size, stride, pad):
        return self._windows(x, (size, size), stride, (pad,) * 4, -np.inf).max((4, 5))

    def average_pool(self, x, count_padding):
        fill = 0 if count_padding else np.nan
        return np.nanmean(self._windows(x, (3, 3), 1, (1,) * 4, fill), (4, 5))


class TorchOperations:
    """In float64, by torch.nn.functional."""

    def __init__(self, torch):
        self._torch, self._functional = torch, torch.nn.functional

    def array(self, x):
        return self._torch.as_tensor(np.asarray(x, np.float64))

    def numpy(self, x):
        return x.numpy()

    def relu(self, x):
        return self._functional.relu(x)

    def relu6(self, x):
        return self._functional.relu6(x)

    def cat(self, parts):
        return self._torch.cat(parts, 1)

    def convolve(self, x, kernel, bias, stride, pads, groups):
        top, bottom, left, right = pads
        x = self._functional.pad(x, (left, right, top, bottom))
        return self._functional.conv2d(x, kernel, bias, stride, 0, 1, groups)

    def max_pool(self, x, size, stride, pad):
        return self._functional.max_pool2d(x, size, stride, pad)

    def average_pool(self, x, count_padding):
        return self._functional.avg_pool2d(x, 3, 1, 1, count_include_pad=count_padding)


class _Reader:
    def __init__(self, operations, state):
        self.operations, self.state = operations, state

    def take(self, name, *shape):
        return self.operations.array(self.state.take(name, shape))

    def convolve(self, x, name, outs, size, stride=1, pads=(0, 0, 0, 0), groups=1, bias=False):
        kernel = self.take(f"{name}.weight", outs, x.shape[1] // groups, *size)
        offset = self.take(f"{name}.bias", outs) if bias else None
        return self.operations.convolve(x, kernel, offset, stride, pads, groups)

    def normalise(self, x, name):
        parts = ("weight", "bias", "running_mean", "running_var")
        scale, offset, mean, variance = (
            self.take(f"{name}.{part}", x.shape[1])[:, None, None] for part in parts
        )
        return (x - mean) / (variance + 1e-3) ** 0.5 * scale + offset


def alexnet(operations, state, x):
    read, relu = _Reader(operations, state), operations.relu
    maps = [relu(read.convolve(x, "features.0", 64, (11, 11), 4, (2,) * 4, bias=True))]
    x = operations.max_pool(maps[0], 3, 2, 0)
    maps.append(relu(read.convolve(x, "features.3", 192, (5, 5), 1, (2,) * 4, bias=True)))
    x = operations.max_pool(maps[1], 3, 2, 0)
    for index, outs in ((6, 384), (8, 256), (10, 256)):
        x = relu(read.convolve(x, f"features.{index}", outs, (3, 3), 1, (1,) * 4, bias=True))
        maps.append(x)
    return maps


def vgg16(operations, state, x):
    read, maps, index = _Reader(operations, state), [], 0
    for widths in ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3):
        for outs in widths:
            name = f"features.{index}"
            x = operations.relu(read.convolve(x, name, outs, (3, 3), 1, (1,) * 4, bias=True))
            index += 2
        maps.append(x)
        if len(maps) < 5:
            x = operations.max_pool(x, 2, 2, 0)
        index += 1
    return maps


def lpips(operations, state, network, first, second):
    """[batch] of pictures [batch, 3, height, width] in [-1, 1]."""
    shift = np.array([-0.030, -0.088, -0.188])[:, None, None]
    scale = np.array([0.458, 0.448, 0.450])[:, None, None]
    first, second = (
        network(operations, state, operations.array((np.asarray(x, np.float64) - shift) / scale))
        for x in (first, second)
    )
    total = 0
    for index, pair in enumerate(zip(first, second, strict=True)):
        one, other = (x / ((x**2).sum(1)[:, None] ** 0.5 + 1e-10) for x in pair)
        head = state.take(f"lin{index}.model.1.weight", (1, one.shape[1], 1, 1))
        weighed = ((one - other) ** 2 * operations.array(head)).sum(1)
        total = total + weighed.mean((1, 2))
    return operations.numpy(total)


def efficientnet_lite0(operations, state, x):
    """The last map of a scaled input; names of EfficientNet-PyTorch."""
    read = _Reader(operations, state)

    def same(x, size, stride):
        pads = []
        for side in x.shape[2:]:
            total = max((-(-side // stride) - 1) * stride + size - side, 0)
            pads += [total // 2, total - total // 2]
        return tuple(pads)

    def layer(x, name, norm, outs, size=1, stride=1, groups=1):
        pads = same(x, size, stride)
        return read.normalise(
            read.convolve(x, name, outs, (size, size), stride, pads, groups), norm
        )

    x = operations.relu6(layer(x, "_conv_stem", "_bn0", 32, 3, 2))
    stages = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80)]
    stages += [(3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)]
    index = 0
    for count, size, stride, expansion, outs in stages:
        for place in range(count):
            block, y, step = f"_blocks.{index}", x, stride if place == 0 else 1
            wide = x.shape[1] * expansion
            if expansion != 1:
                y = operations.relu6(layer(y, f"{block}._expand_conv", f"{block}._bn0", wide))
            y = layer(y, f"{block}._depthwise_conv", f"{block}._bn1", wide, size, step, wide)
            y = operations.relu6(y)
            y = layer(y, f"{block}._project_conv", f"{block}._bn2", outs)
            x = x + y if place > 0 else y
            index += 1
    return operations.numpy(operations.relu6(layer(x, "_conv_head", "_bn1", 1280)))


def inception_v3(operations, state, x, *, fid):
    """The last map of pictures in [-1, 1]; fid: the poolings of the weights of 2015-12-05."""
    read = _Reader(operations, state)

    def layer(x, name, outs, rows, columns=None, stride=1, pad=True):
        columns = rows if columns is None else columns
        pads = (rows // 2, rows // 2, columns // 2, columns // 2) if pad else (0,) * 4
        y = read.convolve(x, f"{name}.conv", outs, (rows, columns), stride, pads)
        return operations.relu(read.normalise(y, f"{name}.bn"))

    def mean(x):
        return operations.average_pool(x, not fid)

    def largest(x):
        return operations.max_pool(x, 3, 1, 1)

    x = layer(x, "Conv2d_1a_3x3", 32, 3, stride=2, pad=False)
    x = layer(layer(x, "Conv2d_2a_3x3", 32, 3, pad=False), "Conv2d_2b_3x3", 64, 3)
    x = layer(operations.max_pool(x, 3, 2, 0), "Conv2d_3b_1x1", 80, 1)
    x = operations.max_pool(layer(x, "Conv2d_4a_3x3", 192, 3, pad=False), 3, 2, 0)
    for b, pooled in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
        five = layer(layer(x, f"{b}.branch5x5_1", 48, 1), f"{b}.branch5x5_2", 64, 5)
        three = layer(layer(x, f"{b}.branch3x3dbl_1", 64, 1), f"{b}.branch3x3dbl_2", 96, 3)
        three = layer(three, f"{b}.branch3x3dbl_3", 96, 3)
        one = layer(x, f"{b}.branch1x1", 64, 1)
        x = operations.cat([one, five, three, layer(mean(x), f"{b}.branch_pool", pooled, 1)])
    b = "Mixed_6a"
    three = layer(layer(x, f"{b}.branch3x3dbl_1", 64, 1), f"{b}.branch3x3dbl_2", 96, 3)
    three = layer(three, f"{b}.branch3x3dbl_3", 96, 3, stride=2, pad=False)
    one = layer(x, f"{b}.branch3x3", 384, 3, stride=2, pad=False)
    x = operations.cat([one, three, operations.max_pool(x, 3, 2, 0)])
    for b, c in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        seven = layer(layer(x, f"{b}.branch7x7_1", c, 1), f"{b}.branch7x7_2", c, 1, 7)
        seven = layer(seven, f"{b}.branch7x7_3", 192, 7, 1)
        double = layer(layer(x, f"{b}.branch7x7dbl_1", c, 1), f"{b}.branch7x7dbl_2", c, 7, 1)
        double = layer(double, f"{b}.branch7x7dbl_3", c, 1, 7)
        double = layer(double, f"{b}.branch7x7dbl_4", c, 7, 1)
        double = layer(double, f"{b}.branch7x7dbl_5", 192, 1, 7)
        one = layer(x, f"{b}.branch1x1", 192, 1)
        x = operations.cat([one, seven, double, layer(mean(x), f"{b}.branch_pool", 192, 1)])
    b = "Mixed_7a"
    three = layer(x, f"{b}.branch3x3_1", 192, 1)
    three = layer(three, f"{b}.branch3x3_2", 320, 3, stride=2, pad=False)
    seven = layer(layer(x, f"{b}.branch7x7x3_1", 192, 1), f"{b}.branch7x7x3_2", 192, 1, 7)
    seven = layer(seven, f"{b}.branch7x7x3_3", 192, 7, 1)
    seven = layer(seven, f"{b}.branch7x7x3_4", 192, 3, stride=2, pad=False)
    x = operations.cat([three, seven, operations.max_pool(x, 3, 2, 0)])
    for b, pool in (("Mixed_7b", mean), ("Mixed_7c", largest if fid else mean)):
        three = layer(x, f"{b}.branch3x3_1", 384, 1)
        double = layer(layer(x, f"{b}.branch3x3dbl_1", 448, 1), f"{b}.branch3x3dbl_2", 384, 3)
        parts = [layer(x, f"{b}.branch1x1", 320, 1)]
        parts += [layer(three, f"{b}.branch3x3_2a", 384, 1, 3)]
        parts += [layer(three, f"{b}.branch3x3_2b", 384, 3, 1)]
        parts += [layer(double, f"{b}.branch3x3dbl_3a", 384, 1, 3)]
        parts += [layer(double, f"{b}.branch3x3dbl_3b", 384, 3, 1)]
        x = operations.cat([*parts, layer(pool(x), f"{b}.branch_pool", 192, 1)])
    return operations.numpy(x)
