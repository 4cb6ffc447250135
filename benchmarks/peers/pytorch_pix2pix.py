"""The reference's pix2pix training in PyTorch, to be compared with: losses, update order, Adam.

Isola et al. 2017, https://arxiv.org/abs/1611.07004; one GPU, or all the cores PyTorch may use.
"""

import numpy as np
import torch
from torch.nn import functional

from benchmarks.peers.pytorch_networks import PatchGAN, UNet, copy_layers, initialize, round_kernels

L1_WEIGHT = 100.0
DISCRIMINATOR_WEIGHT = 0.5
UPDATES = ("sequential", "simultaneous")

# Every sensible way to run it: a comparison takes the fastest.
_LAYOUTS = {"": {}, " channels_last": {"channels_last": True}}
_MODES = {"": {}, " compiled": {"compiled": True}}
_PRECISIONS = {"float32": {}, "bfloat16": {"autocast": True}}
VARIANTS = {
    f"{precision}{mode}{layout}": _PRECISIONS[precision] | _MODES[mode] | _LAYOUTS[layout]
    for precision in _PRECISIONS
    for mode in _MODES
    for layout in _LAYOUTS
}
# Without training nothing keeps the kernels in float32, and autocast would round them every call.
INFERENCE_VARIANTS = VARIANTS | {
    f"bfloat16 kernels{mode}{layout}": {"bfloat16_kernels": True} | _MODES[mode] | _LAYOUTS[layout]
    for mode in _MODES
    for layout in _LAYOUTS
}


def _cross_entropy(logits: torch.Tensor, *, real: bool) -> torch.Tensor:
    logits = logits.float()
    target = torch.ones_like(logits) if real else torch.zeros_like(logits)
    return functional.binary_cross_entropy_with_logits(logits, target)


def _compile(network):
    # All instances share one store of compiled graphs; beyond its limit, 8, it compiles no more.
    torch.compiler.config.recompile_limit = 64
    # fullgraph: where the compiler would fall back to eager without a word, it raises.
    return torch.compile(network, fullgraph=True, dynamic=False)


class Pix2Pix:
    """Both networks with their optimizers; trains in place."""

    def __init__(
        self,
        *,
        image_size: int = 256,
        base_width: int = 64,
        strided_layers: int = 3,
        dropout_levels: tuple[int, ...] = (1, 2, 3),
        update: str = "sequential",
        learning_rate: float = 2e-4,
        channels_last: bool = False,
        compiled: bool = False,
        autocast: bool = False,
        bfloat16_kernels: bool = False,
        device: str | None = None,
    ):
        """A fresh pair of networks.

        Args:
          image_size: side in pixels, a power of two.
          base_width: channels of the first layer of either network.
          strided_layers: of the discriminator.
          dropout_levels: of the decoder, innermost first.
          update: "sequential" (discriminator first) or "simultaneous".
          learning_rate: of both Adams, whose betas are 0.5 and 0.999.
          channels_last: keep maps in memory as [batch, height, width, channels].
          compiled: run both networks through `torch.compile`.
          autocast: run both networks in bfloat16 wherever autocast deems it safe.
          bfloat16_kernels: keep the generator's kernels in bfloat16; for inference.
          device: "cpu" or "cuda"; by default the latter if there is one.
        """
        if update not in UPDATES:
            raise ValueError(f"update {update!r} is none of {UPDATES}")
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.update, self.compiled, self.autocast = update, compiled, autocast
        self.input_dtype = torch.bfloat16 if bfloat16_kernels else torch.float32
        self.generator = self._place_network(
            UNet(image_size, base_width, dropout_levels=dropout_levels)
        )
        self.discriminator = self._place_network(PatchGAN(base_width, strided_layers))
        self._generate, self._judge = self.generator, self.discriminator
        if bfloat16_kernels:
            round_kernels(self.generator)
        if compiled:
            self._generate, self._judge = _compile(self.generator), _compile(self.discriminator)
        adam = {"lr": learning_rate, "betas": (0.5, 0.999), "fused": True}
        self.generator_optimizer = torch.optim.Adam(self.generator.parameters(), **adam)
        self.discriminator_optimizer = torch.optim.Adam(self.discriminator.parameters(), **adam)

    def load_weights(self, state) -> None:
        """Copies both networks of a `jaxcolor.training.state.GanState`; Adam is left as it is."""
        copy_layers(self.generator, state.generator.params, state.generator.batch_stats)
        own = state.discriminator
        copy_layers(self.discriminator, own.params, own.batch_stats)

    def place(self, pictures: np.ndarray) -> torch.Tensor:
        """Pictures [batch, height, width, channels] on the device, channels second."""
        turned = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2)
        return turned.to(self.device).contiguous(memory_format=self.format)

    def wait(self) -> None:
        """Returns when the device has done all it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def generate(self, condition: torch.Tensor, statistics: str = "running") -> torch.Tensor:
        """Pictures in [-1, 1], [batch, channels, size, size], without dropout.

        Args:
          condition: from `place`, uint8 or in [-1, 1].
          statistics: of batch norm: "running" averages or each "picture"'s own.
        """
        self.generator.eval()
        with torch.inference_mode(), self._precision():
            return self._generate(self._to_signed(condition), statistics).float()

    def train_step(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Losses of one update of both networks, under jaxcolor's names, left on the device.

        Args:
          batch: "condition" and "target", from `place`.
        """
        self.generator.train()
        condition, target = (self._to_signed(batch[name]) for name in ("condition", "target"))
        with self._precision():
            fake = self._generate(condition).float()
        given = (condition, target, fake)
        if self.update == "sequential":
            losses = self._update_discriminator(*given) | self._update_generator(*given)
        elif self.compiled:
            # A compiled backward computes every gradient, so that sharing would save nothing.
            losses = self._update_generator(*given) | self._update_discriminator(*given)
        else:
            losses = self._update_sharing(*given)
        return {name: loss.detach() for name, loss in losses.items()}

    def _place_network(self, network):
        initialize(network)
        return network.to(self.device, memory_format=self.format)

    def _precision(self):
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast)

    def _to_signed(self, pictures):
        if not pictures.is_floating_point():
            pictures = pictures.float() / 127.5 - 1
        return pictures.to(self.input_dtype)

    def _logits(self, condition, picture):
        with self._precision():
            return self._judge(condition, picture)

    def _update_discriminator(self, condition, target, fake):
        real_loss = _cross_entropy(self._logits(condition, target), real=True)
        fake_loss = _cross_entropy(self._logits(condition, fake.detach()), real=False)
        return self._step_discriminator(real_loss, fake_loss)

    def _step_discriminator(self, real_loss, fake_loss):
        loss = DISCRIMINATOR_WEIGHT * (real_loss + fake_loss)
        self.discriminator_optimizer.zero_grad()
        loss.backward(inputs=list(self.discriminator.parameters()))
        self.discriminator_optimizer.step()
        return {
            "discriminator/real": real_loss,
            "discriminator/fake": fake_loss,
            "discriminator/loss": loss,
        }

    def _update_generator(self, condition, target, fake):
        self.discriminator.requires_grad_(False)
        adversarial = _cross_entropy(self._logits(condition, fake), real=True)
        self.discriminator.requires_grad_(True)
        l1 = functional.l1_loss(fake, target)
        loss = adversarial + L1_WEIGHT * l1
        self.generator_optimizer.zero_grad()
        loss.backward()
        self.generator_optimizer.step()
        return {"generator/adversarial": adversarial, "generator/l1": l1, "generator/loss": loss}

    def _update_sharing(self, condition, target, fake):
        """Simultaneous update with one discriminator forward on the fake."""
        picture = fake.detach().requires_grad_()
        logits = self._logits(condition, picture)
        adversarial = _cross_entropy(logits, real=True)
        (gradient,) = torch.autograd.grad(adversarial, picture, retain_graph=True)
        real_loss = _cross_entropy(self._logits(condition, target), real=True)
        losses = self._step_discriminator(real_loss, _cross_entropy(logits, real=False))
        l1 = functional.l1_loss(fake, target)
        self.generator_optimizer.zero_grad()
        torch.autograd.backward((fake, L1_WEIGHT * l1), (gradient, None))
        self.generator_optimizer.step()
        loss = adversarial + L1_WEIGHT * l1
        return losses | {
            "generator/adversarial": adversarial,
            "generator/l1": l1,
            "generator/loss": loss,
        }
