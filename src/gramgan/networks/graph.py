"""The generator as a graph of operations for frameworks other than torch: `RRDBNet.forward`, written once more."""

from typing import Protocol, TypeVar

from gramgan.networks.rrdb import RRDBConfig

RESIDUAL_SCALE = 0.2
SLOPE = 0.2
"""Of the leaky ReLU."""

T = TypeVar("T")


class GraphOps(Protocol[T]):
    """What a framework has to offer; `T` is its handle of a tensor `[B, C, H, W]`."""

    def convolution(self, x: T, name: str, *, leaky: bool) -> T:
        """3×3, padding 1, with the weights and bias called `name`; `leaky` puts a leaky ReLU behind it."""
        ...

    def concat(self, parts: list[T]) -> T:
        """Along the channels."""
        ...

    def add(self, x: T, y: T) -> T:
        """Sum of two tensors of one shape."""
        ...

    def scaled(self, x: T, factor: float) -> T:
        """Every value times `factor`."""
        ...

    def nearest_twice(self, x: T) -> T:
        """Twice as high and wide, every pixel repeated."""
        ...

    def pixel_shuffle_twice(self, x: T) -> T:
        """`[B, 4C, H, W]` → `[B, C, 2H, 2W]`, as torch's `pixel_shuffle`."""
        ...

    def leaky(self, x: T) -> T:
        """The leaky ReLU by itself."""
        ...


def build_rrdb(config: RRDBConfig, ops: GraphOps[T], lr: T) -> T:
    """The graph of `RRDBNet(config)` on `lr`, `[B, 3, H, W]` → `[B, 3, 4H, 4W]`; names are those of its state dict."""
    features = ops.convolution(lr, "conv_first", leaky=False)
    trunk = features
    for block in range(config.nb):
        inner = trunk
        for dense in (1, 2, 3):
            inner = _dense_block(ops, inner, f"body.{block}.rdb{dense}")
        trunk = ops.add(trunk, ops.scaled(inner, RESIDUAL_SCALE))
    features = ops.add(features, ops.convolution(trunk, "conv_body", leaky=False))
    for name in ("conv_up1", "conv_up2"):
        if config.upsampler == "pixelshuffle":
            features = ops.leaky(ops.pixel_shuffle_twice(ops.convolution(features, name, leaky=False)))
        else:
            features = ops.convolution(ops.nearest_twice(features), name, leaky=True)
    return ops.convolution(ops.convolution(features, "conv_hr", leaky=True), "conv_last", leaky=False)


def _dense_block(ops: GraphOps[T], x: T, name: str) -> T:
    parts = [x]
    for number in range(1, 5):
        inputs = ops.concat(parts) if number > 1 else x
        parts.append(ops.convolution(inputs, f"{name}.conv{number}", leaky=True))
    last = ops.convolution(ops.concat(parts), f"{name}.conv5", leaky=False)
    return ops.add(x, ops.scaled(last, RESIDUAL_SCALE))
